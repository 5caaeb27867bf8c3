-- purpose: every model of every task on the test cutoffs, references beside candidates
-- grain:   task, model, metric
-- inputs:  models.models, models.metrics, meta.tasks
-- scope:   global
-- version: 1
with

measured as (
    select
        models.task,
        models.model,
        models.family,
        models.is_champion,
        models.is_published,
        metrics.metric,
        metrics.metric = tasks.metric as is_deciding_metric,
        metrics.value,
        metrics.low,
        metrics.high,
        models.train_seconds,
        models.reason,
    from models.models as models
    inner join models.metrics as metrics on metrics.model_id = models.model_id
    inner join meta.tasks as tasks on tasks.task = models.task
    where metrics.split = 'test'
)

select * from measured
order by task, metric, is_published desc, model
