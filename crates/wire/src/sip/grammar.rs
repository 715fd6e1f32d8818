//! The basic rules of RFC 3261 section 25.1, as loosely as servers read them.

use alloc::borrow::Cow;

/// Blank, tab, line end (within a folded value) or NUL.
pub(super) fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | 0)
}

pub(super) fn trim_start(mut bytes: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = bytes
        && is_blank(*first)
    {
        bytes = rest;
    }
    bytes
}

pub(super) fn trim(bytes: &[u8]) -> &[u8] {
    let mut bytes = trim_start(bytes);
    while let [rest @ .., last] = bytes
        && is_blank(*last)
    {
        bytes = rest;
    }
    bytes
}

/// Splits around the first `delimiter`.
pub(super) fn split_once(bytes: &[u8], delimiter: u8) -> Option<(&[u8], &[u8])> {
    split_around(bytes, bytes.iter().position(|byte| *byte == delimiter)?)
}

/// Splits around the byte at `position`.
pub(super) fn split_around(bytes: &[u8], position: usize) -> Option<(&[u8], &[u8])> {
    let (before, rest) = bytes.split_at_checked(position)?;
    Some((before, rest.get(1..)?))
}

/// Splits off everything before the first blank; the rest is trimmed at its start.
pub(super) fn split_token(bytes: &[u8]) -> (&[u8], &[u8]) {
    match bytes.iter().position(|byte| is_blank(*byte)) {
        Some(position) => {
            let (token, rest) = bytes.split_at(position);
            (token, trim_start(rest))
        }
        None => (bytes, &[]),
    }
}

pub(super) fn starts_with_ignore_case(bytes: &[u8], prefix: &[u8]) -> bool {
    bytes
        .get(..prefix.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

/// The digits at the start; `None` without any. Saturates.
pub(super) fn leading_number(bytes: &[u8]) -> Option<u64> {
    let mut digits = bytes
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .peekable();
    digits.peek()?;
    Some(digits.fold(0u64, |number, digit| {
        number
            .saturating_mul(10)
            .saturating_add(u64::from(digit - b'0'))
    }))
}

/// A number that consists of nothing but digits and fits.
pub(super) fn number<N: TryFrom<u64>>(bytes: &[u8]) -> Option<N> {
    if !bytes.iter().all(u8::is_ascii_digit) {
        return None;
    }
    N::try_from(leading_number(bytes)?).ok()
}

/// The inside of a quoted string, escapes untouched; other text trimmed. Without a closing quote:
/// everything after the opening one.
pub(super) fn unquote(bytes: &[u8]) -> &[u8] {
    let bytes = trim(bytes);
    let Some(inside) = bytes.strip_prefix(b"\"") else {
        return bytes;
    };
    match closing_quote(inside) {
        Some(end) => inside.get(..end).unwrap_or_default(),
        None => inside,
    }
}

/// Takes the backslashes out of the inside of a quoted string (`quoted-pair`). Allocates only
/// where there is one.
#[must_use]
pub fn unescape(inside: &[u8]) -> Cow<'_, [u8]> {
    if !inside.contains(&b'\\') {
        return Cow::Borrowed(inside);
    }
    let mut bytes = inside.iter().copied();
    let mut plain = alloc::vec::Vec::with_capacity(inside.len());
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => plain.extend(bytes.next()),
            byte => plain.push(byte),
        }
    }
    Cow::Owned(plain)
}

/// Position of the quote that ends a quoted string whose inside begins here.
fn closing_quote(inside: &[u8]) -> Option<usize> {
    let mut escaped = false;
    inside.iter().position(|byte| {
        let closes = *byte == b'"' && !escaped;
        escaped = *byte == b'\\' && !escaped;
        closes
    })
}

/// Finds bytes outside quoted strings and, where asked, outside `<...>`.
///
/// An opening quote or bracket without its closing one counts as an ordinary byte, from there on
/// for good: looking for it again and again would take quadratic time on hostile input.
#[derive(Debug, Clone, Copy)]
pub(super) struct Unquoted {
    quotes: bool,
    brackets: bool,
}

impl Unquoted {
    pub(super) fn quotes() -> Self {
        Self {
            quotes: true,
            brackets: false,
        }
    }

    pub(super) fn quotes_and_brackets() -> Self {
        Self {
            quotes: true,
            brackets: true,
        }
    }

    pub(super) fn find(&mut self, bytes: &[u8], wanted: u8) -> Option<usize> {
        let mut at = 0;
        loop {
            let byte = *bytes.get(at)?;
            let inside = bytes.get(at + 1..)?;
            at += match byte {
                b'"' if self.quotes => match closing_quote(inside) {
                    Some(end) => end + 2,
                    None => {
                        self.quotes = false;
                        1
                    }
                },
                b'<' if self.brackets => match inside.iter().position(|byte| *byte == b'>') {
                    Some(end) => end + 2,
                    None => {
                        self.brackets = false;
                        1
                    }
                },
                byte if byte == wanted => return Some(at),
                _ => 1,
            };
        }
    }
}

/// The parts between delimiters, trimmed, empty ones left out.
#[derive(Debug, Clone)]
pub(super) struct Elements<'a> {
    rest: &'a [u8],
    delimiter: u8,
    outside: Unquoted,
}

impl<'a> Elements<'a> {
    pub(super) fn new(bytes: &'a [u8], delimiter: u8, outside: Unquoted) -> Self {
        Self {
            rest: bytes,
            delimiter,
            outside,
        }
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        while !self.rest.is_empty() {
            let position = self.outside.find(self.rest, self.delimiter);
            let (element, rest) = position
                .and_then(|position| split_around(self.rest, position))
                .unwrap_or((self.rest, &[]));
            self.rest = rest;
            let element = trim(element);
            if !element.is_empty() {
                return Some(element);
            }
        }
        None
    }
}
