-- purpose: what a success of each task is worth and what acting on a user costs, as the config says
-- grain:   task
-- inputs:  meta.tasks
-- params:  economics
-- check:   success_value > 0 and action_cost >= 0
-- scope:   global
-- version: 1
-- NULL where the config says nothing. What is said of all tasks is meant for yes-or-no questions: a
-- number of visits and an amount of money have no unit in common.
with

said as (
    select unnest(
        cast(
            getvariable('economics')
            as struct(task varchar, success_value double, action_cost double)[]
        ),
        recursive := true
    )
),

valued as (
    select
        tasks.task,
        tasks.kind,
        coalesce(
            own.success_value, if(tasks.kind = 'binary', common.success_value, null)
        ) as success_value,
        coalesce(own.action_cost, common.action_cost) as action_cost,
    from meta.tasks as tasks
    left join said as own on own.task = tasks.task
    left join said as common on common.task is null
)

select
    task,
    success_value,
    if(success_value is null, null, action_cost) as action_cost,
    -- From this probability on an action is worth its cost; where none is, there is none.
    case when kind = 'binary' and action_cost / success_value <= 1
        then action_cost / success_value end as break_even_probability,
from valued
order by task
