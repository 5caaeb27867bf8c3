-- purpose: standard deviation (population) from a count, a sum and a sum of squares; NULL for none
-- version: 1
create or replace macro deviation_from(count_values, sum_values, sum_squares) as
    -- greatest() passes over NULL, so that no values would be no deviation.
    case when count_values > 0 then sqrt(greatest(
        cast(sum_squares as double) / count_values
        - pow(cast(sum_values as double) / count_values, 2),
        0
    )) end
