-- What the latest times are by: UNIX time less boot time, in nanoseconds, in this boot of the machine;
-- and whether somebody kept the clock right in it, by what was known at the last step.
create table clock (
    one       integer not null primary key check (one = 1),
    boot      text    not null,
    offset    integer not null,
    was_right integer not null check (was_right in (0, 1))
) strict;
