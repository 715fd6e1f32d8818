//! `account-attacked`: one account, guessed from many addresses, each too slow to be noticed.
//!
//! ```text
//! refused attempt on an account ── from 5 different sources in 1 h ──► attacked for 24 h
//! attacked: one refused attempt fires, but for a source where this account logged in in 7 days
//! ```

use std::time::Duration;

use crate::{Source, Time};

/// Numbers of the detector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Whether it fires at all.
    pub enabled: bool,
    /// Different sources that make an account an attacked one.
    pub sources: usize,
    /// Within this time.
    pub window: Duration,
    /// For how long.
    pub lasts: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            enabled: true,
            sources: 5,
            window: Duration::from_secs(3_600),
            lasts: Duration::from_secs(86_400),
        }
    }
}

#[derive(Clone, Debug, Default)]
pub(crate) struct State {
    sources: Vec<(Time, Source)>,
    attacked_until: Option<Time>,
}

impl State {
    /// Notes a refused attempt; true where the account is under attack.
    pub fn refuse(&mut self, source: Source, config: &Config, now: Time) -> bool {
        if !config.enabled {
            return false;
        }
        self.sources
            .retain(|(at, known)| now.since(*at) < config.window && *known != source);
        self.sources.push((now, source));
        if self.sources.len() >= config.sources {
            self.sources.remove(0);
            self.attacked_until = Some(now + config.lasts);
        }
        self.attacked_until.is_some_and(|until| until > now)
    }
}
