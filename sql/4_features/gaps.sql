-- purpose: the rhythm of visits and orders: usual gap, its spread, and whether one is due
-- grain:   user_id, cutoff_at
-- inputs:  cutoffs.known_days, sessions.user_totals
-- version: 3
with

measured as (
    select
        known.user_id,
        known.cutoff_at,
        cast(visit_gap_sum as double) / nullif(count_visit_gaps, 0) as visit_gap_mean_days,
        deviation_from(count_visit_gaps, visit_gap_sum, visit_gap_squares)
            as visit_gap_deviation_days,
        visit_gap_max as visit_gap_max_days,
        visit_gap_last as visit_gap_last_days,
        days_between(visited_at, known.cutoff_at) as days_since_visit,
        cast(order_gap_sum as double) / nullif(count_order_gaps, 0) as order_gap_mean_days,
        deviation_from(count_order_gaps, order_gap_sum, order_gap_squares)
            as order_gap_deviation_days,
        order_gap_last as order_gap_last_days,
        days_between(ordered_at, known.cutoff_at) as days_since_order,
        -- Every order day but the first ends a gap.
        count_order_gaps + (ordered_at is not null)::integer as count_order_days,
    from cutoffs.known_days as known
    inner join sessions.user_totals as upto
        on upto.user_id = known.user_id
        and upto.day_number = known.count_days
)

select
    user_id,
    cutoff_at,
    cast(count_order_days as double) as count_order_days_lifetime,
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
