//! The ledger, `ledger.db` in the state folder: why, since when, and what was before. What is
//! blocked now is the kernel's to know; where its pins are gone, the ledger restores them.
//!
//! SQLite in WAL mode with `synchronous = full`: what [`Ledger::write`] returned from survives
//! `kill -9` and a power cut. The database is never on a packet's path.

mod clock;
mod open;
mod rescue;
mod rows;

use std::{collections::BTreeMap, net::IpAddr, path::PathBuf, time::Duration};

use ipnet::IpNet;
use rusqlite::{Connection, OptionalExtension, Row, ToSql, Transaction, params};
use sipward_engine::{Alert, Ban, Scope, Time, Trusted, UnbanCause};

pub use open::{FILE_NAME, make_folder};

use crate::{
    clock::{Offset, Step},
    exit::Failure,
};

/// Ended bans and alerts older than this are forgotten.
const KEPT: Duration = Duration::from_secs(90 * 86_400);
/// Ended bans and alerts beyond this many are forgotten, the oldest first.
const KEPT_ROWS: i64 = 200_000;

/// The ledger.
pub struct Ledger {
    connection: Connection,
    path: PathBuf,
    /// The file could not be opened for writing: what is read is what could be read of it.
    only_reads: bool,
    /// It is no file that is read, but a copy in memory of what could be read of one.
    stands_in: bool,
    /// The file was damaged, and was kept under this name.
    kept_aside: Option<PathBuf>,
}

/// One change to the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A ban; one of the same prefix, port and scope ends as [`Ended::Replaced`], unless it began at the
    /// same moment: then it has this one's end and reason from now on.
    Ban(Ban),
    /// The ban of exactly this target ends; none in force is no error.
    Lift(Target, Time, Ended),
    /// Packets that the latest ban of exactly this target has dropped, in force or ended; the
    /// kernel's own count begins anew where its maps are lost, so a smaller one changes nothing.
    Dropped(Target, u64),
    /// A detector fired.
    Alert(Alert),
    /// A prefix is allowed from now on.
    Allow(IpNet, Time),
    /// A prefix is no longer allowed.
    Disallow(IpNet),
    /// A name is allowed, and stands for these addresses from now on.
    AllowName(AllowedName),
    /// A name is no longer allowed.
    DisallowName(String),
    /// An address proved itself, or did so again.
    Trust(Trusted),
    /// An address is no longer trusted.
    Distrust(IpAddr),
    /// A prefix was lifted by hand, or named by a list since: from the first time until the second no
    /// list bans it.
    Spare(IpNet, Time, Time),
    /// Lists may ban a prefix again.
    SpareNoLonger(IpNet),
    /// A signature is looked for since then.
    LookFor(String, Time),
    /// A signature hit so many packets more, the last one then.
    Hits(String, u64, Time),
    /// Times are by this offset from now on, in this boot of the machine.
    Keep(String, Offset),
    /// Somebody has set the clock.
    Step(Step),
}

/// What a signature has hit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hits {
    /// The signature's name.
    pub name: String,
    /// How many packets, ever.
    pub packets: u64,
    /// When it was looked for first.
    pub since: Time,
    /// The last packet.
    pub last: Option<Time>,
}

impl Hits {
    /// Of a signature that is looked for since then.
    #[must_use]
    pub const fn none(name: String, since: Time) -> Self {
        Self {
            name,
            packets: 0,
            since,
            last: None,
        }
    }
}

/// What tells two bans in force apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Target {
    /// The banned addresses.
    pub prefix: IpNet,
    /// The source port, where only one is banned.
    pub port: Option<u16>,
    /// What is dropped.
    pub scope: Scope,
}

/// How a ban ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Its time was over.
    Lapsed,
    /// Somebody lifted it.
    Lifted,
    /// It was split around addresses that somebody wanted free.
    Split,
    /// A ban of the same target took its place.
    Replaced,
}

/// A name on the allowlist.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AllowedName {
    /// The name.
    pub name: String,
    /// What it stands for, in order.
    pub addresses: Vec<IpAddr>,
    /// Since when it is allowed.
    pub since: Time,
}

/// A ban that is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PastBan {
    /// The ban as it was.
    pub ban: Ban,
    /// When it ended.
    pub ended: Time,
    /// How.
    pub by: Ended,
    /// Packets that it dropped, as far as is known.
    pub dropped: u64,
}

impl Target {
    /// Whom and what a ban hits.
    #[must_use]
    pub const fn of(ban: &Ban) -> Self {
        Self {
            prefix: ban.prefix,
            port: ban.port,
            scope: ban.scope,
        }
    }
}

impl PastBan {
    /// The ban with the end that it really had.
    #[must_use]
    pub fn as_it_ended(self) -> Ban {
        Ban {
            until: Some(self.ended),
            ..self.ban
        }
    }
}

impl Ended {
    /// The name that people and scripts see.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lapsed => "lapsed",
            Self::Lifted => "lifted",
            Self::Split => "split",
            Self::Replaced => "replaced",
        }
    }
}

impl From<UnbanCause> for Ended {
    fn from(cause: UnbanCause) -> Self {
        match cause {
            UnbanCause::Lapsed => Self::Lapsed,
            UnbanCause::Lifted => Self::Lifted,
            UnbanCause::Split => Self::Split,
        }
    }
}

impl Ledger {
    const fn of(connection: Connection, path: PathBuf) -> Self {
        Self {
            connection,
            path,
            only_reads: false,
            stands_in: false,
            kept_aside: None,
        }
    }

    /// Writes all entries or none, in one transaction; they are durable when it returns.
    ///
    /// # Errors
    /// The disk is full or broken; nothing was written.
    pub fn write(&mut self, entries: &[Entry]) -> Result<(), Failure> {
        write_all(self.writable()?, entries).map_err(|error| self.failure("write", &error))
    }

    /// As [`Self::write`], without waiting for the disk: what is written survives the death of the
    /// program, but the latest of it not a power cut. On a busy disk the wait is 0.2 s, in which
    /// nobody reads packets.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub fn write_soon(&mut self, entries: &[Entry]) -> Result<(), Failure> {
        self.writable()?;
        self.wait_for_disk(false)?;
        let written = self.write(entries);
        self.wait_for_disk(true)?;
        written
    }

    fn wait_for_disk(&self, wait: bool) -> Result<(), Failure> {
        let level = if wait { "full" } else { "normal" };
        self.connection
            .pragma_update(None, "synchronous", level)
            .map_err(|error| self.failure("write", &error))
    }

    /// The bans in force at `now`, in the order of their targets.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn bans(&self, now: Time) -> Result<Vec<Ban>, Failure> {
        let sql = format!(
            "select {} from ban where ended is null and (until is null or until > ?1)",
            rows::BAN
        );
        let mut bans = self.select(&sql, params![rows::number(now)], rows::ban)?;
        bans.sort_by_key(Target::of);
        Ok(bans)
    }

    /// The bans that are over at `now`, the latest first, at most `limit`.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn history(&self, now: Time, limit: u32) -> Result<Vec<PastBan>, Failure> {
        // In two parts, each of which has its index: those in force may be a million.
        let sql = format!(
            "select {} from
                 (select * from ban where ended is not null
                  union all select * from ban where ended is null and until <= ?1)
             order by ifnull(ended, until) desc, id desc limit ?2",
            rows::PAST_BAN
        );
        self.select(&sql, params![rows::number(now), limit], rows::past_ban)
    }

    /// The last ban of exactly this target as it ended; none where there never was one, or where
    /// it has not been ended.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn last_end(&self, target: &Target) -> Result<Option<PastBan>, Failure> {
        let sql = format!(
            "select {} from
                 (select * from ban
                  where first = ?4 and prefix = ?1 and port is ?2 and scope = ?3
                  order by id desc limit 1)
             where ended is not null",
            rows::PAST_BAN
        );
        let scope = rows::scope_name(target.scope);
        self.connection
            .query_row(
                &sql,
                params![
                    target.prefix.to_string(),
                    target.port,
                    scope,
                    rows::ends(&target.prefix).0
                ],
                rows::past_ban,
            )
            .optional()
            .map_err(|error| self.failure("read", &error))
    }

    /// The alerts about sources that overlap `prefix`, the latest first, at most `limit`, each
    /// with its evidence.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn alerts(&self, prefix: &IpNet, limit: u32) -> Result<Vec<Alert>, Failure> {
        let (first, last) = rows::ends(prefix);
        let sql = "select * from alert where first <= ?2 and last >= ?1
                   order by at desc, id desc limit ?3";
        self.with_evidence(sql, params![first, last, limit])
    }

    /// As [`Self::alerts`], about this account.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn alerts_of_account(&self, account: &str, limit: u32) -> Result<Vec<Alert>, Failure> {
        let sql = "select * from alert where account = ?1 order by at desc, id desc limit ?2";
        self.with_evidence(sql, params![account, limit])
    }

    fn with_evidence(&self, sql: &str, of: &[&dyn ToSql]) -> Result<Vec<Alert>, Failure> {
        let mut alerts = self.select(sql, of, rows::alert)?;
        for (id, alert) in &mut alerts {
            let sql = "select * from evidence where alert = ?1 order by rowid";
            alert.evidence = self.select(sql, params![*id], rows::evidence)?;
        }
        Ok(alerts.into_iter().map(|(_, alert)| alert).collect())
    }

    /// The prefixes that were allowed by hand, in order, and since when.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn allowed(&self) -> Result<Vec<(IpNet, Time)>, Failure> {
        let mut allowed = self.select("select * from allowed", params![], rows::allowed)?;
        allowed.sort();
        Ok(allowed)
    }

    /// The names that are allowed, in order, each with what it stood for last.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn allowed_names(&self) -> Result<Vec<AllowedName>, Failure> {
        let sql = "select * from allowed_name order by name";
        let rows = self.select(sql, params![], rows::allowed_name)?;
        Ok(by_name(rows))
    }

    /// The addresses that proved themselves, in order, lapsed trust included.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn trusted(&self) -> Result<Vec<Trusted>, Failure> {
        let mut trusted = self.select("select * from trusted", params![], rows::trusted)?;
        trusted.sort_by_key(|trusted| trusted.address);
        Ok(trusted)
    }

    /// The prefixes that lists do not ban, and until when, lapsed ones included.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn spared(&self) -> Result<BTreeMap<IpNet, Time>, Failure> {
        let spared = self.select("select * from spared", params![], rows::spared)?;
        let until = |(prefix, _, until)| (prefix, until);
        Ok(spared.into_iter().map(until).collect())
    }

    /// What each signature has hit, in the order of the names.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn hits(&self) -> Result<Vec<Hits>, Failure> {
        let sql = "select * from signature_hits order by name";
        self.select(sql, params![], rows::hits)
    }

    /// Marks lapsed bans as ended and forgets what is older than the ledger keeps.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn tidy(&mut self, now: Time) -> Result<(), Failure> {
        let (oldest, now) = (rows::number(now - KEPT), rows::number(now));
        let attempt = |connection: &mut Connection| {
            let transaction = connection.transaction()?;
            transaction.execute(
                "update ban set ended = until, ended_by = 'lapsed'
                 where ended is null and until <= ?1",
                [now],
            )?;
            transaction.execute("delete from ban where ended < ?1", [oldest])?;
            transaction.execute(
                "delete from ban where ended is not null and (ended, id) <=
                    (select ended, id from ban where ended is not null
                     order by ended desc, id desc limit 1 offset ?1)",
                [KEPT_ROWS],
            )?;
            transaction.execute(
                "delete from alert where at < ?1 or id <=
                    (select id from alert order by id desc limit 1 offset ?2)",
                [oldest, KEPT_ROWS],
            )?;
            transaction.execute("delete from trusted where last < ?1", [oldest])?;
            transaction.execute("delete from spared where until <= ?1", [now])?;
            transaction.commit()
        };
        attempt(self.writable()?).map_err(|error| self.failure("write", &error))
    }

    fn select<T>(
        &self,
        sql: &str,
        of: &[&dyn ToSql],
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, Failure> {
        self.connection
            .prepare_cached(sql)
            .and_then(|mut statement| statement.query_map(of, read)?.collect())
            .map_err(|error| self.failure("read", &error))
    }

    fn failure(&self, what: &str, error: &rusqlite::Error) -> Failure {
        Failure::input(format!(
            "{}: cannot {what} the ledger: {error}",
            self.path.display()
        ))
    }
}

/// Puts the addresses of each name together; those of one name stand one after another.
fn by_name(rows: Vec<AllowedName>) -> Vec<AllowedName> {
    let mut names: Vec<AllowedName> = Vec::new();
    for row in rows {
        match names.last_mut() {
            Some(last) if last.name == row.name => last.addresses.extend(row.addresses),
            Some(_) | None => names.push(row),
        }
    }
    for name in &mut names {
        name.addresses.sort_unstable();
    }
    names
}

fn write_all(connection: &mut Connection, entries: &[Entry]) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    entries
        .iter()
        .try_for_each(|entry| write(&transaction, entry))?;
    transaction.commit()
}

fn write(transaction: &Transaction<'_>, entry: &Entry) -> rusqlite::Result<()> {
    match entry {
        Entry::Ban(ban) => {
            if prolong(transaction, ban)? {
                return Ok(());
            }
            lift(transaction, &Target::of(ban), ban.since, Ended::Replaced)?;
            rows::insert_ban(transaction, ban)
        }
        Entry::Lift(target, at, by) => lift(transaction, target, *at, *by),
        Entry::Dropped(target, packets) => count_dropped(transaction, target, *packets),
        Entry::Alert(alert) => rows::insert_alert(transaction, alert),
        Entry::Allow(prefix, since) => execute(
            transaction,
            "insert into allowed values (?1, ?2) on conflict do nothing",
            params![prefix.to_string(), rows::number(*since)],
        ),
        Entry::Disallow(prefix) => execute(
            transaction,
            "delete from allowed where prefix = ?1",
            params![prefix.to_string()],
        ),
        Entry::AllowName(name) => rows::insert_name(transaction, name),
        Entry::DisallowName(name) => execute(
            transaction,
            "delete from allowed_name where name = ?1",
            params![name],
        ),
        Entry::Trust(trusted) => rows::insert_trusted(transaction, trusted),
        Entry::Distrust(address) => execute(
            transaction,
            "delete from trusted where address = ?1",
            params![address.to_string()],
        ),
        Entry::Spare(prefix, since, until) => execute(
            transaction,
            "insert or replace into spared values (?1, ?2, ?3)",
            params![
                prefix.to_string(),
                rows::number(*since),
                rows::number(*until)
            ],
        ),
        Entry::SpareNoLonger(prefix) => execute(
            transaction,
            "delete from spared where prefix = ?1",
            params![prefix.to_string()],
        ),
        Entry::LookFor(name, since) => execute(
            transaction,
            "insert into signature_hits (name, since) values (?1, ?2) on conflict do nothing",
            params![name, rows::number(*since)],
        ),
        Entry::Hits(name, packets, last) => execute(
            transaction,
            "insert into signature_hits values (?1, ?2, ?3, ?3) on conflict (name) do update
                 set packets = packets + excluded.packets,
                     last = max(ifnull(last, 0), excluded.last)",
            params![
                name,
                i64::try_from(*packets).unwrap_or(i64::MAX),
                rows::number(*last)
            ],
        ),
        Entry::Keep(boot, offset) => clock::keep(transaction, boot, *offset),
        Entry::Step(step) => clock::step(transaction, step),
    }
}

/// Whether it is the ban in force of its target, which then has a new end.
fn prolong(transaction: &Transaction<'_>, ban: &Ban) -> rusqlite::Result<bool> {
    let sql = "update ban set until = ?5, reason = ?6
               where first = ?7 and prefix = ?1 and port is ?2 and scope = ?3 and since = ?4
                   and ended is null";
    let prolonged = transaction.prepare_cached(sql)?.execute(params![
        ban.prefix.to_string(),
        ban.port,
        rows::scope_name(ban.scope),
        rows::number(ban.since),
        ban.until.map(rows::number),
        ban.reason,
        rows::ends(&ban.prefix).0
    ])?;
    Ok(prolonged > 0)
}

fn lift(
    transaction: &Transaction<'_>,
    target: &Target,
    at: Time,
    by: Ended,
) -> rusqlite::Result<()> {
    // A ban that lapsed before is not ended by what comes after.
    let sql = "update ban set ended = min(?4, ifnull(until, ?4)),
                   ended_by = iif(until <= ?4, 'lapsed', ?5)
               where first = ?6 and prefix = ?1 and port is ?2 and scope = ?3 and ended is null";
    let scope = rows::scope_name(target.scope);
    let of = params![
        target.prefix.to_string(),
        target.port,
        scope,
        rows::number(at),
        by.name(),
        rows::ends(&target.prefix).0
    ];
    execute(transaction, sql, of)
}

fn count_dropped(
    transaction: &Transaction<'_>,
    target: &Target,
    packets: u64,
) -> rusqlite::Result<()> {
    let sql = "update ban set dropped = ?4 where dropped < ?4 and id =
                   (select max(id) from ban
                    where first = ?5 and prefix = ?1 and port is ?2 and scope = ?3)";
    let of = params![
        target.prefix.to_string(),
        target.port,
        rows::scope_name(target.scope),
        i64::try_from(packets).unwrap_or(i64::MAX),
        rows::ends(&target.prefix).0
    ];
    execute(transaction, sql, of)
}

fn execute(transaction: &Transaction<'_>, sql: &str, of: &[&dyn ToSql]) -> rusqlite::Result<()> {
    transaction.prepare_cached(sql)?.execute(of)?;
    Ok(())
}

#[cfg(test)]
mod tests;
