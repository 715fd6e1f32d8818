//! Messages from the segments of TCP connections, put in order as the Linux kernel does it
//! (`tcp_data_queue_ofo`): of what comes twice the first counts, and of overlapping segments that
//! wait for a gap the one that begins first.
//!
//! ```text
//! segment ──► old ──► dropped
//!          └─ next ──► whole messages out, the rest is kept
//!          └─ ahead ──► kept until the gap is filled, the receiver has acknowledged what is
//!                       behind it, or too much waits: then the gap is skipped
//! ```
//!
//! A connection may be picked up in the middle. It is *established* once its remote end has
//! acknowledged something that was seen to be sent to it, a SYN or data: only who gets the
//! packets of that address knows the number.
//!
//! Checksums are not looked at (an offloading device has not filled them in), so somebody may hide
//! within his own connection by segments that the server discards. What hides then is his alone.

mod side;

use std::{
    collections::{BTreeSet, HashMap},
    net::SocketAddr,
    time::Duration,
};

use sipward_engine::{Direction, Time};
use sipward_wire::tcp::{Tcp, TcpFlags};

pub use self::side::Framing;
use self::side::Side;

/// Connections remembered at most: those that are not established go first, the one longest
/// silent before others.
const MOST: usize = 16_384;
/// Bytes kept in all connections together, what it takes to keep them included.
const MOST_BYTES: usize = 32 << 20;
/// A silent connection is forgotten after this; one that goes on is picked up again.
const IDLE: Duration = Duration::from_secs(3_600);
/// The order of connections is this exact.
const GRAIN: Duration = Duration::from_secs(1);
/// Beyond this an acknowledgement says that the connection was picked up at a wrong number.
const FAR: i32 = 1 << 20;

/// What became of connections and segments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamCounters {
    /// Connections, those picked up in the middle included.
    pub connections: u64,
    /// Gaps that were skipped: segments that the capture does not have.
    pub gaps: u64,
    /// Connections that were forgotten, or lost what they had kept, for want of room.
    pub evicted: u64,
}

/// The connections.
#[derive(Debug, Default)]
pub struct Streams {
    connections: HashMap<Key, Connection>,
    /// Established or not, and when last touched.
    order: BTreeSet<(bool, Time, Key)>,
    /// Those that keep bytes, and since when.
    keepers: BTreeSet<(Time, Key)>,
    bytes: usize,
    counters: StreamCounters,
}

/// A segment and where it belongs.
#[derive(Clone, Copy, Debug)]
pub struct Segment<'a> {
    /// The other end.
    pub remote: SocketAddr,
    /// The server's end.
    pub local: SocketAddr,
    /// Which way it went.
    pub direction: Direction,
    /// What is spoken there.
    pub framing: Framing,
    /// The segment.
    pub tcp: Tcp<'a>,
}

/// Receives a message, which way it went, and whether the connection is established.
pub type Deliver<'d> = dyn FnMut(Direction, &[u8], bool) + 'd;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Key {
    remote: SocketAddr,
    local: SocketAddr,
}

#[derive(Debug)]
struct Connection {
    established: bool,
    touched: Time,
    keeps_since: Option<Time>,
    inbound: Side,
    outbound: Side,
}

impl Streams {
    /// What became of them so far.
    pub fn counters(&self) -> StreamCounters {
        self.counters
    }

    /// Bytes that are kept, overhead included.
    #[cfg(test)]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Connections that are remembered.
    #[cfg(test)]
    pub fn connections(&self) -> usize {
        self.connections.len()
    }

    /// Whether the remote end has shown that it gets what is sent to its address.
    pub fn is_established(&self, remote: SocketAddr, local: SocketAddr) -> bool {
        let connection = self.connections.get(&Key { remote, local });
        connection.is_some_and(|connection| connection.established)
    }

    /// Takes a segment; gives each message that it completes, which way that one went, and
    /// whether the connection is established.
    pub fn take(&mut self, segment: &Segment<'_>, now: Time, deliver: &mut Deliver<'_>) {
        self.forget_idle(now);
        let key = Key {
            remote: segment.remote,
            local: segment.local,
        };
        let tcp = &segment.tcp;
        if tcp.flags.contains(TcpFlags::RST) {
            self.reset(&key, segment);
            return;
        }
        let is_syn = tcp.flags.contains(TcpFlags::SYN);
        if !self.connections.contains_key(&key) {
            // An acknowledgement alone says nothing yet.
            if !is_syn && tcp.payload.is_empty() {
                return;
            }
            self.open(key, segment.framing, now);
        }
        let Some(connection) = self.connections.get_mut(&key) else {
            return;
        };
        let before = connection.held();
        let was_established = connection.established;
        if is_syn {
            connection.begin(segment);
        } else {
            self.counters.gaps += connection.take(segment, deliver);
        }
        let after = connection.held();
        let is_over = connection.inbound.closed && connection.outbound.closed;
        self.bytes = self.bytes - before + after;
        if is_over {
            self.remove(&key);
            return;
        }
        self.touch(&key, was_established, after > 0, now);
        while self.bytes > MOST_BYTES {
            let Some((_, oldest)) = self.keepers.first().copied() else {
                break;
            };
            self.empty(&oldest);
        }
    }

    fn reset(&mut self, key: &Key, segment: &Segment<'_>) {
        let Some(connection) = self.connections.get(key) else {
            return;
        };
        // RFC 5961 section 3.2: one that is a guess does not count.
        let counts = match segment.direction {
            Direction::Inbound => connection.inbound.next == Some(segment.tcp.sequence),
            Direction::Outbound => true,
        };
        if counts {
            self.remove(key);
        }
    }

    fn open(&mut self, key: Key, framing: Framing, now: Time) {
        if self.connections.len() >= MOST
            && let Some((_, _, oldest)) = self.order.first().copied()
        {
            self.counters.evicted += 1;
            self.remove(&oldest);
        }
        self.counters.connections += 1;
        self.order.insert((false, now, key));
        let connection = Connection {
            established: false,
            touched: now,
            keeps_since: None,
            inbound: Side::new(framing),
            outbound: Side::new(framing),
        };
        self.connections.insert(key, connection);
    }

    /// Keeps the two orders.
    fn touch(&mut self, key: &Key, was_established: bool, keeps: bool, now: Time) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        let established = connection.established;
        if established != was_established || now.since(connection.touched) >= GRAIN {
            self.order
                .remove(&(was_established, connection.touched, *key));
            connection.touched = now;
            self.order.insert((established, now, *key));
        }
        match (connection.keeps_since, keeps) {
            (None, true) => {
                connection.keeps_since = Some(now);
                self.keepers.insert((now, *key));
            }
            (Some(since), false) => {
                connection.keeps_since = None;
                self.keepers.remove(&(since, *key));
            }
            (None, false) | (Some(_), true) => {}
        }
    }

    /// Drops what a connection keeps.
    fn empty(&mut self, key: &Key) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        self.counters.evicted += 1;
        self.bytes -= connection.held();
        connection.inbound.empty();
        connection.outbound.empty();
        if let Some(since) = connection.keeps_since.take() {
            self.keepers.remove(&(since, *key));
        }
    }

    fn remove(&mut self, key: &Key) {
        let Some(connection) = self.connections.remove(key) else {
            return;
        };
        self.bytes -= connection.held();
        self.order
            .remove(&(connection.established, connection.touched, *key));
        if let Some(since) = connection.keeps_since {
            self.keepers.remove(&(since, *key));
        }
    }

    fn forget_idle(&mut self, now: Time) {
        for established in [false, true] {
            let from = (established, Time::default(), Key::LEAST);
            while let Some((kind, touched, key)) = self.order.range(from..).next().copied()
                && kind == established
                && now.since(touched) >= IDLE
            {
                self.remove(&key);
            }
        }
    }
}

impl Key {
    /// No other is before it.
    const LEAST: Self = Self {
        remote: LEAST_SOCKET,
        local: LEAST_SOCKET,
    };
}

const LEAST_SOCKET: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), 0);

impl Connection {
    fn held(&self) -> usize {
        self.inbound.held() + self.outbound.held()
    }

    /// Any other segment. Tells how many gaps were skipped.
    fn take(&mut self, segment: &Segment<'_>, deliver: &mut Deliver<'_>) -> u64 {
        if segment.direction == Direction::Inbound && !self.is_acceptable(&segment.tcp) {
            return 0;
        }
        let established = self.acknowledge(segment);
        let mut inbound = |message: &[u8]| deliver(Direction::Inbound, message, established);
        let mut gaps = 0;
        if segment.direction == Direction::Outbound {
            gaps += self.skip_unseen(segment, &mut inbound);
        } else {
            gaps += self.inbound.receive(&segment.tcp, &mut inbound);
        }
        let mut outbound = |message: &[u8]| deliver(Direction::Outbound, message, established);
        if segment.direction == Direction::Outbound {
            gaps += self.outbound.receive(&segment.tcp, &mut outbound);
        } else if segment.tcp.flags.contains(TcpFlags::ACK) {
            let acknowledged = segment.tcp.acknowledgment;
            gaps += self
                .outbound
                .skip_to_acknowledged(acknowledged, &mut outbound);
        }
        gaps
    }

    /// Whether a segment of the other end may be the connection's (RFC 5961 section 5.2): what
    /// somebody else sends in its name has to guess both numbers.
    fn is_acceptable(&self, tcp: &Tcp<'_>) -> bool {
        let acknowledges = tcp.flags.contains(TcpFlags::ACK);
        let is_near = |side: &Side, number: u32| side.distance(number).abs() <= FAR;
        is_near(&self.inbound, tcp.sequence)
            && (!acknowledges || is_near(&self.outbound, tcp.acknowledgment))
    }

    /// A SYN. Those of the server are its own word; those of the other end begin something only
    /// where nothing is yet, for anybody can send one.
    fn begin(&mut self, segment: &Segment<'_>) {
        let tcp = &segment.tcp;
        let first = tcp.sequence.wrapping_add(1);
        let answers = tcp
            .flags
            .contains(TcpFlags::ACK)
            .then_some(tcp.acknowledgment);
        match segment.direction {
            Direction::Outbound => {
                if self.outbound.begins_at(first) {
                    return;
                }
                self.established = false;
                self.outbound = Side::new(segment.framing);
                self.outbound.begin(first);
                if self.inbound.next != answers {
                    self.inbound = Side::new(segment.framing);
                    self.inbound.next = answers;
                }
            }
            Direction::Inbound if answers.is_some() => {
                if answers == self.outbound.next && !self.established {
                    self.established = true;
                    self.inbound = Side::new(segment.framing);
                    self.inbound.begin(first);
                }
            }
            Direction::Inbound => {
                if self.inbound.next.is_none() && self.outbound.next.is_none() {
                    self.inbound.begin(first);
                }
            }
        }
    }

    /// Whether the other end has shown by now that it gets what is sent to it.
    fn acknowledge(&mut self, segment: &Segment<'_>) -> bool {
        let tcp = &segment.tcp;
        let acknowledges = segment.direction == Direction::Inbound
            && tcp.flags.contains(TcpFlags::ACK)
            && self.outbound.has_sent
            && self.outbound.next == Some(tcp.acknowledgment);
        self.established |= acknowledges;
        self.established
    }

    /// What the server acknowledges it has got, whether it was captured or not. Its word also
    /// corrects a wrong beginning; the other end's does not, it could hide the server's answers
    /// with it.
    fn skip_unseen(&mut self, segment: &Segment<'_>, deliver: &mut dyn FnMut(&[u8])) -> u64 {
        let acknowledged = segment.tcp.acknowledgment;
        if !segment.tcp.flags.contains(TcpFlags::ACK) {
            return 0;
        }
        if self.inbound.distance(acknowledged).abs() > FAR {
            self.inbound.restart(acknowledged);
            return 1;
        }
        self.inbound.skip_to_acknowledged(acknowledged, deliver)
    }
}
