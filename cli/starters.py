"""The SQL files `behavsql sql new` writes: each builds as it stands and says what to change."""

FEATURES = """\
-- purpose: how active the user was in the last two weeks, as of each cutoff
-- grain:   user_id, cutoff_at
-- inputs:  cutoffs.cutoffs, sessions.user_days
-- check:   NAME_events_14d >= 0
-- version: 1
-- Every column becomes a feature of every model. Read only what lies at or before cutoff_at. A user
-- without such events needs no row: the matrix then holds NULL.
select
    cutoffs.user_id,
    cutoffs.cutoff_at,
    total(days.count_active, true) as NAME_events_14d,
    cast(count(*) as double) as NAME_days_14d,
from cutoffs.cutoffs as cutoffs
inner join sessions.user_days as days
    on days.user_id = cutoffs.user_id
    and days.day_at <= cutoffs.cutoff_at
    and days.day_at > cutoffs.cutoff_at - interval '14 days'
group by cutoffs.user_id, cutoffs.cutoff_at
order by cutoffs.user_id, cutoffs.cutoff_at
"""

LABELS = """\
-- purpose: on how many days will the user be active within the horizon?
-- grain:   user_id, cutoff_at
-- inputs:  cutoffs.windows, sessions.user_days
-- entity:  user
-- kind:    count
-- horizon: 14 days
-- active_within: 28 days
-- check:   label >= 0
-- version: 1
-- One row per window, and its label. Kinds are binary (true or false), count and amount. A header
-- line of roles, such as purchase, skips the task on data without such events.
select
    windows.user_id,
    windows.cutoff_at,
    count(days.day_at) as label,
from cutoffs.windows as windows
left join sessions.user_days as days
    on days.user_id = windows.user_id
    and days.day_at > windows.cutoff_at
    and days.day_at <= windows.window_ends_at
    and days.count_active > 0
where windows.task = 'NAME'
group by windows.user_id, windows.cutoff_at
order by windows.user_id, windows.cutoff_at
"""

STARTERS = {"features": FEATURES, "labels": LABELS}
