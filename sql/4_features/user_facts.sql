-- purpose: what a source says of the user from the start: answers, places, groups
-- grain:   user_id, cutoff_at
-- inputs:  cutoffs.cutoffs, staging.users
-- version: 1
with

known as (
    select
        cutoffs.user_id,
        cutoffs.cutoff_at,
        unnest(users.features),
    from cutoffs.cutoffs as cutoffs
    inner join staging.users as users on users.user_id = cutoffs.user_id
    where users.features is not null
)

-- `_none` stands for no column where no source has features of users.
select columns(lambda name: name <> '_none')
from known
