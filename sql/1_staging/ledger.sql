-- purpose: the cleaning account of each source: rows in, removed and out, rule by rule
-- grain:   source, step_number
-- inputs:  raw.lines, raw.sources, raw.items, raw.users, staging.rejected, staging.events
-- check:   count_rows_out = count_rows_in - count_rows_removed
-- check:   rule <> 'kept' or count_rows_out = count_kept
-- scope:   global
-- version: 2
with

rules as (
    select unnest([
        'malformed_line', 'missing_user', 'missing_item', 'bot', 'unparsable_time',
        'missing_time', 'future_time', 'time_before_min_date', 'outside_since_until', 'unparsable_value', 'negative_value',
        'absurd_value', 'duplicate', 'kept',
    ]) as rule, generate_subscripts(range(14), 1) as step_number,
),

removed as (
    select source, rule, count(*) as count_rows_removed,
    from staging.rejected
    group by source, rule
),

sizes as (
    select
        sources.source,
        any_value(sources.count_rows) as count_parsed,
        (select count(*) from raw.lines as lines where lines.source = sources.source)
            as count_malformed,
        case any_value(sources.kind)
            when 'items' then (select count(distinct item_id) from raw.items as items
                where items.source = sources.source)
            when 'users' then (select count(distinct user_id) from raw.users as users
                where users.source = sources.source)
            else (select count(*) from staging.events as events
                where events.source = sources.source)
        end as count_kept,
    from raw.sources as sources
    group by sources.source
),

steps as (
    select
        sizes.*,
        rules.rule,
        rules.step_number,
        coalesce(removed.count_rows_removed, 0) as count_rows_removed,
        sizes.count_parsed + sizes.count_malformed as count_rows_read,
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
