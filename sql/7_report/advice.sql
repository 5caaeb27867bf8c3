-- purpose: what should be done about each task now: nothing, rescore, retrain or look at the data
-- grain:   task
-- inputs:  report.signals
-- check:   advice in ('nothing', 'rescore', 'retrain', 'look at the data')
-- scope:   global
-- version: 2
-- The first that applies is said: broken data explains bad predictions, not the other way round. Where
-- no answers came in since, a training would end where the last one did.
with

judged as (
    select
        signals.*,
        case
            when refused_change > 0.05 then
                format('{:.1f}% of source {} were refused in the newest build, {:.1f} points more '
                    'than in the one before', 100 * refused_share, refused_source,
                    100 * refused_change)
            when broken_psi > 0.25 then
                format('{} is missing, or has categories that train did not know, far more or '
                    'less often than in train (PSI {:.2f})', broken_feature, broken_psi)
        end as data_reason,
        case
            when past_low > test_high then
                format('as of {} it surely did worse than on test',
                    strftime(judged_as_of, '%Y-%m-%d'))
            when weighted_psi > 0.25 then
                format('who is asked now is not who it learned from: PSI {:.2f}, weighed by '
                    'importance; most of all {} ({:.2f})', weighted_psi, most_drifted_feature,
                    most_drifted_psi)
            when score_status = 'shifted' then
                format('its scores are not those of the test users any more: PSI {:.2f}', score_psi)
            when abs(rate_deviations) > 3 then
                format('what it predicts became another thing: {:.3g} at the newest cutoff, '
                    '{:.3g} in train', rate_newest, rate_train)
            when unseen_days > 0.25 * train_days then
                format('{:.0f} days of answers have come in that it has not seen; it learned from '
                    '{:.0f}', unseen_days, train_days)
        end as retrain_reason,
        if(scored_as_of < as_of,
            format('its scores are of {}, the data goes on to {}',
                strftime(scored_as_of, '%Y-%m-%d'), strftime(as_of, '%Y-%m-%d')), null
        ) as rescore_reason,
    from report.signals as signals
)

select
    task,
    model,
    case
        when data_reason is not null then 'look at the data'
        when retrain_reason is not null and unseen_days > 0 then 'retrain'
        when rescore_reason is not null then 'rescore'
        else 'nothing'
    end as advice,
    coalesce(
        data_reason, if(unseen_days > 0, retrain_reason, null), rescore_reason,
        retrain_reason || '; but no answers have come in since that it could learn from',
        format('users and scores are like those it learned from and was tested on (PSI {:.2f} and '
            '{:.2f})', coalesce(weighted_psi, 0), coalesce(score_psi, 0))
    ) as reason,
    case advice
        when 'retrain' then 'behavsql train -t ' || task
        when 'rescore' then 'behavsql score'
        when 'look at the data' then 'behavsql query "from report.quality where is_newest"'
    end as command,
    weighted_psi,
    score_psi,
    count_matured,
    unseen_days,
from judged
order by task
