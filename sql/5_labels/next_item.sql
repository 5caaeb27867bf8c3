-- purpose: which items will the user choose within the horizon?
-- grain:   user_id, cutoff_at
-- inputs:  cutoffs.windows, sessions.item_events
-- entity:  user
-- kind:    choice
-- horizon: 7 days
-- active_within: 28 days
-- check:   label is not null
-- version: 1
-- A list of the items in the order in which they were first chosen; empty if there were none.
with

chosen as (
    select
        windows.user_id,
        windows.cutoff_at,
        items.item_id,
        min(items.event_id) as event_id,
    from cutoffs.windows as windows
    left join sessions.item_events as items
        on items.user_id = windows.user_id
        and items.event_at > windows.cutoff_at
        and items.event_at <= windows.window_ends_at
    where windows.task = 'next_item'
    group by windows.user_id, windows.cutoff_at, items.item_id
)

select
    user_id,
    cutoff_at,
    coalesce(list(item_id order by event_id) filter (where item_id is not null), []) as label,
from chosen
group by user_id, cutoff_at
order by user_id, cutoff_at
