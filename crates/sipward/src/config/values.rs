//! Values of the configuration with a form of their own.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use sipward_engine::Scope;
use sipward_shield::{Mode, Over, XdpMode};

/// Enforce or only watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GuardMode {
    /// Drop what is decided to be dropped.
    Protect,
    /// Count it only.
    Observe,
}

impl From<GuardMode> for Mode {
    fn from(mode: GuardMode) -> Self {
        match mode {
            GuardMode::Protect => Self::Protect,
            GuardMode::Observe => Self::Observe,
        }
    }
}

impl fmt::Display for GuardMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Protect => "protect",
            Self::Observe => "observe",
        })
    }
}

/// What becomes of a packet beyond a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OverLimit {
    /// It is dropped.
    Drop,
    /// It is dropped, and its sender told so by ICMP, now and then.
    Reject,
}

impl From<OverLimit> for Over {
    fn from(over: OverLimit) -> Self {
        match over {
            OverLimit::Drop => Self::Drop,
            OverLimit::Reject => Self::Reject,
        }
    }
}

/// What is to enforce.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum BackendChoice {
    /// XDP, and nftables where that cannot be.
    Auto,
    /// XDP; an error where it cannot be.
    Xdp,
    /// A table of nftables.
    Nftables,
}

/// How XDP is to be attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum XdpChoice {
    /// The better of the two for the device.
    Auto,
    /// In the driver; an error where the driver cannot.
    Native,
    /// In the network stack.
    Generic,
}

impl XdpChoice {
    /// The mode asked for; none for [`Self::Auto`].
    #[must_use]
    pub const fn asked(self) -> Option<XdpMode> {
        match self {
            Self::Auto => None,
            Self::Native => Some(XdpMode::Native),
            Self::Generic => Some(XdpMode::Generic),
        }
    }
}

/// What a ban drops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum BanScope {
    /// Every packet.
    All,
    /// Packets to the ports for SIP and IAX2.
    Sip,
}

impl From<BanScope> for Scope {
    fn from(scope: BanScope) -> Self {
        match scope {
            BanScope::All => Self::All,
            BanScope::Sip => Self::Sip,
        }
    }
}

impl From<BanScope> for sipward_shield::Scope {
    fn from(scope: BanScope) -> Self {
        match scope {
            BanScope::All => Self::All,
            BanScope::Sip => Self::Sip,
        }
    }
}

impl From<Scope> for BanScope {
    fn from(scope: Scope) -> Self {
        match scope {
            Scope::All => Self::All,
            Scope::Sip => Self::Sip,
        }
    }
}

impl fmt::Display for BanScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::All => "all",
            Self::Sip => "sip",
        })
    }
}

/// Packets per second at most: the kernel keeps the time between two packets in nanoseconds, and
/// none between them would be no limit.
const MOST_PER_SECOND: u32 = 1_000_000_000;

/// A rate as iptables writes it: `5/s`, `3/min`, `100/hour`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateText {
    /// Packets per interval, at least one, and at most [`MOST_PER_SECOND`].
    pub packets: u32,
    /// The interval in seconds, at least one.
    pub per_seconds: u32,
}

impl FromStr for RateText {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let read = || {
            let (packets, unit) = text.split_once('/')?;
            let per_seconds = match unit {
                "s" | "sec" | "second" => 1,
                "m" | "min" | "minute" => 60,
                "h" | "hour" => 3_600,
                "d" | "day" => 86_400,
                _ => return None,
            };
            let digits = packets.bytes().all(|byte| byte.is_ascii_digit());
            let packets = packets
                .parse()
                .ok()
                .filter(|packets| digits && *packets > 0)?;
            Some(Self {
                packets,
                per_seconds,
            })
        };
        let rate = read().ok_or_else(|| {
            format!("{text:?} is no rate: write it as \"5/s\", \"3/min\", \"100/h\" or \"1000/d\"")
        })?;
        if rate.packets > MOST_PER_SECOND.saturating_mul(rate.per_seconds) {
            return Err(format!(
                "{text:?} is more than {MOST_PER_SECOND} packets per second, the most that the \
                 kernel can keep to"
            ));
        }
        Ok(rate)
    }
}

impl<'de> Deserialize<'de> for RateText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(D::Error::custom)
    }
}
