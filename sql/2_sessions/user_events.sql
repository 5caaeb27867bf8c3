-- purpose: each user's events as one list, oldest first
-- grain:   user_id
-- inputs:  sessions.session_events
-- check:   len(events) >= 1
-- version: 1
-- Kept once per user: every cutoff takes its piece, and nothing is stored twice.
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
order by user_id
