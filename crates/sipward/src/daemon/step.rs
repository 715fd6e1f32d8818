//! Somebody sets the machine's clock: NTP on a machine that has none that runs on without power, or a
//! mistake. No ban ends by that, and none lasts longer.
//!
//! The daemon's time goes on by boot time, as the ends of bans in the kernel do. It follows a step of the
//! clock only together with the ledger, whose times are then by the new clock, and begins anew with
//! what the ledger has, as at a start. What it forgets is who was on the way to a ban.

use std::{collections::BTreeSet, fs, mem};

use sipward_engine::Engine;

use super::{
    answers::Answers,
    guard::{Guard, kernel_ban, seed},
    packets::Packets,
    rejections::Rejections,
};
use crate::{
    clock::{self, Offset, Step},
    exit::Failure,
    ledger::{Entry, Ledger, Target},
    sensors::Twins,
};

/// Whether the engine is to be told again what the ledger has.
#[derive(Default)]
pub enum Restoring {
    /// It knows.
    #[default]
    Done,
    /// Once the ledger's file can be opened.
    Later,
    /// Now. It may know nothing: what is not in it is not over.
    Now {
        /// What was in force before; what of it is over is lifted.
        before: Vec<Target>,
        /// That it failed is in the log.
        is_told: bool,
    },
}

impl Restoring {
    /// As at the start.
    pub const fn after_start(ledger: &Ledger) -> Self {
        if ledger.stands_in() {
            Self::Later
        } else {
            Self::Done
        }
    }

    pub(super) const fn now(before: Vec<Target>) -> Self {
        Self::Now {
            before,
            is_told: false,
        }
    }
}

/// Keeps the time: in the boot in which the ledger was written last by the clock that it had then.
///
/// # Errors
/// The ledger cannot be read.
pub fn keep_time(ledger: &Ledger) -> Result<(), Failure> {
    let offset = ledger.offset(&boot())?;
    clock::keep(offset.unwrap_or_else(Offset::now));
    Ok(())
}

impl Guard {
    /// Has the ledger know what its times are by.
    pub(super) fn note_clock(&mut self) {
        let kept = clock::kept().map(|offset| Entry::Keep(boot(), offset));
        self.pending.extend(kept);
    }

    /// Follows the machine's clock, and the ledger where its file could not be opened until now.
    pub fn follow_clock(&mut self) {
        if matches!(self.restoring, Restoring::Later) && !self.ledger.stands_in() {
            self.carry_out();
            self.pending.extend(self.hits.take_unwritten());
            if self.write_order().is_ok() {
                tracing::info!(
                    "the ledger could be opened: the guard begins anew with what it has"
                );
                self.restoring = Restoring::now(Vec::new());
            }
        }
        if let Some(step) = clock::step().filter(|_| self.pending.is_due()) {
            let seconds = step.forward() / 1_000_000_000;
            match self.take_step(step) {
                Ok(()) => tracing::warn!(
                    "the clock was set by {seconds} s: bans of this boot last as long as before, and \
                     who was on the way to one begins anew"
                ),
                // The log was told that the ledger cannot be written.
                Err(error) => tracing::debug!(
                    "the clock was set by {seconds} s, which times shown do not follow yet: {error}"
                ),
            }
        }
        self.restore_again();
    }

    fn take_step(&mut self, step: Step) -> Result<(), Failure> {
        self.carry_out();
        self.write_step(step)?;
        let mut before = match mem::take(&mut self.restoring) {
            Restoring::Now { before, .. } => before,
            Restoring::Done | Restoring::Later => Vec::new(),
        };
        before.extend(self.engine.bans().map(Target::of));
        clock::keep(step.to);
        self.restoring = Restoring::now(before);
        Ok(())
    }

    /// Restores what is to be restored. What fails is tried again with the next call, and told once.
    fn restore_again(&mut self) {
        let (before, is_told) = match mem::take(&mut self.restoring) {
            Restoring::Now { before, is_told } => (before, is_told),
            other @ (Restoring::Done | Restoring::Later) => {
                self.restoring = other;
                return;
            }
        };
        let Err(error) = self.begin_anew(&before) else {
            return;
        };
        if !is_told {
            tracing::error!(
                "what the ledger has cannot be restored; what is enforced stays, and it is tried \
                 again each second: {error}"
            );
        }
        let is_told = true;
        self.restoring = Restoring::Now { before, is_told };
    }

    fn begin_anew(&mut self, before: &[Target]) -> Result<(), Failure> {
        self.engine = Engine::new(self.config.engine(), seed());
        self.packets.begin_anew(Packets::new(&self.config));
        if let Some(tables) = self.events.tables().cloned() {
            self.packets.set_signatures(tables);
        }
        if !self.backend.knows_signatures {
            self.packets.scan_all();
        }
        self.self_check.begin_anew(clock::now());
        self.answers = Answers::default();
        self.rejections = Rejections::default();
        self.twins = Twins::default();
        self.named.clear();
        self.hits.read_again(&self.ledger)?;
        self.lift_lapsed(before)?;
        self.restore()
    }

    /// Lifts the bans that by the new clock are over.
    fn lift_lapsed(&mut self, before: &[Target]) -> Result<(), Failure> {
        let bans = self.ledger.bans(clock::now())?;
        let in_force: BTreeSet<Target> = bans.iter().map(Target::of).collect();
        for target in before.iter().filter(|target| !in_force.contains(target)) {
            let ban = kernel_ban(target, None);
            self.shield.unban(&ban.target, ban.scope)?;
        }
        Ok(())
    }
}

/// The name of this boot of the machine.
fn boot() -> String {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id");
    id.unwrap_or_default().trim().to_owned()
}
