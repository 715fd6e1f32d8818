//! The lines of a file in order.
//!
//! Two things are only seen beside a line. A stranger's line feed tears a record of Asterisk in
//! two, and between the two may stand whole lines of theirs: behind them always comes the rest of
//! the record. And packets are written out as they are, line by line, while somebody debugs SIP.
//!
//! What is left: IAX2 takes any 255 bytes for the name of a peer. A line of `chan_iax2.c` proves no
//! more than a datagram from an address that can be forged.

use memchr::memchr;

use super::prefix;
use super::{Kind, Level, LogLine, contains, number, security, split_once};

/// PJSIP ends a packet that it writes out with this line, if there is room.
const END_OF_PACKET: &[u8] = b"-- end of packet.";

/// Bytes of the longest message of PJSIP.
const PJSIP_MESSAGE: usize = 4000;

/// So many lines fit into the name of an account, between the two parts of a torn record:
/// chan_sip takes 256 bytes, and a prefix alone has 30 when it is percent-encoded.
const LINES_IN_A_NAME: usize = 8;

/// Reads the lines of one file; keeps what must be known of the lines before.
#[derive(Clone, Debug, Default)]
pub struct Reader {
    /// Bytes of a packet that are still to come.
    packet: usize,
    /// chan_sip wrote a packet out.
    debugs_sip: bool,
    security_thread: Option<u32>,
}

impl Reader {
    /// For a file of which nothing was read yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The next whole lines of the file: as many as there are, for a line is judged by those that
    /// follow. Asterisk writes a record at once, so what it has written ends with a whole one.
    pub fn read<'r, 'a>(&'r mut self, lines: &'a [u8]) -> Lines<'r, 'a> {
        Lines {
            reader: self,
            rest: lines,
            next: 0,
        }
    }

    /// SIP debugging of chan_sip is on in this file: whoever sends a packet writes lines into it, so
    /// none of them names an address that counts.
    #[must_use]
    pub const fn debugs_sip(&self) -> bool {
        self.debugs_sip
    }
}

/// The lines that say something, with their numbers, from 0 for the first given.
#[derive(Debug)]
pub struct Lines<'r, 'a> {
    reader: &'r mut Reader,
    rest: &'a [u8],
    next: usize,
}

impl<'a> Iterator for Lines<'_, 'a> {
    type Item = (usize, LogLine<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            self.skip_packet();
            let (line, rest) = first_line(self.rest)?;
            let number = self.next;
            self.rest = rest;
            self.next += 1;
            if self.begins_packet(line) {
                continue;
            }
            let Some((prefix, text)) = prefix::split(line) else {
                continue;
            };
            if is_incomplete_packet(&prefix, text) {
                self.skip_incomplete_packet(prefix.thread, text.len());
                continue;
            }
            let Some(mut line) = super::read(&prefix, text) else {
                continue;
            };
            if let Kind::DroppedPacket { bytes } = line.event.kind
                && contains(text, b"Error processing ")
            {
                // Versions that say so write the packet behind it.
                self.reader.packet = usize::try_from(bytes).unwrap_or(usize::MAX);
                self.skip_packet();
            }
            if line.level == Level::Security && line.event.kind != Kind::Unread {
                self.reader.security_thread = Some(line.thread);
            }
            if self.reader.debugs_sip || self.is_torn(&line) {
                line.event.remote = None;
                line.event.account = None;
                if line.level == Level::Security {
                    line.event.kind = Kind::Unread;
                }
            }
            return Some((number, line));
        }
    }
}

impl<'a> Lines<'_, 'a> {
    /// The rest of the record, or of one that this line stands inside, follows.
    fn is_torn(&self, line: &LogLine<'_>) -> bool {
        if line.event.remote.is_none() {
            return false;
        }
        let mut rest = self.rest;
        for distance in 0..LINES_IN_A_NAME {
            let Some((next, after)) = first_line(rest) else {
                return false;
            };
            rest = after;
            let Some((prefix, text)) = prefix::split(next) else {
                // A packet that was dropped has a blank line behind it, and a file begins with what
                // Asterisk is.
                let is_own = next.trim_ascii().is_empty() || contains(next, b"] Asterisk ");
                if distance == 0 && !is_own {
                    return true;
                }
                if is_rest_of_event(next) {
                    return true;
                }
                continue;
            };
            if prefix.level == Level::Security {
                // The beginning of another record, unless a stranger wrote it: they know no thread.
                if self.reader.security_thread == Some(prefix.thread)
                    || security::read(text).kind != Kind::Unread
                {
                    return false;
                }
            }
            if is_rest_of_event(text) {
                return true;
            }
        }
        false
    }

    fn skip_packet(&mut self) {
        let bytes = self.reader.packet.min(self.rest.len());
        self.skip(bytes);
        self.reader.packet -= bytes;
    }

    fn skip(&mut self, bytes: usize) {
        let Some((skipped, rest)) = self.rest.split_at_checked(bytes) else {
            return;
        };
        self.next += skipped.iter().filter(|&&b| b == b'\n').count();
        self.rest = rest;
    }

    /// What PJSIP writes after "Missing required header(s)": the packet, any stranger's, of which no
    /// length is told. Its own last line may be in it, so the last one counts, up to the next packet
    /// of the same thread: a stranger does not know its number.
    fn skip_incomplete_packet(&mut self, thread: u32, first_line_bytes: usize) {
        let bytes = PJSIP_MESSAGE.saturating_sub(first_line_bytes);
        let (mut rest, mut at, mut end) = (self.rest, 0, None);
        while at < bytes
            && let Some((line, after)) = first_line(rest)
        {
            if let Some((prefix, text)) = prefix::split(line)
                && prefix.thread == thread
                && is_incomplete_packet(&prefix, text)
            {
                break;
            }
            rest = after;
            at += line.len();
            if line.trim_ascii_end() == END_OF_PACKET {
                end = Some(at);
            }
        }
        self.skip(end.unwrap_or(at));
    }

    /// `<--- Received SIP request (435 bytes) from UDP:203.0.113.7:5060 --->` of PJSIP, of which the
    /// length is known, and `<--- SIP read from UDP:203.0.113.7:5060 --->` of chan_sip.
    fn begins_packet(&mut self, line: &[u8]) -> bool {
        let Some((_, head)) = split_once(line, b"<--- ") else {
            return false;
        };
        if head.starts_with(b"SIP read from ") {
            self.reader.debugs_sip = true;
            return true;
        }
        if !(head.starts_with(b"Received SIP ") || head.starts_with(b"Transmitting SIP ")) {
            return false;
        }
        let Some((bytes, _)) = split_once(head, b" (").and_then(|(_, rest)| number(rest)) else {
            return false;
        };
        self.reader.packet = usize::try_from(bytes).unwrap_or(usize::MAX);
        true
    }
}

/// `sip_endpoint.c Error processing packet from 203.0.113.76:35682: Missing required header(s) …`
fn is_incomplete_packet(prefix: &prefix::Prefix<'_>, text: &[u8]) -> bool {
    prefix.file == b"pjproject" && contains(text, b"sip_endpoint.c Error processing packet from ")
}

/// What follows the account of a SECURITY line, in a line that is none. Other lines with text of a
/// stranger end in text of Asterisk.
fn is_rest_of_event(text: &[u8]) -> bool {
    text.trim_ascii_end().ends_with(b"\"") && contains(text, b"\",RemoteAddress=\"IPV")
}

fn first_line(text: &[u8]) -> Option<(&[u8], &[u8])> {
    if text.is_empty() {
        return None;
    }
    let end = memchr(b'\n', text).map_or(text.len(), |at| at + 1);
    text.split_at_checked(end)
}
