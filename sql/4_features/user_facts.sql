-- purpose: what sources say of the user, as known at the cutoff: answers, places, groups
-- grain:   user_id, cutoff_at
-- inputs:  cutoffs.cutoffs, staging.user_facts
-- version: 2
select
    cutoffs.user_id,
    cutoffs.cutoff_at,
    -- No column where no source has facts about users.
    facts.* exclude (user_id, known_at),
from cutoffs.cutoffs as cutoffs
asof inner join staging.user_facts as facts
    on facts.user_id = cutoffs.user_id
    and facts.known_at <= cutoffs.cutoff_at
order by cutoffs.user_id, cutoffs.cutoff_at
