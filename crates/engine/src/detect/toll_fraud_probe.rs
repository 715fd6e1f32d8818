//! `toll-fraud-probe`: many numbers dialled without a login, to find one that is put through.
//!
//! ```text
//! INVITE without accepted credentials ── 403, 404, 484, 603 ─────────────────────────► counted
//!                                     └─ 401, 407 ── credentials within 4 s ─────────► nothing
//!                                                 └─ none, or wrong ones ────────────► counted
//! counted ── 4 different numbers in 10 min, 12 in a day ─────────────────────────────► fires
//!         └─ three different prefixes before the same last 7 digits ─────────────────► fires
//! ```
//!
//! Trunks and providers are exempt. The count waits for the ACK, which proves the address where
//! its To tag is right.

use std::time::Duration;

use crate::{
    Time,
    detect::{Fired, Tally},
    window::{Distinct, Limits, Progress, Proof},
};

/// Numbers of the detector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Whether it fires at all.
    pub enabled: bool,
    /// Different numbers.
    pub limits: Limits,
    /// Different prefixes before the same subscriber number.
    pub prefixes: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            enabled: true,
            limits: Limits {
                window: Duration::from_secs(600),
                in_window: 4,
                in_day: 12,
            },
            prefixes: 3,
        }
    }
}

/// Digits that name a subscriber, whatever is dialled before them.
const SUBSCRIBER: usize = 7;
/// Numbers whose prefixes are remembered.
const MOST: usize = 16;

#[derive(Clone, Debug, Default)]
pub(crate) struct State {
    numbers: Distinct,
    /// The last digits of a number, and what was dialled before them.
    prefixes: Vec<([u8; SUBSCRIBER], Distinct)>,
}

impl State {
    /// Counts a dialled number; `hash` stands for all of it.
    pub fn count(
        &mut self,
        number: &[u8],
        hash: u64,
        proven: bool,
        config: &Config,
        now: Time,
    ) -> Tally {
        self.numbers.note(hash, proven, now);
        let by_prefix = self.note_prefix(number, hash, proven, config, now);
        let by_count = self.numbers.reaches(config.limits, now).map(|proof| {
            let count = self.numbers.count(config.limits.window, now);
            Fired::new(
                proof,
                format!("dialled {count} different numbers in 10 minutes without a login"),
            )
        });
        Tally {
            progress: self.progress(config, now),
            fired: by_prefix.or(by_count),
        }
    }

    pub fn progress(&self, config: &Config, now: Time) -> Progress {
        self.numbers.progress(config.limits, now)
    }

    fn note_prefix(
        &mut self,
        number: &[u8],
        hash: u64,
        proven: bool,
        config: &Config,
        now: Time,
    ) -> Option<Fired> {
        let digits: Vec<u8> = number.iter().copied().filter(u8::is_ascii_digit).collect();
        let subscriber = *digits.last_chunk::<SUBSCRIBER>()?;
        let at = match self
            .prefixes
            .iter()
            .position(|(known, _)| *known == subscriber)
        {
            Some(at) => at,
            None => {
                if self.prefixes.len() >= MOST {
                    self.prefixes.remove(0);
                }
                self.prefixes.push((subscriber, Distinct::default()));
                self.prefixes.len() - 1
            }
        };
        let (_, prefixes) = self.prefixes.get_mut(at)?;
        prefixes.note(hash, proven, now);
        let limits = Limits {
            window: config.limits.window,
            in_window: config.prefixes,
            in_day: config.prefixes,
        };
        let proof: Proof = prefixes.reaches(limits, now)?;
        let count = prefixes.count(crate::window::DAY, now);
        Some(Fired::new(
            proof,
            format!("dialled one number with {count} different prefixes without a login"),
        ))
    }
}
