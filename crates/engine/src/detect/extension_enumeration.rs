//! `extension-enumeration`: many claimed identities, none of which logs in.
//!
//! ```text
//! request ── refused (403, or 404 to REGISTER; or its password is wrong) ──────► counted
//!         └─ challenged ── credentials of the same user or dialog within 4 s ──► nothing
//!                       ├─ a packet of this source was dropped for its rate ───► nothing
//!                       └─ otherwise ──────────────────────────────────────────► counted
//! counted ── 6 different in 10 min, 20 in a day ──► fires
//! ```
//!
//! Counted is the identity that the client claims (To of a REGISTER, else the username of the
//! digest, else From), never the number that it dials. Each identity that logged in from here
//! within 7 days raises the limits by one: an office has many phones.
//!
//! Where the site's phones log in by a name (`site.rs`), whoever registers with the bare address, as
//! those do who found it by trying addresses, and never logged in, may be given fewer. By itself that
//! is never enough: the limits stay at half at least.
//!
//! Beside it the hold: 30 identities challenged, unanswered for at least a second, and none ever
//! succeeded: the kernel drops what the source sends until an answer succeeds or 4 s pass. A
//! second is more than any round trip, so sixty phones that boot at once are not held. Where the
//! server has told a client that somebody does not exist, which each further challenge makes worth
//! something, 12 of its port are enough, however young: SIPVicious asks for a name that nobody has
//! first, and would learn a hundred extensions within the second (measured, chan_sip with
//! `alwaysauthreject = no`). Phones behind one address have a port each. It may be a gateway with
//! one account too many, though, whose credentials the hold then drops; so what was challenged
//! within the second before the first hold in 10 min counts 4 s later only, time for a gateway to
//! send them again.

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
    /// Different identities.
    pub limits: Limits,
    /// By how much the limits are lowered for a source that registers with the bare address, where
    /// the site's phones use a name. 0: not at all.
    pub bare_address: u32,
    /// How long credentials may take after a challenge.
    pub follow: Duration,
    /// Outstanding identities at which the source is held.
    pub hold_at: u32,
    /// How long a challenge must be unanswered to count for the hold.
    pub hold_reaction: Duration,
    /// Outstanding identities of one port, however young, at which a source is held that was told of
    /// somebody who does not exist.
    pub hold_told_at: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            enabled: true,
            limits: Limits {
                window: Duration::from_secs(600),
                in_window: 6,
                in_day: 20,
            },
            bare_address: 0,
            follow: Duration::from_secs(4),
            hold_at: 30,
            hold_reaction: Duration::from_secs(1),
            hold_told_at: 12,
        }
    }
}

#[derive(Clone, Debug, Default)]
pub(crate) struct State {
    refused: Distinct,
    /// It registered with the bare address where the site's phones use a name.
    bare_address: bool,
}

impl State {
    /// The source asked the bare address.
    pub fn asked_bare_address(&mut self) {
        self.bare_address = true;
    }

    /// Counts an identity; `logged_in` is how many logged in from here lately.
    pub fn refuse(
        &mut self,
        identity: u64,
        proven: bool,
        logged_in: u32,
        config: &Config,
        now: Time,
    ) -> Tally {
        self.refused.note(identity, proven, now);
        // Where somebody has logged in since, it is no stranger's any more.
        self.bare_address &= logged_in == 0;
        let limits = self.limits(config).raised(logged_in);
        let fired = self.refused.reaches(limits, now).map(|proof| {
            let count = self.refused.count(limits.window, now);
            Fired::new(
                proof,
                format!("tried {count} identities in 10 minutes, none of which logged in"),
            )
        });
        Tally {
            progress: self.refused.progress(limits, now),
            fired,
        }
    }

    pub fn progress(&self, config: &Config, now: Time) -> Progress {
        self.refused.progress(self.limits(config), now)
    }

    fn limits(&self, config: &Config) -> Limits {
        if self.bare_address {
            config.limits.lowered(config.bare_address)
        } else {
            config.limits
        }
    }
}
