-- purpose: what each published model relies on: what features add, and what their loss would cost
-- grain:   task, feature
-- inputs:  models.contributions, models.importance, models.models, models.permutation_importance
-- scope:   global
-- version: 1
select
    contributions.task,
    models.model,
    contributions.feature,
    cast(rank() over by_size as integer) as rank,
    contributions.mean_size as mean_contribution_size,
    coalesce(importance.importance, 0e0) as importance,
    contributions.feature_group,
    contributions.correlation as group_correlation,
    permuted.value as permutation_loss,
    permuted.low as permutation_low,
    permuted.high as permutation_high,
    contributions.count_questions,
from models.contributions as contributions
inner join models.models as models on models.model_id = contributions.model_id
left join models.importance as importance
    on importance.model_id = contributions.model_id
    and importance.feature = contributions.feature
left join models.permutation_importance as permuted
    on permuted.model_id = contributions.model_id
    and permuted.feature_group = contributions.feature_group
where models.is_published
window by_size as (
    partition by contributions.task
    order by contributions.mean_size desc, contributions.feature
)
order by contributions.task, rank, contributions.feature
