-- purpose: in how many days will the user come back, counted up to the horizon?
-- grain:   user_id, cutoff_at
-- inputs:  cutoffs.windows, sessions.user_days
-- entity:  user
-- kind:    amount
-- horizon: 14 days
-- active_within: 28 days
-- metric:  rmse
-- check:   label >= 0
-- version: 1
-- Who does not come back within the horizon counts as the whole of it.
select
    windows.user_id,
    windows.cutoff_at,
    coalesce(
        days_between(windows.cutoff_at, min(days.first_active_at)),
        days_between(windows.cutoff_at, any_value(windows.window_ends_at))
    ) as label,
from cutoffs.windows as windows
left join sessions.user_days as days
    on days.user_id = windows.user_id
    and days.day_at > windows.cutoff_at
    and days.day_at <= windows.window_ends_at
    and days.count_active > 0
where windows.task = 'next_visit'
group by windows.user_id, windows.cutoff_at
order by windows.user_id, windows.cutoff_at
