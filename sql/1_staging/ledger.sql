-- purpose: the cleaning account of each source: rows in, removed and out, rule by rule
-- grain:   source, step_number
-- inputs:  raw.lines, raw.withheld, raw.sources, raw.items, raw.users, staging.unused_facts,
--          staging.rejected, staging.events
-- check:   count_rows_out = count_rows_in - count_rows_removed
-- check:   rule <> 'kept' or count_rows_out = count_kept
-- scope:   global
-- version: 4
with

rules as (
    select unnest(names) as rule, generate_subscripts(names, 1) as step_number,
    from (select [
        'forgotten', 'past_retention', 'malformed_line', 'missing_user', 'missing_item', 'unknown_user', 'bot', 'bot_behaviour',
        'unparsable_time', 'missing_time', 'future_time', 'time_before_min_date',
        'outside_since_until', 'too_late',
        'reversed_range', 'missing_answer', 'unlisted_question', 'unparsable_value',
        'negative_value', 'absurd_value', 'duplicate', 'contradiction', 'overlapping_range', 'kept',
    ] as names)
),

-- What was withheld is counted, and stands nowhere.
removed as (
    select source, rule, count(*) as count_rows_removed,
    from staging.rejected
    group by source, rule
    union all
    select source, rule, cast(sum(count_rows) as bigint) as count_rows_removed,
    from raw.withheld
    group by source, rule
),

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

sizes as (
    select
        sources.source,
        any_value(sources.count_rows) as count_parsed,
        (select count(*) from raw.lines as lines where lines.source = sources.source)
            as count_malformed,
        coalesce((
            select cast(sum(withheld.count_rows) as bigint)
            from raw.withheld as withheld
            where withheld.source = sources.source
        ), 0) as count_withheld,
        -- Of events or of facts, whichever the source has.
        (select count(*) from staging.events as events where events.source = sources.source)
            + (select count(*) from facts where facts.source = sources.source) as count_kept,
    from raw.sources as sources
    group by sources.source
),

steps as (
    select
        sizes.*,
        rules.rule,
        rules.step_number,
        coalesce(removed.count_rows_removed, 0) as count_rows_removed,
        sizes.count_parsed + sizes.count_malformed + sizes.count_withheld as count_rows_read,
        cast(sum(coalesce(removed.count_rows_removed, 0)) over (
            partition by sizes.source order by rules.step_number
        ) as bigint) as count_removed_so_far,
    from sizes
    cross join rules
    left join removed on removed.source = sizes.source and removed.rule = rules.rule
)

select
    source,
    step_number,
    rule,
    count_rows_read - count_removed_so_far + count_rows_removed as count_rows_in,
    count_rows_removed,
    count_rows_read - count_removed_so_far as count_rows_out,
    count_rows_removed / count_rows_read as removed_share,
    count_kept,
from steps
order by source, step_number
