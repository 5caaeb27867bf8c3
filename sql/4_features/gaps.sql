-- purpose: the rhythm of visits and orders: usual gap, its spread, and whether one is due
-- grain:   user_id, cutoff_at
-- inputs:  cutoffs.cutoffs, sessions.user_days
-- version: 1
with

-- A gap belongs to the later of its two days, so it is known once that day has come.
spaced as (
    select
        cutoffs.user_id,
        cutoffs.cutoff_at,
        days.day_at,
        case when days.count_active > 0 then days_between(previous_active_day_at, day_at) end
            as visit_gap_days,
        case when days.count_orders > 0 then days_between(previous_order_day_at, day_at) end
            as order_gap_days,
        case when days.count_active > 0 then days.day_at end as visited_at,
        case when days.count_orders > 0 then days.day_at end as ordered_at,
    from cutoffs.cutoffs as cutoffs
    inner join sessions.user_days as days
        on days.user_id = cutoffs.user_id
        and days.day_at <= cutoffs.cutoff_at
),

measured as (
    select
        user_id,
        cutoff_at,
        -- Decimals add up to the same sum in any order; doubles do not.
        avg_of(visit_gap_days) as visit_gap_mean_days,
        deviation_of(visit_gap_days) as visit_gap_deviation_days,
        max(visit_gap_days) as visit_gap_max_days,
        arg_max(visit_gap_days, day_at) as visit_gap_last_days,
        days_between(max(visited_at), cutoff_at) as days_since_visit,
        avg_of(order_gap_days) as order_gap_mean_days,
        deviation_of(order_gap_days) as order_gap_deviation_days,
        arg_max(order_gap_days, day_at) as order_gap_last_days,
        days_between(max(ordered_at), cutoff_at) as days_since_order,
    from spaced
    group by user_id, cutoff_at
)

select
    user_id,
    cutoff_at,
    visit_gap_mean_days,
    visit_gap_deviation_days,
    visit_gap_max_days,
    visit_gap_last_days,
    order_gap_mean_days,
    order_gap_deviation_days,
    order_gap_last_days,
    -- Due-ness: how much of a usual gap has passed, and by how many deviations it is exceeded.
    safe_ratio(days_since_visit, visit_gap_mean_days) as visit_due_ratio,
    safe_ratio(days_since_order, order_gap_mean_days) as order_due_ratio,
    safe_ratio(days_since_visit - visit_gap_mean_days, visit_gap_deviation_days + 1)
        as visit_overdue_deviations,
    safe_ratio(days_since_order - order_gap_mean_days, order_gap_deviation_days + 1)
        as order_overdue_deviations,
from measured
order by user_id, cutoff_at
