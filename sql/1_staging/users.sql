-- purpose: one row per user seen in the events or described by a source
-- grain:   user_id
-- inputs:  raw.users, staging.events
-- version: 3
with

seen as (
    select
        user_id,
        min(event_at) as first_seen_at,
        max(event_at) as last_seen_at,
        count(*) as count_events,
    from staging.events
    group by user_id
),

-- By what holds from the start; whom answers and attributes tell of must be known by then.
described as (
    select
        user_id,
        any_value(attributes order by source, rowid) as attributes,
    from raw.users
    where user_id is not null and not is_dated
    group by user_id
)

select
    user_id,
    seen.first_seen_at,
    seen.last_seen_at,
    coalesce(seen.count_events, 0) as count_events,
    described.attributes,
from seen
full outer join described using (user_id)
order by user_id
