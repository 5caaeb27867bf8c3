-- purpose: what speaks for and against the published model of each task by now, in numbers
-- grain:   task
-- inputs:  meta.tasks, meta.clock, models.models, models.scores, report.drift,
--          report.score_drift, report.scoreboard, report.label_drift, report.quality
-- check:   unseen_days >= 0
-- scope:   global
-- version: 3
with

published as (
    select
        models.task, models.model, models.version as model_version, train_from, train_until,
        max(scores.cutoff_at) filter (where scores.split = 'test') as test_until,
        max(scores.cutoff_at) filter (where scores.split = 'latest') as scored_as_of,
    from models.models as models
    left join models.scores as scores on scores.model_id = models.model_id
    where models.is_published
    group by models.task, models.model, models.version, models.train_from, models.train_until
),

drifted as (
    select
        task, cast(sum(exact(weighted)) as double) as weighted_psi,
        max_by(feature, weighted) as most_drifted_feature,
        max_by(psi, weighted) as most_drifted_psi,
        max_by(feature, greatest(psi_missing, psi_category) * if(importance >= 0.01, 1, 0))
            as broken_feature,
        max(greatest(psi_missing, psi_category) * if(importance >= 0.01, 1, 0)) as broken_psi,
    from report.drift
    group by task
),

-- What the version that speaks now was worth at past moments, all of them together.
judged as (
    select
        task, model, model_version, any_value(test_high) as test_high,
        cast(sum(count_matured) as bigint) as count_matured,
        max_by(as_of, if(count_matured > 0, as_of, null)) as judged_as_of,
        max_by(low, if(count_matured > 0, as_of, null)) as past_low,
        max_by(value, if(count_matured > 0, as_of, null)) as past_value,
    from report.scoreboard
    group by task, model, model_version
),

refused as (
    select
        max(change) as refused_change, max_by(source, change) as refused_source,
        max_by(removed_share, change) as refused_share,
    from report.quality
    where rule = 'all' and is_newest
),

newest_rate as (
    select rates.task, any_value(train_mean) as rate_train,
        max_by(deviations, cutoff_at) as rate_deviations,
        max_by(label_mean, cutoff_at) as rate_newest,
    from report.label_drift as rates
    inner join published on published.task = rates.task and cutoff_at > test_until
    group by rates.task
)

select
    published.* exclude (train_from, train_until),
    drifted.* exclude (task), judged.* exclude (task, model, model_version),
    newest_rate.* exclude (task), refused.*, clock.as_of, score_drift.psi as score_psi,
    score_drift.status as score_status,
    days_between(published.train_from, published.train_until) as train_days,
    -- Whole steps of the grid whose answers came in since.
    every_days * greatest(
        floor((days_between(test_until, complete_until) - horizon_days) / every_days), 0
    ) as unseen_days,
from published
inner join meta.tasks as tasks on tasks.task = published.task and kind is distinct from 'choice'
cross join (meta.clock as clock cross join refused)
left join drifted on drifted.task = published.task
left join report.score_drift as score_drift on score_drift.task = published.task
left join judged
    on judged.task = published.task and judged.model_version = published.model_version
left join newest_rate on newest_rate.task = published.task
order by published.task
