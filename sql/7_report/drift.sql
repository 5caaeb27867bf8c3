-- purpose: whether who is asked now looks like who the models learned from, feature by feature
-- grain:   task, feature
-- inputs:  models.feature_bins, models.latest_bins, models.importance, models.models
-- check:   abs(psi - psi_missing - psi_category - psi_shape) < 1e-6
-- scope:   global
-- version: 1
-- The population stability index over bins frozen in training. Each of those has half a row more, and
-- who is asked now five users as in train, so that no bin is empty. It is the sum of three: whether
-- there is a value, whether train knew the category, and how the known values lie. Under noise it
-- stays by chance alone in 999 of 1,000 cases.
-- Source: Siddiqi 2006 (limits .1, .25); Yurdakul and Naranjo 2020; Wilson and Hilferty 1931.
with

shares as (
    select
        bins.task, bins.feature, bins.kind, bins.bin,
        bins.count_rows as n,
        coalesce(latest.count_rows, 0) as m,
        (n + 0.5) / sum(n + 0.5) over whole as old,
        (m + 5 * old) / (sum(m) over whole + 5) as new,
    from models.feature_bins as bins
    left join models.latest_bins as latest
        on latest.task = bins.task
        and latest.feature = bins.feature
        and latest.bin = bins.bin
    window whole as (partition by bins.task, bins.feature)
),

-- kind: missing, a category that train did not know, or a value it knew.
kinds as (
    select
        task, feature, kind,
        sum(n) as n,
        sum(m) as m,
        count(*) filter (where n + m > 0) as count_bins,
        sum(old order by bin) as old_kind,
        sum(new order by bin) as new_kind,
        sum((new - old) * ln(new / old) order by bin) as inside,
        (new_kind - old_kind) * ln(new_kind / old_kind) as between_kinds,
    from shares
    group by task, feature, kind
),

parts as (
    select
        task, feature,
        cast(sum(n) as bigint) as count_train,
        cast(sum(m) as bigint) as count_latest,
        sum(n) filter (where kind = 'missing') / sum(n) as missing_share_train,
        safe_ratio(sum(m) filter (where kind = 'missing'), sum(m)) as missing_share_latest,
        sum(old_kind order by kind) filter (where kind <> 'missing') as old_known,
        sum(new_kind order by kind) filter (where kind <> 'missing') as new_known,
        (new_known - old_known) * ln(new_known / old_known) as known,
        sum(between_kinds) filter (where kind = 'missing') + known as psi_missing,
        sum(between_kinds order by kind) filter (where kind <> 'missing') - known as psi_category,
        sum(inside - between_kinds order by kind) as psi_shape,
        greatest(sum(count_bins) - 1, 1) as df,
        df * power(1 - 2 / (9 * df) + 3.09 * sqrt(2 / (9 * df)), 3)
            * (1 / sum(n) + 1 / greatest(sum(m), 1)) as noise,
    from kinds
    group by task, feature
)

select
    parts.task, parts.feature, count_train, count_latest, missing_share_train, missing_share_latest,
    psi_missing + psi_category + psi_shape as psi,
    psi_missing, psi_category, psi_shape, noise,
    coalesce(importance.importance, 0) as importance,
    psi * coalesce(importance.importance, 0) as weighted,
    case when psi < greatest(0.1, noise) then 'stable'
        when psi < greatest(0.25, noise) then 'moderate' else 'shifted' end as status,
from parts
left join models.models as models on models.task = parts.task and models.is_published
left join models.importance as importance
    on importance.model_id = models.model_id and importance.feature = parts.feature
where count_latest > 0
order by parts.task, parts.feature
