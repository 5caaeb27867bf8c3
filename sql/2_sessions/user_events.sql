-- purpose: each user's events as one list, oldest first
-- grain:   user_id
-- inputs:  sessions.session_events
-- materialized: view
-- version: 1
-- A view, because lists of all that everybody ever did are large and seldom asked for. One user's
-- are made in an instant.
select
    user_id,
    list(struct_pack(
        role := cast(role as varchar),
        item_id := item_id,
        category := category,
        value := cast(value as double),
        event_at := event_at
    ) order by event_id) as events,
from sessions.session_events
group by user_id
