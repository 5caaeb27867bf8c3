-- purpose: what was known of a user when it was decided whether to act upon them
-- grain:   user_id, cutoff_at
-- inputs:  actions.decisions, staging.actions, sessions.user_days, sessions.user_totals
-- params:  action_frequency_window
-- check:   days_since_last_activity >= 0 and days_since_last_action >= 0
-- check:   count_sessions_7d <= count_sessions_30d
-- version: 1
with

-- Row numbers of sessions.user_totals, as in cutoffs.known_days; 0 is before the first row.
known as (
    select
        decisions.user_id,
        decisions.cutoff_at,
        count(*) as count_days,
        count(*) filter (where days.day_at <= decisions.cutoff_at - interval '7 days') as days_7d,
        count(*) filter (where days.day_at <= decisions.cutoff_at - interval '30 days') as days_30d,
        count(*) filter (where days.day_at <= decisions.cutoff_at - interval '90 days') as days_90d,
    from actions.decisions as decisions
    inner join sessions.user_days as days
        on days.user_id = decisions.user_id
        and days.day_at <= decisions.cutoff_at
    group by decisions.user_id, decisions.cutoff_at
),

acted as (
    select
        decisions.user_id,
        decisions.cutoff_at,
        total(1, actions.event_at > decisions.cutoff_at - interval '30 days') as count_30d,
        total(1, actions.event_at > decisions.cutoff_at - getvariable('action_frequency_window'))
            as count_in_window,
        max(actions.event_at) as last_at,
    from actions.decisions as decisions
    inner join staging.actions as actions
        on actions.user_id = decisions.user_id
        and actions.event_at <= decisions.cutoff_at
    group by decisions.user_id, decisions.cutoff_at
)

select
    known.user_id,
    known.cutoff_at,
    days_between(upto.first_event_at, known.cutoff_at) as days_since_first_event,
    days_between(upto.last_active_at, known.cutoff_at) as days_since_last_activity,
    days_between(upto.last_purchase_at, known.cutoff_at) as days_since_last_purchase,
    added(upto.count_sessions, before_7d.count_sessions) as count_sessions_7d,
    added(upto.count_sessions, before_30d.count_sessions) as count_sessions_30d,
    added(upto.count_sessions, before_90d.count_sessions) as count_sessions_90d,
    added(upto.count_events, before_30d.count_events) as count_events_30d,
    added(upto.count_carts, before_30d.count_carts) as count_carts_30d,
    added(upto.count_orders, before_90d.count_orders) as count_orders_90d,
    cast(upto.count_orders as double) as count_orders_lifetime,
    added(upto.value, before_90d.value) as value_90d,
    coalesce(acted.count_30d, 0) as count_actions_received_30d,
    coalesce(acted.count_in_window, 0) as count_actions_in_window,
    days_between(acted.last_at, known.cutoff_at) as days_since_last_action,
    -- The few states that a table of values can hold, in words.
    concat_ws(', ',
        case
            when upto.last_active_at > known.cutoff_at - interval '7 days' then 'this week'
            when upto.last_active_at > known.cutoff_at - interval '30 days' then 'this month'
            else 'away'
        end,
        if(added(upto.count_sessions, before_30d.count_sessions) > 3, 'often', 'seldom'),
        if(upto.count_orders > 0, 'customer', 'visitor'),
        if(acted.count_30d > 0, 'acted upon', 'left alone')
    ) as state,
from known
inner join sessions.user_totals as upto
    on upto.user_id = known.user_id and upto.day_number = known.count_days
left join sessions.user_totals as before_7d
    on before_7d.user_id = known.user_id and before_7d.day_number = known.days_7d
left join sessions.user_totals as before_30d
    on before_30d.user_id = known.user_id and before_30d.day_number = known.days_30d
left join sessions.user_totals as before_90d
    on before_90d.user_id = known.user_id and before_90d.day_number = known.days_90d
left join acted
    on acted.user_id = known.user_id and acted.cutoff_at = known.cutoff_at
order by known.user_id, known.cutoff_at
