//! Where one message ends and the next begins, on TCP (RFC 3261 section 18.3).

use super::lines::Lines;
use super::message::Message;
use super::start_line::StartLine;

/// Bytes of the longest message that is kept whole. A longer head is cut here; a longer body is
/// skipped, its head is still delivered.
pub const MAX_FRAME: usize = 65_536;

/// What the buffered bytes begin with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frame {
    /// A message: give this many bytes to [`Message::parse`], then drop them.
    Message(usize),
    /// Nothing to read: keep-alives, the rest of a too long body, or what stands between the
    /// messages. Drop this many bytes.
    Skip(usize),
    /// Come back with the same bytes and more. Never the answer to [`MAX_FRAME`] bytes.
    Incomplete,
}

/// Splits one direction of a TCP connection. It holds no bytes: the caller buffers them, gives
/// all that it has, and drops from the front what each [`Frame`] says.
///
/// No byte is looked at more than a few times, however small the segments are. Where a message
/// does not begin as one, the bytes are skipped up to the next line that is a SIP start line, so
/// a capture may begin in the middle of a connection.
#[derive(Debug, Clone, Default)]
pub struct Splitter {
    /// Bytes of a body that is too long to be kept.
    to_skip: u64,
    /// How far the search for the empty line has come.
    scanned: usize,
    line_seen: bool,
    after_line_feed: bool,
    /// Length of the message, once its head was read.
    complete_at: Option<usize>,
}

impl Splitter {
    /// At the start of a connection, or anywhere in it.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What `buffered` begins with. Lengths are never 0 and never more than `buffered` has.
    pub fn next_frame(&mut self, buffered: &[u8]) -> Frame {
        let frame = self.find_frame(buffered);
        if frame != Frame::Incomplete {
            let to_skip = self.to_skip;
            *self = Self {
                to_skip,
                ..Self::default()
            };
        }
        frame
    }

    fn find_frame(&mut self, buffered: &[u8]) -> Frame {
        if self.to_skip > 0 && !buffered.is_empty() {
            let available = u64::try_from(buffered.len()).unwrap_or(u64::MAX);
            let skipped = self.to_skip.min(available);
            self.to_skip -= skipped;
            return Frame::Skip(usize::try_from(skipped).unwrap_or(buffered.len()));
        }
        let empty_lines = buffered.iter().take_while(|byte| is_line_end(byte)).count();
        if empty_lines > 0 {
            return Frame::Skip(empty_lines);
        }
        if let Some(length) = self.complete_at {
            return message_of(length, buffered);
        }
        let Some(head) = self.find_head(buffered) else {
            return Frame::Incomplete;
        };
        if let Some(garbage) = garbage_before_start_line(head) {
            return Frame::Skip(garbage);
        }
        let body = Message::parse(head).content_length().unwrap_or(0);
        let kept = usize::try_from(body)
            .ok()
            .and_then(|body| head.len().checked_add(body));
        match kept.filter(|length| *length <= MAX_FRAME) {
            Some(length) => {
                self.complete_at = Some(length);
                message_of(length, buffered)
            }
            None => {
                self.to_skip = body;
                Frame::Message(head.len())
            }
        }
    }

    /// Everything up to and with the empty line, or [`MAX_FRAME`] bytes without one.
    fn find_head<'a>(&mut self, buffered: &'a [u8]) -> Option<&'a [u8]> {
        let unscanned = buffered.get(self.scanned..).unwrap_or_default();
        for byte in unscanned
            .iter()
            .take(MAX_FRAME - self.scanned.min(MAX_FRAME))
        {
            self.scanned += 1;
            match byte {
                b'\n' if self.after_line_feed && self.line_seen => {
                    return buffered.get(..self.scanned);
                }
                b'\n' => self.after_line_feed = true,
                b'\r' => {}
                b' ' | b'\t' | 0 => self.after_line_feed = false,
                _ => {
                    self.after_line_feed = false;
                    self.line_seen = true;
                }
            }
        }
        buffered.get(..MAX_FRAME)
    }
}

fn message_of(length: usize, buffered: &[u8]) -> Frame {
    if length <= buffered.len() {
        Frame::Message(length)
    } else {
        Frame::Incomplete
    }
}

fn is_line_end(byte: &u8) -> bool {
    matches!(byte, b'\r' | b'\n')
}

/// How many bytes stand before the first start line of a head that does not begin with one;
/// `None` where it does, or where there is none at all (then it is delivered as it is).
fn garbage_before_start_line(head: &[u8]) -> Option<usize> {
    let mut lines = Lines::new(head);
    let mut position = 0;
    while let Some(line) = lines.next() {
        if !matches!(StartLine::parse(line), StartLine::Unrecognised(_)) {
            return (position > 0).then_some(position);
        }
        position = lines.position();
    }
    None
}
