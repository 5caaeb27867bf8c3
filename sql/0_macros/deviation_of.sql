-- purpose: standard deviation of x (population), summed as decimals; NULL without rows
-- version: 1
create or replace macro deviation_of(x) as
    -- greatest() passes over NULL, so that no rows would be no deviation.
    case when count(x) > 0 then sqrt(greatest(
        cast(sum(cast(x * x as decimal(28, 6))) as double) / count(x)
        - pow(cast(sum(cast(x as decimal(18, 6))) as double) / count(x), 2),
        0
    )) end
