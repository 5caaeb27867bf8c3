-- purpose: what is wrong with a row about a user or an item that breaks a rule, in words
-- version: 1
create or replace macro fact_reason(
    rule, thing, valid_from, valid_to, unread_at, question, unread_value, price
) as
    case
        when rule = 'missing_' || thing then 'no ' || thing || ' id'
        when rule = 'unknown_' || thing then 'the ' || thing || ' has no events'
        when rule = 'unparsable_time' then 'not a time: ' || unread_at
        when rule = 'missing_time' then 'no time'
        when rule = 'future_time' then 'in the future: ' || valid_from
        when rule = 'time_before_min_date' then 'before min_date: ' || valid_from
        when rule = 'reversed_range' then 'ends before it begins: ' || valid_from || ' to ' || valid_to
        when rule = 'missing_answer' then 'no answer'
        when rule = 'unlisted_question' then 'not among features: ' || question
        when rule = 'unparsable_value' then 'not a number: ' || unread_value
        when rule = 'negative_value' then 'negative price: ' || price
        when rule = 'absurd_value' then 'beyond max_value: ' || price
        when rule = 'contradiction' then 'an earlier row says otherwise as of ' || valid_from
        when rule = 'overlapping_range' then 'begins before an earlier one ends: ' || valid_from
        when valid_from is null then 'an earlier row describes the same ' || thing
        else 'the same stands in an earlier row'
    end
