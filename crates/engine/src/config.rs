//! Every number of the engine. The defaults are those of the shipped configuration.

use crate::{
    command::Scope,
    detect::{scanner_signature, tripwire},
    ladder::LadderConfig,
    trust::TrustConfig,
};

/// What can be set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// What a proven ban drops; an unproven one is always [`Scope::Sip`].
    pub scope: Scope,
    /// How long bans last.
    pub ladder: LadderConfig,
    /// How long a success is worth something.
    pub trust: TrustConfig,
    /// Known scanners.
    pub scanner_signature: scanner_signature::Config,
    /// Ports that nobody has a reason to use.
    pub tripwire: tripwire::Config,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            scope: Scope::All,
            ladder: LadderConfig::default(),
            trust: TrustConfig::default(),
            scanner_signature: scanner_signature::Config::default(),
            tripwire: tripwire::Config::default(),
        }
    }
}
