//! The ledger's rows as the engine's values, and back.

use std::{net::IpAddr, str::FromStr};

use ipnet::IpNet;
use rusqlite::{Row, RowIndex, Transaction, params, types::Type};
use sipward_engine::{
    Alert, Ban, Detector, Evidence, Origin, Place, Scope, Time, Trusted, TrustedBy,
};

use super::{AllowedName, Ended, Hits, PastBan};

/// The columns that [`ban`] reads, in its order. There may be a million rows: in none of them they are
/// looked for by their names.
pub(super) const BAN: &str = "prefix, port, scope, since, until, detector, reason, proven, signature, \
                              account, origin";
/// The columns that [`past_ban`] reads, which begin with those of [`ban`].
pub(super) const PAST_BAN: &str = "prefix, port, scope, since, until, detector, reason, proven, \
                                   signature, account, origin, ended, ended_by, dropped";

pub(super) fn ban(row: &Row<'_>) -> rusqlite::Result<Ban> {
    Ok(Ban {
        prefix: parsed(row, 0)?,
        port: row.get(1)?,
        // The schema allows these two only.
        scope: if row.get_ref(2)?.as_str()? == "sip" {
            Scope::Sip
        } else {
            Scope::All
        },
        since: time(row, 3)?,
        until: row.get::<_, Option<i64>>(4)?.map(moment),
        // The detector of a newer version is none that we know.
        detector: row
            .get_ref(5)?
            .as_str_or_null()?
            .and_then(Detector::from_name),
        reason: row.get(6)?,
        proven: row.get(7)?,
        signature: row.get(8)?,
        account: row.get(9)?,
        origin: named(row, 10, ORIGINS, Origin::name)?,
    })
}

pub(super) fn past_ban(row: &Row<'_>) -> rusqlite::Result<PastBan> {
    let ban = ban(row)?;
    let lapsed = ban.until.unwrap_or_default();
    Ok(PastBan {
        ended: row.get::<_, Option<i64>>(11)?.map_or(lapsed, moment),
        by: match row.get_ref(12)?.as_str_or_null()? {
            None => Ended::Lapsed,
            Some(_) => named(row, 12, ENDED, Ended::name)?,
        },
        dropped: u64::try_from(row.get::<_, i64>(13)?).unwrap_or_default(),
        ban,
    })
}

pub(super) fn hits(row: &Row<'_>) -> rusqlite::Result<Hits> {
    Ok(Hits {
        name: row.get("name")?,
        packets: u64::try_from(row.get::<_, i64>("packets")?).unwrap_or_default(),
        since: time(row, "since")?,
        last: row.get::<_, Option<i64>>("last")?.map(moment),
    })
}

pub(super) fn insert_ban(transaction: &Transaction<'_>, ban: &Ban) -> rusqlite::Result<()> {
    let (first, last) = ends(&ban.prefix);
    let sql = "insert into ban (prefix, first, last, port, scope, since, until, detector, reason,
                   proven, signature, account, origin)
               values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)";
    transaction.prepare_cached(sql)?.execute(params![
        ban.prefix.to_string(),
        first,
        last,
        ban.port,
        scope_name(ban.scope),
        number(ban.since),
        ban.until.map(number),
        ban.detector.map(Detector::name),
        ban.reason,
        ban.proven,
        ban.signature,
        ban.account,
        ban.origin.name(),
    ])?;
    Ok(())
}

/// An alert without its evidence, and its number.
pub(super) fn alert(row: &Row<'_>) -> rusqlite::Result<(i64, Alert)> {
    let alert = Alert {
        at: time(row, "at")?,
        source: parsed(row, "source")?,
        port: row.get("port")?,
        detector: named(row, "detector", Detector::ALL, Detector::name)?,
        proven: row.get("proven")?,
        summary: row.get("summary")?,
        account: row.get("account")?,
        evidence: Vec::new(),
        spared: row.get("spared")?,
    };
    Ok((row.get("id")?, alert))
}

pub(super) fn evidence(row: &Row<'_>) -> rusqlite::Result<Evidence> {
    let number = row
        .get::<_, Option<i64>>("number")?
        .map(i64::cast_unsigned)
        .unwrap_or_default();
    let places = [
        Place::Packet(number),
        Place::Line(number),
        Place::Kernel,
        Place::Ami,
    ];
    Ok(Evidence {
        at: time(row, "at")?,
        place: named(row, "place", &places, |place| place_of(place).0)?,
        summary: row.get("summary")?,
    })
}

pub(super) fn insert_alert(transaction: &Transaction<'_>, alert: &Alert) -> rusqlite::Result<()> {
    let (first, last) = ends(&alert.source);
    let sql = "insert into alert
                   (at, source, first, last, port, detector, proven, summary, account, spared)
               values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
    let id = transaction.prepare_cached(sql)?.insert(params![
        number(alert.at),
        alert.source.to_string(),
        first,
        last,
        alert.port,
        alert.detector.name(),
        alert.proven,
        alert.summary,
        alert.account,
        alert.spared,
    ])?;
    let mut insert =
        transaction.prepare_cached("insert into evidence values (?1, ?2, ?3, ?4, ?5)")?;
    for evidence in &alert.evidence {
        let (place, count) = place_of(evidence.place);
        let count = count.map(u64::cast_signed);
        insert.execute(params![
            id,
            number(evidence.at),
            place,
            count,
            evidence.summary
        ])?;
    }
    Ok(())
}

pub(super) fn trusted(row: &Row<'_>) -> rusqlite::Result<Trusted> {
    Ok(Trusted {
        address: parsed(row, "address")?,
        by: named(row, "how", TRUSTED_BY, TrustedBy::name)?,
        username: row.get("username")?,
        user_agent: row.get("user_agent")?,
        since: time(row, "since")?,
        last: time(row, "last")?,
        until: time(row, "until")?,
    })
}

pub(super) fn insert_trusted(
    transaction: &Transaction<'_>,
    trusted: &Trusted,
) -> rusqlite::Result<()> {
    let sql = "insert or replace into trusted values (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    transaction.prepare_cached(sql)?.execute(params![
        trusted.address.to_string(),
        trusted.by.name(),
        trusted.username,
        trusted.user_agent,
        number(trusted.since),
        number(trusted.last),
        number(trusted.until),
    ])?;
    Ok(())
}

pub(super) fn allowed(row: &Row<'_>) -> rusqlite::Result<(IpNet, Time)> {
    Ok((parsed(row, "prefix")?, time(row, "since")?))
}

pub(super) fn spared(row: &Row<'_>) -> rusqlite::Result<(IpNet, Time, Time)> {
    Ok((
        parsed(row, "prefix")?,
        time(row, "since")?,
        time(row, "until")?,
    ))
}

/// One of the addresses of a name.
pub(super) fn allowed_name(row: &Row<'_>) -> rusqlite::Result<AllowedName> {
    Ok(AllowedName {
        name: row.get("name")?,
        addresses: vec![parsed(row, "address")?],
        since: time(row, "since")?,
    })
}

/// Puts these addresses in the place of those that the name had.
pub(super) fn insert_name(
    transaction: &Transaction<'_>,
    name: &AllowedName,
) -> rusqlite::Result<()> {
    transaction
        .prepare_cached("delete from allowed_name where name = ?1")?
        .execute([&name.name])?;
    let mut insert = transaction.prepare_cached("insert into allowed_name values (?1, ?2, ?3)")?;
    for address in &name.addresses {
        insert.execute(params![name.name, address.to_string(), number(name.since)])?;
    }
    Ok(())
}

/// The first and the last address of a prefix, as 16 bytes each.
pub(super) fn ends(prefix: &IpNet) -> ([u8; 16], [u8; 16]) {
    let bytes = |address| match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    };
    (bytes(prefix.network()), bytes(prefix.broadcast()))
}

/// A moment as SQLite keeps it: its integers are signed, and last until the year 2262.
pub(super) fn number(at: Time) -> i64 {
    i64::try_from(at.0).unwrap_or(i64::MAX)
}

pub(super) const fn scope_name(scope: Scope) -> &'static str {
    match scope {
        Scope::All => "all",
        Scope::Sip => "sip",
    }
}

const ORIGINS: &[Origin] = &[
    Origin::Local,
    Origin::Manual,
    Origin::Feed,
    Origin::Fleet,
    Origin::Import,
];

const ENDED: &[Ended] = &[Ended::Lapsed, Ended::Lifted, Ended::Split, Ended::Replaced];

const TRUSTED_BY: &[TrustedBy] = &[
    TrustedBy::Registration,
    TrustedBy::Login,
    TrustedBy::Call,
    TrustedBy::Peer,
];

const fn place_of(place: Place) -> (&'static str, Option<u64>) {
    match place {
        Place::Packet(number) => ("packet", Some(number)),
        Place::Line(number) => ("line", Some(number)),
        Place::Kernel => ("kernel", None),
        Place::Ami => ("ami", None),
    }
}

/// The one of `all` whose name stands in the column.
fn named<T: Copy>(
    row: &Row<'_>,
    column: impl RowIndex,
    all: &[T],
    name: impl Fn(T) -> &'static str,
) -> rusqlite::Result<T> {
    let text = row.get_ref(column)?.as_str()?;
    let value = all.iter().copied().find(|value| name(*value) == text);
    value.ok_or_else(|| strange(row, column, &format!("{text:?} is unknown")))
}

fn parsed<T: FromStr<Err: std::error::Error>>(
    row: &Row<'_>,
    column: impl RowIndex,
) -> rusqlite::Result<T> {
    let text = row.get_ref(column)?.as_str()?;
    text.parse()
        .map_err(|error: T::Err| strange(row, column, &format!("{text:?}: {error}")))
}

fn time(row: &Row<'_>, column: impl RowIndex) -> rusqlite::Result<Time> {
    row.get(column).map(moment)
}

fn moment(nanoseconds: i64) -> Time {
    Time(u64::try_from(nanoseconds).unwrap_or_default())
}

fn strange(row: &Row<'_>, column: impl RowIndex, what: &str) -> rusqlite::Error {
    let number = column.idx(row.as_ref()).unwrap_or_default();
    let name = row.as_ref().column_name(number).unwrap_or_default();
    let what = format!("{name} {what}");
    rusqlite::Error::FromSqlConversionFailure(number, Type::Text, what.into())
}
