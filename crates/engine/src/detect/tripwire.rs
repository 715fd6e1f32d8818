//! `tripwire`: a packet to a port that is named as unused.
//!
//! ```text
//! packet to such a port ── success from this address in 30 days ──► nothing: an old setting
//!                       └─ otherwise ─────────────────────────────► fires at once
//! ```

use std::time::Duration;

use crate::{
    Detector, Time,
    command::{Evidence, Place},
    detect::{Firing, scanner_signature::first_line},
    observation::{KernelDrop, Transport},
};

/// Numbers of the detector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Whether it fires at all.
    pub enabled: bool,
    /// A success within this time forgives: an employee's phone may still have the old port.
    pub forgiven: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            enabled: true,
            forgiven: Duration::from_secs(30 * 86_400),
        }
    }
}

/// Judges a packet to a tripwire; `forgiven` where its source had a success lately.
pub(crate) fn observe(
    drop: &KernelDrop<'_>,
    forgiven: bool,
    config: &Config,
    now: Time,
) -> Option<Firing> {
    if !config.enabled || forgiven {
        return None;
    }
    let (protocol, proven) = match drop.transport {
        Transport::Udp => ("UDP", false),
        Transport::Tcp => ("TCP", drop.established),
    };
    let port = drop.destination.port();
    Some(Firing {
        detector: Detector::Tripwire,
        proven,
        summary: format!(
            "sent a packet to {protocol} port {port}, which nobody has a reason to use"
        ),
        signature: None,
        account: None,
        mild: false,
        evidence: vec![Evidence {
            at: now,
            place: drop.packet.map_or(Place::Kernel, Place::Packet),
            summary: match first_line(drop.sample) {
                empty if empty.is_empty() => {
                    format!("{protocol} packet without payload to port {port}")
                }
                line => line,
            },
        }],
    })
}
