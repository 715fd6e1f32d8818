//! Fail2Ban's database. Since 0.11 its table `bips` has each address that a jail bans, with the
//! seconds that the ban lasts (−1: for ever); before, `bans` has them without.

use std::path::Path;

use jiff::Timestamp;
use rusqlite::{Connection, OpenFlags, types::ValueRef};

use super::{Context, Found, Kind, Reader, Why, is_too_short, quoted};
use crate::{address::Address, exit::Failure};

/// What every SQLite database begins with.
pub(super) const MAGIC: &[u8] = b"SQLite format 3\0";

struct Row {
    jail: String,
    address: String,
    /// Seconds since 1970.
    since: i64,
    /// Seconds; negative: for ever.
    lasts: Option<i64>,
}

pub(super) fn read(path: &Path, context: Context<'_>) -> Result<Found, Failure> {
    let failure = |what: String| Failure::input(format!("{}: {what}", path.display()));
    let broken = |error: rusqlite::Error| {
        failure(format!(
            "the database cannot be read ({error}): copy it while Fail2Ban is stopped, or with \
             `sqlite3 FILE '.backup COPY'`"
        ))
    };
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(broken)?;
    let has = |kind: &str, table: &str, column: &str| {
        let sql = format!("select count(*) from pragma_table_info('{table}') where name = ?1");
        let count = connection.query_row(&sql, [column], |row| row.get::<_, i64>(0));
        count
            .map(|count| count > 0)
            .map_err(|error| failure(format!("{kind} cannot be read: {error}")))
    };
    let sql = if has("the table bips", "bips", "bantime")? {
        "select jail, ip, timeofban, bantime from bips"
    } else if has("the table bans", "bans", "bantime")? {
        "select jail, ip, max(timeofban), bantime from bans group by jail, ip"
    } else if has("the table bans", "bans", "timeofban")? {
        if context.lasts.is_none() {
            return Err(failure(
                "Fail2Ban before 0.11 does not keep how long a ban lasts: say it, as --for 10d"
                    .to_owned(),
            ));
        }
        "select jail, ip, max(timeofban), null from bans group by jail, ip"
    } else {
        return Err(failure(
            "this is an SQLite database, but not Fail2Ban's: that is fail2ban.sqlite3 in \
             /var/lib/fail2ban"
                .to_owned(),
        ));
    };
    let rows: Vec<Row> = connection
        .prepare(sql)
        .and_then(|mut statement| {
            let rows = statement.query_map([], |row| {
                Ok(Row {
                    jail: text(row.get_ref(0)?),
                    address: text(row.get_ref(1)?),
                    since: row.get(2)?,
                    lasts: row.get(3)?,
                })
            })?;
            rows.collect()
        })
        .map_err(broken)?;
    let mut reader = Reader::new(context, "".into());
    for row in rows {
        take(&row, &mut reader);
    }
    Ok(reader.found(Kind::Fail2Ban))
}

fn take(row: &Row, reader: &mut Reader<'_>) {
    let shown = quoted(row.address.as_bytes());
    let Ok(address) = row.address.parse::<Address>() else {
        let mend = "no address: Fail2Ban bans something else with this jail".to_owned();
        return reader.skip(None, shown, Why::Garbage(mend));
    };
    let until = match row.lasts {
        Some(lasts) if lasts < 0 => None,
        Some(lasts) => Some(row.since.saturating_add(lasts)),
        None => {
            let lasts = reader.context.lasts.unwrap_or_default().as_secs();
            Some(row.since.saturating_add_unsigned(lasts))
        }
    };
    // A time beyond the calendar is for ever.
    let until = until.and_then(|second| Timestamp::from_second(second).ok());
    if until.is_some_and(|until| until <= reader.context.now) {
        return reader.skip(None, shown, Why::Expired);
    }
    if address.prefixes().iter().any(is_too_short) {
        return reader.skip(None, shown, Why::TooShort);
    }
    reader.reason = format!("Fail2Ban, jail {}", quoted(row.jail.as_bytes())).into();
    reader.take_all(0, address.prefixes(), until, None);
}

/// Text whatever the column holds: SQLite has no fixed types.
fn text(value: ValueRef<'_>) -> String {
    match value {
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => {
            String::from_utf8_lossy(bytes).into_owned()
        }
        ValueRef::Integer(number) => number.to_string(),
        ValueRef::Real(number) => number.to_string(),
        ValueRef::Null => String::new(),
    }
}
