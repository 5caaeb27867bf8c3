-- purpose: how long ago the user came first, last, and last did each kind of thing
-- grain:   user_id, cutoff_at
-- inputs:  cutoffs.cutoffs, sessions.user_days
-- check:   days_since_last_event >= 0
-- check:   days_since_first_event >= days_since_last_event
-- version: 1
select
    cutoffs.user_id,
    cutoffs.cutoff_at,
    days_between(min(days.first_event_at), cutoffs.cutoff_at) as days_since_first_event,
    days_between(max(days.last_event_at), cutoffs.cutoff_at) as days_since_last_event,
    days_between(max(days.last_active_at), cutoffs.cutoff_at) as days_since_last_activity,
    days_between(max(days.last_view_at), cutoffs.cutoff_at) as days_since_last_view,
    days_between(max(days.last_click_at), cutoffs.cutoff_at) as days_since_last_click,
    days_between(max(days.last_cart_at), cutoffs.cutoff_at) as days_since_last_cart,
    days_between(max(days.last_purchase_at), cutoffs.cutoff_at) as days_since_last_purchase,
    days_between(max(days.last_return_at), cutoffs.cutoff_at) as days_since_last_return,
from cutoffs.cutoffs as cutoffs
inner join sessions.user_days as days
    on days.user_id = cutoffs.user_id
    and days.day_at <= cutoffs.cutoff_at
group by cutoffs.user_id, cutoffs.cutoff_at
order by cutoffs.user_id, cutoffs.cutoff_at
