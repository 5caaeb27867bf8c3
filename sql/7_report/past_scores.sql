-- purpose: every score of the past, with what then happened where its window has closed
-- grain:   task, user_id, as_of, model, model_version
-- inputs:  predictions.history, predictions.outcomes, meta.tasks
-- materialized: view
-- scope:   global
-- version: 1
-- Of what a model said of a user and moment, the last word.
with

said as (
    select task, user_id, as_of, model, model_version, score
    from predictions.history
    qualify row_number() over (
        partition by task, user_id, as_of, model, model_version order by scored_at desc
    ) = 1
)

select
    said.task,
    said.user_id,
    said.as_of,
    said.model,
    said.model_version,
    said.score,
    said.as_of + tasks.horizon as window_ends_at,
    outcomes.label,
    outcomes.label is null as is_open,
from said
inner join meta.tasks as tasks on tasks.task = said.task
left join predictions.outcomes as outcomes
    on outcomes.task = said.task
    and outcomes.user_id = said.user_id
    and outcomes.as_of = said.as_of
