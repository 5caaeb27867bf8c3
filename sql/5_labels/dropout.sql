-- purpose: will the learner drop out within the horizon: leave for good, on record?
-- grain:   user_id, cutoff_at
-- inputs:  cutoffs.windows, staging.events
-- entity:  user
-- kind:    binary
-- horizon: 28 days
-- active_within: 28 days
-- types:   dropout, drop_out, unregister, unregistration, unenrol, unenroll
-- check:   label is not null
-- version: 1
-- Churn is silence, which may end. Silence to the end of the data would depend on how much data
-- there is, so only a withdrawal that the source records counts, and it may come amid activity.
-- Who has left already does not leave again: false, and `dropout_last_window` knows of it.
with

left_for_good as (
    select
        user_id,
        min(event_at) as left_at,
    from staging.events
    where lower(event_type) in (
        'dropout', 'drop_out', 'unregister', 'unregistration', 'unenrol', 'unenroll'
    )
    group by user_id
)

select
    windows.user_id,
    windows.cutoff_at,
    coalesce(
        left_at > windows.cutoff_at and left_at <= windows.window_ends_at, false
    ) as label,
from cutoffs.windows as windows
left join left_for_good on left_for_good.user_id = windows.user_id
where windows.task = 'dropout'
order by windows.user_id, windows.cutoff_at
