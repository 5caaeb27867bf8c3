-- purpose: what each policy would have brought per decision, told from the log of what was done
-- grain:   policy, estimator
-- inputs:  models.policies
-- check:   not is_recommended or low > logging_value
-- scope:   global
-- version: 2
-- Recommended is at most the policy that valid chose, if its interval lies above what was done.
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
    unsupported_share,
    is_champion,
    is_deciding,
    is_recommended,
    reason,
from models.policies
where split = 'test'
order by is_champion desc, policy, estimator
