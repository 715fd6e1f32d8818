//! What waits for the ledger. Where its disk is full, read-only or broken, the guard goes on, and
//! writes all of it once that works again.

use std::time::{Duration, Instant};

use super::{guard::Guard, reconcile, step::Restoring};
use crate::{
    clock::{self, Step},
    control::api::{LedgerState, LedgerView},
    exit::Failure,
    ledger::Entry,
};

/// After a failure the ledger is left alone for so long.
const PAUSE: Duration = Duration::from_secs(5);
/// Entries that wait at most. Of alerts, 3 kB each with their evidence, the older go first; what
/// else is too much is found anew in the engine.
const MOST: usize = 20_000;
/// Alerts that stay where there is too much.
const ALERTS_LEFT: usize = 5_000;

/// Entries that are not in the ledger yet, the oldest first.
#[derive(Default)]
pub struct Unwritten {
    entries: Vec<Entry>,
    failed: Option<Failed>,
    /// Entries were dropped that the engine has to be asked for.
    has_gaps: bool,
}

struct Failed {
    at: Instant,
    why: String,
}

impl Unwritten {
    /// One more.
    pub fn push(&mut self, entry: Entry) {
        self.entries.push(entry);
    }

    /// More of them.
    pub fn extend(&mut self, entries: impl IntoIterator<Item = Entry>) {
        self.entries.extend(entries);
    }

    /// Whether the ledger is to be tried.
    pub fn is_due(&self) -> bool {
        let pauses = |failed: &Failed| failed.at.elapsed() < PAUSE;
        !self.failed.as_ref().is_some_and(pauses)
    }

    /// All of them are in the ledger.
    fn written(&mut self) {
        if self.failed.take().is_some() {
            tracing::info!("the ledger is written again, with {}", self.entries.len());
        }
        self.entries.clear();
        self.has_gaps = false;
    }

    /// The ledger cannot be written. The log is told once.
    fn failed(&mut self, why: &Failure) {
        if self.failed.is_none() {
            tracing::error!(
                "{why}; bans are enforced all the same, and written as soon as that works again"
            );
        }
        self.failed = Some(Failed {
            at: Instant::now(),
            why: why.text.clone(),
        });
        if self.entries.len() > MOST {
            self.shrink();
        }
    }

    fn shrink(&mut self) {
        let alerts = self.entries.iter().filter(|entry| is_alert(entry)).count();
        let mut surplus = alerts.saturating_sub(ALERTS_LEFT);
        self.entries.retain(|entry| {
            let goes = surplus > 0 && is_alert(entry);
            surplus -= usize::from(goes);
            !goes
        });
        if self.entries.len() > MOST {
            self.entries.retain(is_nowhere_else);
            self.has_gaps = true;
        }
    }
}

impl Guard {
    /// Writes what waits for the ledger, in one transaction. The disk may take its time: these are
    /// decisions of our own, which nobody was promised.
    pub fn write_ledger(&mut self) {
        if !self.pending.is_due() {
            return;
        }
        self.pending.extend(self.hits.take_unwritten());
        if self.pending.entries.is_empty() && !self.pending.has_gaps {
            return;
        }
        // The log was told.
        let _ = self.write_pending(false);
    }

    /// As [`Self::write_ledger`], for somebody who waits until it is on the disk.
    ///
    /// # Errors
    /// It cannot be written; it waits.
    pub(super) fn write_order(&mut self) -> Result<(), Failure> {
        self.write_pending(true)
    }

    /// As [`Self::write_order`]; what cannot be written is not done.
    pub(super) fn write_step(&mut self, step: Step) -> Result<(), Failure> {
        self.pending.extend(self.hits.take_unwritten());
        self.pending.push(Entry::Step(step));
        let written = self.write_pending(true);
        if written.is_err() {
            let is_step = |entry: &Entry| matches!(entry, Entry::Step(_));
            self.pending.entries.retain(|entry| !is_step(entry));
        }
        written
    }

    fn write_pending(&mut self, durably: bool) -> Result<(), Failure> {
        let written = self.fill_gaps().and_then(|()| {
            let entries = &self.pending.entries;
            if durably {
                self.ledger.write(entries)
            } else {
                self.ledger.write_soon(entries)
            }
        });
        match &written {
            Ok(()) => self.pending.written(),
            Err(error) => self.pending.failed(error),
        }
        written
    }

    /// What was dropped, because too much waited, is what the engine has and the ledger has not.
    fn fill_gaps(&mut self) -> Result<(), Failure> {
        if self.pending.has_gaps {
            if matches!(self.restoring, Restoring::Now { .. }) {
                return Err(Failure::input(
                    "what waits for the ledger cannot be told before it is restored",
                ));
            }
            let mut entries = reconcile::ledger(self)?;
            entries.extend(self.spared.entries(clock::now()));
            self.pending.entries.retain(is_nowhere_else);
            // Before a step, which is the last: their times are by the clock before it.
            self.pending.entries.splice(..0, entries);
        }
        Ok(())
    }

    /// Has the ledger forget what is old.
    pub(super) fn tidy_ledger(&mut self) {
        if !self.pending.is_due() {
            return;
        }
        if let Err(error) = self.ledger.tidy(clock::now()) {
            self.pending.failed(&error);
        }
    }

    /// What `status` tells of the ledger.
    pub(super) fn ledger_view(&self) -> LedgerView {
        let aside = self.ledger.kept_aside().map(|aside| {
            format!(
                "begun anew at this start; the damaged one is kept as {}",
                aside.display()
            )
        });
        let failed = self.pending.failed.as_ref();
        LedgerView {
            state: match failed {
                Some(_) => LedgerState::Unwritable,
                None => LedgerState::Ok,
            },
            waiting: self.pending.entries.len(),
            note: failed.map(|failed| failed.why.clone()).or(aside),
        }
    }
}

/// Whether it cannot be found anew in the engine.
const fn is_nowhere_else(entry: &Entry) -> bool {
    match entry {
        Entry::Alert(_) | Entry::Keep(..) | Entry::Step(_) => true,
        Entry::Ban(_)
        | Entry::Lift(..)
        | Entry::Dropped(..)
        | Entry::Allow(..)
        | Entry::Disallow(_)
        | Entry::AllowName(_)
        | Entry::DisallowName(_)
        | Entry::Trust(_)
        | Entry::Distrust(_)
        | Entry::Spare(..)
        | Entry::SpareNoLonger(_)
        | Entry::LookFor(..)
        | Entry::Hits(..) => false,
    }
}

const fn is_alert(entry: &Entry) -> bool {
    matches!(entry, Entry::Alert(_))
}
