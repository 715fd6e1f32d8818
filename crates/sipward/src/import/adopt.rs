//! What rules looked for in packets, as signatures. A rule looks in the whole packet and means
//! scanners by their names: the signature looks in the User-Agent, and the lint has the last word.

use std::collections::HashSet;

use sipward_signature::{
    Case, Confidence, Field, Finding, MatchKind, Signature, SignatureSet, lint,
};

use super::{Searched, quoted};
use crate::exit::Failure;

/// What the lint made of texts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Adopted {
    /// New signatures.
    pub signatures: Vec<Signature>,
    /// Texts that add nothing, or would hit the innocent.
    pub refused: Vec<Refused>,
}

/// A text that is no new signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The text, safe to show.
    pub text: String,
    /// What the lint says.
    pub why: String,
}

/// Makes signatures of what is not yet in `known`. Each is as narrow and as confident as the lint
/// lets it be: a part of the User-Agent, or all of it; `likely`, or `shared` where genuine devices
/// send it.
///
/// # Errors
/// Exit code 2: together with those that are known they cannot be compiled.
pub fn adopt(
    texts: &[Searched],
    known: &SignatureSet,
    profile: sipward_signature::Profile,
) -> Result<Adopted, Failure> {
    let mut adopted = Adopted::default();
    let mut names: HashSet<String> = known.iter().map(|known| known.name.clone()).collect();
    let mut patterns = HashSet::new();
    let mut all = known.clone();
    for searched in texts {
        let signature = match signature(searched) {
            Ok(signature) => signature,
            Err(why) => {
                adopted.refused.push(refused(searched, why));
                continue;
            }
        };
        if !patterns.insert((signature.field, signature.kind, signature.pattern.clone())) {
            adopted
                .refused
                .push(refused(searched, "it is there twice".to_owned()));
            continue;
        }
        let name = free_name(&signature.pattern, &names);
        names.insert(name.clone());
        let signature = Signature { name, ..signature };
        all.merge(alone(&signature)?);
        adopted.signatures.push(signature);
    }
    let findings = lint(&all);
    let of = |signature: &Signature| {
        findings
            .iter()
            .find(|found| found.signature == signature.name)
    };
    let (new, superfluous) = adopted
        .signatures
        .into_iter()
        .partition(|signature| of(signature).is_none());
    adopted.signatures = new;
    let superfluous: Vec<Signature> = superfluous;
    adopted
        .refused
        .extend(superfluous.iter().map(|signature| Refused {
            text: quoted(signature.pattern.as_bytes()),
            why: of(signature).map(said).unwrap_or_default(),
        }));
    let mut together = known.clone();
    together.merge(set(&adopted.signatures)?);
    together
        .compile(profile, &[])
        .map_err(|error| Failure::input(error.to_string()))?;
    Ok(adopted)
}

/// As a file of signatures.
///
/// # Errors
/// Exit code 2: one of them has no TOML.
pub fn text(signatures: &[Signature]) -> Result<String, Failure> {
    #[derive(serde::Serialize)]
    struct File<'a> {
        signature: &'a [Signature],
    }
    toml::to_string(&File {
        signature: signatures,
    })
    .map_err(|error| Failure::input(format!("cannot write signatures: {error}")))
}

/// The best signature for a text that the lint has nothing against, but for its name.
fn signature(searched: &Searched) -> Result<Signature, String> {
    let (field, pattern, prefix) = match header(&searched.text) {
        Some((field, value)) => (field, value, true),
        None => (Field::UserAgent, searched.text.as_str(), false),
    };
    let pattern = decoded(pattern.trim());
    if pattern.is_empty() {
        return Err("it has no text".to_owned());
    }
    let part = match (prefix, searched.to_line_end) {
        (true, true) => MatchKind::Exact,
        (true, false) => MatchKind::Prefix,
        // No signature looks at the end of a value alone.
        (false, _) => MatchKind::Contains,
    };
    let mut objection = "the lint refuses it".to_owned();
    for (kind, confidence) in [
        (part, Confidence::Likely),
        (part, Confidence::Shared),
        (MatchKind::Exact, Confidence::Likely),
        (MatchKind::Exact, Confidence::Shared),
    ] {
        let signature = Signature {
            name: "imported".to_owned(),
            field,
            kind,
            pattern: pattern.clone(),
            case: Case::Insensitive,
            confidence,
            source: "import".to_owned(),
            reason: None,
            note: None,
            action: None,
        };
        let set = alone(&signature).map_err(|failure| failure.text)?;
        match lint(&set).first() {
            None => return Ok(signature),
            Some(finding) => objection = said(finding),
        }
    }
    Err(objection)
}

/// The header with which a text begins, and its value.
fn header(text: &str) -> Option<(Field, &str)> {
    let (name, value) = text.split_once(':')?;
    let name = name.trim().to_ascii_lowercase();
    let named = |field: &Field| field.header_names().contains(&name.as_str()) && name.len() > 1;
    Some((Field::ALL.into_iter().find(named)?, value))
}

/// With `%20` and the like as the bytes that they stand for: lists on the web are often copied out
/// of addresses.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let digits = after.get(..2).filter(|_| *first == b'%');
        let digits = digits.filter(|digits| digits.iter().all(u8::is_ascii_hexdigit));
        let digits = digits.and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).trim().to_owned()
}

fn alone(signature: &Signature) -> Result<SignatureSet, Failure> {
    set(std::slice::from_ref(signature))
}

fn set(signatures: &[Signature]) -> Result<SignatureSet, Failure> {
    SignatureSet::parse("import", &text(signatures)?)
        .map_err(|error| Failure::input(error.to_string()))
}

/// `imported-` and what of the pattern a name may have, with a number where that is taken.
fn free_name(pattern: &str, taken: &HashSet<String>) -> String {
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() {
            c.to_ascii_lowercase()
        } else {
            '-'
        }
    };
    let slug: String = pattern.chars().map(plain).take(40).collect();
    let name = format!("imported-{}", slug.trim_matches('-'));
    let name = name.trim_end_matches('-').to_owned();
    let numbered = (2..).map(|number| format!("{name}-{number}"));
    std::iter::once(name.clone())
        .chain(numbered)
        .find(|name| !taken.contains(name))
        .unwrap_or(name)
}

fn refused(searched: &Searched, why: String) -> Refused {
    Refused {
        text: quoted(searched.text.as_bytes()),
        why,
    }
}

fn said(finding: &Finding) -> String {
    sipward_engine::escape(finding.message.as_bytes()).to_string()
}
