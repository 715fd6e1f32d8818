//! Texts that scanners send, and what signatures they make.

use sipward_signature::{Case, Confidence, Field, MatchKind, Signature};
use sipward_wire::sip::percent_decode;

/// A text of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    /// Its line, or its place in an array, counted from 1.
    pub line: usize,
    /// As it is written there.
    pub written: String,
    /// What it is.
    pub place: Place,
}

/// What a text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The whole value of a User-Agent.
    UserAgent,
    /// A part of a packet, as iptables' `--string` means it.
    Packet,
}

impl Text {
    pub(crate) fn new(line: usize, written: &str, place: Place) -> Self {
        Self {
            line,
            written: written.to_owned(),
            place,
        }
    }

    /// The signatures that say what the list says, faults and all: what an iptables rule drops is
    /// dropped, so it is `certain`. Several for a URI, which may stand in several headers.
    #[must_use]
    pub fn as_written(&self) -> Vec<Signature> {
        self.signatures(
            &format!("line-{}", self.line),
            &self.written,
            Confidence::Certain,
            "",
        )
    }

    /// The signatures that an update takes from this text: percent-encoded bytes decoded, and
    /// `shared` like everything that a stranger says. `feed` is the list's name.
    #[must_use]
    pub fn as_evidence(&self, feed: &str) -> Vec<Signature> {
        let decoded = decoded(&self.written);
        let name = format!("{feed}.{}.{:08x}", slug(&decoded), hash(&decoded));
        self.signatures(&name, decoded.trim(), Confidence::Shared, feed)
    }

    fn signatures(
        &self,
        name: &str,
        pattern: &str,
        confidence: Confidence,
        source: &str,
    ) -> Vec<Signature> {
        let one = |name: String, field: Field, kind: MatchKind, pattern: &str| Signature {
            name,
            field,
            kind,
            pattern: pattern.to_owned(),
            case: Case::Insensitive,
            confidence,
            action: None,
            source: source.to_owned(),
            reason: None,
            note: None,
        };
        match self.place {
            Place::UserAgent => vec![one(
                name.to_owned(),
                Field::UserAgent,
                MatchKind::Exact,
                pattern,
            )],
            Place::Packet if is_uri(pattern) => [Field::From, Field::To, Field::Contact]
                .into_iter()
                .map(|field| one(format!("{name}-{field}"), field, MatchKind::Exact, pattern))
                .collect(),
            Place::Packet => match header(pattern) {
                Some((field, value)) => {
                    vec![one(name.to_owned(), field, MatchKind::Prefix, value)]
                }
                None => vec![one(
                    name.to_owned(),
                    Field::UserAgent,
                    MatchKind::Contains,
                    pattern,
                )],
            },
        }
    }
}

fn is_uri(pattern: &str) -> bool {
    let scheme = ["sip:", "sips:"].iter().any(|scheme| {
        pattern
            .get(..scheme.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(scheme))
    });
    scheme && !pattern.contains([' ', '<', '>', ';', '?', '"'])
}

/// The header whose name the text begins with, and the value.
fn header(pattern: &str) -> Option<(Field, &str)> {
    let (name, value) = pattern.split_once(':')?;
    let name = name.trim().to_ascii_lowercase();
    let field = Field::ALL
        .into_iter()
        .find(|field| field.header_names().first() == Some(&name.as_str()))?;
    Some((field, value.trim_start()))
}

/// The text with `%20` and the like made bytes, if that is UTF-8 without control characters.
fn decoded(text: &str) -> String {
    String::from_utf8(percent_decode(text.as_bytes()).into_owned())
        .ok()
        .filter(|decoded| !decoded.contains(char::is_control))
        .unwrap_or_else(|| text.to_owned())
}

/// Of a text what may stand in a signature's name, and not too much of it.
fn slug(text: &str) -> String {
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() || c == '.' {
            c.to_ascii_lowercase()
        } else {
            '-'
        }
    };
    text.chars().map(plain).take(24).collect()
}

/// FNV-1a: tells texts of one slug apart, the same on every machine.
fn hash(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    })
}
