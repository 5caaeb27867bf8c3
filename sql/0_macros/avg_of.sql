-- purpose: mean of x that no order of the rows changes: summed as decimals; NULL without rows
-- version: 1
create or replace macro avg_of(x) as
    cast(sum(cast(x as decimal(18, 6))) as double) / nullif(count(x), 0)
