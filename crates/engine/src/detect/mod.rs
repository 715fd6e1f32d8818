//! The detectors: one file each, with its state diagram and its numbers. A detector counts and
//! says what it found; what follows from it is decided in one place, `judge.rs`.

pub mod account_attacked;
pub(crate) mod dictionary;
pub mod extension_enumeration;
pub mod fraud_after_login;
pub mod malformed_flood;
pub mod password_guessing;
pub mod prefix_campaign;
pub mod rate_exceeded;
pub mod scanner_signature;
pub mod server_probing;
pub mod toll_fraud_probe;
pub mod tripwire;
pub mod unanswered_invite;

use crate::{
    Detector,
    command::Evidence,
    window::{Progress, Proof},
};

/// A detector fired.
#[derive(Clone, Debug)]
pub(crate) struct Firing {
    pub detector: Detector,
    pub proven: bool,
    pub summary: String,
    pub signature: Option<String>,
    pub account: Option<String>,
    pub evidence: Vec<Evidence>,
    /// Only the first rung of the ladder, and only the SIP ports.
    pub mild: bool,
}

/// Where a detector stands after it has counted one more thing.
#[derive(Clone, Debug)]
pub(crate) struct Tally {
    pub progress: Progress,
    pub fired: Option<Fired>,
}

/// What a detector concluded.
#[derive(Clone, Debug)]
pub(crate) struct Fired {
    pub proof: Proof,
    pub summary: String,
    pub account: Option<String>,
    /// Only the first rung of the ladder, and only the SIP ports.
    pub mild: bool,
}

impl Fired {
    pub fn new(proof: Proof, summary: String) -> Self {
        Self {
            proof,
            summary,
            account: None,
            mild: false,
        }
    }
}
