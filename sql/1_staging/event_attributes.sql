-- purpose: the columns of the sources that behavsql gave no part to, for joining on
-- grain:   user_id, event_id
-- inputs:  staging.events, raw.events
-- version: 2
select
    events.user_id,
    events.event_id,
    unnest(raw_events.attributes),
from staging.events as events
inner join raw.events as raw_events on raw_events.raw_row = events.raw_row
order by events.user_id, events.event_id
