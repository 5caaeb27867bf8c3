-- purpose: what followed a decision: the value of purchases within its horizon
-- grain:   user_id, cutoff_at
-- inputs:  actions.decisions, sessions.user_days
-- version: 1
-- Another reward is another file of this name in a project's own sql/5_actions/: any number that is
-- known by window_ends_at, more being better.
select
    decisions.user_id,
    decisions.cutoff_at,
    total(days.value, true) as reward,
from actions.decisions as decisions
left join sessions.user_days as days
    on days.user_id = decisions.user_id
    and days.day_at > decisions.cutoff_at
    and days.day_at <= decisions.window_ends_at
where decisions.split <> 'latest'
group by decisions.user_id, decisions.cutoff_at
order by decisions.user_id, decisions.cutoff_at
