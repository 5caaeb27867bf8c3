-- purpose: what speaks for each task, how good it is, and against what; the refused tasks too
-- grain:   task
-- inputs:  meta.tasks, models.models, models.metrics, report.cautions, report.slice_gaps,
--          report.calibration_error, report.stability, report.advice
-- materialized: view
-- scope:   global
-- version: 4
with

deciding as (
    select
        models.*,
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
    published.train_from,
    published.train_until,
    (
        select min(cutoff_at) from report.stability as stability
        where stability.task = tasks.task and stability.split = 'test'
    ) as test_from,
    (
        select max(cutoff_at) from report.stability as stability
        where stability.task = tasks.task and stability.split = 'test'
    ) as test_until,
    errors.expected_calibration_error as calibration_error,
    gaps.* exclude (task, model),
    cautions.* exclude (task, model),
    advice.advice,
    advice.reason as advice_reason,
from meta.tasks as tasks
left join deciding as published on published.task = tasks.task and published.is_published
left join deciding as champion on champion.task = tasks.task and champion.is_champion
left join deciding as persistence
    on persistence.task = tasks.task and persistence.model in ('persistence', 'own_items')
left join deciding as prevalence
    on prevalence.task = tasks.task and prevalence.model in ('prevalence', 'popularity')
left join report.calibration_error as errors
    on errors.task = tasks.task and errors.model = published.model
left join report.slice_gaps as gaps on gaps.task = tasks.task
left join report.cautions as cautions on cautions.task = tasks.task
left join report.advice as advice on advice.task = tasks.task
order by tasks.task
