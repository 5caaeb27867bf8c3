-- purpose: how many events each item had in the four weeks before a week began
-- grain:   item_id, week_at
-- inputs:  staging.events
-- check:   count_events > 0
-- scope:   global
-- version: 1
with

weekly as (
    select
        item_id,
        time_bucket(interval '7 days', event_at) as week_at,
        count(*) as count_events,
    from staging.events
    where item_id is not null
    group by item_id, time_bucket(interval '7 days', event_at)
),

-- A week's events count for the four weeks that follow it, never for their own.
later as (
    select
        weekly.item_id,
        weekly.week_at + to_days(cast(7 * ahead.weeks as integer)) as week_at,
        weekly.count_events,
    from weekly
    cross join (from (values (1), (2), (3), (4)) as ahead (weeks)) as ahead
)

select
    item_id,
    week_at,
    cast(sum(count_events) as bigint) as count_events,
from later
group by item_id, week_at
order by item_id, week_at
