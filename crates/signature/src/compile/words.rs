//! Literal patterns: exact, prefix and contains.

use aho_corasick::automaton::{Automaton, StateID};
use aho_corasick::dfa::DFA;
use aho_corasick::{Anchored, StartKind};

use super::{Hit, Slotted, normalize, stronger};
use crate::format::{Case, MatchKind};

/// Stands for both ends of a value in the Aho-Corasick automata: a prefix pattern is `EDGE foo`,
/// an exact one `EDGE foo EDGE`, and a value is fed as if it stood between two of them. A line end
/// is never part of a value, so nothing in a message can forge it.
const EDGE: u8 = b'\n';

/// A set of literal patterns, matched in any case or as written, each in an automaton of its own.
pub(super) struct Words {
    folded: Option<Literals>,
    cased: Option<Literals>,
}

/// A state of [`Words`].
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct WordsState {
    folded: StateID,
    cased: StateID,
}

struct Literals {
    dfa: DFA,
    slots: Vec<u16>,
    before_edge: StateID,
    all_at_edge: bool,
}

impl Words {
    /// The literal patterns among `signatures`.
    pub(super) fn new<'a>(signatures: impl Iterator<Item = Slotted<'a>> + Clone) -> Self {
        let with_case = |case: Case| {
            let chosen = signatures
                .clone()
                .filter(move |s| s.signature.case == case && s.signature.kind != MatchKind::Regex);
            Literals::new(chosen, case)
        };
        Self {
            folded: with_case(Case::Insensitive),
            cased: with_case(Case::Sensitive),
        }
    }

    /// The state before the first byte of a value.
    pub(super) fn start(&self) -> WordsState {
        let begin =
            |literals: &Option<Literals>| literals.as_ref().map_or(StateID::ZERO, Literals::start);
        WordsState {
            folded: begin(&self.folded),
            cased: begin(&self.cased),
        }
    }

    /// Reads one byte of the value.
    pub(super) fn step(&self, state: &mut WordsState, byte: u8) -> Hit {
        let byte = if byte == EDGE { b'\r' } else { byte };
        let mut hit = None;
        if let Some(literals) = &self.folded {
            hit = literals.step(&mut state.folded, byte.to_ascii_lowercase());
        }
        if let Some(literals) = &self.cased {
            hit = stronger(hit, literals.step(&mut state.cased, byte));
        }
        hit
    }

    /// What is matched if the value ends here.
    pub(super) fn end(&self, mut state: WordsState) -> Hit {
        let end = |literals: &Option<Literals>, state: &mut StateID| {
            literals
                .as_ref()
                .and_then(|literals| literals.step(state, EDGE))
        };
        stronger(
            end(&self.folded, &mut state.folded),
            end(&self.cased, &mut state.cased),
        )
    }

    /// Whether nothing can match any more: all patterns begin at the edge, and none did.
    pub(super) fn is_lost(&self, state: WordsState) -> bool {
        let lost = |literals: &Option<Literals>, state: StateID| {
            literals
                .as_ref()
                .is_none_or(|literals| literals.is_lost(state))
        };
        lost(&self.folded, state.folded) && lost(&self.cased, state.cased)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.folded.is_none() && self.cased.is_none()
    }

    pub(super) fn has_cased(&self) -> bool {
        self.cased.is_some()
    }
}

impl Literals {
    fn new<'a>(signatures: impl Iterator<Item = Slotted<'a>>, case: Case) -> Option<Self> {
        let mut patterns = Vec::new();
        let mut slots = Vec::new();
        for Slotted { slot, signature } in signatures {
            let text = normalize(signature);
            let text = match case {
                Case::Insensitive => text.to_ascii_lowercase(),
                Case::Sensitive => text,
            };
            patterns.push(match signature.kind {
                MatchKind::Exact => [&[EDGE], text.as_bytes(), &[EDGE]].concat(),
                MatchKind::Prefix => [&[EDGE], text.as_bytes()].concat(),
                MatchKind::Contains | MatchKind::Regex => text.into_bytes(),
            });
            slots.push(slot);
        }
        if patterns.is_empty() {
            return None;
        }
        let dfa = DFA::builder()
            .start_kind(StartKind::Unanchored)
            .build(&patterns)
            .expect("at most 8192 patterns of bounded length");
        let before_edge = dfa
            .start_state(Anchored::No)
            .expect("built for unanchored searches");
        let all_at_edge = patterns
            .iter()
            .all(|pattern| pattern.first() == Some(&EDGE));
        Some(Self {
            dfa,
            slots,
            before_edge,
            all_at_edge,
        })
    }

    fn start(&self) -> StateID {
        self.dfa.next_state(Anchored::No, self.before_edge, EDGE)
    }

    fn is_lost(&self, state: StateID) -> bool {
        self.all_at_edge && state == self.before_edge
    }

    fn step(&self, state: &mut StateID, byte: u8) -> Hit {
        *state = self.dfa.next_state(Anchored::No, *state, byte);
        if !self.dfa.is_match(*state) {
            return None;
        }
        (0..self.dfa.match_len(*state))
            .filter_map(|nth| {
                self.slots
                    .get(self.dfa.match_pattern(*state, nth).as_usize())
            })
            .copied()
            .min()
    }
}
