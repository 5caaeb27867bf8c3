-- purpose: each decision as a step: the state, what was done, what it brought, the state after
-- grain:   user_id, cutoff_at
-- inputs:  actions.moments, actions.decisions, actions.states, actions.rewards, sessions.user_days
-- check:   next_cutoff_at > cutoff_at
-- version: 2
with

followed as (
    select
        cutoff_at,
        lead(cutoff_at) over (order by cutoff_at) as next_cutoff_at,
    from actions.moments
),

last_seen as (
    select user_id, max(day_at) as last_day_at,
    from sessions.user_days
    group by user_id
)

select
    decisions.user_id,
    decisions.cutoff_at,
    decisions.split,
    states.state,
    decisions.action,
    decisions.logged_propensity,
    rewards.reward,
    followed.next_cutoff_at,
    -- Who was active too long ago by then is nobody to decide about: gone.
    coalesce(next_states.state, 'gone') as next_state,
    -- Of whom anything is known after the horizon, done by them or to them, was surely there to be
    -- acted upon; of the others some had left.
    last_seen.last_day_at > decisions.window_ends_at as is_seen_later,
from actions.decisions as decisions
inner join actions.states as states
    on states.user_id = decisions.user_id
    and states.cutoff_at = decisions.cutoff_at
inner join actions.rewards as rewards
    on rewards.user_id = decisions.user_id
    and rewards.cutoff_at = decisions.cutoff_at
inner join followed on followed.cutoff_at = decisions.cutoff_at
inner join last_seen on last_seen.user_id = decisions.user_id
left join actions.states as next_states
    on next_states.user_id = decisions.user_id
    and next_states.cutoff_at = followed.next_cutoff_at
where decisions.split <> 'latest'
order by decisions.user_id, decisions.cutoff_at
