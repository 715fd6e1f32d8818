//! What the policy is told: which ports are what, and at which rates.

use std::collections::BTreeMap;

/// What a port is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PortClass {
    /// Cleartext SIP: rate and signatures.
    Sip,
    /// SIP that cannot be read on the wire (TLS, WebSocket) and IAX2.
    SipOpaque,
    /// SSH: new connections are limited per source and destination.
    Ssh,
    /// A port that nobody has a reason to use: any packet is an alarm.
    Tripwire,
}

/// The ports to protect; a port in no list is not looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ports {
    /// Class of each protected UDP port.
    pub udp: BTreeMap<u16, PortClass>,
    /// Class of each protected TCP port.
    pub tcp: BTreeMap<u16, PortClass>,
}

/// A token bucket: `burst` packets at once, refilled at `packets` per `per_seconds`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Tokens that come back per `per_seconds`; at least 1.
    pub packets: u32,
    /// The interval, in seconds; at least 1.
    pub per_seconds: u32,
    /// Packets that may come at once; at least 1.
    pub burst: u32,
}

/// The limits by class of packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// SIP requests of one unknown source (IPv4 address, IPv6 /64).
    pub sip: Rate,
    /// Responses and keep-alives of one unknown source.
    pub responses: Rate,
    /// All unknown sources together.
    pub unknown: Rate,
    /// One trusted source.
    pub trusted: Rate,
    /// New SSH connections of one source to one destination.
    pub ssh: Rate,
}

/// All of it. The default is that of the shipped configuration: SIP on UDP and TCP 5060, TLS on
/// 5061, IAX2 on 4569, WebSocket on 8088 and 8089, SSH on 22.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyConfig {
    /// Which ports are protected, and as what.
    pub ports: Ports,
    /// The rate limits.
    pub limits: Limits,
}

impl Default for Limits {
    fn default() -> Self {
        let rate = |packets, per_seconds, burst| Rate {
            packets,
            per_seconds,
            burst,
        };
        Self {
            sip: rate(5, 1, 120),
            responses: rate(50, 1, 500),
            unknown: rate(300, 1, 600),
            trusted: rate(200, 1, 1_000),
            ssh: rate(3, 60, 10),
        }
    }
}

impl Default for PolicyConfig {
    fn default() -> Self {
        let opaque = PortClass::SipOpaque;
        Self {
            ports: Ports {
                udp: [(5060, PortClass::Sip), (4569, opaque)].into(),
                tcp: [
                    (5060, PortClass::Sip),
                    (5061, opaque),
                    (8088, opaque),
                    (8089, opaque),
                    (22, PortClass::Ssh),
                ]
                .into(),
            },
            limits: Limits::default(),
        }
    }
}
