-- purpose: the mean prediction where a feature is set to a value, and how many questions are near it
-- grain:   task, feature, position
-- inputs:  models.dependence, models.models
-- scope:   global
-- check:   density >= 0 and density <= 1
-- version: 1
select
    dependence.task,
    models.model,
    dependence.feature,
    dependence.position,
    dependence.low,
    dependence.high,
    dependence.value,
    dependence.mean_prediction,
    dependence.count_questions,
    safe_ratio(
        dependence.count_questions, sum(dependence.count_questions) over feature
    ) as density,
from models.dependence as dependence
inner join models.models as models on models.model_id = dependence.model_id
where models.is_published
window feature as (partition by dependence.task, dependence.feature)
order by dependence.task, dependence.feature, dependence.position
