//! What the times in the ledger are by, and what becomes of them when somebody sets the clock.
//!
//! | written                         | so its times                                             |
//! |---------------------------------|----------------------------------------------------------|
//! | by the clock that was wrong     | are set as far as the clock: what is left of a ban stays |
//! | before this boot                | stay: the new clock tells how long ago that was          |
//! | the same, the clock being right | are set too: what is left of a ban stays                 |
//! | later than that clock said      | stay: it was behind                                      |

use rusqlite::{OptionalExtension, Transaction, params};

use super::{Ledger, rows};
use crate::{
    clock::{Offset, Step},
    exit::Failure,
};

/// Tables, the column that tells when a row was written, and the times that are set with it.
const TIMES: &[(&str, &str, &[&str])] = &[
    ("ban", "since", &["since", "until", "ended"]),
    ("trusted", "since", &["since"]),
    ("trusted", "last", &["last", "until"]),
    ("spared", "since", &["since", "until"]),
    ("alert", "at", &["at"]),
    ("evidence", "at", &["at"]),
    ("allowed", "since", &["since"]),
    ("allowed_name", "since", &["since"]),
    ("signature_hits", "since", &["since"]),
    ("signature_hits", "last", &["last"]),
];

impl Ledger {
    /// The offset by which the latest times were written, if that was in this boot of the machine.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn offset(&self, boot: &str) -> Result<Option<Offset>, Failure> {
        self.connection
            .query_row("select offset from clock where boot = ?1", [boot], |row| {
                row.get(0).map(Offset)
            })
            .optional()
            .map_err(|error| self.failure("read", &error))
    }
}

/// Times are by this offset from now on.
pub(super) fn keep(
    transaction: &Transaction<'_>,
    boot: &str,
    offset: Offset,
) -> rusqlite::Result<()> {
    let sql = "insert into clock values (1, ?1, ?2, 0) on conflict do update
                   set boot = excluded.boot, offset = excluded.offset,
                       was_right = was_right and boot = excluded.boot";
    transaction.execute(sql, params![boot, offset.0])?;
    Ok(())
}

/// Sets the times of what was written in this boot; where its clock was right, of what was written
/// before, too, at this step and every later one of this boot: a mistake that is corrected then leaves
/// all of it as it was, even if nobody says any more that the clock is right.
pub(super) fn step(transaction: &Transaction<'_>, step: &Step) -> rusqlite::Result<()> {
    transaction.execute(
        "update clock set offset = ?1, was_right = was_right or ?2",
        params![step.to.0, step.was_right],
    )?;
    let was_right: Option<bool> = transaction
        .query_row("select was_right from clock", [], |row| row.get(0))
        .optional()?;
    let last = rows::number(step.at);
    let first = if was_right.unwrap_or(step.was_right) {
        i64::MIN
    } else {
        step.from.0
    };
    // A far end stays one: what is no integer of SQLite's any more, its strict tables refuse.
    let highest = i64::MAX.saturating_sub(step.forward());
    for (table, written, columns) in TIMES {
        let columns = columns
            .iter()
            .map(|column| format!("{column} = min({column}, ?4) + ?3"));
        let columns = columns.collect::<Vec<_>>().join(", ");
        let sql = format!("update {table} set {columns} where {written} between ?1 and ?2");
        transaction.execute(&sql, params![first, last, step.forward(), highest])?;
    }
    // Trust of before this boot that was confirmed in it, by a clock set back.
    transaction.execute("update trusted set since = last where since > last", [])?;
    Ok(())
}
