-- purpose: what each published model may be used for, what not, and what it cannot do
-- grain:   task
-- inputs:  meta.tasks, models.models, report.signals, report.slice_gaps, report.calibration_error
-- scope:   global
-- version: 1
with

known as (
    select
        tasks.*,
        models.model,
        models.is_worse_on_test,
        signals.count_matured,
        signals.train_days,
        gaps.count_too_small,
        gaps.ranking_gap,
        gaps.weakest_slice,
        errors.predicted_minus_observed as excess,
    from meta.tasks as tasks
    inner join models.models as models on models.task = tasks.task and models.is_published
    left join report.signals as signals on signals.task = tasks.task
    left join report.slice_gaps as gaps on gaps.task = tasks.task
    left join report.calibration_error as errors
        on errors.task = models.task and errors.model = models.model
)

select
    task,
    model,
    format(
        if(kind = 'choice', 'to list for users active in the last {:.3g} days {} in',
            'to rank users active in the last {:.3g} days, and to plan with the {} of what they will '
                || 'do in') || ' the {:.3g} days after',
        active_within_days,
        case kind when 'choice' then 'what they are likeliest to choose'
            when 'binary' then 'probability' else 'expected number' end,
        horizon_days
    ) as intended_use,
    'to decide alone about a person in matters of law, credit, health, work or schooling; for users '
        || 'it does not ask about; to tell what an action changes: it says what users like these '
        || 'did, not why' as not_intended_use,
    concat_ws(
        '; ',
        if(is_worse_on_test, 'it is surely worse on test than a reference', null),
        if(
            abs(excess) >= 0.02,
            format('on test it said {:.1f} points too {}', 100 * abs(excess),
                if(excess > 0, 'much', 'little')), null
        ),
        if(ranking_gap >= 0.1,
            format('it ranks {} much worse than others (roc_auc {:.2f} lower)', weakest_slice,
                ranking_gap), null),
        if(count_too_small > 0,
            format('{} of the users could not be measured: too few', if(count_too_small = 1,
                'one part', count_too_small || ' parts')), null),
        if(train_days < 365,
            format('it learned from {:.0f} days, less than a year: seasons it has not seen are not '
                'in it', train_days), null),
        if(coalesce(count_matured, 0) = 0,
            'none of its predictions has come due yet: test alone speaks for it', null)
    ) as limits,
from known
order by task
