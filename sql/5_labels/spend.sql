-- purpose: how much will the user spend within the horizon, returns not deducted?
-- grain:   user_id, cutoff_at
-- inputs:  cutoffs.windows, sessions.user_days
-- entity:  user
-- kind:    amount
-- horizon: 28 days
-- active_within: 28 days
-- roles:   purchase
-- check:   label >= 0
-- version: 1
select
    windows.user_id,
    windows.cutoff_at,
    total(days.value, true) as label,
from cutoffs.windows as windows
left join sessions.user_days as days
    on days.user_id = windows.user_id
    and days.day_at > windows.cutoff_at
    and days.day_at <= windows.window_ends_at
where windows.task = 'spend'
group by windows.user_id, windows.cutoff_at
order by windows.user_id, windows.cutoff_at
