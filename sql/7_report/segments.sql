-- purpose: which parts of the users each test question belongs to
-- grain:   task, user_id, cutoff_at, segment
-- inputs:  models.scores, models.models, cutoffs.known_days, sessions.user_totals,
--          features.categories
-- scope:   global
-- version: 3
-- What is looked at of a user ends with the question's cutoff: so an update, which learns of later
-- days, lets these rows stand.
with

asked as (
    select
        scores.task,
        scores.user_id,
        scores.cutoff_at,
        totals.count_sessions,
        scores.cutoff_at - totals.last_event_at as silence,
        cast(totals.value as double) as value,
        -- Thirds of those who have bought anything yet.
        ntile(3) over (
            partition by scores.task, totals.value > 0
            order by totals.value, scores.user_id, scores.cutoff_at
        ) as third,
    from models.scores as scores
    inner join models.models as models on models.model_id = scores.model_id
    inner join cutoffs.known_days as known
        on known.user_id = scores.user_id
        and known.cutoff_at = scores.cutoff_at
    inner join sessions.user_totals as totals
        on totals.user_id = known.user_id
        and totals.day_number = known.count_days
        and totals.day_at <= known.cutoff_at
    where scores.split = 'test'
        and models.is_published
),

-- Of a text feature the eight commonest words; what has hundreds is no way to divide users.
categories as (
    select asked.task, categories.* replace (coalesce(category, '(missing)') as category)
    from asked
    inner join features.categories as categories
        on categories.user_id = asked.user_id
        and categories.cutoff_at = asked.cutoff_at
),

common as (
    select task, feature, category from categories group by task, feature, category
    qualify count(*) over (partition by task, feature) between 2 and 60
        and row_number() over (partition by task, feature order by count(*) desc, category) <= 8
)

select
    task, user_id, cutoff_at, 'visits' as segment,
    if(count_sessions > 1, 'returning', 'new') as slice,
from asked
union all
select
    task, user_id, cutoff_at, 'last seen',
    case
        when silence <= interval '1 day' then '1: within a day'
        when silence <= interval '7 days' then '2: within a week'
        when silence <= interval '28 days' then '3: within four weeks'
        else '4: longer ago'
    end,
from asked
union all
select
    task, user_id, cutoff_at, 'bought so far',
    if(value > 0, ['1: least third', '2: middle third', '3: most third'][third], '0: nothing'),
from asked
union all
select
    categories.task, categories.user_id, categories.cutoff_at, categories.feature,
    coalesce(common.category, '(other)'),
from categories
left join common
    on common.task = categories.task
    and common.feature = categories.feature
    and common.category = categories.category
where categories.feature in (select feature from common where common.task = categories.task)
order by task, user_id, cutoff_at, segment
