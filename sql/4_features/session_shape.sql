-- purpose: what a visit looks like: length, depth, engagement, bounces, value
-- grain:   user_id, cutoff_at
-- inputs:  cutoffs.known_days, sessions.user_totals
-- check:   engaged_session_share_lifetime between 0 and 1
-- check:   bounce_share_lifetime between 0 and 1
-- version: 2
-- Summed from events up to the cutoff: a session still open then counts as far as it has come.
select
    known.user_id,
    known.cutoff_at,
    safe_ratio(upto.count_events, upto.count_sessions) as events_per_session_lifetime,
    safe_ratio(
        added(upto.count_events, before_30d.count_events),
        added(upto.count_sessions, before_30d.count_sessions)
    ) as events_per_session_30d,
    safe_ratio(upto.session_seconds, upto.count_sessions) as seconds_per_session_lifetime,
    safe_ratio(
        added(upto.session_seconds, before_30d.session_seconds),
        added(upto.count_sessions, before_30d.count_sessions)
    ) as seconds_per_session_30d,
    safe_ratio(upto.count_sessions_engaged, upto.count_sessions)
        as engaged_session_share_lifetime,
    -- A session from before the window may become engaged within it. NULL if none began within.
    safe_ratio(
        least(
            added(upto.count_sessions_engaged, before_30d.count_sessions_engaged),
            added(upto.count_sessions, before_30d.count_sessions)
        ),
        added(upto.count_sessions, before_30d.count_sessions)
    ) as engaged_session_share_30d,
    safe_ratio(upto.count_sessions - upto.count_sessions_continued, upto.count_sessions)
        as bounce_share_lifetime,
    safe_ratio(upto.count_sessions, upto.count_active_days)
        as sessions_per_active_day_lifetime,
    safe_ratio(upto.value, upto.count_sessions) as value_per_session_lifetime,
    cast(upto.count_events_that_day as double) as count_events_on_last_day,
    cast(upto.session_seconds_that_day as double) as session_seconds_on_last_day,
from cutoffs.known_days as known
inner join sessions.user_totals as upto
    on upto.user_id = known.user_id
    and upto.day_number = known.count_days
left join sessions.user_totals as before_30d
    on before_30d.user_id = known.user_id
    and before_30d.day_number = known.count_days_30d
order by known.user_id, known.cutoff_at
