-- purpose: what the user did before signing in: under anonymous ids that are known to be theirs
-- grain:   user_id, cutoff_at
-- inputs:  cutoffs.cutoffs, staging.identities
-- params:  has_anonymous_ids
-- version: 1
with

summed as (
    select
        cutoffs.user_id,
        cutoffs.cutoff_at,
        count(*) as count_anonymous_ids,
        cast(sum(identities.count_events) as bigint) as count_anonymous_events,
        cast(sum(identities.count_views) as bigint) as count_anonymous_views,
        cast(sum(identities.count_carts) as bigint) as count_anonymous_carts,
        cast(sum(identities.count_purchases) as bigint) as count_anonymous_purchases,
        days_between(min(identities.first_event_at), cutoffs.cutoff_at)
            as days_since_first_anonymous_event,
    from cutoffs.cutoffs as cutoffs
    inner join staging.identities as identities
        on identities.user_id = cutoffs.user_id
        and identities.known_at <= cutoffs.cutoff_at
    group by cutoffs.user_id, cutoffs.cutoff_at
)

-- No column where no source has anonymous ids.
select columns(lambda name: getvariable('has_anonymous_ids') or name in ('user_id', 'cutoff_at'))
from summed
order by user_id, cutoff_at
