-- purpose: predicted against observed rates in ten equal groups of the test questions
-- grain:   task, model, bin
-- inputs:  models.scores, models.models, meta.tasks
-- check:   observed_rate between 0 and 1
-- scope:   global
-- version: 1
with

binned as (
    select
        scores.*,
        models.model,
        ntile(10) over (
            partition by scores.model_id
            order by scores.score, scores.raw, scores.user_id, scores.cutoff_at
        ) as bin,
    from models.scores as scores
    inner join models.models as models on models.model_id = scores.model_id
    inner join meta.tasks as tasks on tasks.task = scores.task
    where scores.split = 'test'
        and tasks.kind = 'binary'
)

select
    task,
    model,
    cast(bin as integer) as bin,
    count(*) as count_questions,
    -- Decimals add up to the same sum in any order; doubles do not.
    cast(sum(cast(score as decimal(38, 15))) as double) / count(*) as predicted_rate,
    sum(cast(label as bigint)) / count(*) as observed_rate,
from binned
group by task, model, bin
order by task, model, bin
