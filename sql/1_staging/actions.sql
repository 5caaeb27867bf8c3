-- purpose: what was done to users: mails, pushes and the like, with the chance it was logged with
-- grain:   user_id, event_id
-- inputs:  staging.events, raw.events, raw.types
-- check:   logged_propensity > 0 and logged_propensity <= 1
-- version: 1
select
    events.user_id,
    events.event_id,
    events.event_at,
    lower(events.event_type) as action,
    raw_events.propensity as logged_propensity,
from staging.events as events
inner join raw.types as types
    on types.event_type = lower(events.event_type)
    and types.is_action
inner join raw.events as raw_events
    on raw_events.user_id = events.user_id
    and raw_events.raw_row = events.raw_row
order by events.user_id, events.event_id
