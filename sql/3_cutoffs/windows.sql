-- purpose: the stretches of time to be labelled: the one after each cutoff and the one before it
-- grain:   user_id, cutoff_at, task
-- inputs:  cutoffs.populations, meta.tasks
-- check:   window_ends_at > cutoff_at
-- version: 3
-- The window before a cutoff ends at it, so its label is history: `<task>_last_window`, which the
-- persistence reference predicts.
with

windows as (
    select task, user_id, cutoff_at
    from cutoffs.populations
    where split <> 'latest'
    union
    select populations.task, populations.user_id, populations.cutoff_at - tasks.horizon as cutoff_at
    from cutoffs.populations as populations
    inner join meta.tasks as tasks on tasks.task = populations.task
)

select
    windows.task,
    windows.user_id,
    windows.cutoff_at,
    windows.cutoff_at + tasks.horizon as window_ends_at,
from windows
inner join meta.tasks as tasks on tasks.task = windows.task
order by windows.user_id, windows.cutoff_at, windows.task
