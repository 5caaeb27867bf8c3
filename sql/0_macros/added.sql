-- purpose: how much a running total grew since an earlier one, as DOUBLE; NULL counts as 0
-- version: 1
create or replace macro added(total, earlier) as
    cast(total - coalesce(earlier, 0) as double)
