//! The lines that announce a packet, while somebody debugs SIP.
//!
//! PJSIP writes its own behind the prefix of a VERBOSE line, chan_sip on a line of its own behind
//! a VERBOSE line without text. A console has no such prefixes: there PJSIP's stands alone, and
//! chan_sip's behind a blank line.

use super::prefix::Prefix;
use super::{Level, number, split_once};

/// Bytes of the longest packet: a UDP datagram's.
pub(super) const LONGEST_PACKET: usize = 65_535;

/// What a line announces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Announced {
    /// `<--- SIP read from UDP:203.0.113.7:5060 --->` of chan_sip: a packet of unknown length.
    ChanSip,
    /// `<--- Received SIP request (435 bytes) from UDP:203.0.113.7:5060 --->` of PJSIP: so many
    /// bytes.
    Pjsip(usize),
}

/// A line that is nothing but such words; `None` for anything else, also for these words among
/// others, which are a stranger's.
pub(super) fn announced(line: &[u8]) -> Option<Announced> {
    let head = line.trim_ascii_end();
    let head = head.strip_prefix(b"<--- ")?.strip_suffix(b" --->")?;
    if head.starts_with(b"SIP read from ") {
        return Some(Announced::ChanSip);
    }
    let (what, towards) = match head.strip_prefix(b"Received SIP ") {
        Some(rest) => (rest, &b" bytes) from "[..]),
        None => (
            head.strip_prefix(b"Transmitting SIP ")?,
            &b" bytes) to "[..],
        ),
    };
    let (kind, rest) = split_once(what, b" (")?;
    if kind != b"request" && kind != b"response" {
        return None;
    }
    let (bytes, rest) = number(rest)?;
    let bytes = usize::try_from(bytes).ok()?;
    (bytes <= LONGEST_PACKET && rest.starts_with(towards)).then_some(Announced::Pjsip(bytes))
}

/// Whether this is a prefix behind which PJSIP announces a packet.
pub(super) fn is_of_the_logger(prefix: &Prefix<'_>) -> bool {
    prefix.level == Level::Other && prefix.file.starts_with(b"res_pjsip_logger")
}
