-- purpose: the hours and weekdays the user comes at
-- grain:   user_id, cutoff_at
-- inputs:  cutoffs.known_days, sessions.user_totals, meta.clock
-- check:   weekend_event_share between 0 and 1
-- version: 2
-- `last_event_hour` and `last_event_weekday` are categories: the models one-hot encode them, one
-- column an hour and one a weekday. NULL where the data has no hours or no calendar.
with

told as (
    select
        upto.*,
        known.cutoff_at,
        -- What a share is taken of; NULL where the data has no hours or no calendar.
        case when clock.has_dates and clock.has_time_of_day then count_events end as count_timed,
        case when clock.has_dates then count_events end as count_dated,
    from cutoffs.known_days as known
    inner join sessions.user_totals as upto
        on upto.user_id = known.user_id
        and upto.day_number = known.count_days
    cross join meta.clock as clock
)

select
    user_id,
    cutoff_at,
    case when count_timed > 0 then strftime(last_event_at, '%H') end as last_event_hour,
    case when count_dated > 0 then strftime(last_event_at, '%a') end as last_event_weekday,
    case when count_dated > 0 then strftime(cutoff_at, '%a') end as cutoff_weekday,
    safe_ratio(count_events_night, count_timed) as night_event_share,
    safe_ratio(count_events_morning, count_timed) as morning_event_share,
    safe_ratio(count_events_afternoon, count_timed) as afternoon_event_share,
    safe_ratio(count_events_evening, count_timed) as evening_event_share,
    safe_ratio(coalesce(count_monday, 0), count_dated) as monday_event_share,
    safe_ratio(coalesce(count_tuesday, 0), count_dated) as tuesday_event_share,
    safe_ratio(coalesce(count_wednesday, 0), count_dated) as wednesday_event_share,
    safe_ratio(coalesce(count_thursday, 0), count_dated) as thursday_event_share,
    safe_ratio(coalesce(count_friday, 0), count_dated) as friday_event_share,
    safe_ratio(coalesce(count_weekend, 0), count_dated) as weekend_event_share,
from told
order by user_id, cutoff_at
