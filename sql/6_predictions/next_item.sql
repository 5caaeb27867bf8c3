-- purpose: what each user will most likely choose next, best first, and why
-- grain:   user_id, rank
-- inputs:  models.recommended, predictions.next_item_rules, staging.items
-- params:  count_recommended, max_per_category
-- check:   rank >= 1 and score >= 0
-- scope:   global
-- version: 2
with

allowed as (
    select
        recommended.*,
        recommended.score * rules.boost as boosted_score,
        rules.category_of_rule,
    from models.recommended as recommended
    inner join predictions.next_item_rules as rules on rules.item_id = recommended.item_id
    where recommended.task = 'next_item' and rules.is_available and rules.boost > 0
),

-- A list that is all of one kind helps nobody, so a category has so many places and no more.
varied as (
    select allowed.*
    from allowed
    qualify getvariable('max_per_category') is null or category_of_rule is null
        or row_number() over (
            partition by user_id, category_of_rule order by boosted_score desc, place
        ) <= getvariable('max_per_category')
),

ranked as (
    select
        varied.*,
        row_number() over (partition by user_id order by boosted_score desc, place) as rank,
    from varied
    qualify rank <= getvariable('count_recommended')
)

select
    ranked.user_id,
    cast(ranked.rank as integer) as rank,
    ranked.item_id,
    ranked.boosted_score as score,
    ranked.source,
    case ranked.source
        when 'own' then case
            when reason_count > 1 then 'chosen ' || reason_count || ' times before'
            else 'chosen before'
        end
        when 'co-visited' then
            'often chosen after ' || coalesce(reasons.title, reason_item_id::varchar)
        when 'similar content' then
            'is like ' || coalesce(reasons.title, reason_item_id::varchar)
        when 'what follows' then 'likely after the user''s latest choices'
        when 'similar visits' then 'chosen in visits like the user''s'
        when 'similar taste' then 'chosen by users of similar taste'
        when 'popular in category' then 'popular in the category the user likes'
        else 'popular lately'
    end as reason,
from ranked
left join staging.items as reasons on reasons.item_id = ranked.reason_item_id
order by ranked.user_id, ranked.rank
