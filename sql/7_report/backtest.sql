-- purpose: models trained on the past of each moment alone and judged on what came next
-- grain:   task, model, cutoff_at
-- inputs:  models.backtest, meta.tasks
-- scope:   global
-- version: 1
-- Empty unless the setting `backtest` is on. prevalence_value is the same metric of saying the same
-- for everybody.
select
    folds.task,
    folds.model,
    folds.cutoff_at,
    folds.trained_until,
    folds.count_train_rows,
    folds.count_questions,
    folds.metric,
    folds.value,
    folds.low,
    folds.high,
    folds.roc_auc,
    folds.predicted_mean,
    folds.observed_mean,
    reference.value as prevalence_value,
from models.backtest as folds
inner join meta.tasks as tasks on tasks.task = folds.task and tasks.metric = folds.metric
left join models.backtest as reference
    on reference.task = folds.task
    and reference.cutoff_at = folds.cutoff_at
    and reference.model = 'prevalence'
order by folds.task, folds.model, folds.cutoff_at
