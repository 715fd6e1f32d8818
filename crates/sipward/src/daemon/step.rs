//! Somebody sets the machine's clock: NTP on a machine that has none that runs on without power, or a
//! mistake. No ban ends by that, and none lasts longer.
//!
//! The daemon's time goes on by boot time, as the ends of bans in the kernel do. It follows a step of the
//! clock only together with the ledger, whose times are then by the new clock, and begins anew with
//! what the ledger has, as at a start. What it forgets is who was on the way to a ban.

use std::{collections::BTreeSet, fs};

use sipward_engine::Engine;

use super::{
    answers::Answers,
    guard::{Guard, kernel_ban, seed},
    hits::SignatureHits,
    packets::Packets,
    rejections::Rejections,
    self_check::SelfCheck,
};
use crate::{
    clock::{self, Offset, Step},
    exit::Failure,
    ledger::{Entry, Ledger, Target},
    sensors::Twins,
};

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

    /// Follows the machine's clock.
    pub fn follow_clock(&mut self) {
        let Some(step) = clock::step().filter(|_| self.pending.is_due()) else {
            return;
        };
        let seconds = step.forward() / 1_000_000_000;
        match self.follow(step) {
            Ok(()) => tracing::warn!(
                "the clock was set by {seconds} s: bans last as long as before, and who was on the \
                 way to one begins anew"
            ),
            Err(error) => tracing::error!(
                "the clock was set by {seconds} s, which times shown do not follow yet: {error}"
            ),
        }
    }

    fn follow(&mut self, step: Step) -> Result<(), Failure> {
        self.carry_out();
        self.write_step(step)?;
        let before: Vec<Target> = self.engine.bans().map(Target::of).collect();
        clock::keep(step.to);
        self.engine = Engine::new(self.config.engine(), seed());
        self.packets.begin_anew(Packets::new(&self.config));
        if let Some(tables) = self.events.tables().cloned() {
            self.packets.set_signatures(tables);
        }
        if !self.backend.knows_signatures {
            self.packets.scan_all();
        }
        self.self_check = SelfCheck::new(clock::now());
        self.answers = Answers::default();
        self.rejections = Rejections::default();
        self.twins = Twins::default();
        self.named.clear();
        self.hits = SignatureHits::read(&self.ledger)?;
        self.lift_lapsed(&before)?;
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
