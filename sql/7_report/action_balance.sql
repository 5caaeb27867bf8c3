-- purpose: whether who got an action looks like all once weighted by one over the propensity
-- grain:   action, feature
-- inputs:  models.action_balance
-- scope:   global
-- version: 1
-- Differences of means in the feature's standard deviations, on test; of who was surely there, where
-- some could not be reached. Beyond a tenth, surely, the propensities leave out what decided.
select
    action,
    feature,
    difference_before,
    difference,
    standard_error,
    abs(difference) - 3 * standard_error > 0.1 as is_surely_off,
from models.action_balance
order by action, abs(difference) desc, feature
