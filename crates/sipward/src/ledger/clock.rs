//! What the times in the ledger are by, and what becomes of them when somebody sets the clock.
//!
//! | written                         | so its times                                             |
//! |---------------------------------|----------------------------------------------------------|
//! | by the clock that was wrong     | are set as far as the clock: what is left of a ban stays |
//! | before this boot                | stay: the new clock tells how long ago that was          |
//! | the same, the clock being right | of bans and trust: what is left of them stays            |
//! | later than that clock said      | stay: it was behind                                      |

use rusqlite::{OptionalExtension, Transaction, params};

use super::{Ledger, rows};
use crate::{
    clock::{Offset, Step},
    exit::Failure,
};

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
    let sql = "insert or replace into clock values (1, ?1, ?2)";
    transaction.execute(sql, params![boot, offset.0])?;
    Ok(())
}

pub(super) fn step(transaction: &Transaction<'_>, step: &Step) -> rusqlite::Result<()> {
    let (booted, at, forward) = (step.from.0, rows::number(step.at), step.forward());
    for sql in [
        "update ban set since = since + ?3, until = until + ?3, ended = ended + ?3
         where since between ?1 and ?2",
        "update trusted set since = min(since, last + ?3), last = last + ?3, until = until + ?3
         where last between ?1 and ?2",
        "update spared set since = since + ?3, until = until + ?3 where since between ?1 and ?2",
        "update alert set at = at + ?3 where at between ?1 and ?2",
        "update evidence set at = at + ?3 where at between ?1 and ?2",
        "update allowed set since = since + ?3 where since between ?1 and ?2",
        "update allowed_name set since = since + ?3 where since between ?1 and ?2",
        "update signature_hits set since = since + ?3 where since between ?1 and ?2",
        "update signature_hits set last = last + ?3 where last between ?1 and ?2",
    ] {
        transaction.execute(sql, params![booted, at, forward])?;
    }
    if step.was_right {
        for sql in [
            "update ban set until = until + ?3 where since < ?1 and ended is null and until > ?2",
            "update trusted set until = until + ?3 where last < ?1 and until > ?2",
            "update spared set until = until + ?3 where since < ?1 and until > ?2",
        ] {
            transaction.execute(sql, params![booted, at, forward])?;
        }
    }
    transaction.execute("update clock set offset = ?1", [step.to.0])?;
    Ok(())
}
