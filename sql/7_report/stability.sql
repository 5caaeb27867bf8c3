-- purpose: how good models were at each valid and test cutoff: does it hold from window to window?
-- grain:   task, model, cutoff_at
-- inputs:  models.scores, models.models, meta.tasks
-- check:   low <= value and value <= high
-- scope:   global
-- version: 1
-- Of the published model, the champion and the references. A user is asked once at a cutoff, so that
-- the answers of one are independent: low and high are mean +- 1.96 standard errors.
with

answered as (
    select
        scores.model_id,
        scores.task,
        models.model,
        tasks.metric,
        scores.cutoff_at,
        scores.split,
        scores.score,
        scores.label,
        loss_of(tasks.metric, scores.label, scores.score) as loss,
        2 * rank() over by_score + count(*) over ties - 1 as twice_rank,
    from models.scores as scores
    inner join models.models as models on models.model_id = scores.model_id
    inner join meta.tasks as tasks on tasks.task = scores.task
    where scores.split in ('valid', 'test')
        and (models.is_published or models.is_champion or models.family = 'reference')
    window
        by_score as (partition by scores.model_id, scores.cutoff_at order by scores.score),
        ties as (partition by scores.model_id, scores.cutoff_at, scores.score)
),

measured as (
    select
        task,
        model,
        cutoff_at,
        any_value(split) as split,
        any_value(metric) as metric,
        count(*) as count_questions,
        count(*) filter (where label > 0) as count_positives,
        cast(sum(exact(score)) as double) / count(*) as predicted_mean,
        cast(sum(exact(label)) as double) / count(*) as observed_mean,
        cast(sum(exact(loss)) as double) / count(*) as mean_loss,
        cast(sum(exact(loss * loss)) as double) / count(*) as mean_squared_loss,
        cast(sum(twice_rank) filter (where label > 0) as double) as twice_ranks,
    from answered
    group by task, model, cutoff_at
),

spread as (
    select
        measured.*,
        metric_of(metric, mean_loss) as value,
        1.96 * sqrt(
            greatest(mean_squared_loss - mean_loss * mean_loss, 0)
            / greatest(count_questions - 1, 1)
        ) as margin,
    from measured
)

select
    task,
    model,
    cutoff_at,
    split,
    count_questions,
    count_positives,
    predicted_mean,
    observed_mean,
    metric,
    value,
    metric_of(metric, mean_loss - margin) as low,
    metric_of(metric, mean_loss + margin) as high,
    rank_auc(twice_ranks, count_positives, count_questions) as roc_auc,
from spread
order by task, model, cutoff_at
