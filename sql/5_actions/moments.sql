-- purpose: the moments at which it was decided whom to act upon: the eves of days with actions
-- grain:   cutoff_at
-- inputs:  staging.actions, meta.clock
-- params:  bucket, action_horizon
-- check:   split in ('train', 'valid', 'test', 'latest')
-- check:   split = 'latest' or cutoff_at <= window_ends_at
-- scope:   global
-- version: 1
with

days as (
    select
        time_bucket(getvariable('bucket'), event_at) as day_at,
        cast(count(*) as integer) as count_actions,
    from staging.actions
    group by time_bucket(getvariable('bucket'), event_at)
),

-- A few stray mails are no campaign: a tenth of the busiest day's, at least. What was decided must
-- be over, and there must be some history to decide by.
busy as (
    select
        days.day_at - interval '1 microsecond' as cutoff_at,
        days.count_actions,
    from days
    cross join meta.clock as clock
    where days.day_at - interval '1 microsecond' + getvariable('action_horizon')
        <= clock.complete_until
        and days.day_at > clock.first_event_at
        and days.count_actions * 10 >= (select max(count_actions) from days)
),

-- From the first on, each a horizon or more after the one before: no reward counts twice.
spaced as (
    select unnest(list_reduce(
        list([cutoff_at] order by cutoff_at),
        lambda kept, one: case
            when one[1] >= kept[-1] + getvariable('action_horizon') then list_concat(kept, one)
            else kept
        end
    )) as cutoff_at
    from busy
),

numbered as (
    select
        spaced.cutoff_at,
        busy.count_actions,
        row_number() over (order by spaced.cutoff_at desc) as steps_back,
        greatest(count(*) over () // 5, 1) as count_holdout,
    from spaced
    inner join busy on busy.cutoff_at = spaced.cutoff_at
)

select
    cutoff_at,
    case
        when steps_back <= count_holdout then 'test'
        when steps_back <= 2 * count_holdout then 'valid'
        else 'train'
    end as split,
    cutoff_at + getvariable('action_horizon') as window_ends_at,
    count_actions,
from numbered
union all
select
    as_of as cutoff_at,
    'latest' as split,
    as_of + getvariable('action_horizon') as window_ends_at,
    0 as count_actions,
from meta.clock
where exists (from staging.actions)
order by cutoff_at
