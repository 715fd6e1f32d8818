//! Which part of a value is its URI, for signatures that name a whole URI.

use super::words::{Words, WordsState};
use super::{Hit, Slotted};

/// Whole URIs, in one field.
pub(super) struct Uris {
    words: Words,
    form: Form,
}

/// How a field holds its URI.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// From, To, Contact: `"name" <uri>;parameters` or `uri;parameters` (RFC 3261 section 20.10).
    Address,
    /// The second word of a request line.
    Token,
}

/// Where in the value the walk is.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum UriState {
    /// In a URI without brackets, or in a display name without quotes: not known yet.
    Bare(WordsState),
    /// In a quoted display name.
    Quoted,
    /// After a backslash in a quoted display name.
    Escaped,
    /// In or after a display name.
    Named,
    /// Between angle brackets.
    Bracketed(WordsState),
    /// After the URI.
    Done,
}

impl Uris {
    /// The patterns of `signatures`, which are all `exact`.
    pub(super) fn new<'a>(
        form: Form,
        signatures: impl Iterator<Item = Slotted<'a>> + Clone,
    ) -> Option<Self> {
        let words = Words::new(signatures);
        (!words.is_empty()).then_some(Self { words, form })
    }

    /// The state before the first byte of a value.
    pub(super) fn start(&self) -> UriState {
        UriState::Bare(self.words.start())
    }

    /// Reads one byte that stands for itself in the message's structure.
    pub(super) fn step(&self, state: &mut UriState, byte: u8) -> Hit {
        let address = self.form == Form::Address;
        match (*state, byte) {
            (UriState::Bare(_) | UriState::Named, b'<') if address => {
                *state = UriState::Bracketed(self.words.start());
                None
            }
            (UriState::Bare(_) | UriState::Named, b'"') if address => {
                *state = UriState::Quoted;
                None
            }
            (UriState::Bare(_) | UriState::Named | UriState::Bracketed(_), b';' | b'?') => {
                self.leave(state)
            }
            (UriState::Bare(_) | UriState::Named | UriState::Bracketed(_), b',' | b'>')
                if address =>
            {
                self.leave(state)
            }
            (UriState::Bracketed(words), b' ') if words == self.words.start() => None,
            (UriState::Bracketed(_), b' ') => self.leave(state),
            (UriState::Bare(_), b' ') => {
                let hit = self.end(*state);
                *state = UriState::Named;
                hit
            }
            (UriState::Quoted, b'\\') => {
                *state = UriState::Escaped;
                None
            }
            (UriState::Quoted, b'"') => {
                *state = UriState::Named;
                None
            }
            _ => self.step_literal(state, byte),
        }
    }

    /// Reads one byte that was percent-encoded: it is part of the URI, whatever it is.
    pub(super) fn step_literal(&self, state: &mut UriState, byte: u8) -> Hit {
        let (after, hit) = match *state {
            UriState::Bare(mut words) => {
                let hit = self.words.step(&mut words, byte);
                let after = match self.form {
                    _ if !self.words.is_lost(words) => UriState::Bare(words),
                    Form::Address => UriState::Named,
                    Form::Token => UriState::Done,
                };
                (after, hit)
            }
            UriState::Bracketed(mut words) => {
                let hit = self.words.step(&mut words, byte);
                let lost = self.words.is_lost(words);
                (
                    if lost {
                        UriState::Done
                    } else {
                        UriState::Bracketed(words)
                    },
                    hit,
                )
            }
            UriState::Escaped => (UriState::Quoted, None),
            UriState::Quoted | UriState::Named | UriState::Done => (*state, None),
        };
        *state = after;
        hit
    }

    /// What is matched if the value ends here.
    pub(super) fn end(&self, state: UriState) -> Hit {
        match state {
            UriState::Bare(words) | UriState::Bracketed(words) => self.words.end(words),
            UriState::Quoted | UriState::Escaped | UriState::Named | UriState::Done => None,
        }
    }

    pub(super) fn has_cased(&self) -> bool {
        self.words.has_cased()
    }

    /// After the URI come its parameters, its headers or another address.
    fn leave(&self, state: &mut UriState) -> Hit {
        let hit = self.end(*state);
        *state = UriState::Done;
        hit
    }
}
