-- Times are UNIX time in nanoseconds. `first` and `last` are the ends of a prefix as 16 bytes,
-- IPv4 as ::ffff:a.b.c.d, so that an overlap is two comparisons.

create table ban (
    id        integer primary key,
    prefix    text    not null,
    first     blob    not null,
    last      blob    not null,
    port      integer,
    scope     text    not null check (scope in ('all', 'sip')),
    since     integer not null,
    until     integer,
    detector  text,
    reason    text    not null,
    proven    integer not null check (proven in (0, 1)),
    signature text,
    account   text,
    origin    text    not null,
    ended     integer,
    ended_by  text    check ((ended is null) = (ended_by is null))
) strict;

-- One ban in force per target and scope.
create unique index ban_in_force on ban (prefix, ifnull(port, -1), scope) where ended is null;
create index ban_first on ban (first);

create table alert (
    id       integer primary key,
    at       integer not null,
    source   text    not null,
    first    blob    not null,
    last     blob    not null,
    port     integer,
    detector text    not null,
    proven   integer not null check (proven in (0, 1)),
    summary  text    not null,
    account  text,
    spared   text
) strict;

create index alert_first on alert (first);
create index alert_at on alert (at);

-- `place` is what `number` counts: packet, line, kernel or ami (which have no number).
create table evidence (
    alert   integer not null references alert on delete cascade,
    at      integer not null,
    place   text    not null,
    number  integer,
    summary text    not null
) strict;

create index evidence_alert on evidence (alert);

create table allowed (
    prefix text    primary key,
    since  integer not null
) strict, without rowid;

create table trusted (
    address    text    primary key,
    how        text    not null,
    username   text,
    user_agent blob,
    since      integer not null,
    last       integer not null,
    until      integer not null
) strict, without rowid;
