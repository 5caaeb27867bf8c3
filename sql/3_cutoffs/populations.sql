-- purpose: who is asked: users active within the task's window before each cutoff
-- grain:   user_id, cutoff_at, task
-- inputs:  cutoffs.cutoffs, cutoffs.splits, meta.tasks
-- materialized: view
-- version: 2
select
    splits.task,
    cutoffs.user_id,
    cutoffs.cutoff_at,
    splits.split,
from cutoffs.cutoffs as cutoffs
inner join cutoffs.splits as splits on splits.cutoff_at = cutoffs.cutoff_at
inner join meta.tasks as tasks on tasks.task = splits.task
where cutoffs.last_active_day_at > cutoffs.cutoff_at - tasks.active_within
