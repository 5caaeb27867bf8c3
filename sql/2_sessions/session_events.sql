-- purpose: every event with its place in its session, told from earlier events alone
-- grain:   user_id, event_id
-- inputs:  staging.events, staging.sources, staging.items
-- params:  session_gap, max_session
-- check:   event_number >= 1 and seconds_since_previous >= 0
-- version: 2
with

-- A chain has no gap in it. Without a time of day the only honest session is the day.
chained as (
    select
        events.* exclude (event_type, source, raw_row),
        max(case
            when previous_at is null then event_at
            when has_time_of_day and event_at - previous_at > getvariable('session_gap')
                then event_at
            when not has_time_of_day and event_at::date > previous_at::date then event_at
        end) over (partition by events.user_id order by event_id) as chain_at,
    from staging.events as events
    inner join staging.sources as sources on sources.source = events.source
),

-- Cut at whole multiples of max_session. As in GA4, a session is known by its first second.
placed as (
    select
        chained.*,
        floor(epoch(chain_at))::bigint + epoch(getvariable('max_session'))::bigint
            * floor(epoch(event_at - chain_at) / epoch(getvariable('max_session')))::bigint
            as session_id,
    from chained
),

numbered as (
    select
        placed.*,
        row_number() over so_far as event_number,
        first_value(event_at) over so_far as session_started_at,
        count(*) filter (where role = 'view') over so_far as count_views,
        count(*) filter (where role in ('cart', 'purchase')) over so_far as count_keys,
        count(*) filter (where role = 'purchase') over so_far as count_purchases,
    from placed
    window so_far as (partition by placed.user_id, placed.session_id order by placed.event_id)
)

select
    numbered.user_id,
    event_id,
    session_id,
    session_started_at,
    event_number,
    numbered.item_id,
    case when coalesce(items.category_known_at <= event_at, true) then items.category end
        as category,
    role,
    event_at,
    value,
    quantity,
    case when event_number = 1 then 0 else epoch(event_at - previous_at) end
        as seconds_since_previous,
    -- GA4's rule: longer than 10 seconds, or a key event, or at least 2 views.
    event_at - session_started_at > interval '10 seconds' or count_keys > 0 or count_views >= 2
        as is_engaged_by_now,
    is_engaged_by_now and not coalesce(previous_at - session_started_at > interval '10 seconds'
        or count_keys > (role in ('cart', 'purchase'))::integer
        or count_views - (role = 'view')::integer >= 2,
        false
    ) as becomes_engaged,
    role = 'purchase' and count_purchases = 1 as is_new_order,
from numbered
left join staging.items as items on items.item_id = numbered.item_id
order by numbered.user_id, event_id
