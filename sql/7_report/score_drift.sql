-- purpose: whether the published model says of who is asked now what it said of the test users
-- grain:   task
-- inputs:  models.scores, models.models
-- check:   psi >= 0
-- scope:   global
-- version: 1
-- The population stability index over the tenths of the test scores, as in report.drift.
with

published as (
    select scores.task, scores.split, scores.score,
    from models.scores as scores
    inner join models.models as models on models.model_id = scores.model_id
    where models.is_published
        and scores.split in ('test', 'latest')
),

edges as (
    select
        task,
        unnest(quantile_cont(score, [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9])) as edge,
    from published
    where split = 'test'
    group by task
),

-- Scores are the same for many users, edges may coincide: a bin is how many lie below.
binned as (
    select task, split, score, count(*) as n,
        (select count(*) from edges where edges.task = published.task and edge < score) as bin,
    from published
    group by task, split, score
),

bins as (
    select
        task, bin,
        coalesce(sum(n) filter (where split = 'test'), 0) as n,
        coalesce(sum(n) filter (where split = 'latest'), 0) as m,
    from binned
    group by task, bin
),

shares as (
    select bins.*,
        (n + 0.5) / sum(n + 0.5) over whole as old,
        (m + 5 * old) / (sum(m) over whole + 5) as new,
    from bins
    window whole as (partition by bins.task)
),

drifted as (
    select
        task,
        cast(sum(n) as bigint) as count_test,
        cast(sum(m) as bigint) as count_latest,
        sum((new - old) * ln(new / old) order by bin) as psi,
        greatest(count(*) - 1, 1) as df,
        df * power(1 - 2 / (9 * df) + 3.09 * sqrt(2 / (9 * df)), 3)
            * (1 / greatest(sum(n), 1) + 1 / greatest(sum(m), 1)) as noise,
    from shares
    group by task
)

select
    task, count_test, count_latest,
    (
        select cast(sum(exact(score)) as double) / count(*) from published
        where published.task = drifted.task and split = 'test'
    ) as mean_test,
    (
        select cast(sum(exact(score)) as double) / count(*) from published
        where published.task = drifted.task and split = 'latest'
    ) as mean_latest,
    psi, noise,
    case when psi < greatest(0.1, noise) then 'stable'
        when psi < greatest(0.25, noise) then 'moderate' else 'shifted' end as status,
from drifted
where count_latest > 0
order by task
