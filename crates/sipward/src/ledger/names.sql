-- What each name on the allowlist stood for when it was looked up last, a row for each address.
create table allowed_name (
    name    text    not null,
    address text    not null,
    since   integer not null,
    primary key (name, address)
) strict, without rowid;
