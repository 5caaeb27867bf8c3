-- purpose: what speaks for each task, how good it is, and against what; the refused tasks too
-- grain:   task
-- inputs:  meta.tasks, models.models, models.metrics
-- materialized: view
-- scope:   global
-- version: 3
with

deciding as (
    select
        models.task,
        models.model,
        models.version,
        models.is_published,
        models.is_champion,
        models.family,
        models.reason,
        models.calibration,
        models.is_worse_on_test,
        models.count_train_rows,
        models.count_features,
        models.trained_at,
        tasks.metric,
        metrics.value,
        metrics.low,
        metrics.high,
    from models.models as models
    inner join meta.tasks as tasks on tasks.task = models.task
    left join models.metrics as metrics
        on metrics.model_id = models.model_id
        and metrics.metric = tasks.metric
        and metrics.split = 'test'
)

select
    tasks.task,
    tasks.purpose as question,
    tasks.status,
    coalesce(tasks.reason, champion.reason) as reason,
    published.model,
    published.version as model_version,
    tasks.metric,
    published.value as test_value,
    published.low as test_low,
    published.high as test_high,
    published.is_worse_on_test,
    persistence.value as persistence_value,
    prevalence.value as prevalence_value,
    published.calibration,
    cast(epoch(tasks.horizon) / 86400 as double) as horizon_days,
    cast(epoch(tasks.active_within) / 86400 as double) as active_within_days,
    published.count_train_rows,
    published.count_features,
    published.trained_at,
from meta.tasks as tasks
left join deciding as published on published.task = tasks.task and published.is_published
left join deciding as champion on champion.task = tasks.task and champion.is_champion
left join deciding as persistence
    on persistence.task = tasks.task and persistence.model in ('persistence', 'own_items')
left join deciding as prevalence
    on prevalence.task = tasks.task and prevalence.model in ('prevalence', 'popularity')
order by tasks.task
