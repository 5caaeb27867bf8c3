-- purpose: where the user is: regions, how far they lie apart, the way between events
-- grain:   user_id, cutoff_at
-- inputs:  cutoffs.cutoffs, staging.app_events
-- params:  bucket, has_locations
-- version: 1
-- A region is a place as rounded (`location_decimals`). The usual one has the most events, of equals
-- the one seen last. The radius is that of gyration: the root of the mean squared distance from the
-- middle of all events (M. Gonzalez, C. Hidalgo, A.-L. Barabasi, 2008), in straight lines, from sums
-- of points on the unit sphere: 1 - |mean|^2 is the mean squared distance, across the date line too.
with

days as (
    select
        user_id,
        time_bucket(getvariable('bucket'), event_at) as day_at,
        latitude,
        longitude,
        count(*) as count_events,
        sum(km_from_previous) as km,
        max(event_id) as last_event_id,
    from staging.app_events
    where latitude is not null
    group by user_id, day_at, latitude, longitude
),

regions as (
    select
        cutoffs.user_id,
        cutoffs.cutoff_at,
        days.latitude,
        days.longitude,
        cast(sum(days.count_events) as integer) as count_events,
        max(days.day_at) > cutoffs.cutoff_at - interval '30 days' as is_recent,
        sum(days.km) filter (days.day_at > cutoffs.cutoff_at - interval '30 days') as km_30d,
        max(days.last_event_id) as last_event_id,
    from cutoffs.cutoffs as cutoffs
    inner join days on days.user_id = cutoffs.user_id and days.day_at <= cutoffs.cutoff_at
    group by cutoffs.user_id, cutoffs.cutoff_at, days.latitude, days.longitude
),

summed as (
    select
        user_id,
        cutoff_at,
        count(*) as count_regions,
        count(*) filter (is_recent) as count_regions_30d,
        cast(sum(count_events) as double) as count_events,
        max(count_events) as count_usual,
        arg_max([latitude, longitude], (count_events, last_event_id)) as usual,
        arg_max([latitude, longitude], last_event_id) as last,
        coalesce(sum(km_30d), 0) as km_30d,
        sum(count_events * cast(cos(radians(latitude)) * cos(radians(longitude))
            as decimal(18, 16))) as x,
        sum(count_events * cast(cos(radians(latitude)) * sin(radians(longitude))
            as decimal(18, 16))) as y,
        sum(count_events * cast(sin(radians(latitude)) as decimal(18, 16))) as z,
    from regions
    group by user_id, cutoff_at
),

told as (
    select
        user_id,
        cutoff_at,
        count_regions,
        count_regions_30d,
        count_usual / count_events as usual_region_share,
        case when count_regions = 1 then 0 else 6371.0088 * sqrt(greatest(0, 1 - (
            pow(x / count_events, 2) + pow(y / count_events, 2) + pow(z / count_events, 2)
        ))) end as location_radius_km,
        cast(km_30d as double) as km_travelled_30d,
        km_between(usual[1], usual[2], last[1], last[2]) as last_km_from_usual_region,
    from summed
)

-- No column where no source has locations.
select columns(lambda name: getvariable('has_locations') or name in ('user_id', 'cutoff_at'))
from told
order by user_id, cutoff_at
