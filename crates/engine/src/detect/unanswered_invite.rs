//! `unanswered-invite`: calls whose refusal nobody acknowledges. It is what makes Asterisk warn of
//! a "non-critical invite transaction" 32 seconds later, without an address.
//!
//! ```text
//! INVITE without To tag ── 3xx-6xx ──► 2 s ── ACK (Call-ID, CSeq, To tag; from anywhere) ──► nothing
//!                                         ├─ credentials with a higher CSeq ──────────────► nothing
//!                                         ├─ ICMP unreachable ────────────────────────────► nothing
//!                                         └─ otherwise ───────────────────────────────────► counted
//! counted ── 3 in 10 min, 6 in a day ──► fires
//! ```
//!
//! An unacknowledged 2xx is a fault of NAT, not an attack. A source that does not answer proves
//! nothing over UDP: whose address it is, only a stream tells.

use std::time::Duration;

use crate::{
    Time,
    detect::{Fired, Tally},
    window::{Distinct, Limits, Progress},
};

/// Numbers of the detector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Whether it fires at all.
    pub enabled: bool,
    /// Unacknowledged calls.
    pub limits: Limits,
    /// How long the ACK may take after the answer's first sending.
    pub patience: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            enabled: true,
            limits: Limits {
                window: Duration::from_secs(600),
                in_window: 3,
                in_day: 6,
            },
            patience: Duration::from_secs(2),
        }
    }
}

#[derive(Clone, Debug, Default)]
pub(crate) struct State {
    calls: Distinct,
}

impl State {
    /// Counts a call; `transaction` tells it from others.
    pub fn count(&mut self, transaction: u64, proven: bool, config: &Config, now: Time) -> Tally {
        self.calls.note(transaction, proven, now);
        let fired = self.calls.reaches(config.limits, now).map(|proof| {
            let count = self.calls.count(config.limits.window, now);
            Fired::new(
                proof,
                format!("left the answers to {count} calls in 10 minutes unacknowledged"),
            )
        });
        Tally {
            progress: self.progress(config, now),
            fired,
        }
    }

    pub fn progress(&self, config: &Config, now: Time) -> Progress {
        self.calls.progress(config.limits, now)
    }
}
