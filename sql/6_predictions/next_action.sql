-- purpose: what to do about each user now, by the policy that the log speaks for, and within the rules
-- grain:   user_id
-- inputs:  models.action_gains, models.policies, actions.states, actions.decisions
-- params:  action_budget, action_frequency_cap
-- check:   low <= expected_gain and expected_gain <= high
-- check:   not is_recommended or score > 0
-- scope:   global
-- version: 4
-- Every rule is a line of `ruled`; another one belongs there, and into `reason`.
with

best as (
    select *
    from models.action_gains
    qualify row_number() over (partition by user_id order by score desc, action) = 1
),

ruled as (
    select
        best.*,
        decisions.is_agreed_to,
        best.score > 0 and is_agreed_to as is_worth_it,
        states.count_actions_in_window < getvariable('action_frequency_cap') as is_below_cap,
        states.count_actions_in_window as count_received,
    from best
    inner join actions.states as states
        on states.user_id = best.user_id
        and states.cutoff_at = best.cutoff_at
    inner join actions.decisions as decisions
        on decisions.user_id = best.user_id
        and decisions.cutoff_at = best.cutoff_at
),

ranked as (
    select
        ruled.*,
        row_number() over (
            order by is_worth_it and is_below_cap desc, score desc, hash(user_id)
        ) as place,
        -- A share of who may be acted upon: of who has agreed. (A count with a filter over all rows
        -- would look at all rows for each of them.)
        floor(getvariable('action_budget') * sum(cast(is_agreed_to as integer)) over ())
            as count_affordable,
    from ruled
),

-- The verdict of test: does it surely bring more than what was done?
verdict as (
    select
        policy,
        bool_and(is_recommended) as is_policy_recommended,
        any_value(reason) as policy_reason,
    from models.policies
    where is_champion and is_deciding
    group by policy
)

select
    ranked.user_id,
    if(is_worth_it, ranked.action, 'none') as action,
    ranked.score,
    if(is_worth_it, ranked.expected_gain, 0) as expected_gain,
    if(is_worth_it, ranked.low, 0) as low,
    if(is_worth_it, ranked.high, 0) as high,
    ranked.policy,
    cast(place as integer) as rank,
    is_policy_recommended and is_worth_it and is_below_cap and place <= count_affordable
        as is_recommended,
    case
        when not is_agreed_to then 'has not agreed to marketing'
        when not is_worth_it then 'nothing to be gained'
        when not is_below_cap then 'received ' || cast(count_received as integer) || ' lately'
        when place > count_affordable then 'beyond the budget'
        when not is_policy_recommended then 'the policy is not recommended: ' || policy_reason
        else 'among the ' || cast(count_affordable as integer) || ' that the budget reaches'
    end as reason,
    ranked.cutoff_at as as_of,
from ranked
left join verdict on verdict.policy = ranked.policy
order by ranked.user_id
