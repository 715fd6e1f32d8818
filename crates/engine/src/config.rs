//! Every number of the engine. The defaults are those of the shipped configuration.

use crate::{
    Detector,
    command::Scope,
    detect::{
        account_attacked, extension_enumeration, fraud_after_login, malformed_flood,
        password_guessing, prefix_campaign, rate_exceeded, scanner_signature, server_probing,
        toll_fraud_probe, tripwire, unanswered_invite,
    },
    ladder::LadderConfig,
    trust::TrustConfig,
};

/// What can be set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// What a proven ban drops; an unproven one is always [`Scope::Sip`].
    pub scope: Scope,
    /// Senders remembered at most, the one longest silent out.
    pub sources: usize,
    /// Whether the wire is read: then what a log says of UDP and cleartext TCP only adds evidence.
    pub wire_is_read: bool,
    /// How long bans last.
    pub ladder: LadderConfig,
    /// How long a success is worth something.
    pub trust: TrustConfig,
    /// One account attacked from many addresses.
    pub account_attacked: account_attacked::Config,
    /// Many claimed identities.
    pub extension_enumeration: extension_enumeration::Config,
    /// What a stolen account does.
    pub fraud_after_login: fraud_after_login::Config,
    /// What begins like SIP and is none.
    pub malformed_flood: malformed_flood::Config,
    /// Wrong passwords.
    pub password_guessing: password_guessing::Config,
    /// Many attackers in one prefix.
    pub prefix_campaign: prefix_campaign::Config,
    /// Floods.
    pub rate_exceeded: rate_exceeded::Config,
    /// Known scanners.
    pub scanner_signature: scanner_signature::Config,
    /// Many different requests.
    pub server_probing: server_probing::Config,
    /// Many numbers dialled without a login.
    pub toll_fraud_probe: toll_fraud_probe::Config,
    /// Ports that nobody has a reason to use.
    pub tripwire: tripwire::Config,
    /// Calls whose refusal nobody acknowledges.
    pub unanswered_invite: unanswered_invite::Config,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            scope: Scope::All,
            sources: 100_000,
            wire_is_read: true,
            ladder: LadderConfig::default(),
            trust: TrustConfig::default(),
            account_attacked: account_attacked::Config::default(),
            extension_enumeration: extension_enumeration::Config::default(),
            fraud_after_login: fraud_after_login::Config::default(),
            malformed_flood: malformed_flood::Config::default(),
            password_guessing: password_guessing::Config::default(),
            prefix_campaign: prefix_campaign::Config::default(),
            rate_exceeded: rate_exceeded::Config::default(),
            scanner_signature: scanner_signature::Config::default(),
            server_probing: server_probing::Config::default(),
            toll_fraud_probe: toll_fraud_probe::Config::default(),
            tripwire: tripwire::Config::default(),
            unanswered_invite: unanswered_invite::Config::default(),
        }
    }
}

impl Config {
    /// Whether a detector may fire.
    #[must_use]
    pub fn is_enabled(&self, detector: Detector) -> bool {
        match detector {
            Detector::AccountAttacked => self.account_attacked.enabled,
            Detector::ExtensionEnumeration => self.extension_enumeration.enabled,
            Detector::FraudAfterLogin => self.fraud_after_login.enabled,
            Detector::MalformedFlood => self.malformed_flood.enabled,
            Detector::PasswordGuessing => self.password_guessing.enabled,
            Detector::PrefixCampaign => self.prefix_campaign.enabled,
            Detector::RateExceeded => self.rate_exceeded.enabled,
            Detector::ScannerSignature => self.scanner_signature.enabled,
            Detector::ServerProbing => self.server_probing.enabled,
            Detector::TollFraudProbe => self.toll_fraud_probe.enabled,
            Detector::Tripwire => self.tripwire.enabled,
            Detector::UnansweredInvite => self.unanswered_invite.enabled,
        }
    }
}
