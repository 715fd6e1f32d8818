//! The names of the detectors.

use std::fmt;

macro_rules! detectors {
    ($($(#[doc = $doc:literal])+ $variant:ident => $name:literal,)+) => {
        /// A rule over observations.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Detector {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Detector {
            /// All detectors.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The name that people, scripts and the configuration use.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }
        }
    };
}

detectors! {
    /// A packet carries the signature of a known scanner.
    ScannerSignature => "scanner-signature",
    /// Wrong passwords.
    PasswordGuessing => "password-guessing",
    /// Many claimed identities, none of which logs in.
    ExtensionEnumeration => "extension-enumeration",
    /// INVITEs whose refusal nobody acknowledges.
    UnansweredInvite => "unanswered-invite",
    /// Many refused numbers dialled without a login.
    TollFraudProbe => "toll-fraud-probe",
    /// Many different requests without a login.
    ServerProbing => "server-probing",
    /// Payloads that begin like SIP and are none.
    MalformedFlood => "malformed-flood",
    /// A flood that the rate limit already drops.
    RateExceeded => "rate-exceeded",
    /// A packet to a port that nobody has a reason to use.
    Tripwire => "tripwire",
    /// One account attacked from many addresses.
    AccountAttacked => "account-attacked",
    /// Many attackers in one prefix.
    PrefixCampaign => "prefix-campaign",
    /// What a stolen account does.
    FraudAfterLogin => "fraud-after-login",
}

impl Detector {
    /// The detector of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|d| d.name() == name)
    }
}

impl fmt::Display for Detector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
