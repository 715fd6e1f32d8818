//! What a payload on a SIP port is, from its first bytes.

use super::lines::Lines;
use super::start_line::StartLine;

/// Payloads of at most this many bytes are keep-alives, whatever they say.
pub const KEEP_ALIVE_MAX: usize = 8;

/// What a payload on a SIP port is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PayloadKind {
    /// It begins with a SIP request or response, after blanks and line ends that servers skip.
    Sip,
    /// At most [`KEEP_ALIVE_MAX`] bytes: CRLF, CRLFCRLF, NULs, nothing (RFC 5626 section 3.5.1).
    KeepAlive,
    /// A STUN message (RFC 8489; RFC 3489 without the magic cookie).
    Stun,
    /// Anything else.
    Other,
}

/// Tells SIP from keep-alives and the rest. Reads no further than the first line.
#[must_use]
pub fn classify(payload: &[u8]) -> PayloadKind {
    if payload.len() <= KEEP_ALIVE_MAX {
        PayloadKind::KeepAlive
    } else if is_sip(payload) {
        PayloadKind::Sip
    } else if is_stun(payload) {
        PayloadKind::Stun
    } else {
        PayloadKind::Other
    }
}

/// Whether the first line is a SIP request line or status line, however loosely written.
#[must_use]
pub fn is_sip(payload: &[u8]) -> bool {
    let line = Lines::new(payload).next().unwrap_or_default();
    match StartLine::parse(line) {
        StartLine::Request(_) | StartLine::Response(_) => true,
        StartLine::Unrecognised(_) => false,
    }
}

/// Two zero bits, a type, and a length that fits: no text begins like that.
fn is_stun(payload: &[u8]) -> bool {
    const HEADER: usize = 20;
    let [kind, _, high, low, ..] = payload else {
        return false;
    };
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    kind & 0xc0 == 0 && length.is_multiple_of(4) && payload.len() == HEADER + length
}
