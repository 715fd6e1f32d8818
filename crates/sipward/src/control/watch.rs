//! What `watch` is told: one JSON document a line, as it happens.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::api::{AlertView, BanView, TrustedView};

/// Asks for what happens from now on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WatchRequest {
    /// Whom it must concern; empty: anybody.
    pub prefixes: Vec<IpNet>,
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum WatchLine {
    /// A SIP message behind the shield, or a packet that was dropped before it.
    Message(MessageLine),
    /// A packet of the server did not arrive.
    Unreachable {
        /// When it was reported.
        at: Timestamp,
        /// By whom.
        reporter: IpAddr,
        /// Whom the packet was for.
        destination: SocketAddr,
    },
    /// A log has a line about a remote end.
    Log {
        /// When it was read.
        at: Timestamp,
        /// The remote end; null where the line names none.
        source: Option<SocketAddr>,
        /// The line.
        text: String,
    },
    /// A detector fired.
    Alert(AlertView),
    /// A ban is set.
    Ban(BanView),
    /// A ban ended.
    Unban {
        /// When.
        at: Timestamp,
        /// The addresses.
        prefix: IpNet,
        /// The source port, where only one was banned.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        port: Option<u16>,
    },
    /// An address logged in.
    Trust(TrustedView),
    /// So much happened that this many lines were left out here.
    Lost {
        /// How many.
        lines: u64,
    },
}

/// A SIP message, or what its first bytes show of one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageLine {
    /// When it was seen.
    pub at: Timestamp,
    /// To the server or from it.
    pub direction: Direction,
    /// Source address and port.
    pub source: SocketAddr,
    /// Destination address and port.
    pub destination: SocketAddr,
    /// `udp` or `tcp`.
    pub transport: String,
    /// What became of it.
    pub verdict: Verdict,
    /// Why it was dropped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The signature that hit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
    /// The method, of a response the one that it answers.
    pub method: Option<String>,
    /// The status of a response.
    pub status: Option<u16>,
    /// `REGISTER sip:192.0.2.1`, `401 Unauthorized`, or the line as it is.
    pub summary: String,
    /// Its Call-ID.
    pub call_id: Option<String>,
    /// Its User-Agent.
    pub user_agent: Option<String>,
}

/// Which way a message went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// To the server.
    In,
    /// From the server.
    Out,
}

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It went on.
    Pass,
    /// It was dropped.
    Drop,
    /// It was let through, since the mode is to observe.
    WouldDrop,
}
