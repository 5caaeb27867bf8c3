-- purpose: every event with its place in its session, told from earlier events alone
-- grain:   user_id, event_id
-- inputs:  staging.events, staging.sources, staging.items
-- params:  session_gap, max_session
-- check:   event_number >= 1 and seconds_since_previous >= 0
-- version: 1
with

spaced as (
    select
        events.user_id,
        events.event_id,
        events.item_id,
        items.category,
        events.role,
        events.event_at,
        events.value,
        events.quantity,
        sources.has_time_of_day,
        lag(events.event_at) over in_time_order as previous_at,
    from staging.events as events
    inner join staging.sources as sources on sources.source = events.source
    left join staging.items as items on items.item_id = events.item_id
    window in_time_order as (partition by events.user_id order by events.event_id)
),

-- Without a time of day the only honest session is the day.
opened as (
    select
        spaced.*,
        case
            when previous_at is null then true
            when has_time_of_day then event_at - previous_at > getvariable('session_gap')
            else date_trunc('day', event_at) > date_trunc('day', previous_at)
        end as is_after_gap,
    from spaced
),

chained as (
    select
        opened.*,
        max(case when is_after_gap then event_at end) over so_far as chain_started_at,
    from opened
    window so_far as (
        partition by opened.user_id order by opened.event_id
        rows between unbounded preceding and current row
    )
),

-- A chain of events longer than max_session is cut at whole multiples of it. As in GA4, a session
-- is known by the second it (nominally) began.
placed as (
    select
        chained.*,
        cast(epoch(chain_started_at) as bigint) + cast(epoch(getvariable('max_session')) as bigint)
            * cast(floor(epoch(event_at - chain_started_at) / epoch(getvariable('max_session')))
                as bigint) as session_id,
    from chained
),

numbered as (
    select
        placed.*,
        row_number() over in_session as event_number,
        first_value(event_at) over in_session as session_started_at,
        count(*) filter (where role = 'view') over in_session as count_views_so_far,
        count(*) filter (where role = 'cart') over in_session as count_carts_so_far,
        count(*) filter (where role = 'purchase') over in_session as count_purchases_so_far,
    from placed
    window in_session as (
        partition by placed.user_id, placed.session_id order by placed.event_id
        rows between unbounded preceding and current row
    )
),

-- GA4's rule: longer than 10 seconds, or a key event, or at least 2 views.
judged as (
    select
        numbered.*,
        event_at - session_started_at > interval '10 seconds'
            or count_carts_so_far + count_purchases_so_far > 0
            or count_views_so_far >= 2 as is_engaged_by_now,
        event_number > 1 and (
            previous_at - session_started_at > interval '10 seconds'
            or count_carts_so_far + count_purchases_so_far
                > cast(role in ('cart', 'purchase') as integer)
            or count_views_so_far - cast(role = 'view' as integer) >= 2
        ) as was_engaged_before,
    from numbered
)

select
    user_id,
    event_id,
    session_id,
    session_started_at,
    event_number,
    item_id,
    category,
    role,
    event_at,
    value,
    quantity,
    case when event_number = 1 then 0 else epoch(event_at - previous_at) end
        as seconds_since_previous,
    is_engaged_by_now,
    is_engaged_by_now and not was_engaged_before as becomes_engaged,
    role = 'purchase' and count_purchases_so_far = 1 as is_new_order,
from judged
order by user_id, event_id
