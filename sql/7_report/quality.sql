-- purpose: how much of each source was refused, rule by rule, from build to build
-- grain:   source, rule, run_id
-- inputs:  meta.quality, staging.ledger
-- check:   removed_share between 0 and 1
-- scope:   global
-- version: 1
-- `all` adds the rules up. A build in which the ledger came out as before adds nothing.
with

runs as (
    select source, rule, run_id, built_at, count_rows_read, count_rows_removed,
    from meta.quality
    union all
    select source, 'all', run_id, any_value(built_at), any_value(count_rows_read),
        cast(sum(count_rows_removed) as bigint),
    from meta.quality
    group by source, run_id
),

shares as (
    select
        runs.*,
        coalesce(safe_ratio(count_rows_removed, count_rows_read), 0) as removed_share,
        lag(removed_share) over in_order as removed_share_before,
        row_number() over newest_first = 1 as is_newest,
    from runs
    window
        in_order as (partition by runs.source, runs.rule order by runs.run_id),
        newest_first as (partition by runs.source, runs.rule order by runs.run_id desc)
)

select
    source,
    rule,
    run_id,
    built_at,
    count_rows_read,
    count_rows_removed,
    removed_share,
    removed_share_before,
    removed_share - removed_share_before as change,
    is_newest,
from shares
where exists (select 1 from staging.ledger as ledger where ledger.source = shares.source)
order by source, rule, run_id
