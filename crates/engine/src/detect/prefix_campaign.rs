//! `prefix-campaign`: many attackers in one neighbourhood, each too slow to be noticed.
//!
//! ```text
//! source alerted, or half-way to it ──► noted for 24 h in its /24 (/48)
//! 5 addresses of a /24, or 8 /64s of a /48 ──► fires against the whole prefix, first rung
//! ```
//!
//! Never against a prefix that holds a success, a trunk or an allowlisted address.

use std::time::Duration;

use crate::{
    Source, Time,
    command::{Evidence, Place},
    window::Proof,
};

/// Numbers of the detector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Whether it fires at all.
    pub enabled: bool,
    /// Addresses of an IPv4 /24.
    pub ipv4: usize,
    /// /64s of an IPv6 /48.
    pub ipv6: usize,
    /// How long a source is noted.
    pub window: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            enabled: true,
            ipv4: 5,
            ipv6: 8,
            window: Duration::from_secs(86_400),
        }
    }
}

/// Sources noted of one prefix; every limit lies far below.
const MOST: usize = 64;

#[derive(Clone, Debug, Default)]
pub(crate) struct State {
    sources: Vec<(Time, Source, bool)>,
}

impl State {
    /// Notes a source of the prefix; tells when there are enough of them.
    pub fn note(
        &mut self,
        source: Source,
        proven: bool,
        config: &Config,
        now: Time,
    ) -> Option<Proof> {
        if !config.enabled {
            return None;
        }
        let known = |entry: &(Time, Source, bool)| entry.1 == source && entry.2;
        let proven = proven || self.sources.iter().any(known);
        self.sources
            .retain(|(at, known, _)| now.since(*at) < config.window && *known != source);
        if self.sources.len() >= MOST {
            self.sources.remove(0);
        }
        self.sources.push((now, source, proven));
        let enough = match source {
            Source::V4(_) => config.ipv4,
            Source::V6(_) => config.ipv6,
        };
        let proven = self.sources.iter().filter(|(_, _, proven)| *proven).count();
        if proven >= enough {
            Some(Proof::Proven)
        } else if self.sources.len() >= enough {
            Some(Proof::Unproven)
        } else {
            None
        }
    }

    /// The noted sources, longest ago first.
    pub fn evidence(&self) -> Vec<Evidence> {
        let noted = self.sources.iter().map(|(at, source, proven)| Evidence {
            at: *at,
            place: Place::Kernel,
            summary: format!(
                "{source}: alerted, or half-way to it, {}",
                if *proven { "proven" } else { "unproven" }
            ),
        });
        noted.collect()
    }
}
