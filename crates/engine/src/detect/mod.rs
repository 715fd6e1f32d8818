//! The detectors: one file each, with its state diagram and its numbers. A detector says what it
//! found as a [`Firing`]; what follows from it is decided in one place, `judge.rs`.

pub mod scanner_signature;
pub mod tripwire;

use crate::{Detector, command::Evidence};

/// A detector fired.
#[derive(Clone, Debug)]
pub(crate) struct Firing {
    pub detector: Detector,
    pub proven: bool,
    pub summary: String,
    pub signature: Option<String>,
    pub account: Option<String>,
    pub evidence: Vec<Evidence>,
}
