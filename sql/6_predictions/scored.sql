-- purpose: the published model's score of every user asked about now, for all tasks
-- grain:   task, user_id
-- inputs:  models.scores, models.models, meta.tasks
-- check:   decile between 1 and 10
-- scope:   global
-- version: 2
with

published as (
    select
        scores.*,
        models.model,
        models.version as model_version,
        models.scored_at,
        tasks.kind,
        tasks.horizon,
        -- Calibration makes ties: the raw score orders within them, then the user.
        ntile(10) over (
            partition by scores.task
            order by scores.score desc, scores.raw desc, scores.user_id
        ) as decile,
    from models.scores as scores
    inner join models.models as models on models.model_id = scores.model_id
    inner join meta.tasks as tasks on tasks.task = scores.task
    where models.is_published
        and scores.split = 'latest'
)

select
    task,
    user_id,
    kind,
    score,
    raw,
    cast(decile as integer) as decile,
    case
        when decile = 1 then 'very high'
        when decile <= 3 then 'high'
        when decile <= 7 then 'medium'
        else 'low'
    end as band,
    cutoff_at as as_of,
    cast(ceil(epoch(horizon) / 86400) as integer) as horizon_days,
    model,
    model_version,
    scored_at,
from published
order by task, user_id
