-- purpose: great-circle distance in km of two places given in degrees; NULL where one is missing
-- version: 1
create or replace macro km_between(latitude, longitude, other_latitude, other_longitude) as
    -- Haversine, R. W. Sinnott, 1984: exact for near places too. `least`, which passes over NULL,
    -- keeps rounding from passing 1 on the other side of the globe.
    case when latitude + longitude + other_latitude + other_longitude is not null then
        2 * 6371.0088 * asin(sqrt(least(1e0,
            pow(sin(radians(cast(other_latitude - latitude as double)) / 2), 2)
            + cos(radians(cast(latitude as double))) * cos(radians(cast(other_latitude as double)))
            * pow(sin(radians(cast(other_longitude - longitude as double)) / 2), 2)
        )))
    end
