-- purpose: how often yes and no were right: from the stored threshold on, and from those that pay
-- grain:   task, model, rule
-- inputs:  models.scores, models.models, meta.tasks, report.economics, report.thresholds
-- check:   rule in ('stored', 'break_even', 'best_profit')
-- scope:   global
-- version: 1
-- stored was chosen on valid; break_even is where an action's cost is what it may bring; best_profit
-- earned most on the very questions it is judged by here, which flatters it a little.
with

told as (
    select models.model_id, models.task, models.model, 'stored' as rule, models.threshold,
    from models.models as models
    inner join meta.tasks as tasks on tasks.task = models.task
    where tasks.kind = 'binary'
    union all
    select models.model_id, models.task, models.model, 'break_even',
        economics.break_even_probability,
    from models.models as models
    inner join report.economics as economics on economics.task = models.task
    union all
    select models.model_id, models.task, models.model, 'best_profit', thresholds.threshold,
    from models.models as models
    inner join report.thresholds as thresholds
        on thresholds.task = models.task and thresholds.model = models.model
    where thresholds.is_best_profit
),

counted as (
    select
        told.task,
        told.model,
        told.rule,
        told.threshold,
        count(*) as count_questions,
        count(*) filter (where scores.score >= told.threshold and scores.label > 0.5)
            as count_true_positives,
        count(*) filter (where scores.score >= told.threshold and scores.label < 0.5)
            as count_false_positives,
        count(*) filter (where scores.score < told.threshold and scores.label > 0.5)
            as count_false_negatives,
        count(*) filter (where scores.score < told.threshold and scores.label < 0.5)
            as count_true_negatives,
    from told
    inner join models.scores as scores on scores.model_id = told.model_id
    where scores.split = 'test'
        and told.threshold >= 0
    group by told.task, told.model, told.rule, told.threshold
)

select
    counted.*,
    safe_ratio(count_true_positives, count_true_positives + count_false_positives) as precision,
    safe_ratio(count_true_positives, count_true_positives + count_false_negatives) as recall,
    safe_ratio(count_false_positives, count_false_positives + count_true_negatives)
        as false_positive_rate,
    safe_ratio(count_true_positives + count_true_negatives, count_questions) as accuracy,
    economics.success_value * count_true_positives
        - economics.action_cost * (count_true_positives + count_false_positives) as profit,
from counted
left join report.economics as economics on economics.task = counted.task
order by task, model, rule
