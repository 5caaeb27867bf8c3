-- purpose: how many rows each source had: read, not readable, withheld, and used in the end
-- grain:   source
-- inputs:  raw.lines, raw.withheld, raw.sources, raw.items, raw.users, raw.consents,
--          staging.unused_facts, staging.unused_consents, staging.events, raw.events
-- scope:   global
-- version: 2
with

-- What each source tells of each item or user, at one moment.
facts as (
    select distinct told.source, cast(told.item_id as varchar) as id, told.valid_from, null as question,
    from raw.items as told
    anti join staging.unused_facts as unused
        on unused.source = told.source and unused.fact_row = told.rowid
    union all
    select distinct
        told.source, cast(told.user_id as varchar), told.valid_from, lower(told.question),
    from raw.users as told
    anti join staging.unused_facts as unused
        on unused.source = told.source and unused.fact_row = told.rowid
),

told as (
    select source from raw.consents
    except all
    select source from staging.unused_consents
),

unread as (
    select
        source,
        count(*) filter (where is_place_unread) as count_unread_places,
        count(*) filter (where is_screen_time_unread) as count_unread_screen_times,
    from raw.events
    group by source
)

select
    sources.source,
    any_value(sources.count_rows) as count_parsed,
    (select count(*) from raw.lines as lines where lines.source = sources.source)
        as count_malformed,
    (select cast(coalesce(sum(withheld.count_rows), 0) as bigint) from raw.withheld as withheld
        where withheld.source = sources.source) as count_withheld,
    -- Of events or of facts, whichever the source has.
    (select count(*) from staging.events as events where events.source = sources.source)
        + (select count(*) from facts where facts.source = sources.source)
        + (select count(*) from told where told.source = sources.source) as count_kept,
    -- The events are kept, without them.
    coalesce(any_value(unread.count_unread_places), 0) as count_unread_places,
    coalesce(any_value(unread.count_unread_screen_times), 0) as count_unread_screen_times,
from raw.sources as sources
left join unread on unread.source = sources.source
group by sources.source
order by sources.source
