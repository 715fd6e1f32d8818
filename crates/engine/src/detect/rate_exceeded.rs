//! `rate-exceeded`: a flood that the kernel's rate limit already drops for the most part.
//!
//! ```text
//! packet dropped for its rate ──► 600 in 60 s, more than passed, no success in 7 days ──► fires
//! ```
//!
//! What passed is what the kernel counted or what was seen, whichever is more: a sensor may be
//! missing, and a source's bucket may be forgotten.
//!
//! The ban only saves the kernel's work: first rung, SIP ports.

use std::time::Duration;

use crate::{
    Time,
    detect::{Fired, Tally},
    observation::{KernelDrop, Transport},
    window::{Progress, Proof, Rolling},
};

/// Numbers of the detector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Whether it fires at all.
    pub enabled: bool,
    /// Fires at this many drops within `window`.
    pub threshold: u32,
    /// The window.
    pub window: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            enabled: true,
            threshold: 600,
            window: Duration::from_secs(60),
        }
    }
}

#[derive(Clone, Debug, Default)]
pub(crate) struct State {
    dropped: Rolling,
    seen: Rolling,
    passed: Rolling,
}

impl State {
    /// A packet of this source came through.
    pub fn pass(&mut self, config: &Config, now: Time) {
        self.seen.add(config.window, now);
    }

    /// The kernel dropped some for their rate.
    pub fn drop(&mut self, drop: &KernelDrop<'_>, config: &Config, now: Time) -> Tally {
        self.dropped.add_many(drop.count, config.window, now);
        self.passed.add_many(drop.passed, config.window, now);
        let progress = self.progress(config, now);
        let counted = |packets: &Rolling| packets.count(config.window, now);
        let passed = counted(&self.seen).max(counted(&self.passed));
        let proven = drop.transport == Transport::Tcp && drop.established;
        let fires = progress.count >= config.threshold && progress.count > passed;
        let proof = if proven {
            Proof::Proven
        } else {
            Proof::Unproven
        };
        Tally {
            progress,
            fired: fires.then(|| Fired {
                mild: true,
                ..Fired::new(
                    proof,
                    format!(
                        "sent {} packets beyond its rate in a minute",
                        progress.count
                    ),
                )
            }),
        }
    }

    pub fn progress(&self, config: &Config, now: Time) -> Progress {
        Progress {
            count: self.dropped.count(config.window, now),
            fires_at: config.threshold,
        }
    }
}
