//! From patterns to the automaton's table.
//!
//! ```text
//! words, regex, uri ─► value ─► line ─► minimize ─► pack
//! patterns of a field  a value  lines,  fewest      cells
//!                               headers states
//! ```
//!
//! The automaton is the product of small ones, built by following every class of bytes from the
//! start. One dense automaton for all patterns as one regular expression would be simpler, but
//! takes minutes where this takes milliseconds: patterns that may begin anywhere multiply there.

use crate::format::{Error, Field, MatchKind, Signature};
use crate::tables::{CompiledSignature, MAX_SIGNATURES, Tables};

mod ids;
mod line;
mod minimize;
mod pack;
pub(crate) mod regex;
mod trie;
mod uri;
mod value;
mod words;

/// The slot of the strongest signature that ends at a byte, if one does.
///
/// Slots are numbered by strength (confidence, then the order of the files), so the strongest of
/// two is the smaller.
type Hit = Option<u16>;

fn stronger(a: Hit, b: Hit) -> Hit {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (one, None) | (None, one) => one,
    }
}

/// A signature with its slot.
#[derive(Clone, Copy)]
struct Slotted<'a> {
    slot: u16,
    signature: &'a Signature,
}

/// Compiles the signatures into one table. A `shared` one on the User-Agent spares a value that is
/// one of `exempt_user_agents`.
pub(crate) fn compile<'a>(
    signatures: impl Iterator<Item = &'a Signature>,
    exempt_user_agents: &[String],
) -> Result<Tables, Error> {
    let mut signatures: Vec<&Signature> = signatures.collect();
    signatures.sort_by_key(|signature| signature.confidence);
    if signatures.len() > MAX_SIGNATURES {
        return Err(Error::TooMany {
            count: signatures.len(),
            limit: MAX_SIGNATURES,
        });
    }
    let regexes = signatures
        .iter()
        .filter(|s| s.kind == MatchKind::Regex)
        .count();
    if regexes > regex::MAX_REGEXES {
        return Err(Error::TooManyRegexes {
            count: regexes,
            limit: regex::MAX_REGEXES,
        });
    }
    let slotted: Vec<Slotted<'_>> = (0..=u16::MAX)
        .zip(signatures.iter().copied())
        .map(|(slot, signature)| Slotted { slot, signature })
        .filter(|slotted| !slotted.signature.can_never_match())
        .collect();

    let automaton = line::build(&slotted, exempt_user_agents)?;
    let minimal = minimize::minimize(&automaton);
    let described = signatures.iter().copied().map(describe).collect();
    pack::pack(&automaton, &minimal, described, || costliest(&slotted))
}

/// A pattern as it looks in a value whose blanks have been made single.
pub(crate) fn normalize(signature: &Signature) -> String {
    let single = single_blanks(&signature.pattern);
    match signature.kind {
        MatchKind::Exact => single.trim_matches(' ').to_owned(),
        MatchKind::Prefix => single.trim_start_matches(' ').to_owned(),
        MatchKind::Contains => single,
        MatchKind::Regex => signature.pattern.clone(),
    }
}

fn single_blanks(text: &str) -> String {
    let mut single = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            ' ' | '\t' if single.ends_with(' ') => {}
            ' ' | '\t' => single.push(' '),
            _ => single.push(c),
        }
    }
    single
}

fn describe(signature: &Signature) -> CompiledSignature {
    CompiledSignature {
        name: signature.name.clone(),
        field: signature.field,
        kind: signature.kind,
        pattern: signature.pattern.clone(),
        confidence: signature.confidence,
    }
}

/// The signature whose pattern shares the fewest bytes with the patterns sorted beside it: each
/// byte that a pattern shares with no other is a state of its own.
fn costliest(slotted: &[Slotted<'_>]) -> String {
    let mut sorted: Vec<(Field, String, &str)> = slotted
        .iter()
        .map(|s| {
            let folded = normalize(s.signature).to_ascii_lowercase();
            (s.signature.field, folded, s.signature.name.as_str())
        })
        .collect();
    sorted.sort();

    let common = |a: Option<&(Field, String, &str)>, b: &(Field, String, &str)| {
        a.filter(|a| a.0 == b.0).map_or(0, |a| {
            a.1.bytes()
                .zip(b.1.bytes())
                .take_while(|(a, b)| a == b)
                .count()
        })
    };
    let mut worst = (0, "");
    for (at, entry) in sorted.iter().enumerate() {
        let before = at.checked_sub(1).and_then(|before| sorted.get(before));
        let shared = common(before, entry).max(common(sorted.get(at + 1), entry));
        let own = entry.1.len() - shared;
        if own > worst.0 {
            worst = (own, entry.2);
        }
    }
    worst.1.to_owned()
}
