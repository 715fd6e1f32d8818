//! Bytes to messages.

use std::collections::VecDeque;

use memchr::memmem;

use super::Message;
use super::message::Part;

/// Longest message in bytes. Asterisk's longest security event has some 2 KB; a channel's event with
/// all its variables is longer, and is not read.
const LONGEST: usize = 64 * 1024;

/// Bytes of a name at most, with its line end: chan_sip has 256 for it, with a zero.
const NAME: u64 = 255 + 2;

/// The rest of a torn event begins at most so many bytes behind the tear: what tears it is a name,
/// of which Asterisk keeps 256 bytes, and a wide margin.
const REST_WITHIN: u64 = 1024;

const END: &[u8] = b"\r\n\r\n";

/// Cuts a connection's bytes into messages.
///
/// It keeps at most one incomplete message, and those complete ones that end within 1 KiB before
/// it: 64 KiB and two messages in all.
#[derive(Debug, Default)]
pub struct Codec {
    bytes: Vec<u8>,
    /// Where these bytes begin, counted from the beginning of the connection.
    offset: u64,
    /// So many bytes were searched for an end.
    searched: usize,
    /// In the middle of a message that is too long.
    skips: bool,
    greeted: bool,
    version: Option<String>,
    /// Messages whose followers are not known yet, each with where it ends.
    held: VecDeque<(u64, Message)>,
    /// Where the names in the last security events begin.
    names: Vec<u64>,
    too_long: u64,
}

impl Codec {
    /// For a new connection.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What a read brought. Returns the messages of which is known that nothing torn follows:
    /// enough stands behind them.
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<Message> {
        self.bytes.extend_from_slice(bytes);
        self.take_greeting();
        let mut known = Vec::new();
        let mut start = 0;
        while let Some(end) = self.end_of_message(start) {
            let text = self.bytes.get(start..end).unwrap_or_default().to_vec();
            start = end + END.len();
            self.searched = start;
            if std::mem::take(&mut self.skips) || text.len() > LONGEST {
                self.skip();
            } else {
                let at = self.offset + (start - END.len()) as u64 - text.len() as u64;
                self.hold(Message::new(text), at);
            }
            known.extend(self.known(self.offset + start as u64));
        }
        self.drain(start);
        // The last three bytes may begin an end.
        self.searched = self.bytes.len().saturating_sub(END.len() - 1);
        if self.bytes.len() > LONGEST {
            self.skips = true;
            self.drain(self.searched);
            self.searched = 0;
        }
        known
    }

    /// Nothing came for some time, in which Asterisk would have written the rest of what it had
    /// begun. Returns the messages that were held for it, unless one has only come in part.
    pub fn quiet(&mut self) -> Vec<Message> {
        if !self.bytes.is_empty() || self.skips {
            return Vec::new();
        }
        self.held.drain(..).map(|(_, message)| message).collect()
    }

    /// Messages are held until more comes, or until [`Self::quiet`].
    #[must_use]
    pub fn holds(&self) -> bool {
        !self.held.is_empty()
    }

    /// Bytes that came, over the whole connection.
    #[must_use]
    pub const fn heard(&self) -> u64 {
        self.offset + self.bytes.len() as u64
    }

    /// The version of the protocol that Asterisk greeted with.
    #[must_use]
    pub fn version(&self) -> Option<&str> {
        self.version.as_deref()
    }

    /// Messages that were skipped because they were longer than 64 KiB.
    #[must_use]
    pub const fn too_long(&self) -> u64 {
        self.too_long
    }

    /// The one line that no blank line follows: `Asterisk Call Manager/5.0.4`.
    fn take_greeting(&mut self) {
        if self.greeted {
            return;
        }
        let Some(end) = memmem::find(&self.bytes, b"\r\n") else {
            return;
        };
        self.greeted = true;
        let greeting = String::from_utf8_lossy(self.bytes.get(..end).unwrap_or_default());
        if let Some(version) = greeting.strip_prefix("Asterisk Call Manager/") {
            self.version = Some(version.chars().take(32).collect());
            self.drain(end + 2);
        }
    }

    fn end_of_message(&self, start: usize) -> Option<usize> {
        let from = self.searched.max(start);
        memmem::find(self.bytes.get(from..)?, END).map(|at| from + at)
    }

    /// Takes a message that begins at `at`.
    fn hold(&mut self, mut message: Message, at: u64) {
        let end = at + message.len() as u64 + END.len() as u64;
        let session = message.session_begins().map(|behind| at + behind as u64);
        match message.part() {
            Part::RestOfEvent => self.distrust(),
            Part::SecurityEvent => {
                if let Some(name) = self.name_around(session) {
                    message.distrust();
                    let behind = self.held.iter_mut().filter(|(end, _)| *end > name);
                    behind.for_each(|(_, held)| held.distrust());
                }
                self.names.retain(|name| at.saturating_sub(*name) <= NAME);
                self.names
                    .extend(message.name_begins().map(|behind| at + behind as u64));
                self.held.push_back((end, message));
            }
            Part::Other => self.held.push_back((end, message)),
        }
    }

    /// The name of an earlier security event that may reach to this session: then the beginning of
    /// this event is a stranger's, and its rest that of the earlier one. The rest of Asterisk's
    /// shortest event and the beginning of another are 258 bytes.
    fn name_around(&self, session: Option<u64>) -> Option<u64> {
        let session = session?;
        let reaches = |name: &&u64| session.saturating_sub(**name) <= NAME;
        self.names.iter().find(reaches).copied()
    }

    /// Counts a message that was too long. It may have been the rest of a torn event.
    fn skip(&mut self) {
        self.too_long += 1;
        self.distrust();
    }

    /// The rest of a torn event takes away the trust in all that stand between it and the event's
    /// beginning: the last security event, and whatever follows that.
    fn distrust(&mut self) {
        for (_, held) in self.held.iter_mut().rev() {
            held.distrust();
            if held.part() == Part::SecurityEvent {
                break;
            }
        }
    }

    /// Whatever ends too far before the next message for that to be its rest.
    fn known(&mut self, next: u64) -> impl Iterator<Item = Message> {
        let far = self
            .held
            .partition_point(|(end, _)| next.saturating_sub(*end) > REST_WITHIN);
        self.held.drain(..far).map(|(_, message)| message)
    }

    fn drain(&mut self, count: usize) {
        self.bytes.drain(..count);
        self.offset += count as u64;
    }
}
