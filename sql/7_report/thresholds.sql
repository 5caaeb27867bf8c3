-- purpose: what calling yes from a probability on would have got right, at up to 100 probabilities
-- grain:   task, model, threshold
-- inputs:  models.scores, models.models, meta.tasks, report.economics
-- check:   precision between 0 and 1 and recall between 0 and 1
-- scope:   global
-- version: 1
-- Of the published model, the champion and the references. A score equal to the threshold is a yes.
with

by_score as (
    select
        scores.model_id,
        any_value(scores.task) as task,
        any_value(models.model) as model,
        scores.score as threshold,
        count(*) as count_tied,
        cast(sum(cast(scores.label as bigint)) as bigint) as count_tied_true,
    from models.scores as scores
    inner join models.models as models on models.model_id = scores.model_id
    inner join meta.tasks as tasks on tasks.task = scores.task
    where scores.split = 'test'
        and tasks.kind = 'binary'
        and 'yes' in (
            if(models.is_published, 'yes', ''), if(models.is_champion, 'yes', ''),
            if(models.family = 'reference', 'yes', '')
        )
    group by scores.model_id, scores.score
),

running as (
    select
        by_score.*,
        cast(sum(count_tied) over so_far as bigint) as count_called,
        cast(sum(count_tied_true) over so_far as bigint) as count_true_positives,
        cast(sum(count_tied) over whole as bigint) as count_questions,
        cast(sum(count_tied_true) over whole as bigint) as count_positives,
    from by_score
    window
        whole as (partition by by_score.model_id),
        so_far as (partition by by_score.model_id order by by_score.threshold desc)
),

-- Of each hundredth of the questions the lowest score.
points as (
    select *
    from running
    qualify row_number() over (
        partition by model_id, ceil(100 * count_called / count_questions) order by threshold
    ) = 1
),

valued as (
    select
        points.*,
        safe_ratio(count_true_positives, count_called) as precision,
        safe_ratio(count_true_positives, count_positives) as recall,
        safe_ratio(count_called - count_true_positives, count_questions - count_positives)
            as false_positive_rate,
        safe_ratio(2 * count_true_positives, count_called + count_positives) as f1,
        economics.success_value * count_true_positives - economics.action_cost * count_called
            as profit,
    from points
    left join report.economics as economics on economics.task = points.task
)

select
    task, model, threshold, count_called, count_questions,
    precision, recall, false_positive_rate, f1, profit,
    if(profit is null, null, profit > 0 and row_number() over by_profit = 1) as is_best_profit,
    row_number() over by_f1 = 1 as is_best_f1,
from valued
window
    by_profit as (partition by valued.model_id order by valued.profit desc, valued.threshold desc),
    by_f1 as (partition by valued.model_id order by valued.f1 desc, valued.threshold desc)
order by task, model, threshold
