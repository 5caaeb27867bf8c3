-- purpose: where the published model is weakest: the widest gaps between parts of the users
-- grain:   task
-- inputs:  report.slices
-- check:   ranking_gap >= 0
-- scope:   global
-- version: 1
-- Of slices large enough to measure.
with

measured as (
    select
        *,
        segment || ': ' || slice as name,
        abs(predicted_mean - observed_mean) as miss,
    from report.slices
),

-- How far the best and the worst ranked slice of one segment lie apart.
ranked as (
    select
        task,
        segment,
        max(roc_auc) - min(roc_auc) as gap,
        min_by(name, roc_auc) as weakest,
        min(roc_auc) as weakest_auc,
    from measured
    group by task, segment
)

select
    measured.task,
    any_value(measured.model) as model,
    count(*) filter (where not is_too_small) as count_slices,
    count(*) filter (where is_too_small) as count_too_small,
    max_by(name, miss) as most_missed_slice,
    max_by(predicted_mean, miss) as most_missed_predicted,
    max_by(observed_mean, miss) as most_missed_observed,
    (select max_by(weakest, gap) from ranked where ranked.task = measured.task) as weakest_slice,
    (select max_by(weakest_auc, gap) from ranked where ranked.task = measured.task)
        as weakest_slice_auc,
    (select max(gap) from ranked where ranked.task = measured.task) as ranking_gap,
from measured
group by measured.task
order by measured.task
