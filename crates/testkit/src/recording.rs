//! The labelled recordings under `recordings/`: traffic of real tools with a real Asterisk, and
//! beside each a TOML file with what it is and what must come of it. `sipward-record` makes them.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::pcap::{self, Frame};

mod datagram;

pub use datagram::{Datagram, header};

/// Who is honest and must lose nothing; each has a recording at least.
pub const HONEST: &[&str] = &[
    "60 phones behind one address after a power cut, 80 ms away",
    "60-key BLF phone booting, with subscriptions refused by policy too",
    "48-port gateway, 150 ms away",
    "phones with a stale password, two behind one NAT",
    "a user who mistypes twice",
    "nonce caching trunks and phones",
    "IMS-style handsets with an empty first nonce",
    "misdials of logged-in users and listed trunks",
    "SIP-ALG or wrong externaddr (every 200 un-ACKed)",
    "provider OPTIONS every 5 to 30 s from unlisted addresses",
    "NOTIFY keep-alives every 15 s answered 401",
    "CRLF, NUL, STUN keep-alives of 60 phones",
    "an IP-authenticated trunk with many numbers",
    "forked INVITEs, early CANCEL, 487",
    "a softphone after a weekend",
    "an employee whose phone still has the old port",
    "a colleague behind the same NAT as a guesser",
];

/// Who attacks and must not walk through; each has a recording at least.
pub const ATTACKS: &[&str] = &[
    "stock scanners, with and without User-Agent",
    "the same with genuine User-Agents",
    "nonce oracle on both channels",
    "guessing by INVITE, SUBSCRIBE, MESSAGE, OPTIONS, REFER",
    "INVITE never ACKed on both channels, UDP and TCP",
    "INVITE with ACK, one number per 200 s",
    "one valid login, then enumeration",
    "slow guessing below each window for a day",
    "the same spread over a /24, over 65,536 /64s of a /48, over one account",
    "60,000 forged sources",
    "tiny fragments, tiny segments, huge headers",
    "forged packets that try to get a resolver, gateway, trunk or phone banned",
];

/// How the times of a recording came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Times {
    /// As they were.
    Live,
    /// Exchanges were played one after the other and moved apart; the times within each are as
    /// they were.
    Stretched,
}

/// What stands beside a recording.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Label {
    /// What happens, in a sentence.
    pub description: String,
    /// Which of [`HONEST`] or [`ATTACKS`] it shows.
    pub line: String,
    /// Where the server listens.
    pub servers: Vec<SocketAddr>,
    /// How its times came about.
    pub times: Times,
    /// What it was made with.
    pub parameters: BTreeMap<String, String>,
    /// The configuration to replay it with, where it is not the default.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub config: String,
    /// Alerts that ban nobody, by detector; none other may be raised without a ban.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alerts: Vec<String>,
    /// Who loses not a packet although others are banned.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub spared: Vec<String>,
    /// The bans that must be; another one is a mistake.
    #[serde(default, skip_serializing_if = "Vec::is_empty", rename = "ban")]
    pub bans: Vec<ExpectedBan>,
}

/// A ban, or several of one kind.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ExpectedBan {
    /// The address, or the prefix that holds what is banned.
    pub of: String,
    /// The detector.
    pub by: String,
    /// The port, where only that is banned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// `all` or `sip`, where it matters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// Bans of this kind at least; one where nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_least: Option<usize>,
    /// And at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_most: Option<usize>,
    /// Number of the last packet that may have decided it, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub packet: Option<u64>,
    /// Refusals of credentials of `of` up to the decision, at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<usize>,
    /// All final answers to `of` up to the decision, at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answers: Option<usize>,
}

/// A recording and its label.
#[derive(Debug, Clone)]
pub struct Recording {
    /// `honest/NAME` or `attacks/NAME`.
    pub name: String,
    /// The pcap file.
    pub path: PathBuf,
    /// What it is.
    pub label: Label,
}

/// Where they are.
#[must_use]
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("recordings")
}

/// All of them, in the order of their names.
///
/// # Errors
/// If a file cannot be read, naming it.
pub fn all() -> Result<Vec<Recording>> {
    let mut recordings = Vec::new();
    for kind in ["attacks", "honest"] {
        let folder = folder().join(kind);
        let entries = fs::read_dir(&folder).with_context(|| folder.display().to_string())?;
        for entry in entries {
            let path = entry?.path();
            if path.extension().is_none_or(|extension| extension != "toml") {
                continue;
            }
            let text = fs::read_to_string(&path)?;
            let label = toml::from_str(&text).with_context(|| path.display().to_string())?;
            let stem = path.file_stem().unwrap_or_default().to_string_lossy();
            let name = format!("{kind}/{stem}");
            recordings.push(Recording {
                name,
                path: path.with_extension("pcap"),
                label,
            });
        }
    }
    recordings.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(recordings)
}

impl Recording {
    /// Its frames.
    ///
    /// # Errors
    /// If the file is not what `sipward-record` writes.
    pub fn frames(&self) -> Result<Vec<Frame>> {
        pcap::read(&self.path)
    }
}

/// How many final answers an address got (at that port, where one is given), and how many of them
/// refused credentials, up to the packet of that number (from 1). Answers sent again count again.
#[must_use]
pub fn answers_until(
    frames: &[Frame],
    address: IpAddr,
    port: Option<u16>,
    packet: u64,
) -> (usize, usize) {
    let is_party =
        |party: SocketAddr| party.ip() == address && port.is_none_or(|port| party.port() == port);
    let mut with_credentials = Vec::new();
    let (mut answers, mut refused) = (0, 0);
    let count = usize::try_from(packet).unwrap_or(usize::MAX);
    for frame in frames.iter().take(count) {
        let Some(datagram) = Datagram::read(&frame.bytes) else {
            continue;
        };
        let text = String::from_utf8_lossy(datagram.payload);
        // A scanner's compact mode has `i`.
        let call_id = match header(&text, "Call-ID") {
            "" => header(&text, "i"),
            call_id => call_id,
        };
        let request = [call_id, header(&text, "CSeq")].map(str::to_owned);
        if is_party(datagram.source) && !header(&text, "Authorization").is_empty() {
            with_credentials.push(request);
            continue;
        }
        let status = text.strip_prefix("SIP/2.0 ").unwrap_or_default();
        if is_party(datagram.destination) && status.as_bytes() >= b"2".as_slice() {
            answers += 1;
            let is_refused = status.as_bytes() >= b"3".as_slice();
            refused += usize::from(is_refused && with_credentials.contains(&request));
        }
    }
    (answers, refused)
}
