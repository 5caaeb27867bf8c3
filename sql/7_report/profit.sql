-- purpose: what acting on the top tenth, two tenths ... of the test questions would have earned
-- grain:   task, model, decile
-- inputs:  models.scores, models.models, models.gains, report.economics
-- check:   count_acted <= count_questions
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
        model_id,
        task,
        model,
        cast(decile as integer) as decile,
        count(*) as count_decile,
        sum(exact(label)) as label_decile,
    from ranked
    group by model_id, task, model, decile
),

acted as (
    select
        deciles.*,
        cast(sum(count_decile) over whole as bigint) as count_questions,
        cast(sum(count_decile) over so_far as bigint) as count_acted,
        cast(sum(label_decile) over so_far as double) as label_sum,
    from deciles
    window
        whole as (partition by deciles.model_id),
        so_far as (partition by deciles.model_id order by deciles.decile)
),

-- How far the successes that were reached could have come out otherwise is drawn in training.
earned as (
    select
        acted.*,
        economics.success_value,
        economics.action_cost,
        economics.action_cost * acted.count_acted as cost,
        economics.success_value * acted.label_sum - cost as profit,
        economics.success_value * gains.low * acted.count_questions - cost as low,
        economics.success_value * gains.high * acted.count_questions - cost as high,
    from acted
    left join report.economics as economics on economics.task = acted.task
    left join models.gains as gains
        on gains.model_id = acted.model_id and gains.decile = acted.decile
)

select
    task,
    model,
    decile,
    count_questions,
    count_acted,
    label_sum,
    success_value,
    action_cost,
    profit,
    low,
    high,
    profit / count_questions as profit_per_question,
    -- No tenth is, where acting on nobody is better than any of them.
    if(profit is null, null, profit > 0 and row_number() over most_first = 1) as is_best,
from earned
window most_first as (partition by earned.model_id order by earned.profit desc, earned.decile)
order by task, model, decile
