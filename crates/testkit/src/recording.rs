//! The labelled recordings under `recordings/`: traffic of real tools with a real Asterisk, and
//! beside each a TOML file with what it is and what must come of it. `sipward-record` makes them.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

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
    /// Whose requests are stopped without a ban: something of each is dropped.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stopped: Vec<String>,
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
    /// All final answers to `of` up to the decision, at most; not those to requests that a hold
    /// drops.
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

/// The same attack from many more IPv4 sources: copies of it, one after the other, each with the
/// sources within `prefix` moved on by one and with Call-IDs of its own. Whoever else is in the
/// recording is in the copy in the middle only. Checksums are as they were.
#[must_use]
pub fn multiplied(frames: &[Frame], prefix: (Ipv4Addr, u8), copies: u32) -> Vec<Frame> {
    let (network, length) = prefix;
    let shift = 32 - u32::from(length);
    let is_within = |address: u32| address >> shift == u32::from(network) >> shift;
    let (Some(first), Some(last)) = (frames.first(), frames.last()) else {
        return Vec::new();
    };
    let span = last.at - first.at + Duration::from_millis(5);
    let mut many = Vec::new();
    for copy in 0..copies {
        for frame in frames {
            let mut moved = frame.clone();
            moved.at += span * copy;
            let mut is_attacker = false;
            // Source and destination of an IPv4 header behind an untagged Ethernet header.
            for field in [26, 30] {
                if let Some(bytes) = moved.bytes.get_mut(field..field + 4) {
                    let address = u32::from_be_bytes(bytes.try_into().unwrap_or_default());
                    if is_within(address) {
                        is_attacker = true;
                        bytes.copy_from_slice(&(address + copy).to_be_bytes());
                    }
                }
            }
            if is_attacker {
                renumber(&mut moved.bytes, copy);
            }
            if is_attacker || copy == copies / 2 {
                many.push(moved);
            }
        }
    }
    many
}

/// Call-IDs of the recordings begin with six digits, and tag and branch have them, too.
fn renumber(frame: &mut [u8], copy: u32) {
    let mark = b"Call-ID: ";
    let place = frame.windows(mark.len()).position(|window| window == mark);
    let digits = place.and_then(|place| frame.get(place + mark.len()..place + mark.len() + 6));
    let Some(digits) = digits.map(<[u8]>::to_vec) else {
        return;
    };
    let number: u32 = String::from_utf8_lossy(&digits).parse().unwrap_or(0);
    let new = format!("{:06}", number + 1_000 * copy);
    for at in 0..frame.len().saturating_sub(5) {
        if let Some(place) = frame.get_mut(at..at + 6)
            && *place == digits
        {
            place.copy_from_slice(new.as_bytes());
        }
    }
}

/// The number (from 1) of the packet with the first final answer to the request in the packet of
/// this number.
#[must_use]
pub fn answered_at(frames: &[Frame], request: usize) -> Option<usize> {
    let text = |frame: &Frame| {
        let payload = Datagram::read(&frame.bytes)?.payload;
        Some(String::from_utf8_lossy(payload).into_owned())
    };
    let asked = names_of(&text(frames.get(request.checked_sub(1)?)?)?);
    let mut later = frames
        .iter()
        .skip(request)
        .map(|frame| text(frame).unwrap_or_default());
    let answer = later.position(|text| is_final_answer(&text) && names_of(&text) == asked);
    Some(request + answer? + 1)
}

/// What an answer has in common with its request: Call-ID and `CSeq`.
fn names_of(message: &str) -> [String; 2] {
    // A scanner's compact mode has `i`.
    let call_id = match header(message, "Call-ID") {
        "" => header(message, "i"),
        call_id => call_id,
    };
    [call_id, header(message, "CSeq")].map(str::to_owned)
}

fn is_final_answer(message: &str) -> bool {
    let status = message.strip_prefix("SIP/2.0 ").unwrap_or_default();
    status.as_bytes() >= b"2".as_slice()
}

/// How many final answers an address got (at that port, where one is given), and how many of them
/// refused credentials. Answers sent again count again.
#[must_use]
pub fn answers_to(frames: &[Frame], address: IpAddr, port: Option<u16>) -> (usize, usize) {
    let is_party =
        |party: SocketAddr| party.ip() == address && port.is_none_or(|port| party.port() == port);
    let mut with_credentials = Vec::new();
    let (mut answers, mut refused) = (0, 0);
    for frame in frames {
        let Some(datagram) = Datagram::read(&frame.bytes) else {
            continue;
        };
        let text = String::from_utf8_lossy(datagram.payload);
        let request = names_of(&text);
        if is_party(datagram.source) && !header(&text, "Authorization").is_empty() {
            with_credentials.push(request);
            continue;
        }
        if is_party(datagram.destination) && is_final_answer(&text) {
            answers += 1;
            let is_refused = !text.starts_with("SIP/2.0 2");
            refused += usize::from(is_refused && with_credentials.contains(&request));
        }
    }
    (answers, refused)
}
