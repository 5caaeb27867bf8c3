-- purpose: how many engaged sessions will the user have within the horizon?
-- grain:   user_id, cutoff_at
-- inputs:  cutoffs.windows, sessions.user_days
-- entity:  user
-- kind:    count
-- horizon: 7 days
-- active_within: 28 days
-- check:   label >= 0
-- version: 1
select
    windows.user_id,
    windows.cutoff_at,
    cast(coalesce(sum(days.count_sessions_engaged), 0) as bigint) as label,
from cutoffs.windows as windows
left join sessions.user_days as days
    on days.user_id = windows.user_id
    and days.day_at > windows.cutoff_at
    and days.day_at <= windows.window_ends_at
where windows.task = 'engagement'
group by windows.user_id, windows.cutoff_at
order by windows.user_id, windows.cutoff_at
