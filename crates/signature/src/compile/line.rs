//! Lines, folds, header names and the end of the headers: the whole automaton, state by state.
//!
//! What real servers take for a line, and so what this takes for one:
//! CR and LF each end a line; CRs and LFs before the first line don't count; a blank at the
//! beginning of a line continues the line before it, as a blank, even inside a header name's
//! blanks before the colon; the headers end at an LF, any number of CRs, and an LF, once there was
//! a line. Inside a line a control byte is a blank, because Asterisk's chan_sip skips it as one;
//! it continues no line. A NUL is not there at all for one reader and the end of the text for another: it is
//! skipped, and what matches a value that ends there has matched.

use std::collections::HashMap;

use super::ids::{Id, IdVec, id};
use super::trie::Trie;
use super::value::{ValueMatcher, ValueState};
use super::{Hit, Slotted};
use crate::format::{Error, Field};
use crate::tables::{TABLE_UNITS, units_of_row};

/// The product automaton, complete but not minimal.
pub(super) struct Automaton {
    /// Byte to class.
    pub(super) classes: [u8; 256],
    /// Columns per state: the classes, then the end of the payload.
    pub(super) width: usize,
    /// States entered, `width` per state.
    pub(super) next: IdVec<Id>,
    /// What entering a state means.
    pub(super) labels: IdVec<Label>,
    /// The state before the first byte.
    pub(super) start: Id,
    /// The state in which nothing on the line can match any more.
    pub(super) dead: Id,
}

/// What entering a state means.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Label {
    /// A signature is complete.
    pub(super) hit: Hit,
    /// The headers have ended.
    pub(super) end: bool,
}

/// More states than this cannot come down to a table that fits.
const MAX_STATES: usize = 4 * TABLE_UNITS;

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct State {
    at: Position,
    hit: Hit,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Position {
    /// Before the first line of a message.
    Start,
    /// After the headers.
    End,
    /// Nothing on this line can match.
    Dead,
    /// In the first word of a line: a header name as long as `name` is some, a method if
    /// `request`.
    Word { name: Option<Id>, request: bool },
    /// After that word and a blank.
    AfterWord {
        header: Option<Field>,
        request: bool,
    },
    /// In a value that has patterns.
    Value { field: Field, state: ValueState },
    /// After a line end: `folded` is entered by a blank, which takes the line end back, and `hit`
    /// is what the value matches if it has ended; `lf` says whether that was an LF.
    LineEnd { folded: Id, hit: Hit, lf: bool },
}

/// Builds the automaton that finds `signatures` in a message.
pub(super) fn build(
    signatures: &[Slotted<'_>],
    exempt_user_agents: &[String],
) -> Result<Automaton, Error> {
    let mut names = Trie::new();
    let mut matchers = Vec::new();
    for field in Field::ALL {
        if !signatures.iter().any(|s| s.signature.field == field) {
            continue;
        }
        for name in field.header_names() {
            names.insert(name.as_bytes(), field);
        }
        let matcher = ValueMatcher::new(field, signatures, exempt_user_agents)?;
        matchers.push((field, matcher));
    }
    let builder = Builder {
        has_request_uri: matchers
            .iter()
            .any(|(field, _)| *field == Field::RequestUri),
        names,
        matchers,
        states: IdVec::new(),
        known: HashMap::new(),
    };
    builder.build(signatures, exempt_user_agents)
}

struct Builder {
    names: Trie<Field>,
    matchers: Vec<(Field, ValueMatcher)>,
    has_request_uri: bool,
    states: IdVec<State>,
    known: HashMap<State, Id>,
}

impl Builder {
    fn build(
        mut self,
        signatures: &[Slotted<'_>],
        exempt_user_agents: &[String],
    ) -> Result<Automaton, Error> {
        let (classes, representatives) = self.byte_classes(signatures, exempt_user_agents);
        let start = self.enter(Position::Start, None);
        let dead = self.enter(Position::Dead, None);
        let mut next = IdVec::new();
        let mut done = 0;
        while done < self.states.len() {
            if done > MAX_STATES {
                return Err(Error::TooLarge {
                    units: done * units_of_row(representatives.len() + 2),
                    limit: TABLE_UNITS,
                    costliest: super::costliest(signatures),
                });
            }
            let at = self.states[id(done)].at;
            for &byte in &representatives {
                next.push(self.step(at, byte));
            }
            next.push(self.end_of_payload(at));
            done += 1;
        }
        let labels = self
            .states
            .iter()
            .map(|state| Label {
                hit: state.hit,
                end: state.at == Position::End,
            })
            .collect();
        Ok(Automaton {
            classes,
            width: representatives.len() + 1,
            next,
            labels,
            start,
            dead,
        })
    }

    fn enter(&mut self, at: Position, hit: Hit) -> Id {
        let state = State { at, hit };
        let states = &mut self.states;
        *self
            .known
            .entry(state)
            .or_insert_with(|| states.push(state))
    }

    fn step(&mut self, at: Position, byte: u8) -> Id {
        match byte {
            b'\r' | b'\n' => self.line_end(at, byte == b'\n'),
            b' ' | b'\t' => self.blank(at),
            0 => self.nul(at),
            1..b' ' => match at {
                Position::LineEnd { .. } => self.byte(at, byte),
                Position::Start
                | Position::End
                | Position::Dead
                | Position::Word { .. }
                | Position::AfterWord { .. }
                | Position::Value { .. } => self.blank(at),
            },
            _ => self.byte(at, byte),
        }
    }

    fn line_end(&mut self, at: Position, lf: bool) -> Id {
        match at {
            Position::Start | Position::End => self.enter(Position::Start, None),
            Position::LineEnd { hit, lf: true, .. } if lf => self.enter(Position::End, hit),
            Position::LineEnd {
                folded,
                hit,
                lf: before,
            } => {
                let lf = lf || before;
                self.enter(Position::LineEnd { folded, hit, lf }, None)
            }
            Position::Dead
            | Position::Word { .. }
            | Position::AfterWord { .. }
            | Position::Value { .. } => {
                let folded = self.blank(at);
                let hit = self.hit_at_end(at);
                self.enter(Position::LineEnd { folded, hit, lf }, None)
            }
        }
    }

    fn blank(&mut self, at: Position) -> Id {
        match at {
            Position::Start | Position::End => self.enter(Position::Start, None),
            Position::Dead => self.enter(Position::Dead, None),
            Position::Word { name, request } => {
                let header = name.and_then(|node| self.names.value(node));
                self.after_word(header, request)
            }
            Position::AfterWord { header, request } => self.after_word(header, request),
            Position::Value {
                field: Field::RequestUri,
                ..
            } => {
                let hit = self.hit_at_end(at);
                self.enter(Position::Dead, hit)
            }
            Position::Value { field, state } => {
                let (state, hit) = self.matcher(field).blank(state);
                self.enter(Position::Value { field, state }, hit)
            }
            Position::LineEnd { folded, .. } => folded,
        }
    }

    fn nul(&mut self, at: Position) -> Id {
        let hit = match at {
            Position::Value { .. } => self.hit_at_end(at),
            Position::Start
            | Position::End
            | Position::Dead
            | Position::Word { .. }
            | Position::AfterWord { .. }
            | Position::LineEnd { .. } => None,
        };
        let at = if at == Position::End {
            Position::Start
        } else {
            at
        };
        self.enter(at, hit)
    }

    fn byte(&mut self, at: Position, byte: u8) -> Id {
        match at {
            Position::Start | Position::End => {
                let request = self.has_request_uri && byte != b':';
                self.word(Some(Trie::<Field>::ROOT), request, byte, None)
            }
            Position::LineEnd { hit, .. } => self.word(Some(Trie::<Field>::ROOT), false, byte, hit),
            Position::Dead => self.enter(Position::Dead, None),
            Position::Word { name, .. } if byte == b':' => {
                self.colon(name.and_then(|node| self.names.value(node)))
            }
            Position::Word { name, request } => self.word(name, request, byte, None),
            Position::AfterWord { header, .. } if byte == b':' => self.colon(header),
            Position::AfterWord { request: true, .. } => self.value(
                Field::RequestUri,
                self.matcher(Field::RequestUri).start(),
                byte,
            ),
            Position::AfterWord { request: false, .. } => self.enter(Position::Dead, None),
            Position::Value { field, state } => self.value(field, state, byte),
        }
    }

    fn end_of_payload(&mut self, at: Position) -> Id {
        match self.hit_at_end(at) {
            Some(slot) => self.enter(Position::End, Some(slot)),
            None => self.enter(Position::Start, None),
        }
    }

    fn hit_at_end(&self, at: Position) -> Hit {
        match at {
            Position::Value { field, state } => self.matcher(field).end(state),
            Position::LineEnd { hit, .. } => hit,
            Position::Start
            | Position::End
            | Position::Dead
            | Position::Word { .. }
            | Position::AfterWord { .. } => None,
        }
    }

    fn word(&mut self, name: Option<Id>, request: bool, byte: u8, hit: Hit) -> Id {
        let name = name.and_then(|node| self.names.next(node, byte.to_ascii_lowercase()));
        let at = if name.is_some() || request {
            Position::Word { name, request }
        } else {
            Position::Dead
        };
        self.enter(at, hit)
    }

    fn after_word(&mut self, header: Option<Field>, request: bool) -> Id {
        let at = if header.is_some() || request {
            Position::AfterWord { header, request }
        } else {
            Position::Dead
        };
        self.enter(at, None)
    }

    fn colon(&mut self, header: Option<Field>) -> Id {
        let at = match header {
            Some(field) => Position::Value {
                field,
                state: self.matcher(field).start(),
            },
            None => Position::Dead,
        };
        self.enter(at, None)
    }

    fn value(&mut self, field: Field, state: ValueState, byte: u8) -> Id {
        let matcher = self.matcher(field);
        let (state, hit) = matcher.byte(state, byte);
        let at = if matcher.is_lost(state) {
            Position::Dead
        } else {
            Position::Value { field, state }
        };
        self.enter(at, hit)
    }

    fn matcher(&self, field: Field) -> &ValueMatcher {
        let found = self.matchers.iter().find(|(of, _)| *of == field);
        found
            .map(|(_, matcher)| matcher)
            .expect("only fields that have patterns are entered")
    }

    /// Puts bytes that every state reads alike into one class, so that each state is computed for
    /// one byte of each class only.
    fn byte_classes(
        &self,
        signatures: &[Slotted<'_>],
        exempt_user_agents: &[String],
    ) -> ([u8; 256], Vec<u8>) {
        let folds_case = !self.matchers.iter().any(|(_, matcher)| matcher.has_cased());
        const CONTROL: u8 = 1;
        let fold = |byte: u8| match byte {
            b'\t' => b' ',
            b'\0' | b'\r' | b'\n' => byte,
            CONTROL..b' ' => CONTROL,
            _ if folds_case => byte.to_ascii_lowercase(),
            _ => byte,
        };

        let structure: &[u8] = b"\0\x01\r\n :%<>\"\\;?,0123456789abcdefABCDEF";
        let patterns = signatures.iter().map(|s| s.signature.pattern.as_bytes());
        let names = Field::ALL.iter().flat_map(|field| field.header_names());
        let texts = patterns
            .chain(exempt_user_agents.iter().map(String::as_bytes))
            .chain(names.map(|name| name.as_bytes()))
            .chain([structure]);
        let mut told_apart = [false; 256];
        for &byte in texts.flatten() {
            for byte in [byte, byte.to_ascii_lowercase(), byte.to_ascii_uppercase()] {
                if let Some(told_apart) = told_apart.get_mut(usize::from(fold(byte))) {
                    *told_apart = true;
                }
            }
        }

        let mut known = HashMap::new();
        let mut representatives = Vec::new();
        let mut classes = [0; 256];
        for (byte, class) in (0..=u8::MAX).zip(&mut classes) {
            let folded = fold(byte);
            let alone = told_apart.get(usize::from(folded)) == Some(&true);
            // A control byte is never read as such: it is a blank.
            let read = byte.max(b' ');
            let read_as: Vec<u8> = self
                .matchers
                .iter()
                .map(|(_, matcher)| matcher.class_of(read))
                .collect();
            *class = *known
                .entry((alone.then_some(folded), read_as))
                .or_insert_with(|| {
                    representatives.push(byte);
                    u8::try_from(representatives.len() - 1).unwrap_or(u8::MAX)
                });
        }
        (classes, representatives)
    }
}
