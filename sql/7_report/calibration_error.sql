-- purpose: how far predicted rates are from observed ones: on the whole, and at worst
-- grain:   task, model
-- inputs:  report.calibration
-- check:   expected_calibration_error <= maximum_calibration_error + 1e-9
-- scope:   global
-- version: 2
-- Source: Naeini, Cooper and Hauskrecht 2015, over groups of equally many questions.
select
    task,
    model,
    count(*) as count_bins,
    cast(sum(count_questions) as bigint) as count_questions,
    cast(sum(exact(abs(predicted_rate - observed_rate) * count_questions)) as double)
        / sum(count_questions) as expected_calibration_error,
    max(abs(predicted_rate - observed_rate)) as maximum_calibration_error,
    -- Above 0: more is promised than happens.
    cast(sum(exact((predicted_rate - observed_rate) * count_questions)) as double)
        / sum(count_questions) as predicted_minus_observed,
from report.calibration
group by task, model
order by task, model
