//! `scanner-signature`: a packet carries what only a known scanner sends.
//!
//! ```text
//! packet ── certain signature ──► fires at once
//!        └─ likely, shared ─────► nothing: dropped by the kernel or not, nobody is banned for it
//! ```
//!
//! A datagram with a scanner's name can be forged by anyone, so over UDP it is unproven by
//! definition; so is a TCP segment outside a connection whose handshake was seen.

use crate::{
    Detector, Time,
    command::{Evidence, Place},
    detect::Firing,
    observation::{Confidence, KernelDrop, Transport},
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

/// Judges a packet that was dropped for its signature.
pub(crate) fn observe(drop: &KernelDrop<'_>, config: &Config, now: Time) -> Option<Firing> {
    let hit = drop.signature?;
    if !config.enabled || hit.confidence != Confidence::Certain {
        return None;
    }
    let proven = drop.transport == Transport::Tcp && drop.established;
    Some(Firing {
        detector: Detector::ScannerSignature,
        proven,
        summary: format!("sent what only the scanner {} sends", hit.name),
        signature: Some(hit.name.to_owned()),
        account: None,
        mild: false,
        evidence: vec![Evidence {
            at: now,
            place: drop.packet.map_or(Place::Kernel, Place::Packet),
            summary: first_line(drop.sample),
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
