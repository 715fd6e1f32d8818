-- What the latest times are by: UNIX time less boot time, in nanoseconds, in this boot of the machine.
create table clock (
    one    integer not null primary key check (one = 1),
    boot   text    not null,
    offset integer not null
) strict;
