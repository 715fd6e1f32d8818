//! `[limits]`: rates and bursts.

use serde::Deserialize;

use super::values::{OverLimit, RateText};
use crate::span::Span;

/// `[limits]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct LimitTables {
    /// SIP requests of one unknown source.
    pub sip: SipLimit,
    /// Responses and keep-alives of one unknown source.
    pub responses: ResponsesLimit,
    /// All unknown sources together.
    pub unknown: UnknownLimit,
    /// One trusted source.
    pub trusted: TrustedLimit,
    /// New SSH connections.
    pub ssh: SshLimit,
}

/// `[limits.sip]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct SipLimit {
    /// The refill.
    pub rate: RateText,
    /// Packets at once; where absent, the profile decides.
    pub burst: Option<u32>,
    /// What becomes of a packet beyond it.
    pub over: OverLimit,
}

/// A limit that differs from the others by its defaults only.
macro_rules! limit {
    ($(#[doc = $doc:literal] $name:ident: $packets:literal per $seconds:literal, burst $burst:literal;)+) => {$(
        #[doc = $doc]
        #[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
        #[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
        pub struct $name {
            /// The refill.
            pub rate: RateText,
            /// Packets at once.
            pub burst: u32,
        }

        impl Default for $name {
            fn default() -> Self {
                Self { rate: RateText { packets: $packets, per_seconds: $seconds }, burst: $burst }
            }
        }
    )+};
}

limit! {
    #[doc = "`[limits.responses]`"] ResponsesLimit: 50 per 1, burst 500;
    #[doc = "`[limits.unknown]`"] UnknownLimit: 300 per 1, burst 600;
    #[doc = "`[limits.trusted]`"] TrustedLimit: 200 per 1, burst 1000;
}

/// `[limits.ssh]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct SshLimit {
    /// Ports of SSH servers.
    pub ports: Vec<u16>,
    /// The refill.
    pub rate: RateText,
    /// Connections at once.
    pub burst: u32,
    /// How long sshd lets a connection be without a login.
    pub login_grace: Span,
}

impl Default for SipLimit {
    fn default() -> Self {
        Self {
            rate: RateText {
                packets: 5,
                per_seconds: 1,
            },
            burst: None,
            over: OverLimit::Drop,
        }
    }
}

impl Default for SshLimit {
    fn default() -> Self {
        Self {
            ports: vec![22],
            rate: RateText {
                packets: 3,
                per_seconds: 60,
            },
            burst: 10,
            login_grace: Span::of_seconds(120),
        }
    }
}
