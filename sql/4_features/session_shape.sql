-- purpose: what a visit looks like: length, depth, engagement, bounces, value
-- grain:   user_id, cutoff_at
-- inputs:  cutoffs.cutoffs, sessions.user_days
-- check:   engaged_session_share_lifetime between 0 and 1
-- check:   bounce_share_lifetime between 0 and 1
-- version: 1
-- Summed from events up to the cutoff: a session still open then counts as far as it has come.
with

aged as (
    select
        cutoffs.user_id,
        cutoffs.cutoff_at,
        days.* exclude (user_id),
        days.day_at > cutoffs.cutoff_at - interval '30 days' as in_30d,
    from cutoffs.cutoffs as cutoffs
    inner join sessions.user_days as days
        on days.user_id = cutoffs.user_id
        and days.day_at <= cutoffs.cutoff_at
)

select
    user_id,
    cutoff_at,
    safe_ratio(sum(count_events), sum(count_sessions)) as events_per_session_lifetime,
    safe_ratio(
        sum(count_events) filter (where in_30d), sum(count_sessions) filter (where in_30d)
    ) as events_per_session_30d,
    safe_ratio(sum(session_seconds), sum(count_sessions)) as seconds_per_session_lifetime,
    safe_ratio(
        sum(session_seconds) filter (where in_30d), sum(count_sessions) filter (where in_30d)
    ) as seconds_per_session_30d,
    safe_ratio(sum(count_sessions_engaged), sum(count_sessions))
        as engaged_session_share_lifetime,
    -- A session from before the window may become engaged within it.
    least(safe_ratio(
        sum(count_sessions_engaged) filter (where in_30d),
        sum(count_sessions) filter (where in_30d)
    ), 1) as engaged_session_share_30d,
    safe_ratio(sum(count_sessions) - sum(count_sessions_continued), sum(count_sessions))
        as bounce_share_lifetime,
    safe_ratio(sum(count_sessions), sum(cast(count_active > 0 as integer)))
        as sessions_per_active_day_lifetime,
    safe_ratio(sum(value), sum(count_sessions)) as value_per_session_lifetime,
    cast(arg_max(count_events, day_at) as double) as count_events_on_last_day,
    cast(arg_max(session_seconds, day_at) as double) as session_seconds_on_last_day,
from aged
group by user_id, cutoff_at
order by user_id, cutoff_at
