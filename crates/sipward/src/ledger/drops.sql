alter table ban add column dropped integer not null default 0;

-- The latest ban of a target, ended or not.
create index ban_prefix on ban (prefix);
