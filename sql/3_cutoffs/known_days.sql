-- purpose: how many of a user's days were known at each cutoff, and 1, 7, 30 and 90 days before it
-- grain:   user_id, cutoff_at
-- inputs:  cutoffs.cutoffs, sessions.user_days
-- check:   count_days >= count_days_1d and count_days_1d >= count_days_7d
-- check:   count_days_7d >= count_days_30d and count_days_30d >= count_days_90d
-- version: 1
-- These are row numbers of sessions.user_totals: 0 is before the first row.
select
    cutoffs.user_id,
    cutoffs.cutoff_at,
    count(*) as count_days,
    count(*) filter (where days.day_at <= cutoffs.cutoff_at - interval '1 day') as count_days_1d,
    count(*) filter (where days.day_at <= cutoffs.cutoff_at - interval '7 days') as count_days_7d,
    count(*) filter (where days.day_at <= cutoffs.cutoff_at - interval '30 days')
        as count_days_30d,
    count(*) filter (where days.day_at <= cutoffs.cutoff_at - interval '90 days')
        as count_days_90d,
from cutoffs.cutoffs as cutoffs
inner join sessions.user_days as days
    on days.user_id = cutoffs.user_id
    and days.day_at <= cutoffs.cutoff_at
group by cutoffs.user_id, cutoffs.cutoff_at
order by cutoffs.user_id, cutoffs.cutoff_at
