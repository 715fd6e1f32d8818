//! `[detect.*]`: one table per detector.

use serde::Deserialize;

use super::Problem;
use crate::span::Span;

/// `[detect]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Detect {
    /// A packet carries a scanner's signature.
    pub scanner_signature: ScannerSignature,
    /// A packet to a port that nobody uses.
    pub tripwire: Tripwire,
    /// A flood that the rate limit already drops.
    pub rate_exceeded: RateExceeded,
    /// Many attackers in one prefix.
    pub prefix_campaign: PrefixCampaign,
}

/// `[detect.scanner-signature]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct ScannerSignature {
    /// Whether it bans. Packets with a signature are dropped in any case.
    pub enabled: bool,
}

/// `[detect.tripwire]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Tripwire {
    /// Whether it bans. Packets to a tripwire are dropped in any case.
    pub enabled: bool,
    /// Who logged in within this time is not banned.
    pub forgiven: Span,
}

/// `[detect.rate-exceeded]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct RateExceeded {
    /// Whether it bans. What is over the rate is dropped in any case.
    pub enabled: bool,
    /// Drops within the window.
    pub threshold: u32,
    /// The window.
    pub window: Span,
}

/// `[detect.prefix-campaign]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct PrefixCampaign {
    /// Whether it bans.
    pub enabled: bool,
    /// Attacking addresses of an IPv4 /24.
    pub ipv4: usize,
    /// Attacking /64s of an IPv6 /48.
    pub ipv6: usize,
    /// How long an attacker is noted.
    pub window: Span,
}

impl Detect {
    pub(super) fn apply(&self, config: &mut sipward_engine::Config) {
        config.scanner_signature.enabled = self.scanner_signature.enabled;
        config.tripwire.enabled = self.tripwire.enabled;
        config.tripwire.forgiven = self.tripwire.forgiven.duration();
        config.rate_exceeded.enabled = self.rate_exceeded.enabled;
        config.rate_exceeded.threshold = self.rate_exceeded.threshold;
        config.rate_exceeded.window = self.rate_exceeded.window.duration();
        config.prefix_campaign.enabled = self.prefix_campaign.enabled;
        config.prefix_campaign.ipv4 = self.prefix_campaign.ipv4;
        config.prefix_campaign.ipv6 = self.prefix_campaign.ipv6;
        config.prefix_campaign.window = self.prefix_campaign.window.duration();
    }

    pub(super) fn check(&self, problems: &mut Vec<Problem>) {
        let mut at_least = |key: &str, value: usize, least: usize| {
            if value < least {
                problems.push(Problem::new(
                    key,
                    format!("{value} is too few: at least {least}"),
                ));
            }
        };
        at_least(
            "detect.rate-exceeded.threshold",
            self.rate_exceeded.threshold as usize,
            1,
        );
        // One address is no campaign, and a ban of its neighbours a mistake.
        at_least("detect.prefix-campaign.ipv4", self.prefix_campaign.ipv4, 2);
        at_least("detect.prefix-campaign.ipv6", self.prefix_campaign.ipv6, 2);
    }
}

impl Default for ScannerSignature {
    fn default() -> Self {
        Self { enabled: true }
    }
}

impl Default for Tripwire {
    fn default() -> Self {
        Self {
            enabled: true,
            forgiven: Span::of_seconds(30 * 86_400),
        }
    }
}

impl Default for RateExceeded {
    fn default() -> Self {
        Self {
            enabled: true,
            threshold: 600,
            window: Span::of_seconds(60),
        }
    }
}

impl Default for PrefixCampaign {
    fn default() -> Self {
        Self {
            enabled: true,
            ipv4: 5,
            ipv6: 8,
            window: Span::of_seconds(86_400),
        }
    }
}
