-- purpose: how long ago the user came first, last, and last did each kind of thing
-- grain:   user_id, cutoff_at
-- inputs:  cutoffs.known_days, sessions.user_totals
-- check:   days_since_last_event >= 0
-- check:   days_since_first_event >= days_since_last_event
-- version: 2
select
    known.user_id,
    known.cutoff_at,
    days_between(upto.first_event_at, known.cutoff_at) as days_since_first_event,
    days_between(upto.last_event_at, known.cutoff_at) as days_since_last_event,
    days_between(upto.last_active_at, known.cutoff_at) as days_since_last_activity,
    days_between(upto.last_view_at, known.cutoff_at) as days_since_last_view,
    days_between(upto.last_click_at, known.cutoff_at) as days_since_last_click,
    days_between(upto.last_cart_at, known.cutoff_at) as days_since_last_cart,
    days_between(upto.last_purchase_at, known.cutoff_at) as days_since_last_purchase,
    days_between(upto.last_return_at, known.cutoff_at) as days_since_last_return,
from cutoffs.known_days as known
inner join sessions.user_totals as upto
    on upto.user_id = known.user_id
    and upto.day_number = known.count_days
order by known.user_id, known.cutoff_at
