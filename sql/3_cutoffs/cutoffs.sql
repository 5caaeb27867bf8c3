-- purpose: every user and moment that any task asks about
-- grain:   user_id, cutoff_at
-- inputs:  cutoffs.populations
-- version: 1
select
    user_id,
    cutoff_at,
from cutoffs.populations
group by user_id, cutoff_at
order by user_id, cutoff_at
