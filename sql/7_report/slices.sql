-- purpose: how good the published model is for parts of the users: new, lapsing, by value, by category
-- grain:   task, model, segment, slice
-- inputs:  models.scores, models.models, meta.tasks, report.segments
-- params:  k
-- check:   is_too_small or count_questions >= 50
-- scope:   global
-- version: 2
-- A slice of under 50 questions, of under 10 of either answer, or of fewer users than `[privacy] k`,
-- is named but not measured. low and high are mean +- 1.96 standard errors that count users, not questions.
-- Source: Liang and Zeger 1986 (errors of clusters).
with

answered as (
    select
        segments.*, models.model, tasks.kind, tasks.metric, scores.score, scores.label,
        loss_of(tasks.metric, scores.label, scores.score) as loss,
        2 * rank() over by_score + count(*) over ties - 1 as twice_rank,
    from models.scores as scores
    inner join models.models as models on models.model_id = scores.model_id
    inner join meta.tasks as tasks on tasks.task = scores.task
    inner join report.segments as segments
        on segments.task = scores.task
        and segments.user_id = scores.user_id
        and segments.cutoff_at = scores.cutoff_at
    where scores.split = 'test'
        and models.is_published
    window
        by_score as (
            partition by scores.task, segments.segment, segments.slice order by scores.score
        ),
        ties as (partition by scores.task, segments.segment, segments.slice, scores.score)
),

-- The questions of one user are one draw.
by_user as (
    select
        task, model, kind, metric, segment, slice, user_id,
        count(*) as n,
        count(*) filter (where label > 0) as positives,
        sum(exact(score)) as score,
        sum(exact(label)) as label,
        cast(sum(exact(loss)) as double) as loss,
        sum(twice_rank) filter (where label > 0) as twice_ranks,
    from answered
    group by task, model, kind, metric, segment, slice, user_id
),

measured as (
    select
        task, model, kind, metric, segment, slice,
        count(*) as count_users,
        cast(sum(n) as bigint) as count_questions,
        cast(sum(positives) as bigint) as count_positives,
        cast(sum(score) as double) / sum(n) as predicted_mean,
        cast(sum(label) as double) / sum(n) as observed_mean,
        cast(sum(exact(loss)) as double) / sum(n) as mean_loss,
        cast(sum(exact(loss * loss)) as double) as loss_loss,
        cast(sum(exact(loss * n)) as double) as loss_n,
        cast(sum(n * n) as double) as n_n,
        rank_auc(cast(sum(twice_ranks) as double), sum(positives), sum(n)) as roc_auc,
        count_questions < 50 or count_users < getvariable('k') or (
            kind = 'binary' and least(count_positives, count_questions - count_positives) < 10
        ) as is_too_small,
        -- (loss - mean * n), squared and summed over users.
        greatest(loss_loss - 2 * mean_loss * loss_n + mean_loss * mean_loss * n_n, 0) as spread,
        1.96 * sqrt(spread * count_users / greatest(count_users - 1, 1)) / count_questions as margin,
    from by_user
    group by task, model, kind, metric, segment, slice
)

select
    task, model, segment, slice, count_users, count_questions, count_positives, is_too_small, metric,
    if(is_too_small, null, metric_of(metric, mean_loss)) as value,
    if(is_too_small, null, metric_of(metric, mean_loss - margin)) as low,
    if(is_too_small, null, metric_of(metric, mean_loss + margin)) as high,
    if(is_too_small, null, roc_auc) as roc_auc,
    if(is_too_small, null, predicted_mean) as predicted_mean,
    if(is_too_small, null, observed_mean) as observed_mean,
from measured
order by task, model, segment, slice
