-- purpose: how often, or how much, it happened at each cutoff, and how unusual that is after train
-- grain:   task, cutoff_at
-- inputs:  models.label_rates, meta.tasks
-- check:   low <= label_mean and label_mean <= high
-- scope:   global
-- version: 1
-- low and high are the score interval of a share (Wilson 1927), or mean +- 1.96 standard errors of a
-- number. deviations is how many standard deviations the cutoff lies from the mean of the train
-- cutoffs, whose own coming and going (seasons, say) is the measure.
with

train as (
    select
        task,
        avg(label_mean) as train_mean,
        stddev_samp(label_mean) as train_deviation,
    from models.label_rates
    where split = 'train'
    group by task
),

measured as (
    select
        rates.*,
        tasks.kind,
        1.96 * label_deviation / sqrt(count_questions) as margin,
        1.96 * 1.96 / count_questions as z,
        (label_mean + z / 2) / (1 + z) as middle,
        sqrt(z * label_mean * (1 - label_mean) + z * z / 4) / (1 + z) as half,
    from models.label_rates as rates
    inner join meta.tasks as tasks on tasks.task = rates.task
)

select
    measured.task,
    measured.split,
    measured.cutoff_at,
    measured.count_questions,
    measured.label_mean,
    if(kind = 'binary', least(middle - half, label_mean), label_mean - margin) as low,
    if(kind = 'binary', greatest(middle + half, label_mean), label_mean + margin) as high,
    train.train_mean,
    safe_ratio(measured.label_mean - train.train_mean, train.train_deviation) as deviations,
from measured
left join train on train.task = measured.task
order by measured.task, measured.cutoff_at
