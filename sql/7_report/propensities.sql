-- purpose: whether as many got an action as its propensities say, in tenths by propensity
-- grain:   action, bin
-- inputs:  models.propensity_bins
-- check:   low <= acted_share and acted_share <= high
-- scope:   global
-- version: 1
-- On test; of who was surely there, where some could not be reached.
select
    action,
    bin,
    count_decisions,
    mean_propensity,
    acted_share,
    low,
    high,
from models.propensity_bins
order by action, bin
