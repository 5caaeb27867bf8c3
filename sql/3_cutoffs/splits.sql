-- purpose: the moments each task is asked at, and which of them train, choose and judge
-- grain:   task, cutoff_at
-- inputs:  meta.tasks, meta.clock
-- check:   split = 'latest' or window_ends_at <= complete_until
-- check:   split in ('train', 'valid', 'test', 'latest')
-- scope:   global
-- version: 1
with

-- A cutoff is the last microsecond of a bucket, on a grid that is the same for all data: steps
-- count from Monday 2000-01-03, as time_bucket does, so weekly cutoffs close Sundays.
grid as (
    select
        tasks.*,
        clock.first_event_at,
        clock.complete_until,
        unnest(generate_series(
            time_bucket(tasks.every, clock.first_event_at),
            clock.complete_until + interval '1 microsecond',
            tasks.every
        )) - interval '1 microsecond' as cutoff_at,
        -- A label window spans this many steps of the grid, the last one begun counted whole.
        cast(ceil(epoch(tasks.horizon) / epoch(tasks.every)) as integer) as window_steps,
    from meta.tasks as tasks
    cross join meta.clock as clock
    where tasks.status = 'ready'
),

-- Asked only after a whole activity window of history, and only where the answer is complete.
known as (
    select
        grid.*,
        cutoff_at + horizon as window_ends_at,
        row_number() over newest_first as steps_back,
    from grid
    where cutoff_at + horizon <= complete_until
        and cutoff_at >= first_event_at + active_within
    window newest_first as (partition by grid.task order by grid.cutoff_at desc)
),

-- Purged: the windows of train end before the first valid cutoff, those of valid before the
-- first test cutoff; the steps in between belong to nobody.
split as (
    select
        known.*,
        case
            when steps_back <= count_holdout_cutoffs then 'test'
            when steps_back - count_holdout_cutoffs
                between window_steps and window_steps + count_holdout_cutoffs - 1 then 'valid'
            when steps_back - 2 * count_holdout_cutoffs - 2 * window_steps + 1
                between 0 and max_train_cutoffs - 1 then 'train'
        end as split,
    from known
)

select task, cutoff_at, split, window_ends_at, complete_until
from split
where split is not null
union all
select tasks.task, clock.as_of, 'latest', clock.as_of + tasks.horizon, clock.complete_until
from meta.tasks as tasks
cross join meta.clock as clock
where tasks.status = 'ready'
order by task, cutoff_at
