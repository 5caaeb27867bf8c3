-- purpose: predicted against observed rates in up to ten groups of the test questions by score
-- grain:   task, model, bin
-- inputs:  models.scores, models.models, meta.tasks
-- check:   observed_rate between 0 and 1
-- scope:   global
-- version: 2
-- Groups end at the tenths of the scores. Equal scores are one group's, so that a model which says
-- few different things has fewer groups.
with

answered as (
    select scores.model_id, scores.task, models.model, scores.score, scores.label,
    from models.scores as scores
    inner join models.models as models on models.model_id = scores.model_id
    inner join meta.tasks as tasks on tasks.task = scores.task
    where scores.split = 'test'
        and tasks.kind = 'binary'
),

edges as (
    select
        model_id,
        unnest(quantile_cont(score, [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9])) as edge,
    from answered
    group by model_id
),

-- Each different score once: how many edges lie below it.
scores_apart as (
    select
        answered.model_id,
        answered.task,
        answered.model,
        answered.score,
        count(*) as count_questions,
        cast(sum(cast(answered.label as bigint)) as bigint) as count_positives,
    from answered
    group by answered.model_id, answered.task, answered.model, answered.score
),

binned as (
    select
        scores_apart.*,
        1 + (
            select count(*) from edges
            where edges.model_id = scores_apart.model_id and edges.edge < scores_apart.score
        ) as bin,
    from scores_apart
)

select
    task,
    model,
    cast(bin as integer) as bin,
    cast(sum(count_questions) as bigint) as count_questions,
    -- Decimals add up to the same sum in any order; doubles do not.
    cast(sum(cast(score * count_questions as decimal(38, 15))) as double) / sum(count_questions)
        as predicted_rate,
    sum(count_positives) / sum(count_questions) as observed_rate,
from binned
group by task, model, bin
order by task, model, bin
