//! What is wrong with a list of signatures, beyond its grammar.

use std::collections::HashMap;

use serde::Serialize;
use sipward_wire::sip::percent_decode;

use crate::compile::{compile, normalize};
use crate::format::{Case, Confidence, Error, Field, MatchKind, Signature};
use crate::genuine::{CORPUS, GENUINE_MESSAGES, GENUINE_USER_AGENTS, ORDINARY_WORDS};
use crate::set::{Profile, SignatureSet};
use crate::tables::{ScanMode, Tables};

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// The signature hits the innocent, or nobody.
    Error,
    /// The signature does less, or more, than it seems to.
    Warning,
    /// Nothing is wrong with it; it may be done without.
    Note,
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

/// A `contains` or `prefix` pattern of so many bytes or fewer that is the beginning of another is
/// a part of a name that somebody cut off.
const FRAGMENT: usize = 4;

/// Looks for signatures that match too much, can't match, or say what another one says, and for
/// the one that costs most where all together do not fit into the kernel's table. At most one
/// finding per signature, in the order of the signatures; one that is faulty by itself is not
/// compared with the others.
pub fn lint(set: &SignatureSet) -> Vec<Finding> {
    let mut findings: Vec<Option<Finding>> = repeated(set);
    for (signature, finding) in set.iter().zip(&mut findings) {
        let alone = || cannot_match(signature).or_else(|| matches_too_much(signature));
        *finding = finding.take().or_else(alone);
    }
    let texts = sound(set, &findings);
    for (signature, finding) in set.iter().zip(&mut findings) {
        *finding = finding.take().or_else(|| fragment(signature, &texts));
    }
    let texts = sound(set, &findings);
    for (signature, finding) in set.iter().zip(&mut findings) {
        *finding = finding.take().or_else(|| covered(signature, &texts));
    }
    let all = set.iter().zip(findings);
    match set.compile(Profile::Strict, &[]) {
        Err(Error::TooLarge {
            units,
            limit,
            costliest,
        }) => all
            .filter_map(|(signature, finding)| {
                let costs = || too_large(signature, units, limit);
                (signature.name == costliest).then(costs).or(finding)
            })
            .collect(),
        // What else keeps a list from being compiled is no one signature's fault.
        Ok(_)
        | Err(
            Error::Syntax { .. }
            | Error::Invalid { .. }
            | Error::TooMany { .. }
            | Error::TooManyRegexes { .. }
            | Error::Regex { .. },
        ) => all.filter_map(|(_, finding)| finding).collect(),
    }
}

/// The signatures that are not wrong by themselves.
fn sound<'a>(set: &'a SignatureSet, findings: &[Option<Finding>]) -> Vec<Text<'a>> {
    let is_sound = |finding: &Option<Finding>| {
        finding
            .as_ref()
            .is_none_or(|finding| finding.severity != Severity::Error)
    };
    set.iter()
        .zip(findings)
        .filter(|(_, finding)| is_sound(finding))
        .map(|(signature, _)| Text::of(signature))
        .collect()
}

/// Signatures that an earlier one repeats word for word, faulty or not.
fn repeated(set: &SignatureSet) -> Vec<Option<Finding>> {
    let mut seen = HashMap::new();
    set.iter()
        .map(|signature| {
            let Signature {
                name,
                field,
                kind,
                pattern,
                case,
                ..
            } = signature;
            let first = *seen
                .entry((field, kind, pattern, *case as u8))
                .or_insert(name);
            (first != name).then(|| {
                error(
                    signature,
                    format!("says the same as \"{first}\""),
                    "remove one of them".to_owned(),
                )
            })
        })
        .collect()
}

fn too_large(signature: &Signature, units: usize, limit: usize) -> Finding {
    error(
        signature,
        format!(
            "the list needs {units} units of the kernel's table, which has {limit}, and this \
             signature costs most"
        ),
        "shorten its pattern, or match = \"prefix\"".to_owned(),
    )
}

fn matches_too_much(signature: &Signature) -> Option<Finding> {
    too_short(signature)
        .or_else(|| ordinary(signature))
        .or_else(|| hits_genuine(signature))
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
        let pattern = decoded.trim_end().to_owned();
        let fix = format!("pattern = {pattern:?}");
        let mended = Signature {
            pattern,
            ..signature.clone()
        };
        return Some(error(
            signature,
            "never matches: the pattern is percent-encoded, as copied from a web address"
                .to_owned(),
            with_the_rest(fix, &mended),
        ));
    }
    if let Some((field, rest)) = header_name(pattern) {
        let fix = format!("field = \"{field}\", match = \"prefix\", pattern = {rest:?}");
        let mended = Signature {
            field,
            kind: MatchKind::Prefix,
            pattern: rest.to_owned(),
            ..signature.clone()
        };
        return Some(error(
            signature,
            "never matches: the header's name is no part of its value".to_owned(),
            with_the_rest(fix, &mended),
        ));
    }
    let is_address = ["sip:", "sips:", "tel:"]
        .iter()
        .any(|scheme| pattern.starts_with(scheme));
    if is_address && !signature.field.holds_uri() {
        return Some(error(
            signature,
            format!("never matches: {} holds no URI", signature.field),
            "field = \"from\" (or \"to\", \"contact\", \"request-uri\"), match = \"exact\""
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

/// A mend, and what the mended signature needs besides.
fn with_the_rest(fix: String, mended: &Signature) -> String {
    match matches_too_much(mended) {
        Some(finding) => format!("{fix}, {}", finding.fix),
        None => fix,
    }
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

/// A name that is made of words that honest devices have in theirs, or of digits.
fn ordinary(signature: &Signature) -> Option<Finding> {
    match signature.kind {
        MatchKind::Contains => {}
        MatchKind::Prefix if signature.confidence != Confidence::Shared => {}
        MatchKind::Prefix | MatchKind::Exact | MatchKind::Regex => return None,
    }
    let pattern = normalize(signature);
    let folded = pattern.to_ascii_lowercase();
    let mut words = folded
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| word.contains(|c: char| !c.is_ascii_digit()))
        .peekable();
    let only_digits = pattern.trim().chars().all(|c| c.is_ascii_digit());
    let only_words = words.peek().is_some() && words.all(|word| ORDINARY_WORDS.contains(&word));
    if !only_digits && !only_words {
        return None;
    }
    let pattern = pattern.trim();
    let message = if only_digits {
        format!("matches too much: {pattern:?} is a part of ordinary numbers")
    } else {
        format!("matches too much: {pattern:?} is what ordinary names are made of")
    };
    let fix = "match = \"exact\", confidence = \"shared\"";
    Some(error(signature, message, fix.to_owned()))
}

/// The beginning of another pattern, so short that it is the beginning of other words, too.
fn fragment(signature: &Signature, sound: &[Text<'_>]) -> Option<Finding> {
    match signature.kind {
        MatchKind::Contains | MatchKind::Prefix => {}
        MatchKind::Exact | MatchKind::Regex => return None,
    }
    let this = Text::of(signature);
    let whole = sound.iter().find(|other| {
        let more = other.folded.strip_prefix(this.folded.trim());
        other.signature.field == signature.field
            && more.is_some_and(|more| more.starts_with(|c: char| c.is_alphanumeric()))
    })?;
    (this.folded.trim().len() <= FRAGMENT).then(|| {
        error(
            signature,
            format!(
                "matches too much: the beginning of \"{}\", and of other words",
                whole.as_written
            ),
            "match = \"exact\", or remove it".to_owned(),
        )
    })
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
            narrower(signature),
        )),
        Confidence::Likely => Some(warning(
            signature,
            format!("dropped, but genuine devices send it: {sent_by}"),
            narrower(signature),
        )),
        Confidence::Shared if signature.field != Field::UserAgent => Some(error(
            signature,
            format!("matches ordinary messages: {sent_by}"),
            "remove it".to_owned(),
        )),
        Confidence::Shared => None,
    }
}

/// What spares the honest: a narrower match if that suffices (it is tried), else less confidence.
fn narrower(signature: &Signature) -> String {
    let spares = |kind: MatchKind| {
        let narrower = Signature {
            kind,
            ..signature.clone()
        };
        hits_genuine(&narrower).is_none()
    };
    let shared = "confidence = \"shared\"";
    match signature.kind {
        MatchKind::Exact => shared.to_owned(),
        MatchKind::Regex => format!("{shared}, or a narrower expression"),
        MatchKind::Prefix if spares(MatchKind::Exact) => {
            format!("{shared}, or match = \"exact\"")
        }
        MatchKind::Prefix => shared.to_owned(),
        MatchKind::Contains if spares(MatchKind::Prefix) => "match = \"prefix\"".to_owned(),
        MatchKind::Contains if spares(MatchKind::Exact) => {
            format!("match = \"prefix\", {shared}, or match = \"exact\"")
        }
        MatchKind::Contains => format!("match = \"prefix\", {shared}"),
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
    // A product has one name, for what it asks and for what it answers.
    let named = match field {
        Field::Server => Field::UserAgent,
        Field::UserAgent
        | Field::From
        | Field::To
        | Field::Contact
        | Field::CallId
        | Field::Via
        | Field::RequestUri => field,
    };
    let recorded = CORPUS.lines().filter_map(move |line| {
        let (name, value) = line.split_once(": ")?;
        (name == named.to_string() && !user_agents.contains(&value)).then_some(value)
    });
    let with_field = move |value: &str| (value.to_owned(), message_with(field, value));
    let messages = GENUINE_MESSAGES.iter().map(|message| {
        let first_line = message.lines().next().unwrap_or_default();
        (first_line.to_owned(), (*message).to_owned())
    });
    let known = user_agents.iter().map(move |value| with_field(value));
    known
        .chain(messages)
        .chain(recorded.map(with_field))
        .filter(|(_, message)| {
            tables
                .scan(message.as_bytes(), ScanMode::DATAGRAM)
                .is_some()
        })
        .map(|(name, _)| name)
}

/// As much of a message as has this value in this field.
fn message_with(field: Field, value: &str) -> String {
    match field {
        Field::RequestUri => format!("OPTIONS {value} SIP/2.0\r\n\r\n"),
        Field::UserAgent
        | Field::Server
        | Field::From
        | Field::To
        | Field::Contact
        | Field::CallId
        | Field::Via => format!("{field}: {value}\r\n\r\n"),
    }
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
    let decoded = percent_decode(pattern.as_bytes());
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
