//! `scanner-signature`: a packet carries what only a known scanner sends.
//!
//! ```text
//! packet ── certain signature ──► fires at once
//!        └─ likely, shared ─────► nothing: dropped by the kernel or not, nobody is banned for it
//! ```
//!
//! A datagram with a scanner's name can be forged by anyone, so over UDP it is unproven by
//! definition; so is a TCP segment outside a connection whose handshake was seen. What the kernel
//! could not see in one packet, the tap sees when it has put the message together.

use crate::{
    Detector, Time,
    command::{Evidence, Place},
    detect::Firing,
    observation::{Confidence, SignatureHit},
    text::escape_at_most,
};

/// Numbers of the detector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Whether it fires at all.
    pub enabled: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self { enabled: true }
    }
}

/// Judges a packet or a message with a signature.
pub(crate) fn observe(
    hit: SignatureHit<'_>,
    proven: bool,
    place: Place,
    payload: &[u8],
    config: &Config,
    now: Time,
) -> Option<Firing> {
    if !config.enabled || hit.confidence != Confidence::Certain {
        return None;
    }
    Some(Firing {
        detector: Detector::ScannerSignature,
        proven,
        summary: format!("sent what only the scanner {} sends", hit.name),
        signature: Some(hit.name.to_owned()),
        account: None,
        mild: false,
        evidence: vec![Evidence {
            at: now,
            place,
            summary: first_line(payload),
        }],
    })
}

/// The first line with text in it, safe to show.
pub(crate) fn first_line(payload: &[u8]) -> String {
    let line = payload
        .split(|byte| matches!(byte, b'\r' | b'\n'))
        .find(|line| !line.is_empty())
        .unwrap_or_default();
    escape_at_most(line, 120).to_string()
}
