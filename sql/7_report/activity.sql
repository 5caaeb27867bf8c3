-- purpose: how many users came and what they did, week by week, of those who agree to analytics
-- grain:   week_at
-- inputs:  staging.events, staging.consents
-- params:  is_granted_unless_told
-- scope:   global
-- version: 2
with

-- Each user's weeks first: counting distinct users among all events takes twice as long.
weekly as (
    select
        time_bucket(interval '7 days', events.event_at) as week_at,
        events.user_id,
        count(*) as count_events,
        count(*) filter (where events.role = 'purchase') as count_purchases,
        sum(events.value) filter (where events.role = 'purchase') as purchase_value,
    from staging.events as events
    left join staging.consents as consents
        on consents.user_id = events.user_id
        and consents.purpose = 'analytics'
        and events.event_at >= consents.from_at
        and events.event_at < consents.until_at
    where coalesce(consents.is_granted, getvariable('is_granted_unless_told'))
    group by time_bucket(interval '7 days', events.event_at), events.user_id
)

select
    cast(week_at as date) as week_at,
    count(*) as count_users,
    cast(sum(count_events) as bigint) as count_events,
    cast(sum(count_purchases) as bigint) as count_purchases,
    count(*) filter (where count_purchases > 0) as count_buyers,
    cast(sum(purchase_value) as double) as purchase_value,
from weekly
group by weekly.week_at
order by week_at
