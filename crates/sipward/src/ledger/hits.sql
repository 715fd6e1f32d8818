-- What each signature that was ever in force has hit, ever.
create table signature_hits (
    name    text    not null primary key,
    packets integer not null default 0,
    since   integer not null,
    last    integer
) strict, without rowid;
