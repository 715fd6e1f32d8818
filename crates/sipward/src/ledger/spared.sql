-- What was lifted by hand or named by a list then, and until when no list bans it.
create table spared (
    prefix text    not null primary key,
    since  integer not null,
    until  integer not null
) strict, without rowid;
