-- purpose: the last 50 events as lists, oldest first, for models that read sequences
-- grain:   user_id, cutoff_at
-- inputs:  cutoffs.known_days, sessions.user_totals, sessions.user_events
-- materialized: view
-- version: 2
with

-- An event's id is its number within the user's events: the last 50 end at the last id known.
recent as (
    select
        known.user_id,
        known.cutoff_at,
        users.events[greatest(upto.last_event_id - 49, 1):upto.last_event_id] as events,
    from cutoffs.known_days as known
    inner join sessions.user_totals as upto
        on upto.user_id = known.user_id
        and upto.day_number = known.count_days
    inner join sessions.user_events as users on users.user_id = known.user_id
)

select
    user_id,
    cutoff_at,
    list_transform(events, lambda event: event.role) as role_sequence,
    list_transform(events, lambda event: event.item_id) as item_sequence,
    list_transform(events, lambda event: event.category) as category_sequence,
    list_transform(events, lambda event: event.value) as value_sequence,
    list_transform(
        events, lambda event: date_diff('microsecond', event.event_at, cutoff_at) / 86400e6
    ) as days_ago_sequence,
from recent
