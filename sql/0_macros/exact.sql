-- purpose: a number whose sums are the same in any order of rows: a decimal of 9 places, up to 1e18
-- version: 1
create or replace macro exact(x) as
    case when x is not null then cast(least(greatest(x, -1e18), 1e18) as decimal(38, 9)) end
