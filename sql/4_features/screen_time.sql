-- purpose: how long the user looked at the screen
-- grain:   user_id, cutoff_at
-- inputs:  cutoffs.cutoffs, staging.app_events
-- params:  bucket, has_screen_time
-- version: 1
with

days as (
    select
        user_id,
        time_bucket(getvariable('bucket'), event_at) as day_at,
        count(*) as count_events,
        sum(screen_seconds) as seconds,
        max(screen_seconds) as longest,
    from staging.app_events
    where screen_seconds is not null
    group by user_id, day_at
),

summed as (
    select
        cutoffs.user_id,
        cutoffs.cutoff_at,
        sum(days.seconds) filter (days.day_at > cutoffs.cutoff_at - interval '1 day') as seconds_1d,
        sum(days.seconds) filter (days.day_at > cutoffs.cutoff_at - interval '7 days') as seconds_7d,
        sum(days.seconds) filter (days.day_at > cutoffs.cutoff_at - interval '30 days')
            as seconds_30d,
        sum(days.seconds) as seconds,
        sum(days.count_events) as count_events,
        max(days.longest) as longest,
    from cutoffs.cutoffs as cutoffs
    inner join days on days.user_id = cutoffs.user_id and days.day_at <= cutoffs.cutoff_at
    group by cutoffs.user_id, cutoffs.cutoff_at
),

told as (
    select
        user_id,
        cutoff_at,
        cast(coalesce(seconds_1d, 0) as double) as screen_seconds_1d,
        cast(coalesce(seconds_7d, 0) as double) as screen_seconds_7d,
        cast(coalesce(seconds_30d, 0) as double) as screen_seconds_30d,
        safe_ratio(seconds, count_events) as screen_seconds_per_event,
        cast(longest as double) as longest_screen_seconds,
    from summed
)

-- No column where no source has screen times.
select columns(lambda name: getvariable('has_screen_time') or name in ('user_id', 'cutoff_at'))
from told
order by user_id, cutoff_at
