-- purpose: what calling the top tenth, two tenths ... of the test questions would have caught
-- grain:   task, model, decile
-- inputs:  models.scores, models.models
-- scope:   global
-- version: 1
with

ranked as (
    select
        scores.*,
        models.model,
        ntile(10) over (
            partition by scores.model_id
            order by scores.score desc, scores.raw desc, scores.user_id, scores.cutoff_at
        ) as decile,
    from models.scores as scores
    inner join models.models as models on models.model_id = scores.model_id
    where scores.split = 'test'
),

deciles as (
    select
        task,
        model,
        cast(decile as integer) as decile,
        count(*) as count_questions,
        sum(cast(label as decimal(28, 6))) as label_sum,
    from ranked
    group by task, model, decile
),

running as (
    select
        deciles.*,
        sum(label_sum) over so_far as label_sum_so_far,
        sum(count_questions) over so_far as count_so_far,
        sum(label_sum) over whole as label_sum_total,
        sum(count_questions) over whole as count_total,
    from deciles
    window
        whole as (partition by deciles.task, deciles.model),
        so_far as (partition by deciles.task, deciles.model order by deciles.decile)
)

select
    task,
    model,
    decile,
    count_questions,
    safe_ratio(label_sum, count_questions) as label_mean,
    safe_ratio(label_sum_so_far, label_sum_total) as captured_share,
    safe_ratio(label_sum_so_far * count_total, label_sum_total * count_so_far) as lift,
from running
order by task, model, decile
