-- purpose: what one answer adds to a metric that is a mean over answers; NULL for any other metric
-- version: 1
-- The rows of behavsql/metrics.py: rmse is the root of its mean; scores are kept 1e-6 away from
-- what has no logarithm.
create or replace macro loss_of(metric, label, score) as
    case
        when label is null or score is null then null
        when metric = 'log_loss' then
            -ln(greatest(least(if(label > 0.5, score, 1 - score), 1 - 1e-6), 1e-6))
        when metric in ('brier', 'rmse') then (label - score) * (label - score)
        when metric = 'mae' then abs(label - score)
        when label < 0 then null
        when metric = 'poisson_deviance' then
            2 * (
                if(label > 0, label * ln(greatest(label, 1e-300) / greatest(score, 1e-6)), 0)
                - label + greatest(score, 1e-6)
            )
        when metric = 'tweedie_deviance' then
            4 * (sqrt(greatest(label, 0)) - sqrt(greatest(score, 1e-6)))
            * (sqrt(greatest(label, 0)) - sqrt(greatest(score, 1e-6)))
            / sqrt(greatest(score, 1e-6))
    end
