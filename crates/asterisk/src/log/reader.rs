//! The lines of a file in order.
//!
//! Two things are only seen beside a line. A stranger's line feed tears a record of Asterisk in
//! two, and between the two may stand whole lines of theirs: behind them always comes the rest of
//! the record. And packets are written out as they are, line by line, while somebody debugs SIP;
//! the line that announces one counts only where Asterisk writes it, or anybody could hide 65,535
//! bytes of the log behind such words in a user name.
//!
//! A file is read as what its first line is: in Asterisk's, a line in the form of another program is
//! a stranger's.
//!
//! What is left: IAX2 takes any 255 bytes for the name of a peer. A line of `chan_iax2.c` proves no
//! more than a datagram from an address that can be forged.

use memchr::memchr;

use super::dump::{self, Announced, LONGEST_PACKET};
use super::{Kind, Level, LogLine, Program, contains, freeswitch, kamailio, prefix, security};

/// PJSIP ends a packet that it writes out with this line, if there is room.
const END_OF_PACKET: &[u8] = b"-- end of packet.";

/// Bytes of the longest message of PJSIP.
const PJSIP_MESSAGE: usize = 4000;

/// So far behind the first part of a torn record its rest may begin: chan_sip takes 256 bytes for
/// the name of an account.
const NAME: usize = 256;

/// Reads the lines of one file; keeps what must be known of the lines before.
#[derive(Clone, Debug, Default)]
pub struct Reader {
    /// Whose log it is, since the first line that said so.
    program: Option<Program>,
    /// Bytes of a packet that are still to come.
    packet: usize,
    /// Bytes that may still be those of a packet that chan_sip, FreeSWITCH or Kamailio wrote out:
    /// they do not tell its length.
    debugged: usize,
    before: Before,
    /// VERBOSE lines have a prefix in this file: it is no console's.
    verbose_has_prefix: bool,
    security_thread: Option<u32>,
}

/// The line before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Before {
    /// None, or any other.
    #[default]
    Any,
    /// Nothing stood in it.
    Blank,
    /// A VERBOSE line of chan_sip without text.
    EmptyVerbose,
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
        self.read_part(lines, lines.len())
    }

    /// The same for a part of a large file: of `lines`, only those that begin in the first `bytes`
    /// are given, the others are looked at to judge these. [`Lines::rest`] tells where to go on; 128
    /// kB of further lines are enough for what is given to be what [`Self::read`] gives.
    pub fn read_part<'r, 'a>(&'r mut self, lines: &'a [u8], bytes: usize) -> Lines<'r, 'a> {
        Lines {
            reader: self,
            rest: lines,
            further: lines.len().saturating_sub(bytes),
            next: 0,
            line: b"",
        }
    }

    /// Whose log it is, once a line said so.
    #[must_use]
    pub const fn program(&self) -> Option<Program> {
        self.program
    }

    /// Packets are written into this file as they came: whoever sends one writes lines into it, so
    /// no line names an address that counts, until 65,535 bytes have come without a packet.
    #[must_use]
    pub const fn debugs_sip(&self) -> bool {
        self.debugged > 0
    }
}

/// The lines that say something, with their numbers, from 0 for the first given.
#[derive(Debug)]
pub struct Lines<'r, 'a> {
    reader: &'r mut Reader,
    rest: &'a [u8],
    /// Bytes at the end that are only looked at.
    further: usize,
    next: usize,
    line: &'a [u8],
}

impl<'a> Lines<'_, 'a> {
    /// What was not read yet.
    #[must_use]
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The line that was given last, with its end.
    #[must_use]
    pub const fn line(&self) -> &'a [u8] {
        self.line
    }

    /// Lines read so far, those included that say nothing.
    #[must_use]
    pub const fn lines_read(&self) -> usize {
        self.next
    }
}

impl<'a> Iterator for Lines<'_, 'a> {
    type Item = (usize, LogLine<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            self.skip_packet();
            if self.rest.len() <= self.further {
                return None;
            }
            let (line, rest) = first_line(self.rest)?;
            let number = self.next;
            self.rest = rest;
            self.next += 1;
            self.reader.debugged = self.reader.debugged.saturating_sub(line.len());
            let before = self.reader.before;
            self.reader.before = Before::Any;
            let program = self.reader.program.or_else(|| Program::of(line));
            self.reader.program = program;
            let Some((prefix, text)) = program.and_then(|program| program.split(line)) else {
                if matches!(program, None | Some(Program::Asterisk)) {
                    self.note_line_without_prefix(line, before);
                }
                continue;
            };
            let read = match prefix.program {
                Program::Asterisk => self.asterisk(&prefix, text),
                Program::FreeSwitch | Program::Kamailio => self.of_others(&prefix, text),
            };
            if let Some(read) = read {
                self.line = line;
                return Some((number, read));
            }
        }
    }
}

impl<'a> Lines<'_, 'a> {
    fn asterisk(&mut self, prefix: &prefix::Prefix<'a>, text: &'a [u8]) -> Option<LogLine<'a>> {
        if prefix.level == Level::Other {
            self.note_verbose(prefix, text);
            return None;
        }
        if is_incomplete_packet(prefix, text) {
            self.skip_incomplete_packet(prefix.thread, text.len());
            return None;
        }
        let Some(line) = super::read(prefix, text) else {
            self.skip_torn_call(prefix.thread, text);
            return None;
        };
        if let Kind::DroppedPacket { bytes } = line.event.kind
            && contains(text, b"Error processing ")
        {
            // Versions that say so write the packet behind it.
            let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
            self.reader.packet = bytes.min(PJSIP_MESSAGE);
            self.skip_packet();
        }
        let is_security = line.level == Level::Security;
        if is_security && line.event.kind != Kind::Unread {
            self.reader.security_thread = Some(line.thread);
        }
        let is_torn = self.is_torn(&line);
        let is_distrusted = self.reader.debugs_sip() || is_torn;
        if is_security && (is_torn || !is_rest_of_event(text)) {
            self.skip_inside_of_record(line.thread, is_rest_of_event);
        }
        Some(if is_distrusted {
            line.distrusted()
        } else {
            line
        })
    }

    /// FreeSWITCH or Kamailio. The latter writes all of its records on one line.
    fn of_others(&mut self, prefix: &prefix::Prefix<'a>, text: &'a [u8]) -> Option<LogLine<'a>> {
        let is_doubtful = self.reader.debugs_sip();
        let announces_a_packet = match prefix.program {
            Program::FreeSwitch => freeswitch::announces_a_packet(prefix.file, text),
            Program::Asterisk | Program::Kamailio => {
                kamailio::announces_a_packet(prefix.file, text)
            }
        };
        if announces_a_packet {
            self.reader.debugged = LONGEST_PACKET;
        }
        let line = super::read(prefix, text)?;
        let is_torn = first_line(self.rest).is_some_and(|(next, _)| freeswitch::is_rest(next));
        let is_distrusted = is_doubtful || is_torn;
        Some(if is_distrusted {
            line.distrusted()
        } else {
            line
        })
    }

    /// The rest of the record, or of one that this line stands inside, follows.
    fn is_torn(&self, line: &LogLine<'_>) -> bool {
        if line.event.remote.is_none() {
            return false;
        }
        let (mut rest, mut at) = (self.rest, 0);
        while at <= NAME {
            let Some((next, after)) = first_line(rest) else {
                return false;
            };
            let is_next = at == 0;
            rest = after;
            at += next.len();
            let Some((prefix, text)) = Program::Asterisk.split(next) else {
                // A packet that was dropped has a blank line behind it, and a file begins with what
                // Asterisk is.
                let is_own = next.trim_ascii().is_empty() || contains(next, b"] Asterisk ");
                if is_next && !is_own {
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

    /// The inside of a torn record: lines of a stranger, up to the last that can be its rest, but
    /// not beyond the next record of the thread that wrote it, of which a stranger does not know
    /// the number.
    fn skip_inside_of_record(&mut self, thread: u32, is_rest: fn(&[u8]) -> bool) {
        let (mut rest, mut at, mut end) = (self.rest, 0, None);
        while at <= NAME
            && let Some((line, after)) = first_line(rest)
        {
            if Program::Asterisk
                .split(line)
                .is_some_and(|(prefix, _)| prefix.thread == thread)
            {
                break;
            }
            rest = after;
            at += line.len();
            if is_rest(line) {
                end = Some(at);
            }
        }
        self.skip(end.unwrap_or(0));
    }

    /// The number that a refused caller dialled may hold line feeds.
    fn skip_torn_call(&mut self, thread: u32, text: &[u8]) {
        if contains(text, b") to extension '") {
            self.skip_inside_of_record(thread, is_rest_of_call);
        }
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
            if let Some((prefix, text)) = Program::Asterisk.split(line)
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

    /// A VERBOSE or DEBUG line: a packet may follow.
    fn note_verbose(&mut self, prefix: &prefix::Prefix<'_>, text: &[u8]) {
        self.reader.verbose_has_prefix = true;
        if text.is_empty() && prefix.file == b"chan_sip.c" {
            self.reader.before = Before::EmptyVerbose;
        }
        if dump::is_of_the_logger(prefix)
            && let Some(Announced::Pjsip(bytes)) = dump::announced(text)
        {
            self.begin_packet(bytes, true);
        }
    }

    /// A line without a prefix: chan_sip announces a packet so, and a console has no others.
    fn note_line_without_prefix(&mut self, line: &[u8], before: Before) {
        let text = prefix::behind_capture(line);
        if text.trim_ascii().is_empty() {
            self.reader.before = Before::Blank;
            return;
        }
        let is_console = !self.reader.verbose_has_prefix;
        match dump::announced(text) {
            Some(Announced::ChanSip)
                if before == Before::EmptyVerbose || (is_console && before == Before::Blank) =>
            {
                self.reader.debugged = LONGEST_PACKET;
            }
            Some(Announced::Pjsip(bytes)) if is_console => self.begin_packet(bytes, false),
            Some(Announced::ChanSip | Announced::Pjsip(_)) | None => {}
        }
    }

    /// PJSIP ends the packet with a line feed. Where none is, a zero byte in it cut it short, or a
    /// console's capture has made it longer: then its end is not known.
    fn begin_packet(&mut self, bytes: usize, may_be_torn: bool) {
        match self.rest.get(bytes) {
            Some(b'\n') => self.reader.packet = bytes,
            None if may_be_torn => self.reader.packet = bytes,
            Some(_) | None => self.reader.debugged = LONGEST_PACKET,
        }
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

/// What follows the number in a line about a refused call.
fn is_rest_of_call(text: &[u8]) -> bool {
    contains(text, b"' rejected because extension not found in context '")
}

fn first_line(text: &[u8]) -> Option<(&[u8], &[u8])> {
    if text.is_empty() {
        return None;
    }
    let end = memchr(b'\n', text).map_or(text.len(), |at| at + 1);
    text.split_at_checked(end)
}
