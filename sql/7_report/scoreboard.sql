-- purpose: what was predicted in the past against what then happened, once its window had closed
-- grain:   task, model, model_version, as_of
-- inputs:  report.past_scores, meta.tasks, models.models, models.metrics
-- check:   count_scores = count_matured + count_open
-- scope:   global
-- version: 1
-- Open are scores whose window has not closed. low and high are mean +- 1.96 standard errors.
with

judged as (
    select
        past.*,
        tasks.kind,
        tasks.metric,
        loss_of(tasks.metric, past.label, past.score) as loss,
        loss_of('brier', past.label, past.score) as squared_error,
        2 * rank() over by_score + count(*) over ties - 1 as twice_rank,
        ntile(10) over highest_first as decile,
    from report.past_scores as past
    inner join meta.tasks as tasks on tasks.task = past.task
    window
        by_score as (
            partition by past.task, past.model, past.model_version, past.as_of, past.is_open
            order by past.score
        ),
        highest_first as (
            partition by past.task, past.model, past.model_version, past.as_of, past.is_open
            order by past.score desc, past.user_id
        ),
        ties as (
            partition by past.task, past.model, past.model_version, past.as_of, past.is_open,
                past.score
        )
),

measured as (
    select
        task, kind, metric, model, model_version, as_of, window_ends_at,
        count(*) as count_scores,
        count(label) as count_matured,
        count(*) filter (where is_open) as count_open,
        count(*) filter (where label > 0) as positives,
        cast(sum(exact(score)) filter (where not is_open) as double) as scores,
        cast(sum(exact(label)) as double) as labels,
        cast(sum(exact(loss)) as double) as losses,
        cast(sum(exact(loss * loss)) as double) as squared_losses,
        cast(sum(exact(squared_error)) as double) as squared_errors,
        cast(sum(twice_rank) filter (where label > 0) as double) as twice_ranks,
        cast(sum(exact(label)) filter (where decile = 1) as double) as top_labels,
        count(label) filter (where decile = 1) as count_top,
        safe_ratio(losses, count_matured) as mean_loss,
        1.96 * sqrt(greatest(safe_ratio(squared_losses, count_matured) - mean_loss * mean_loss, 0)
            / greatest(count_matured - 1, 1)) as margin,
    from judged
    group by task, kind, metric, model, model_version, as_of, window_ends_at
)

select
    measured.task, measured.model, model_version, as_of, window_ends_at,
    count_scores, count_matured, count_open,
    safe_ratio(scores, count_matured) as predicted_mean,
    safe_ratio(labels, count_matured) as observed_mean,
    measured.metric,
    metric_of(measured.metric, mean_loss) as value,
    metric_of(measured.metric, mean_loss - margin) as low,
    metric_of(measured.metric, mean_loss + margin) as high,
    if(kind = 'binary', safe_ratio(squared_errors, count_matured), null) as brier,
    rank_auc(twice_ranks, positives, count_matured) as roc_auc,
    safe_ratio(top_labels * count_matured, labels * count_top) as lift_top_decile,
    tested.value as test_value, tested.low as test_low, tested.high as test_high,
from measured
left join models.models as models
    on models.task = measured.task
    and models.model = measured.model
    and models.version = measured.model_version
left join models.metrics as tested
    on tested.model_id = models.model_id
    and tested.metric = measured.metric
    and tested.split = 'test'
order by measured.task, measured.model, model_version, as_of
