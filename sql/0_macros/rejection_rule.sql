-- purpose: the first cleaning rule that a raw event breaks; NULL for a good one
-- version: 4
create or replace macro rejection_rule(
    user_id, bot, robot, event_at, unread_at, unread_value, role, value, quantity, is_late,
    earliest_at, latest_at, since, until, max_value, max_quantity, is_granted
) as
    case
        when user_id is null then 'missing_user'
        when not is_granted then 'no_consent'
        when bot is not null then 'bot'
        when robot is not null then 'bot_behaviour'
        when unread_at is not null then 'unparsable_time'
        when event_at is null then 'missing_time'
        when event_at > latest_at then 'future_time'
        when event_at < earliest_at then 'time_before_min_date'
        when event_at < since or event_at > until then 'outside_since_until'
        when is_late then 'too_late'
        when unread_value is not null then 'unparsable_value'
        -- A negative price is a mistake, unless it is a refund: by its word or its quantity.
        when value < 0 and coalesce(quantity, 1) >= 0 and role <> 'return' then 'negative_value'
        when abs(value) > max_value or abs(quantity) > max_quantity then 'absurd_value'
    end
