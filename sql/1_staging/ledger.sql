-- purpose: the cleaning account of each source: rows in, removed and out, rule by rule
-- grain:   source, step_number
-- inputs:  raw.withheld, staging.source_counts, staging.rejected
-- check:   count_rows_out = count_rows_in - count_rows_removed
-- check:   rule <> 'kept' or count_rows_out = count_kept
-- scope:   global
-- version: 5
with

rules as (
    select unnest(names) as rule, generate_subscripts(names, 1) as step_number,
    from (select [
        'forgotten', 'past_retention', 'malformed_line', 'missing_user', 'missing_item',
        'unknown_user', 'no_consent', 'bot', 'bot_behaviour', 'unparsable_time', 'missing_time',
        'future_time', 'time_before_min_date', 'outside_since_until', 'too_late',
        'reversed_range', 'missing_answer', 'unlisted_question', 'unparsable_value',
        'negative_value', 'absurd_value', 'duplicate', 'contradiction', 'overlapping_range',
        'unknown_purpose', 'unclear_consent', 'kept',
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

steps as (
    select
        counts.*,
        rules.rule,
        rules.step_number,
        coalesce(removed.count_rows_removed, 0) as count_rows_removed,
        counts.count_parsed + counts.count_malformed + counts.count_withheld as count_rows_read,
        cast(sum(coalesce(removed.count_rows_removed, 0)) over (
            partition by counts.source order by rules.step_number
        ) as bigint) as count_removed_so_far,
    from staging.source_counts as counts
    cross join rules
    left join removed on removed.source = counts.source and removed.rule = rules.rule
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
