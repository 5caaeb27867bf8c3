-- purpose: who is asked: users active within the task's window before each cutoff
-- grain:   task, user_id, cutoff_at
-- inputs:  cutoffs.splits, meta.tasks, sessions.user_days
-- version: 1
with

moments as (
    select
        splits.cutoff_at,
        max(tasks.active_within) as active_within,
    from cutoffs.splits as splits
    inner join meta.tasks as tasks on tasks.task = splits.task
    group by splits.cutoff_at
),

-- Once per user and moment, for the longest window; each task then narrows it.
last_active as (
    select
        days.user_id,
        moments.cutoff_at,
        max(days.day_at) as last_active_day_at,
    from sessions.user_days as days
    inner join moments
        on days.day_at <= moments.cutoff_at
        and days.day_at > moments.cutoff_at - moments.active_within
    where days.count_active > 0
    group by days.user_id, moments.cutoff_at
)

select
    splits.task,
    last_active.user_id,
    last_active.cutoff_at,
    splits.split,
from last_active
inner join cutoffs.splits as splits on splits.cutoff_at = last_active.cutoff_at
inner join meta.tasks as tasks on tasks.task = splits.task
where last_active.last_active_day_at > last_active.cutoff_at - tasks.active_within
order by splits.task, last_active.user_id, last_active.cutoff_at
