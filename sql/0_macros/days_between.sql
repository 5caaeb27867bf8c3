-- purpose: days from one moment to a later one, fractions kept; NULL if either is missing
-- version: 1
create or replace macro days_between(from_at, to_at) as
    date_diff('microsecond', from_at, to_at) / 86400e6
