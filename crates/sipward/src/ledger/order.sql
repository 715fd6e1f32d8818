-- Lists are imported in the order of their addresses. An index in that order then grows at its end;
-- by the prefix's text each ban would be written to a page of its own.
drop index ban_in_force;
drop index ban_prefix;
drop index ban_first;
create unique index ban_in_force on ban (first, prefix, ifnull(port, -1), scope)
    where ended is null;
create index ban_target on ban (first, prefix);
