//! What is wrong with a list of signatures, beyond its grammar.

use serde::Serialize;

use crate::compile::{compile, normalize};
use crate::format::{Case, Confidence, Field, MatchKind, Signature};
use crate::genuine::{GENUINE_MESSAGES, GENUINE_USER_AGENTS};
use crate::set::SignatureSet;
use crate::tables::{ScanMode, Tables};

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// The signature hits the innocent, or nobody.
    Error,
    /// The signature does less, or more, than it seems to.
    Warning,
}

/// Something that the list's author should change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The signature's name.
    pub signature: String,
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub fix: String,
}

/// Letters that a `contains` pattern needs at least: three and fewer are in every message.
const FEWEST_LETTERS: usize = 4;

/// Looks for signatures that match too much, can't match, or say what another one says. At most
/// one finding per signature, in the order of the signatures; one that is faulty by itself is
/// not compared with the others.
pub fn lint(set: &SignatureSet) -> Vec<Finding> {
    let alone: Vec<Option<Finding>> = set
        .iter()
        .map(|s| {
            cannot_match(s)
                .or_else(|| too_short(s))
                .or_else(|| hits_genuine(s))
        })
        .collect();
    let sound: Vec<Text<'_>> = set
        .iter()
        .zip(&alone)
        .filter(|(_, finding)| {
            finding
                .as_ref()
                .is_none_or(|f| f.severity != Severity::Error)
        })
        .map(|(signature, _)| Text::of(signature))
        .collect();
    set.iter()
        .zip(alone)
        .filter_map(|(signature, finding)| finding.or_else(|| covered(signature, &sound)))
        .collect()
}

/// Why no message, or none that a parser would accept, can match.
fn cannot_match(signature: &Signature) -> Option<Finding> {
    match signature.kind {
        MatchKind::Exact | MatchKind::Prefix | MatchKind::Contains => {}
        MatchKind::Regex => return None,
    }
    let pattern = &signature.pattern;
    if signature.can_never_match() {
        let finding = if pattern.len() > Signature::MAX_PATTERN {
            error(
                signature,
                format!(
                    "never matches: {} bytes are longer than any header",
                    pattern.len()
                ),
                "keep the part that tells the scanner apart".to_owned(),
            )
        } else {
            error(
                signature,
                "never matches: a value holds no line end or other control character".to_owned(),
                "remove the control character".to_owned(),
            )
        };
        return Some(finding);
    }
    if let Some(decoded) = percent_decoded(pattern) {
        return Some(error(
            signature,
            "never matches: the pattern is percent-encoded, as copied from a web address"
                .to_owned(),
            format!("pattern = {:?}", decoded.trim_end()),
        ));
    }
    if let Some((field, rest)) = header_name(pattern) {
        return Some(error(
            signature,
            "never matches: the header's name is no part of its value".to_owned(),
            format!("field = \"{field}\", match = \"prefix\", pattern = {rest:?}"),
        ));
    }
    let is_address = ["sip:", "sips:", "tel:"]
        .iter()
        .any(|scheme| pattern.starts_with(scheme));
    if is_address && !signature.field.holds_uri() {
        return Some(error(
            signature,
            format!("never matches: {} holds no URI", signature.field),
            "field = \"from\", \"to\", \"contact\" or \"request-uri\", match = \"exact\""
                .to_owned(),
        ));
    }
    let whole_uri = signature.field.holds_uri() && signature.kind == MatchKind::Exact;
    let ends_uri = [' ', '\t', '<', '>', ';', '?', '"'];
    if whole_uri && (!pattern.contains(':') || pattern.trim().contains(ends_uri)) {
        return Some(error(
            signature,
            format!(
                "never matches: `exact` on {} compares the URI without display name and parameters",
                signature.field
            ),
            "pattern = \"sip:user@host\", or match = \"prefix\"".to_owned(),
        ));
    }
    None
}

fn too_short(signature: &Signature) -> Option<Finding> {
    let pattern = normalize(signature);
    let pattern = pattern.trim();
    if signature.kind != MatchKind::Contains || pattern.chars().count() >= FEWEST_LETTERS {
        return None;
    }
    Some(error(
        signature,
        format!("matches too much: {pattern:?} is a part of nearly any value"),
        "match = \"exact\"".to_owned(),
    ))
}

/// Tries the signature on what honest devices send, with the automaton that the kernel walks.
fn hits_genuine(signature: &Signature) -> Option<Finding> {
    let tables = compile([signature].into_iter(), &[]).ok()?;
    let mut hits = genuine_hits(signature.field, &tables);
    let first = hits.next()?;
    let others = hits.count();
    let sent_by = match others {
        0 => format!("{first:?}"),
        _ => format!("{first:?} and {others} more"),
    };
    match signature.confidence {
        Confidence::Certain => Some(error(
            signature,
            format!("called certain, but genuine devices send it: {sent_by}"),
            narrower(signature.kind),
        )),
        Confidence::Likely => Some(warning(
            signature,
            format!("dropped, but genuine devices send it: {sent_by}"),
            narrower(signature.kind),
        )),
        Confidence::Shared if signature.field != Field::UserAgent => Some(error(
            signature,
            format!("matches ordinary messages: {sent_by}"),
            "remove it".to_owned(),
        )),
        Confidence::Shared => None,
    }
}

fn narrower(kind: MatchKind) -> String {
    let shared = "confidence = \"shared\"";
    match kind {
        MatchKind::Exact => shared.to_owned(),
        MatchKind::Prefix => format!("{shared}, or match = \"exact\""),
        MatchKind::Contains => format!("{shared}, or match = \"exact\" or \"prefix\""),
        MatchKind::Regex => format!("{shared}, or a narrower expression"),
    }
}

fn genuine_hits(field: Field, tables: &Tables) -> impl Iterator<Item = String> {
    let user_agents: &[&str] = match field {
        Field::UserAgent | Field::Server => GENUINE_USER_AGENTS,
        Field::From
        | Field::To
        | Field::Contact
        | Field::CallId
        | Field::Via
        | Field::RequestUri => &[],
    };
    let with_header = user_agents
        .iter()
        .map(move |value| ((*value).to_owned(), format!("{field}: {value}\r\n\r\n")));
    let messages = GENUINE_MESSAGES.iter().map(|message| {
        let first_line = message.lines().next().unwrap_or_default();
        (first_line.to_owned(), (*message).to_owned())
    });
    with_header
        .chain(messages)
        .filter(|(_, message)| {
            tables
                .scan(message.as_bytes(), ScanMode::DATAGRAM)
                .is_some()
        })
        .map(|(name, _)| name)
}

/// A signature with its pattern as it is compared.
struct Text<'a> {
    signature: &'a Signature,
    as_written: String,
    folded: String,
}

impl<'a> Text<'a> {
    fn of(signature: &'a Signature) -> Self {
        let as_written = normalize(signature);
        Self {
            signature,
            folded: as_written.to_ascii_lowercase(),
            as_written,
        }
    }
}

/// Another signature matches whatever this one matches.
fn covered(signature: &Signature, all: &[Text<'_>]) -> Option<Finding> {
    let this = Text::of(signature);
    let at = all
        .iter()
        .position(|other| std::ptr::eq(other.signature, signature));
    let (_, wide) = all.iter().enumerate().find(|(other_at, other)| {
        Some(*other_at) != at
            && covers(other, &this)
            && (Some(*other_at) < at || !covers(&this, other))
    })?;
    let other = wide.signature;
    let finding = if covers(&this, wide) {
        warning(
            signature,
            format!("says the same as \"{}\"", other.name),
            "remove one of them".to_owned(),
        )
    } else if other.confidence <= signature.confidence {
        warning(
            signature,
            format!(
                "adds nothing: \"{}\" matches whatever it matches",
                other.name
            ),
            "remove it".to_owned(),
        )
    } else {
        warning(
            signature,
            format!(
                "hidden: \"{}\" matches whatever it matches, earlier, and is only {}",
                other.name, other.confidence
            ),
            format!("make \"{}\" narrower, or remove one of them", other.name),
        )
    };
    Some(finding)
}

/// Whether `wide` matches every value that `narrow` matches, as far as their texts show it.
fn covers(wide: &Text<'_>, narrow: &Text<'_>) -> bool {
    let field = wide.signature.field;
    if field != narrow.signature.field {
        return false;
    }
    let (outer, inner) = match (wide.signature.case, narrow.signature.case) {
        (Case::Insensitive, _) => (&wide.folded, &narrow.folded),
        (Case::Sensitive, Case::Sensitive) => (&wide.as_written, &narrow.as_written),
        (Case::Sensitive, Case::Insensitive) => return false,
    };
    match (wide.signature.kind, narrow.signature.kind) {
        (MatchKind::Exact, MatchKind::Exact) => outer == inner,
        // Folding would change a class such as `\\S`.
        (MatchKind::Regex, MatchKind::Regex) => wide.as_written == narrow.as_written,
        // One is compared with the URI, the other with the display name before it.
        (MatchKind::Prefix, MatchKind::Exact) if field.holds_uri() => false,
        (MatchKind::Prefix, MatchKind::Exact | MatchKind::Prefix) => inner.starts_with(outer),
        (MatchKind::Contains, MatchKind::Exact | MatchKind::Prefix | MatchKind::Contains) => {
            inner.contains(outer)
        }
        (MatchKind::Exact, MatchKind::Prefix | MatchKind::Contains)
        | (MatchKind::Prefix, MatchKind::Contains)
        | (MatchKind::Regex, MatchKind::Exact | MatchKind::Prefix | MatchKind::Contains)
        | (MatchKind::Exact | MatchKind::Prefix | MatchKind::Contains, MatchKind::Regex) => false,
    }
}

/// The pattern with `%20` and the like made bytes, if it has any.
fn percent_decoded(pattern: &str) -> Option<String> {
    let mut decoded = Vec::with_capacity(pattern.len());
    let mut rest = pattern.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let escaped = after
            .split_at_checked(2)
            .filter(|_| byte == b'%')
            .and_then(|(digits, after)| Some((std::str::from_utf8(digits).ok()?, after)))
            .filter(|(digits, _)| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
            .and_then(|(digits, after)| Some((u8::from_str_radix(digits, 16).ok()?, after)));
        let (byte, after) = escaped.unwrap_or((byte, after));
        decoded.push(byte);
        rest = after;
    }
    let decoded = String::from_utf8_lossy(&decoded).into_owned();
    (decoded != pattern).then_some(decoded)
}

/// The header that the pattern begins with, and what follows it.
fn header_name(pattern: &str) -> Option<(Field, &str)> {
    let (name, rest) = pattern.split_once(':')?;
    let name = name.trim().to_ascii_lowercase();
    let field = Field::ALL
        .into_iter()
        .find(|field| field.header_names().contains(&name.as_str()))?;
    Some((field, rest.trim_start()))
}

fn error(signature: &Signature, message: String, fix: String) -> Finding {
    finding(signature, Severity::Error, message, fix)
}

fn warning(signature: &Signature, message: String, fix: String) -> Finding {
    finding(signature, Severity::Warning, message, fix)
}

fn finding(signature: &Signature, severity: Severity, message: String, fix: String) -> Finding {
    Finding {
        signature: signature.name.clone(),
        severity,
        message,
        fix,
    }
}
