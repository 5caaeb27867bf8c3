-- purpose: the stretches of time to be labelled: the one after each cutoff and the one before it
-- grain:   task, user_id, cutoff_at
-- inputs:  cutoffs.populations, meta.tasks, meta.clock
-- check:   window_ends_at <= as_of
-- version: 1
-- The window before a cutoff ends at it, so its label is history: `<task>_last_window`, which the
-- persistence reference predicts.
with

asked as (
    select
        populations.task,
        populations.user_id,
        populations.cutoff_at,
        populations.split,
        tasks.horizon,
    from cutoffs.populations as populations
    inner join meta.tasks as tasks on tasks.task = populations.task
),

windows as (
    select task, user_id, cutoff_at, horizon from asked where split <> 'latest'
    union
    select task, user_id, cutoff_at - horizon as cutoff_at, horizon from asked
)

select
    windows.task,
    windows.user_id,
    windows.cutoff_at,
    windows.cutoff_at + windows.horizon as window_ends_at,
    clock.as_of,
from windows
cross join meta.clock as clock
order by windows.task, windows.user_id, windows.cutoff_at
