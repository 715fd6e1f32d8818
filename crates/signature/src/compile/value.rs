//! The value of one field, from its first byte to its last.

use regex_automata::util::primitives::StateID;

use super::ids::Id;
use super::regex::Regexes;
use super::trie::Trie;
use super::uri::{Form, UriState, Uris};
use super::words::{Words, WordsState};
use super::{Hit, Slotted, single_blanks, stronger};
use crate::format::{Confidence, Field, MatchKind};

/// All patterns on one field.
pub(super) struct ValueMatcher {
    decodes_percent: bool,
    undoes_quoted_pairs: bool,
    words: Words,
    uris: Option<Uris>,
    regexes: Option<Regexes>,
    exempt: Exemptions,
}

/// A state of [`ValueMatcher`].
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct ValueState {
    words: WordsState,
    uri: UriState,
    regex: StateID,
    percent: Percent,
    exempt: Exempt,
    /// After a blank: blanks that follow don't count, and what the value matches if it ends here.
    blank: Option<Hit>,
}

/// How much of a percent-encoded byte has been read.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Percent {
    None,
    Sign,
    High(u8),
}

/// User-Agents that `shared` signatures spare.
struct Exemptions {
    user_agents: Trie<()>,
    first_shared_slot: u16,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Exempt {
    /// The value is not one of them; or there are none.
    No,
    /// It is one of them so far. A `shared` hit waits until it is known.
    SoFar { node: Id, held: Hit },
}

impl ValueMatcher {
    pub(super) fn new(
        field: Field,
        signatures: &[Slotted<'_>],
        exempt_user_agents: &[String],
    ) -> Result<Self, crate::Error> {
        let on_field = signatures
            .iter()
            .copied()
            .filter(move |s| s.signature.field == field);
        let is_uri =
            move |s: &Slotted<'_>| field.holds_uri() && s.signature.kind == MatchKind::Exact;
        let form = match field {
            Field::RequestUri => Form::Token,
            Field::UserAgent
            | Field::Server
            | Field::From
            | Field::To
            | Field::Contact
            | Field::CallId
            | Field::Via => Form::Address,
        };
        let spared: &[String] = match field {
            Field::UserAgent => exempt_user_agents,
            Field::Server
            | Field::From
            | Field::To
            | Field::Contact
            | Field::CallId
            | Field::Via
            | Field::RequestUri => &[],
        };
        let mut matcher = Self {
            decodes_percent: field.holds_uri(),
            undoes_quoted_pairs: field.holds_uri() && form == Form::Address,
            words: Words::new(on_field.clone().filter(move |s| !is_uri(s))),
            uris: Uris::new(form, on_field.clone().filter(is_uri)),
            regexes: Regexes::new(field, on_field.clone())?,
            exempt: Exemptions::none(on_field),
        };
        for value in spared {
            // Others need no exemption, and no states.
            if matcher.hits_shared(value) {
                matcher.exempt.add(value);
            }
        }
        Ok(matcher)
    }

    fn hits_shared(&self, value: &str) -> bool {
        let mut state = ValueState {
            exempt: Exempt::No,
            ..self.start()
        };
        let mut hits = Vec::new();
        for byte in value.bytes() {
            let hit;
            (state, hit) = match byte {
                b' ' | b'\t' => self.blank(state),
                _ => self.byte(state, byte),
            };
            hits.push(hit);
        }
        hits.push(self.end(state));
        hits.into_iter().any(|hit| self.exempt.is_shared(hit))
    }

    /// The state before the first byte of a value; blanks before it don't count.
    pub(super) fn start(&self) -> ValueState {
        ValueState {
            words: self.words.start(),
            uri: self.uris.as_ref().map_or(UriState::Done, Uris::start),
            regex: self.regexes.as_ref().map_or(StateID::ZERO, Regexes::start),
            percent: Percent::None,
            exempt: self.exempt.start(),
            blank: Some(None),
        }
    }

    /// Reads a byte that is neither a blank nor a line end.
    pub(super) fn byte(&self, mut state: ValueState, byte: u8) -> (ValueState, Hit) {
        let hit = self.read(&mut state, byte);
        let hit = self.exempt.step(&mut state, byte, hit);
        state.blank = None;
        (state, hit)
    }

    /// Reads a blank or a tab.
    pub(super) fn blank(&self, mut state: ValueState) -> (ValueState, Hit) {
        if state.blank.is_some() {
            return (state, None);
        }
        let matched_here = self.matched_at_end(state);
        let pending = self.flush_percent(&mut state);
        let hit = stronger(pending, self.feed(&mut state, b' ', false));
        state.blank = Some(matched_here);
        (state, self.exempt.hold(&mut state.exempt, hit))
    }

    /// What is matched if the value ends here.
    pub(super) fn end(&self, state: ValueState) -> Hit {
        let hit = state.blank.unwrap_or_else(|| self.matched_at_end(state));
        self.exempt.end(state.exempt, hit)
    }

    /// Whether nothing in the rest of the value can match.
    pub(super) fn is_lost(&self, state: ValueState) -> bool {
        self.words.is_lost(state.words)
            && state.uri == UriState::Done
            && self.regexes.is_none()
            && state.exempt == Exempt::No
            && state.percent == Percent::None
    }

    /// Bytes for which this is equal are read alike.
    pub(super) fn class_of(&self, byte: u8) -> u8 {
        self.regexes
            .as_ref()
            .map_or(0, |regexes| regexes.class_of(byte))
    }

    pub(super) fn has_cased(&self) -> bool {
        self.words.has_cased() || self.uris.as_ref().is_some_and(Uris::has_cased)
    }

    fn matched_at_end(&self, mut state: ValueState) -> Hit {
        let hit = self.flush_percent(&mut state);
        let hit = stronger(hit, self.words.end(state.words));
        let hit = stronger(hit, self.uris.as_ref().and_then(|uris| uris.end(state.uri)));
        stronger(hit, self.regexes.as_ref().and_then(|r| r.end(state.regex)))
    }

    fn read(&self, state: &mut ValueState, byte: u8) -> Hit {
        match state.percent {
            Percent::None if self.decodes_percent && byte == b'%' => {
                state.percent = Percent::Sign;
                None
            }
            Percent::None => self.feed(state, byte, false),
            Percent::Sign if byte.is_ascii_hexdigit() => {
                state.percent = Percent::High(byte);
                None
            }
            Percent::High(high) if byte.is_ascii_hexdigit() => {
                state.percent = Percent::None;
                self.feed(state, hex(high) << 4 | hex(byte), true)
            }
            Percent::Sign | Percent::High(_) => {
                let pending = self.flush_percent(state);
                stronger(pending, self.read(state, byte))
            }
        }
    }

    /// What looked like a percent-encoded byte was none: it stands for itself.
    fn flush_percent(&self, state: &mut ValueState) -> Hit {
        let percent = std::mem::replace(&mut state.percent, Percent::None);
        match percent {
            Percent::None => None,
            Percent::Sign => self.feed(state, b'%', false),
            Percent::High(high) => {
                let hit = self.feed(state, b'%', false);
                stronger(hit, self.feed(state, high, false))
            }
        }
    }

    fn feed(&self, state: &mut ValueState, byte: u8, literal: bool) -> Hit {
        let mut hit = None;
        // Asterisk's chan_sip undoes quoted pairs in a display name: "\s\i\p" is sip.
        if literal || byte != b'\\' || !self.undoes_quoted_pairs {
            hit = self.words.step(&mut state.words, byte);
            if let Some(regexes) = &self.regexes {
                hit = stronger(hit, regexes.step(&mut state.regex, byte));
            }
        }
        if let Some(uris) = &self.uris {
            let in_uri = if literal {
                uris.step_literal(&mut state.uri, byte)
            } else {
                uris.step(&mut state.uri, byte)
            };
            hit = stronger(hit, in_uri);
        }
        hit
    }
}

impl Exemptions {
    fn none<'a>(signatures: impl Iterator<Item = Slotted<'a>>) -> Self {
        let shared = signatures.filter(|s| s.signature.confidence == Confidence::Shared);
        Self {
            user_agents: Trie::new(),
            first_shared_slot: shared.map(|s| s.slot).min().unwrap_or(u16::MAX),
        }
    }

    fn add(&mut self, user_agent: &str) {
        let value = single_blanks(user_agent).to_ascii_lowercase();
        self.user_agents
            .insert(value.trim_matches(' ').as_bytes(), ());
    }

    fn start(&self) -> Exempt {
        if self.user_agents.is_empty() {
            return Exempt::No;
        }
        Exempt::SoFar {
            node: Trie::<()>::ROOT,
            held: None,
        }
    }

    /// Reads a byte that is no blank, and the blank before it, and says which hit stands.
    fn step(&self, state: &mut ValueState, byte: u8, hit: Hit) -> Hit {
        let Exempt::SoFar { node, held } = state.exempt else {
            return hit;
        };
        let after_blank = match state.blank {
            Some(_) if node != Trie::<()>::ROOT => self.user_agents.next(node, b' '),
            Some(_) | None => Some(node),
        };
        let next =
            after_blank.and_then(|node| self.user_agents.next(node, byte.to_ascii_lowercase()));
        let Some(node) = next else {
            state.exempt = Exempt::No;
            return stronger(hit, held);
        };
        state.exempt = Exempt::SoFar { node, held };
        self.hold(&mut state.exempt, hit)
    }

    fn hold(&self, exempt: &mut Exempt, hit: Hit) -> Hit {
        let Exempt::SoFar { held, .. } = exempt else {
            return hit;
        };
        if self.is_shared(hit) {
            *held = stronger(*held, hit);
            return None;
        }
        hit
    }

    fn end(&self, exempt: Exempt, hit: Hit) -> Hit {
        let Exempt::SoFar { node, held } = exempt else {
            return hit;
        };
        if self.user_agents.value(node).is_none() {
            return stronger(hit, held);
        }
        hit.filter(|_| !self.is_shared(hit))
    }

    fn is_shared(&self, hit: Hit) -> bool {
        hit.is_some_and(|slot| slot >= self.first_shared_slot)
    }
}

fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'A'..=b'F' => digit - b'A' + 10,
        _ => digit - b'a' + 10,
    }
}
