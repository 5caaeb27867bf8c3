-- purpose: what was known at the cutoff of the item that the user met last: price, attributes
-- grain:   user_id, cutoff_at
-- inputs:  cutoffs.known_days, sessions.user_totals, sessions.item_events,
--          staging.item_facts, staging.item_prices
-- version: 1
with

-- Where no source tells facts of items, no event is read.
known as (
    select days.user_id, days.cutoff_at, upto.last_event_id
    from cutoffs.known_days as days
    inner join sessions.user_totals as upto
        on upto.user_id = days.user_id
        and upto.day_number = days.count_days
    where exists (from staging.item_facts) or exists (from staging.item_prices)
),

events as (
    select user_id, event_id, event_at, item_id
    from sessions.item_events
    where exists (from staging.item_facts) or exists (from staging.item_prices)
),

met as (
    select known.user_id, known.cutoff_at, events.item_id, events.event_at as met_at
    from known
    asof inner join events
        on events.user_id = known.user_id
        and events.event_id <= known.last_event_id
),

described as (
    select
        met.user_id,
        met.cutoff_at,
        columns(facts.* exclude (item_id, known_at)) as 'last_item_\0',
    from met
    asof inner join staging.item_facts as facts
        on facts.item_id = met.item_id
        and facts.known_at <= met.cutoff_at
),

moments as (
    select user_id, cutoff_at, item_id, true as is_now, cutoff_at as known_at from met
    union all
    select user_id, cutoff_at, item_id, false as is_now, met_at as known_at from met
),

priced as (
    select
        moments.user_id,
        moments.cutoff_at,
        moments.is_now,
        prices.* exclude (item_id, known_at),
    from moments
    asof inner join staging.item_prices as prices
        on prices.item_id = moments.item_id
        and prices.known_at <= moments.known_at
),

-- The price now over the one at which the user met it last: below 1 it has become cheaper.
compared as (
    select
        user_id,
        cutoff_at,
        max(columns(priced.* exclude (user_id, cutoff_at, is_now))) filter (is_now)
            as 'last_item_\0',
        safe_ratio(
            max(columns(priced.* exclude (user_id, cutoff_at, is_now))) filter (is_now),
            max(columns(priced.* exclude (user_id, cutoff_at, is_now))) filter (not is_now)
        ) as 'last_item_\0_ratio',
    from priced
    group by user_id, cutoff_at
)

-- Without such sources there are no columns.
select *
from described
full outer join compared using (user_id, cutoff_at)
order by user_id, cutoff_at
