-- purpose: who could be acted upon at each moment, and what was done that day: none is a choice too
-- grain:   user_id, cutoff_at
-- inputs:  actions.moments, staging.actions, staging.consents, sessions.user_days
-- params:  bucket, action_active_within, is_granted_unless_told
-- check:   (action is null) = (split = 'latest')
-- version: 2
with

-- Being acted upon is no activity: who only gets mails drops out.
eligible as (
    select
        days.user_id,
        moments.cutoff_at,
        moments.split,
        moments.window_ends_at,
    from sessions.user_days as days
    inner join actions.moments as moments
        on days.day_at <= moments.cutoff_at
        and days.day_at > moments.cutoff_at - getvariable('action_active_within')
    where days.count_active > 0
    group by days.user_id, moments.cutoff_at, moments.split, moments.window_ends_at
),

-- Of several in one day the first was decided upon; the others may have come of it.
acted as (
    select
        actions.user_id,
        moments.cutoff_at,
        arg_min(actions.action, actions.event_id) as action,
        arg_min_null(actions.logged_propensity, actions.event_id) as logged_propensity,
        cast(count(*) as integer) as count_actions,
    from staging.actions as actions
    inner join actions.moments as moments
        on actions.event_at > moments.cutoff_at
        and actions.event_at <= moments.cutoff_at + getvariable('bucket')
    where moments.split <> 'latest'
    group by actions.user_id, moments.cutoff_at
)

select
    eligible.user_id,
    eligible.cutoff_at,
    eligible.split,
    eligible.window_ends_at,
    case when eligible.split <> 'latest' then coalesce(acted.action, 'none') end as action,
    acted.logged_propensity,
    coalesce(acted.count_actions, 0) as count_actions,
    -- As of the moment: who had not agreed by then could not be acted upon, whatever was done.
    coalesce(consents.is_granted, getvariable('is_granted_unless_told')) as is_agreed_to,
from eligible
left join acted
    on acted.user_id = eligible.user_id
    and acted.cutoff_at = eligible.cutoff_at
left join staging.consents as consents
    on consents.user_id = eligible.user_id
    and consents.purpose = 'marketing'
    and eligible.cutoff_at >= consents.from_at
    and eligible.cutoff_at < consents.until_at
order by eligible.user_id, eligible.cutoff_at
