-- purpose: what each action brought on average, costs deducted, against leaving the user alone
-- grain:   action
-- inputs:  models.action_effects
-- check:   low <= effect and effect <= high
-- scope:   global
-- version: 1
select
    action,
    effect,
    low,
    high,
    count_acted,
    count_left_alone,
    mean_propensity,
    is_propensity_estimated,
    reached_share,
    count_clipped,
    low > 0 as is_surely_worth_it,
from models.action_effects
order by action
