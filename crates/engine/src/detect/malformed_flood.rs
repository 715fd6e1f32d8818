//! `malformed-flood`: payloads that begin like SIP and are none.
//!
//! ```text
//! payload begins with a SIP method or `SIP/` ── readable ──► nothing
//!                                            └─ not ───────► counted ── 20 in a minute ──► fires
//! ```

use std::time::Duration;

use sipward_wire::sip::{self, Anomalies, Method, StartLine};

use crate::{
    Time,
    detect::{Fired, Tally},
    window::{Progress, Proof, Rolling},
};

/// Numbers of the detector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Whether it fires at all.
    pub enabled: bool,
    /// Fires at this count within `window`.
    pub threshold: u32,
    /// The window.
    pub window: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            enabled: true,
            threshold: 20,
            window: Duration::from_secs(60),
        }
    }
}

#[derive(Clone, Debug, Default)]
pub(crate) struct State {
    all: Rolling,
    proven: Rolling,
}

impl State {
    pub fn count(&mut self, proven: bool, config: &Config, now: Time) -> Tally {
        self.all.add(config.window, now);
        if proven {
            self.proven.add(config.window, now);
        }
        let proof = if self.proven.count(config.window, now) >= config.threshold {
            Some(Proof::Proven)
        } else if self.all.count(config.window, now) >= config.threshold {
            Some(Proof::Unproven)
        } else {
            None
        };
        Tally {
            progress: self.progress(config, now),
            fired: proof.map(|proof| {
                let summary = "floods the server with what begins like SIP and is none";
                Fired::new(proof, summary.to_owned())
            }),
        }
    }

    pub fn progress(&self, config: &Config, now: Time) -> Progress {
        Progress {
            count: self.all.count(config.window, now),
            fires_at: config.threshold,
        }
    }
}

/// Whether a payload begins like SIP, and no server can make anything of it.
pub(crate) fn is_malformed(message: &sip::Message<'_>) -> bool {
    let begins_like_sip = match message.start_line() {
        StartLine::Request(_) | StartLine::Response(_) => true,
        StartLine::Unrecognised(line) => {
            let word = line.split(|byte| *byte == b' ').next().unwrap_or_default();
            Method::from_name(word) != Method::Other
        }
    };
    begins_like_sip && message.anomalies().intersects(Anomalies::UNPARSABLE)
}
