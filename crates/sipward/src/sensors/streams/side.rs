//! One direction of a connection.

use std::collections::BTreeMap;

use sipward_wire::{
    sip::{self, Splitter},
    tcp::{Tcp, TcpFlags},
};

use crate::sensors::websocket;

/// Segments that wait behind a gap at most, in each direction of a connection.
const MOST_AHEAD: usize = 256;
/// Bytes that do; as much as the longest message that is kept whole.
const MOST_AHEAD_BYTES: usize = sip::MAX_FRAME;
/// What a segment costs besides its bytes.
const SEGMENT_COST: usize = 64;

/// What is spoken in a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// SIP as it is (RFC 3261 section 18.3).
    Sip,
    /// SIP over WebSocket (RFC 7118).
    WebSocket,
}

#[derive(Debug)]
enum Reader {
    Sip(Splitter),
    WebSocket(websocket::Reader),
}

/// What one end has sent.
#[derive(Debug)]
pub(super) struct Side {
    framing: Framing,
    reader: Reader,
    /// The sequence number that comes next; none before the first segment.
    pub next: Option<u32>,
    /// Something was sent that the other end has to acknowledge.
    pub has_sent: bool,
    /// Everything up to a FIN was seen.
    pub closed: bool,
    /// Where it began, if that was seen.
    first: Option<u32>,
    /// Bytes so far: what the segments behind a gap are sorted by.
    position: u64,
    /// In order, and no whole message yet.
    kept: Vec<u8>,
    ahead: BTreeMap<u64, Vec<u8>>,
    ahead_bytes: usize,
}

impl Side {
    pub fn new(framing: Framing) -> Self {
        Self {
            framing,
            reader: Reader::new(framing),
            next: None,
            has_sent: false,
            closed: false,
            first: None,
            position: 0,
            kept: Vec::new(),
            ahead: BTreeMap::new(),
            ahead_bytes: 0,
        }
    }

    /// Its SYN was seen.
    pub fn begin(&mut self, first: u32) {
        self.first = Some(first);
        self.next = Some(first);
        self.has_sent = true;
    }

    pub fn begins_at(&self, first: u32) -> bool {
        self.first == Some(first)
    }

    /// Bytes kept, overhead included.
    pub fn held(&self) -> usize {
        let ahead = self.ahead_bytes + self.ahead.len() * SEGMENT_COST;
        self.kept.len() + self.reader.held() + ahead
    }

    /// How far a number is ahead of what comes next.
    pub fn distance(&self, number: u32) -> i32 {
        self.next
            .map_or(0, |next| number.wrapping_sub(next).cast_signed())
    }

    /// Takes a segment; gives each message that it completes. Tells how many gaps were skipped.
    pub fn receive(&mut self, tcp: &Tcp<'_>, deliver: &mut dyn FnMut(&[u8])) -> u64 {
        let mut gaps = 0;
        if !tcp.payload.is_empty() {
            self.has_sent = true;
            self.next.get_or_insert(tcp.sequence);
            match u64::try_from(self.distance(tcp.sequence)) {
                Ok(distance) if distance > 0 => self.keep(self.position + distance, tcp.payload),
                Ok(_) | Err(_) => {
                    let known = self.distance(tcp.sequence).unsigned_abs() as usize;
                    self.append(tcp.payload.get(known..).unwrap_or_default(), deliver);
                }
            }
            while self.ahead.len() > MOST_AHEAD || self.ahead_bytes > MOST_AHEAD_BYTES {
                gaps += 1;
                self.skip_gap();
                self.drain(deliver);
            }
            self.drain(deliver);
        }
        let length = u32::try_from(tcp.payload.len()).unwrap_or(u32::MAX);
        let end = tcp.sequence.wrapping_add(length);
        self.closed |= tcp.flags.contains(TcpFlags::FIN) && self.next == Some(end);
        gaps
    }

    /// The receiver has got everything before this number: gaps before it are the capture's.
    /// Tells how many were skipped.
    pub fn skip_to_acknowledged(
        &mut self,
        acknowledged: u32,
        deliver: &mut dyn FnMut(&[u8]),
    ) -> u64 {
        let mut gaps = 0;
        let distance = u64::try_from(self.distance(acknowledged)).unwrap_or(0);
        let acknowledged = self.position + distance;
        while let Some((start, _)) = self.ahead.first_key_value()
            && *start < acknowledged
        {
            gaps += 1;
            self.skip_gap();
            self.drain(deliver);
        }
        gaps
    }

    /// Goes on at this number; what was kept is lost.
    pub fn restart(&mut self, next: u32) {
        let framing = self.framing;
        *self = Self {
            next: Some(next),
            has_sent: self.has_sent,
            ..Self::new(framing)
        };
    }

    /// Drops what is kept; goes on behind it.
    pub fn empty(&mut self) {
        self.kept = Vec::new();
        self.ahead.clear();
        self.ahead_bytes = 0;
        self.reader = self.reader.after_gap();
    }

    /// Of segments that wait, one that lies within another is dropped; where they overlap in
    /// part, the one that begins first is read first.
    fn keep(&mut self, start: u64, payload: &[u8]) {
        let end = start + payload.len() as u64;
        let before = self.ahead.range(..=start).next_back();
        if before.is_some_and(|(other, bytes)| other + bytes.len() as u64 >= end) {
            return;
        }
        let within: Vec<u64> = self
            .ahead
            .range(start..end)
            .filter(|(other, bytes)| *other + bytes.len() as u64 <= end)
            .map(|(other, _)| *other)
            .collect();
        for other in within {
            self.take_ahead(other);
        }
        self.ahead_bytes += payload.len();
        self.ahead.insert(start, payload.to_vec());
    }

    fn take_ahead(&mut self, start: u64) -> Vec<u8> {
        let bytes = self.ahead.remove(&start).unwrap_or_default();
        self.ahead_bytes -= bytes.len();
        bytes
    }

    /// Reads what is no longer ahead.
    fn drain(&mut self, deliver: &mut dyn FnMut(&[u8])) {
        while let Some(start) = self.ahead.first_key_value().map(|(start, _)| *start)
            && start <= self.position
        {
            let bytes = self.take_ahead(start);
            let known = usize::try_from(self.position - start).unwrap_or(usize::MAX);
            self.append(bytes.get(known..).unwrap_or_default(), deliver);
        }
    }

    fn skip_gap(&mut self) {
        let Some(start) = self.ahead.first_key_value().map(|(start, _)| *start) else {
            return;
        };
        let gap = start.saturating_sub(self.position);
        self.advance(gap);
        self.kept.clear();
        self.reader = self.reader.after_gap();
    }

    fn advance(&mut self, bytes: u64) {
        self.position += bytes;
        // Sequence numbers count modulo 2^32.
        self.next = self.next.map(|next| next.wrapping_add(bytes as u32));
    }

    fn append(&mut self, bytes: &[u8], deliver: &mut dyn FnMut(&[u8])) {
        if bytes.is_empty() {
            return;
        }
        self.advance(bytes.len() as u64);
        if self.kept.is_empty() {
            let read = self.reader.read(bytes, deliver);
            self.kept
                .extend_from_slice(bytes.get(read..).unwrap_or_default());
            return;
        }
        self.kept.extend_from_slice(bytes);
        let read = self.reader.read(&self.kept, deliver);
        // Not drained: the memory of what was read is given back with it.
        self.kept = self.kept.split_off(read);
    }
}

impl Reader {
    fn new(framing: Framing) -> Self {
        match framing {
            Framing::Sip => Self::Sip(Splitter::new()),
            Framing::WebSocket => Self::WebSocket(websocket::Reader::default()),
        }
    }

    /// Bytes it keeps itself.
    fn held(&self) -> usize {
        match self {
            Self::Sip(_) => 0,
            Self::WebSocket(reader) => reader.held(),
        }
    }

    /// SIP is found again at the next start line; the frames of a WebSocket are not.
    fn after_gap(&self) -> Self {
        match self {
            Self::Sip(_) => Self::Sip(Splitter::new()),
            Self::WebSocket(_) => Self::WebSocket(websocket::Reader::Opaque),
        }
    }

    /// Gives the messages at the front of `bytes`; tells how many bytes are done with.
    fn read(&mut self, bytes: &[u8], deliver: &mut dyn FnMut(&[u8])) -> usize {
        let mut done = 0;
        loop {
            let rest = bytes.get(done..).unwrap_or_default();
            match self {
                Self::Sip(splitter) => match splitter.next_frame(rest) {
                    _ if rest.is_empty() => return done,
                    sip::Frame::Message(length) => {
                        deliver(rest.get(..length).unwrap_or(rest));
                        done += length;
                    }
                    sip::Frame::Skip(length) => done += length,
                    sip::Frame::Incomplete => return done,
                },
                Self::WebSocket(reader) => match reader.next_frame(rest, deliver) {
                    Some(length) => done += length,
                    None => return done,
                },
            }
        }
    }
}
