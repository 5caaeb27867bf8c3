-- purpose: will the user click anything within the horizon?
-- grain:   user_id, cutoff_at
-- inputs:  cutoffs.windows, sessions.user_days
-- entity:  user
-- kind:    binary
-- horizon: 7 days
-- active_within: 28 days
-- roles:   click
-- check:   label is not null
-- version: 1
select
    windows.user_id,
    windows.cutoff_at,
    coalesce(sum(days.count_clicks), 0) > 0 as label,
from cutoffs.windows as windows
left join sessions.user_days as days
    on days.user_id = windows.user_id
    and days.day_at > windows.cutoff_at
    and days.day_at <= windows.window_ends_at
where windows.task = 'click'
group by windows.user_id, windows.cutoff_at
order by windows.user_id, windows.cutoff_at
