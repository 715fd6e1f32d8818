//! `[detect.*]`: one table per detector. The defaults are the engine's own numbers.

use std::time::Duration;

use serde::{Deserialize, Deserializer, de::Error as _};
use sipward_engine::Config as Engine;

use super::Problem;
use crate::span::Span;

macro_rules! detectors {
    ($($(#[doc = $doc:literal])+ $table:ident is $detector:ident {
        $($(#[doc = $says:literal])+ $key:ident: $kind:ty = $($path:ident).+ $(, at least $least:literal)?;)*
    })+) => {
        /// `[detect]`
        #[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
        #[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
        pub struct Detect {
            $($(#[doc = $doc])+ pub $detector: $table,)+
        }

        impl Detect {
            pub(super) fn apply(&self, engine: &mut Engine) {
                $(
                    engine.$detector.enabled = self.$detector.enabled;
                    $(engine.$detector.$($path).+ = self.$detector.$key.number();)*
                )+
            }

            pub(super) fn check(&self, problems: &mut Vec<Problem>) {
                $($(
                    let least = [$($least,)? 1][0];
                    if self.$detector.$key.is_below(least) {
                        let key = concat!("detect.", stringify!($detector), ".", stringify!($key));
                        let value = &self.$detector.$key;
                        let problem = format!("{value:?} is too few: at least {least}");
                        problems.push(Problem::new(key.replace('_', "-"), problem));
                    }
                )*)+
            }
        }

        $(
            $(#[doc = $doc])+
            #[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
            #[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
            pub struct $table {
                /// Whether it fires. What the kernel drops, it drops in any case.
                pub enabled: bool,
                $($(#[doc = $says])+ pub $key: $kind,)*
            }

            impl Default for $table {
                fn default() -> Self {
                    let engine = Engine::default().$detector;
                    Self {
                        enabled: engine.enabled,
                        $($key: Value::of(&engine.$($path).+),)*
                    }
                }
            }
        )+
    };
}

detectors! {
    /// One account attacked from many addresses.
    AccountAttacked is account_attacked {
        /// Different addresses within the window, from which on one refused attempt is enough.
        threshold: usize = sources, at least 2;
        /// The window.
        window: Span = window;
        /// How long the account counts as attacked.
        lasts: Span = lasts;
    }
    /// Many claimed identities.
    ExtensionEnumeration is extension_enumeration {
        /// Different identities within the window.
        threshold: u32 = limits.in_window;
        /// The window.
        window: Window = limits.window;
        /// Different identities within a day.
        per_day: u32 = limits.in_day;
        /// How many fewer for a source that registers with the bare address, where phones use a name.
        bare_address: u32 = bare_address, at least 0;
        /// How long credentials may take after a challenge.
        follow: Span = follow;
        /// Outstanding identities at which the source is held.
        hold: u32 = hold_at;
        /// The same, where the source was told of somebody who does not exist.
        hold_told: u32 = hold_told_at;
    }
    /// What a stolen account does; it raises alerts and bans nobody.
    FraudAfterLogin is fraud_after_login {
        /// Different refused outside numbers of one account within the window.
        threshold: u32 = numbers;
        /// The window.
        window: Window = numbers_window;
        /// International calls within an hour.
        calls: u32 = calls;
        /// By an account that made none for so long.
        quiet: Span = quiet;
        /// How international numbers begin.
        international: Vec<String> = international;
    }
    /// What begins like SIP and is none.
    MalformedFlood is malformed_flood {
        /// Messages within the window.
        threshold: u32 = threshold;
        /// The window.
        window: Span = window;
    }
    /// Wrong passwords.
    PasswordGuessing is password_guessing {
        /// Attempts in the bucket.
        threshold: u32 = bucket;
        /// One attempt leaks out of the bucket in this time.
        leak: Span = leak;
        /// Attempts within a day.
        per_day: u32 = in_day;
        /// How long a nonce is fresh.
        fresh: Span = fresh;
        /// How long an attempt with an old nonce waits for accepted credentials.
        patience: Span = patience;
        /// Attempts of a phone with a stale password within a day.
        stale_per_day: u32 = stale_in_day;
        /// Refused digests tried against the list of common passwords, per second; 0: none.
        dictionary_per_second: u32 = dictionary_per_second, at least 0;
    }
    /// Many attackers in one prefix.
    PrefixCampaign is prefix_campaign {
        /// Attacking addresses of an IPv4 /24. One is no campaign.
        ipv4: usize = ipv4, at least 2;
        /// Attacking /64s of an IPv6 /48.
        ipv6: usize = ipv6, at least 2;
        /// How long an attacker is noted.
        window: Span = window;
    }
    /// A flood that the rate limit already drops.
    RateExceeded is rate_exceeded {
        /// Drops within the window.
        threshold: u32 = threshold;
        /// The window.
        window: Span = window;
    }
    /// A packet carries a scanner's signature.
    ScannerSignature is scanner_signature {}
    /// Many different requests.
    ServerProbing is server_probing {
        /// Different pairs of method and user within the window.
        threshold: u32 = limits.in_window;
        /// The window.
        window: Window = limits.window;
        /// Different pairs within a day.
        per_day: u32 = limits.in_day;
        /// Different methods that make no sense out of a dialog.
        odd_methods: u32 = odd_methods;
        /// OPTIONS and NOTIFY at least so far apart are free.
        keep_alive: Span = keep_alive;
    }
    /// Many numbers dialled without a login.
    TollFraudProbe is toll_fraud_probe {
        /// Different numbers within the window.
        threshold: u32 = limits.in_window;
        /// The window.
        window: Window = limits.window;
        /// Different numbers within a day.
        per_day: u32 = limits.in_day;
        /// Different prefixes before one number. Two are a mistake.
        prefixes: u32 = prefixes, at least 2;
    }
    /// A packet to a port that nobody uses.
    Tripwire is tripwire {
        /// Who logged in within this time is not banned.
        forgiven: Span = forgiven;
    }
    /// Calls whose refusal nobody acknowledges.
    UnansweredInvite is unanswered_invite {
        /// Calls within the window.
        threshold: u32 = limits.in_window;
        /// The window.
        window: Window = limits.window;
        /// Calls within a day.
        per_day: u32 = limits.in_day;
        /// How long the ACK may take.
        patience: Span = patience;
    }
}

/// A value of the file beside the engine's.
trait Value {
    type Number;
    fn of(number: &Self::Number) -> Self;
    fn number(&self) -> Self::Number;
    /// Whether it is a count below `least`.
    fn is_below(&self, least: u32) -> bool;
}

macro_rules! count {
    ($($kind:ty)+) => {$(
        impl Value for $kind {
            type Number = Self;

            fn of(number: &Self) -> Self {
                *number
            }

            fn number(&self) -> Self {
                *self
            }

            fn is_below(&self, least: u32) -> bool {
                *self < least as Self
            }
        }
    )+};
}

count! { u32 usize }

impl Value for Span {
    type Number = Duration;

    fn of(number: &Duration) -> Self {
        Self::of_seconds(number.as_secs())
    }

    fn number(&self) -> Duration {
        self.duration()
    }

    fn is_below(&self, _: u32) -> bool {
        false
    }
}

impl Value for Vec<String> {
    type Number = Self;

    fn of(number: &Self) -> Self {
        number.clone()
    }

    fn number(&self) -> Self {
        self.clone()
    }

    fn is_below(&self, _: u32) -> bool {
        false
    }
}

/// A length of time over which different things are counted: a day at most, for the engine
/// remembers them no longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window(Span);

const LONGEST_WINDOW: Span = Span::of_seconds(86_400);

impl Value for Window {
    type Number = Duration;

    fn of(number: &Duration) -> Self {
        Self(Span::of(number))
    }

    fn number(&self) -> Duration {
        self.0.duration()
    }

    fn is_below(&self, _: u32) -> bool {
        false
    }
}

impl<'de> Deserialize<'de> for Window {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let span = Span::deserialize(deserializer)?;
        if span > LONGEST_WINDOW {
            let problem = format!("{span} is longer than {LONGEST_WINDOW}, the longest window");
            return Err(D::Error::custom(problem));
        }
        Ok(Self(span))
    }
}
