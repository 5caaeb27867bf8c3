-- purpose: how many users came and what they did, week by week, of those who agree to analytics
-- grain:   week_at
-- inputs:  staging.events, staging.consents
-- params:  is_granted_unless_told
-- scope:   global
-- version: 1
select
    cast(time_bucket(interval '7 days', events.event_at) as date) as week_at,
    count(distinct events.user_id) as count_users,
    count(*) as count_events,
    count(*) filter (where events.role = 'purchase') as count_purchases,
    count(distinct events.user_id) filter (where events.role = 'purchase') as count_buyers,
    cast(sum(events.value) filter (where events.role = 'purchase') as double) as purchase_value,
from staging.events as events
left join staging.consents as consents
    on consents.user_id = events.user_id
    and consents.purpose = 'analytics'
    and events.event_at >= consents.from_at
    and events.event_at < consents.until_at
where coalesce(consents.is_granted, getvariable('is_granted_unless_told'))
group by time_bucket(interval '7 days', events.event_at)
order by week_at
