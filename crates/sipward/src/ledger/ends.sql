-- Who is over is found without reading those that are in force, of which there may be a million.
create index ban_until on ban (until) where ended is null and until is not null;
create index ban_ended on ban (ended) where ended is not null;
