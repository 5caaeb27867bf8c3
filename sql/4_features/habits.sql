-- purpose: the hours and weekdays the user comes at
-- grain:   user_id, cutoff_at
-- inputs:  cutoffs.cutoffs, sessions.user_days, meta.clock
-- check:   weekend_event_share between 0 and 1
-- version: 1
-- `last_event_hour` and `last_event_weekday` are categories: the models one-hot encode them, one
-- column an hour and one a weekday. NULL where the data has no hours or no calendar.
with

aged as (
    select
        cutoffs.user_id,
        cutoffs.cutoff_at,
        days.* exclude (user_id),
        clock.has_dates,
        clock.has_time_of_day,
        isodow(days.day_at) as weekday,
    from cutoffs.cutoffs as cutoffs
    inner join sessions.user_days as days
        on days.user_id = cutoffs.user_id
        and days.day_at <= cutoffs.cutoff_at
    cross join meta.clock as clock
),

counted as (
    select
        user_id,
        cutoff_at,
        any_value(has_dates) as has_dates,
        any_value(has_dates and has_time_of_day) as has_hours,
        max(last_event_at) as last_event_at,
        sum(count_events) as count_events,
        sum(count_events_night) as count_night,
        sum(count_events_morning) as count_morning,
        sum(count_events_afternoon) as count_afternoon,
        sum(count_events_evening) as count_evening,
        sum(count_events) filter (where weekday = 1) as count_monday,
        sum(count_events) filter (where weekday = 2) as count_tuesday,
        sum(count_events) filter (where weekday = 3) as count_wednesday,
        sum(count_events) filter (where weekday = 4) as count_thursday,
        sum(count_events) filter (where weekday = 5) as count_friday,
        sum(count_events) filter (where weekday >= 6) as count_weekend,
    from aged
    group by user_id, cutoff_at
)

select
    user_id,
    cutoff_at,
    case when has_hours then strftime(last_event_at, '%H') end as last_event_hour,
    case when has_dates then strftime(last_event_at, '%a') end as last_event_weekday,
    case when has_dates then strftime(cutoff_at, '%a') end as cutoff_weekday,
    case when has_hours then safe_ratio(count_night, count_events) end as night_event_share,
    case when has_hours then safe_ratio(count_morning, count_events) end
        as morning_event_share,
    case when has_hours then safe_ratio(count_afternoon, count_events) end
        as afternoon_event_share,
    case when has_hours then safe_ratio(count_evening, count_events) end
        as evening_event_share,
    case when has_dates then safe_ratio(coalesce(count_monday, 0), count_events) end
        as monday_event_share,
    case when has_dates then safe_ratio(coalesce(count_tuesday, 0), count_events) end
        as tuesday_event_share,
    case when has_dates then safe_ratio(coalesce(count_wednesday, 0), count_events) end
        as wednesday_event_share,
    case when has_dates then safe_ratio(coalesce(count_thursday, 0), count_events) end
        as thursday_event_share,
    case when has_dates then safe_ratio(coalesce(count_friday, 0), count_events) end
        as friday_event_share,
    case when has_dates then safe_ratio(coalesce(count_weekend, 0), count_events) end
        as weekend_event_share,
from counted
order by user_id, cutoff_at
