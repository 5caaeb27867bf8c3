-- purpose: the last 50 events as lists, oldest first, for models that read sequences
-- grain:   user_id, cutoff_at
-- inputs:  cutoffs.cutoffs, sessions.user_days, sessions.session_events
-- check:   len(role_sequence) between 1 and 50
-- check:   len(role_sequence) = len(item_sequence)
-- version: 1
with

-- An event's id is its number within the user's events, so the last 50 are a range of ids.
placed as (
    select
        cutoffs.user_id,
        cutoffs.cutoff_at,
        max(days.last_event_id) as last_event_id,
    from cutoffs.cutoffs as cutoffs
    inner join sessions.user_days as days
        on days.user_id = cutoffs.user_id
        and days.day_at <= cutoffs.cutoff_at
    group by cutoffs.user_id, cutoffs.cutoff_at
)

select
    placed.user_id,
    placed.cutoff_at,
    list(events.role order by events.event_id) as role_sequence,
    list(events.item_id order by events.event_id) as item_sequence,
    list(events.category order by events.event_id) as category_sequence,
    list(cast(events.value as double) order by events.event_id) as value_sequence,
    list(days_between(events.event_at, placed.cutoff_at) order by events.event_id)
        as days_ago_sequence,
from placed
inner join sessions.session_events as events
    on events.user_id = placed.user_id
    and events.event_id between placed.last_event_id - 49 and placed.last_event_id
group by placed.user_id, placed.cutoff_at
order by placed.user_id, placed.cutoff_at
