-- purpose: every user and moment that any task asks about
-- grain:   user_id, cutoff_at
-- inputs:  cutoffs.splits, meta.tasks, sessions.user_days, staging.consents
-- params:  is_granted_unless_told
-- check:   last_active_day_at <= cutoff_at
-- version: 3
with

-- Once per user and moment, for the longest window of all tasks; populations narrows it to each.
moments as (
    select
        splits.cutoff_at,
        max(tasks.active_within) as active_within,
    from cutoffs.splits as splits
    inner join meta.tasks as tasks on tasks.task = splits.task
    group by splits.cutoff_at
)

select
    days.user_id,
    moments.cutoff_at,
    max(days.day_at) as last_active_day_at,
from sessions.user_days as days
inner join moments
    on days.day_at <= moments.cutoff_at
    and days.day_at > moments.cutoff_at - moments.active_within
-- Asked is who agrees to it at that moment.
left join staging.consents as consents
    on consents.user_id = days.user_id
    and consents.purpose = 'prediction'
    and moments.cutoff_at >= consents.from_at
    and moments.cutoff_at < consents.until_at
where days.count_active > 0
    and coalesce(consents.is_granted, getvariable('is_granted_unless_told'))
group by days.user_id, moments.cutoff_at
order by days.user_id, moments.cutoff_at
