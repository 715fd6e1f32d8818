//! Regular expressions: few, small, and only where a literal won't do.

use regex_automata::dfa::Automaton;
use regex_automata::dfa::StartKind;
use regex_automata::dfa::dense::{Config, DFA};
use regex_automata::util::primitives::StateID;
use regex_automata::util::{start, syntax};
use regex_automata::{Anchored, MatchKind as Semantics};

use super::{Hit, Slotted};
use crate::format::{Case, Error, Field, MatchKind, Signature};

/// Regular expressions in one set of signatures, at most. Dense automata of patterns that may
/// begin anywhere multiply: 16 small ones are a few thousand states, 500 took 39 s to build.
pub(crate) const MAX_REGEXES: usize = 16;
/// Bytes of memory for the automaton of one field's regular expressions.
const MAX_DFA_BYTES: usize = 1 << 19;
/// Bytes of memory for that of a single one.
const MAX_SINGLE_BYTES: usize = 1 << 17;

/// The regular expressions on one field.
pub(super) struct Regexes {
    dfa: DFA<Vec<u32>>,
    slots: Vec<u16>,
    folds_case: bool,
}

impl Regexes {
    /// The regular expressions among `signatures`, which are all on `field`.
    pub(super) fn new<'a>(
        field: Field,
        signatures: impl Iterator<Item = Slotted<'a>>,
    ) -> Result<Option<Self>, Error> {
        let chosen: Vec<Slotted<'_>> = signatures
            .filter(|s| s.signature.kind == MatchKind::Regex)
            .collect();
        if chosen.is_empty() {
            return Ok(None);
        }
        let patterns: Vec<String> = chosen.iter().map(|s| pattern(s.signature)).collect();
        let dfa =
            build(&patterns, MAX_DFA_BYTES).map_err(|message| Error::Regex { field, message })?;
        Ok(Some(Self {
            dfa,
            slots: chosen.iter().map(|s| s.slot).collect(),
            folds_case: chosen.iter().all(|s| s.signature.case == Case::Insensitive),
        }))
    }

    /// The state before the first byte of a value.
    pub(super) fn start(&self) -> StateID {
        start_of(&self.dfa)
    }

    /// Reads one byte. A match is reported with the byte after it, as dense automata do.
    pub(super) fn step(&self, state: &mut StateID, byte: u8) -> Hit {
        *state = self.dfa.next_state(*state, byte);
        self.hit(*state)
    }

    /// What is matched if the value ends here.
    pub(super) fn end(&self, state: StateID) -> Hit {
        self.hit(self.dfa.next_eoi_state(state))
    }

    /// Bytes of the same class are read alike.
    pub(super) fn class_of(&self, byte: u8) -> u8 {
        let read = if self.folds_case {
            byte.to_ascii_lowercase()
        } else {
            byte
        };
        self.dfa.byte_classes().get(read)
    }

    fn hit(&self, state: StateID) -> Hit {
        if !self.dfa.is_match_state(state) {
            return None;
        }
        (0..self.dfa.match_len(state))
            .filter_map(|nth| {
                self.slots
                    .get(self.dfa.match_pattern(state, nth).as_usize())
            })
            .copied()
            .min()
    }
}

/// Says what is wrong with a regular expression and how to mend it.
pub(crate) fn check(signature: &Signature) -> Result<(), String> {
    let dfa = build(std::slice::from_ref(&signature.pattern), MAX_SINGLE_BYTES)
        .and_then(|_| build(&[pattern(signature)], MAX_SINGLE_BYTES))?;
    let start = start_of(&dfa);
    if dfa.is_match_state(dfa.next_eoi_state(start)) {
        return Err(
            "the regular expression matches the empty value, so it matches every \
                    message: let it require at least one byte"
                .to_owned(),
        );
    }
    Ok(())
}

fn pattern(signature: &Signature) -> String {
    match signature.case {
        Case::Insensitive => format!("(?i:{})", signature.pattern),
        Case::Sensitive => format!("(?:{})", signature.pattern),
    }
}

fn build(patterns: &[String], limit: usize) -> Result<DFA<Vec<u32>>, String> {
    let config = Config::new()
        .accelerate(false)
        .start_kind(StartKind::Unanchored)
        .match_kind(Semantics::All)
        .dfa_size_limit(Some(limit))
        .determinize_size_limit(Some(4 * limit));
    DFA::builder()
        .configure(config)
        .syntax(syntax::Config::new().unicode(false).utf8(false))
        .build_many(patterns)
        .map_err(|error| {
            if error.is_size_limit_exceeded() {
                "too large: shorten repetitions such as `.*` and `{n,m}`, or use `contains`".into()
            } else {
                deepest(&error)
            }
        })
}

/// The innermost error, on one line: the outer ones only say that building failed.
fn deepest(error: &dyn std::error::Error) -> String {
    let mut inner = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    let text = inner.to_string();
    let last = text.lines().last().unwrap_or_default();
    format!(
        "not a regular expression: {}",
        last.trim_start_matches("error: ")
    )
}

fn start_of(dfa: &DFA<Vec<u32>>) -> StateID {
    dfa.start_state(&start::Config::new().anchored(Anchored::No))
        .expect("built for unanchored searches, without quit bytes")
}
