//! Genuine messages: what programs that people use said to a PBX, and it to them. The program
//! `sipward-corpus` records them.
//!
//! Each program has a capture of its own, compressed, and a label beside it.

use std::collections::{BTreeSet, HashSet};
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use flate2::read::GzDecoder;
use serde::{Deserialize, Serialize};

use crate::pcap::{self, Frame};
use crate::recording::{Datagram, header};

/// What stands beside a capture.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Label {
    /// The program, whose name two captures may share: it was run in two ways.
    pub program: String,
    /// Its version, as its package has it.
    pub version: String,
    /// User-Agents that the program was told to send by a setting of its own; they are those of
    /// genuine devices. Any other that it sends is the program's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub configured_user_agents: Vec<String>,
}

/// What a program and the PBX said to each other.
#[derive(Debug, Clone)]
pub struct Conversation {
    /// The name of the files.
    pub name: String,
    /// What it is.
    pub label: Label,
    /// Each with the payload of one message, or of a part of one over TCP.
    pub frames: Vec<Frame>,
}

/// What a payload is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A request with this method.
    Request(String),
    /// A response.
    Response,
    /// Line ends, as RFC 5626 has them, or blanks.
    LineEnds,
    /// Zero bytes.
    Zeros,
    /// A STUN message (RFC 5389, and the older RFC 3489).
    Stun,
    /// More of a message over TCP.
    Rest,
}

/// Where they are.
#[must_use]
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

/// All of them, in the order of their names.
///
/// # Errors
/// If a file cannot be read, naming it.
pub fn all() -> Result<Vec<Conversation>> {
    let folder = folder();
    let mut all = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        let text = fs::read_to_string(&path)?;
        let label = toml::from_str(&text).with_context(|| path.display().to_string())?;
        let stem = path.file_stem().unwrap_or_default();
        let capture = path.with_extension("pcap.gz");
        let mut bytes = Vec::new();
        let file = File::open(&capture).with_context(|| capture.display().to_string())?;
        GzDecoder::new(file).read_to_end(&mut bytes)?;
        all.push(Conversation {
            name: stem.to_string_lossy().into_owned(),
            label,
            frames: pcap::parse(&bytes).with_context(|| capture.display().to_string())?,
        });
    }
    all.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(all)
}

impl Conversation {
    /// The payloads with their parties, in the order in which they were sent.
    pub fn payloads(&self) -> impl Iterator<Item = Datagram<'_>> {
        self.frames
            .iter()
            .filter_map(|frame| Datagram::read(&frame.bytes))
    }
}

impl Kind {
    /// What it is; a payload is never empty.
    #[must_use]
    pub fn of(payload: &[u8]) -> Self {
        if payload.iter().all(|byte| b"\r\n \t".contains(byte)) {
            return Self::LineEnds;
        }
        if payload.iter().all(|byte| *byte == 0) {
            return Self::Zeros;
        }
        // Binding requests and their answers; no text begins so.
        if matches!(payload, [0 | 1, 1 | 0x11, ..]) {
            return Self::Stun;
        }
        let first = payload.split(|byte| *byte == b'\r').next();
        let first = String::from_utf8_lossy(first.unwrap_or_default());
        match first.split(' ').collect::<Vec<_>>()[..] {
            ["SIP/2.0", ..] => Self::Response,
            [method, _, "SIP/2.0"] => Self::Request(method.to_owned()),
            _ => Self::Rest,
        }
    }
}

/// Header fields of the corpus, as the lint of signatures tries them: `name: value`, with the names
/// that signatures have for them. Of what differs from message to message only the first of each
/// kind.
#[must_use]
pub fn values(corpus: &[Conversation]) -> BTreeSet<String> {
    let mut seen = HashSet::new();
    let mut values = BTreeSet::new();
    for conversation in corpus {
        for datagram in conversation.payloads() {
            let text = String::from_utf8_lossy(datagram.payload);
            let (of_whom, uri) = match Kind::of(datagram.payload) {
                Kind::Request(method) => {
                    let uri = text.split(' ').nth(1).unwrap_or_default().to_owned();
                    (method, uri)
                }
                Kind::Response => ("response".to_owned(), String::new()),
                Kind::LineEnds | Kind::Zeros | Kind::Stun | Kind::Rest => continue,
            };
            let untagged = |name: &str| {
                let value = header(&text, name);
                value.split(";tag=").next().unwrap_or_default().to_owned()
            };
            let sender = datagram.source.ip().to_string();
            for (name, value, kind) in [
                ("request-uri", uri, &of_whom),
                ("from", untagged("From"), &of_whom),
                ("to", untagged("To"), &of_whom),
                ("contact", untagged("Contact"), &of_whom),
                ("via", untagged("Via"), &sender),
                ("call-id", untagged("Call-ID"), &sender),
            ] {
                let is_new = seen.insert((&conversation.name, name, kind.clone()));
                if is_new && !value.is_empty() {
                    values.insert(format!("{name}: {value}"));
                }
            }
            if let Some(value) = user_agent(datagram.payload) {
                values.insert(format!("user-agent: {value}"));
            }
        }
    }
    values
}

/// Where the lint has them.
#[must_use]
pub fn values_file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../signature/src/corpus.txt")
}

/// What a message calls its sender: the value of User-Agent, or of Server.
#[must_use]
pub fn user_agent(payload: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(payload);
    let values = ["User-Agent", "Server"].map(|name| header(&text, name).to_owned());
    values.into_iter().find(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_is_told_by_its_first_bytes() {
        let request = Kind::Request("OPTIONS".to_owned());
        for (payload, kind) in [
            (
                b"OPTIONS sip:a@b SIP/2.0\r\nVia: c\r\n\r\n".as_slice(),
                request,
            ),
            (b"SIP/2.0 200 OK\r\n\r\n", Kind::Response),
            (b"\r\n\r\n", Kind::LineEnds),
            (b"\0\0\0\0", Kind::Zeros),
            (b"\x00\x01\x00\x08\x21\x12\xa4\x42", Kind::Stun),
            (b"v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\n", Kind::Rest),
        ] {
            assert_eq!(Kind::of(payload), kind);
        }
    }
}
