-- purpose: a / b as DOUBLE; NULL where b is zero or either is missing
-- version: 1
create or replace macro safe_ratio(a, b) as
    case when b <> 0 then cast(a as double) / cast(b as double) end
