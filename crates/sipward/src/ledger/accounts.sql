create index alert_account on alert (account) where account is not null;
