-- purpose: standard deviation of x (population), summed as decimals; NULL without rows
-- version: 1
create or replace macro deviation_of(x) as
    sqrt(greatest(
        cast(sum(cast(x * x as decimal(28, 6))) as double) / nullif(count(x), 0)
        - pow(cast(sum(cast(x as decimal(18, 6))) as double) / nullif(count(x), 0), 2),
        0
    ))
