-- purpose: what each policy would have brought per decision, told from the log of what was done
-- grain:   policy, estimator
-- inputs:  models.policies
-- check:   not is_recommended or low > logging_value
-- scope:   global
-- version: 1
-- A policy whose interval includes what was done is not recommended.
select
    policy,
    estimator,
    value,
    low,
    high,
    normal_low,
    normal_high,
    logging_value,
    gain,
    gain_low,
    gain_high,
    effective_sample_size,
    count_decisions,
    count_clipped,
    largest_weight,
    acted_share,
    is_champion,
    is_deciding,
    is_recommended,
    reason,
from models.policies
where split = 'test'
order by is_champion desc, policy, estimator
