//! `server-probing`: many different requests of a source that never logged in.
//!
//! ```text
//! request ── answered, not followed by credentials ──► counted by method and request URI's user
//!         └─ OPTIONS or NOTIFY with From, URI and port as 5 s or longer ago ──► nothing
//! counted ── 20 different in 10 min, 60 in a day ─────────────────────────────► fires
//! BYE, CANCEL, INFO, UPDATE, PRACK, REFER ── 481, 501, 603 ──► three different ──► fires
//! ```

use std::time::Duration;

use sipward_wire::sip::Method;

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
    /// Different pairs of method and user.
    pub limits: Limits,
    /// Different methods that make no sense out of a dialog.
    pub odd_methods: u32,
    /// How far apart keep-alives are at least.
    pub keep_alive: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            enabled: true,
            limits: Limits {
                window: Duration::from_secs(600),
                in_window: 20,
                in_day: 60,
            },
            odd_methods: 3,
            keep_alive: Duration::from_secs(5),
        }
    }
}

/// Keep-alives remembered of one source.
const MOST: usize = 64;

#[derive(Clone, Debug, Default)]
pub(crate) struct State {
    pairs: Distinct,
    odd_methods: Distinct,
    keep_alives: Vec<(u64, Time)>,
}

impl State {
    /// Whether this OPTIONS or NOTIFY is one of a series of keep-alives; it is remembered.
    pub fn is_keep_alive(&mut self, fingerprint: u64, config: &Config, now: Time) -> bool {
        if let Some((_, last)) = self
            .keep_alives
            .iter_mut()
            .find(|(known, _)| *known == fingerprint)
        {
            let apart = now.since(std::mem::replace(last, now));
            return apart >= config.keep_alive;
        }
        if self.keep_alives.len() >= MOST {
            self.keep_alives.remove(0);
        }
        self.keep_alives.push((fingerprint, now));
        false
    }

    /// Counts a request by the hash of its method and target.
    pub fn count(&mut self, pair: u64, proven: bool, config: &Config, now: Time) -> Tally {
        self.pairs.note(pair, proven, now);
        let fired = self.pairs.reaches(config.limits, now).map(|proof| {
            let count = self.pairs.count(config.limits.window, now);
            Fired::new(
                proof,
                format!("sent {count} different requests in 10 minutes without a login"),
            )
        });
        Tally {
            progress: self.progress(config, now),
            fired,
        }
    }

    /// Counts a request that makes no sense out of a dialog.
    pub fn count_odd(&mut self, method: Method, proven: bool, config: &Config, now: Time) -> Tally {
        self.odd_methods.note(method as u64, proven, now);
        let limits = odd_limits(config);
        let fired = self.odd_methods.reaches(limits, now).map(|proof| {
            let count = self.odd_methods.count(limits.window, now);
            Fired::new(
                proof,
                format!("sent {count} kinds of requests that belong to no dialog"),
            )
        });
        Tally {
            progress: self.progress(config, now),
            fired,
        }
    }

    pub fn progress(&self, config: &Config, now: Time) -> Progress {
        let odd = self.odd_methods.progress(odd_limits(config), now);
        self.pairs.progress(config.limits, now).nearer(odd)
    }
}

/// The methods that make no sense out of a dialog.
pub(crate) fn is_odd(method: Method, status: u16) -> bool {
    matches!(status, 481 | 501 | 603)
        && match method {
            Method::Bye
            | Method::Cancel
            | Method::Info
            | Method::Update
            | Method::Prack
            | Method::Refer => true,
            Method::Invite
            | Method::Ack
            | Method::Options
            | Method::Register
            | Method::Subscribe
            | Method::Notify
            | Method::Publish
            | Method::Message
            | Method::Other => false,
        }
}

fn odd_limits(config: &Config) -> Limits {
    Limits {
        window: config.limits.window,
        in_window: config.odd_methods,
        in_day: u32::MAX,
    }
}
