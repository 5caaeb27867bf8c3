-- purpose: where events came from: files, rows, resolution of their times, deduplication
-- grain:   source
-- inputs:  raw.sources
-- check:   count_rows >= 0
-- scope:   global
-- version: 1
select
    source,
    files,
    count_rows,
    has_time_of_day,
    has_dates,
    dedupe,
from raw.sources
order by source
