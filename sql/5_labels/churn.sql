-- purpose: will the user fall silent: no activity at all within the horizon?
-- grain:   user_id, cutoff_at
-- inputs:  cutoffs.windows, sessions.user_days
-- entity:  user
-- kind:    binary
-- horizon: 7 days
-- active_within: 7 days
-- check:   label is not null
-- version: 1
select
    windows.user_id,
    windows.cutoff_at,
    coalesce(sum(days.count_active), 0) = 0 as label,
from cutoffs.windows as windows
left join sessions.user_days as days
    on days.user_id = windows.user_id
    and days.day_at > windows.cutoff_at
    and days.day_at <= windows.window_ends_at
where windows.task = 'churn'
group by windows.user_id, windows.cutoff_at
order by windows.user_id, windows.cutoff_at
