-- purpose: sum of x over the rows that are included, as DOUBLE; 0 where there are none
-- version: 1
create or replace macro total(x, is_included) as
    cast(coalesce(sum(x) filter (where is_included), 0) as double)
