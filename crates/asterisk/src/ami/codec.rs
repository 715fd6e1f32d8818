//! Bytes to messages.

use memchr::memmem;

use super::Message;
use super::message::Part;

/// Longest message in bytes. Asterisk's longest security event has some 2 KB; a channel's event with
/// all its variables is longer, and is not read.
const LONGEST: usize = 64 * 1024;

const END: &[u8] = b"\r\n\r\n";

/// Cuts a connection's bytes into messages.
#[derive(Debug, Default)]
pub struct Codec {
    bytes: Vec<u8>,
    /// So many bytes were searched for an end.
    searched: usize,
    /// In the middle of a message that is too long.
    skips: bool,
    greeted: bool,
    version: Option<String>,
    /// Messages whose followers are not known yet.
    held: Vec<Message>,
    too_long: u64,
}

impl Codec {
    /// For a new connection.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What a read brought. Returns the messages that are complete and of which is known that
    /// nothing torn follows.
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<Message> {
        self.bytes.extend_from_slice(bytes);
        self.take_greeting();
        let mut start = 0;
        while let Some(end) = self.end_of_message(start) {
            let text = self.bytes.get(start..end).unwrap_or_default().to_vec();
            start = end + END.len();
            self.searched = start;
            if std::mem::take(&mut self.skips) || text.len() > LONGEST {
                self.too_long += 1;
            } else {
                self.hold(Message::new(text));
            }
        }
        self.bytes.drain(..start);
        // The last three bytes may begin an end.
        self.searched = self.bytes.len().saturating_sub(END.len() - 1);
        if self.bytes.len() > LONGEST {
            self.skips = true;
            self.bytes.drain(..self.searched);
            self.searched = 0;
        }
        if self.bytes.is_empty() || self.skips {
            return std::mem::take(&mut self.held);
        }
        Vec::new()
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
            self.bytes.drain(..end + 2);
        }
    }

    fn end_of_message(&self, start: usize) -> Option<usize> {
        let from = self.searched.max(start);
        memmem::find(self.bytes.get(from..)?, END).map(|at| from + at)
    }

    /// The rest of a torn event takes away the trust in all that stand between it and the event's
    /// beginning: the last security event, and whatever follows that.
    fn hold(&mut self, message: Message) {
        match message.part() {
            Part::RestOfEvent => {
                for held in self.held.iter_mut().rev() {
                    held.distrust();
                    if held.part() == Part::SecurityEvent {
                        break;
                    }
                }
            }
            Part::SecurityEvent | Part::Other => self.held.push(message),
        }
    }
}
