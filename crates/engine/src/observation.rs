//! What was seen. Sensors fill these in; the engine reads nothing else.

use std::net::{IpAddr, SocketAddr};

pub use sipward_signature::Confidence;
use sipward_wire::sip;

use crate::{Reason, command::Place};

/// One thing that a sensor saw.
#[derive(Clone, Debug)]
pub enum Observation<'a> {
    /// The kernel dropped a packet, or in observe mode would have.
    KernelDrop(KernelDrop<'a>),
    /// A SIP message, or what begins like one, went in or out.
    Message(Message<'a>),
    /// A signature in what one packet does not show, so that the kernel's program passed it.
    Signature(SignatureSeen<'a>),
    /// An ICMP message says that a packet of the server did not arrive.
    Unreachable(Unreachable),
    /// A line of a log, or an event of the manager interface.
    Log(LogEvent<'a>),
}

/// Transport protocol of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// Datagrams; the source address can be forged.
    Udp,
    /// Streams, also decrypted ones; a completed handshake proves the source address.
    Tcp,
}

/// A packet that the kernel's program dropped, or several of one source for its rate.
#[derive(Clone, Debug)]
pub struct KernelDrop<'a> {
    /// Source address and port.
    pub source: SocketAddr,
    /// Destination address and port.
    pub destination: SocketAddr,
    /// UDP or TCP.
    pub transport: Transport,
    /// The packet belongs to a TCP connection whose handshake was seen. A segment alone proves
    /// nothing: it can be forged like a datagram.
    pub established: bool,
    /// Why it was dropped.
    pub reason: Reason,
    /// Packets dropped that this one stands for, itself included.
    pub count: u32,
    /// Packets of the source that the kernel let through since it last reported drops for the
    /// source's rate, whether or not they are observed one by one.
    pub passed: u32,
    /// The signature that hit, for [`Reason::Signature`].
    pub signature: Option<SignatureHit<'a>>,
    /// Number of the packet in a recording; `None` for the kernel's own events.
    pub packet: Option<u64>,
    /// The first bytes of the payload.
    pub sample: &'a [u8],
}

/// A signature that was found in a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignatureHit<'a> {
    /// Its name.
    pub name: &'a str,
    /// How sure it is.
    pub confidence: Confidence,
}

/// A signature in a message that came in fragments, in segments, or longer than what is scanned of
/// a packet. The message itself is an observation of its own and comes after this one.
#[derive(Clone, Debug)]
pub struct SignatureSeen<'a> {
    /// Source address and port.
    pub source: SocketAddr,
    /// UDP or a stream.
    pub transport: Transport,
    /// It belongs to a stream whose handshake was completed.
    pub established: bool,
    /// What was found.
    pub hit: SignatureHit<'a>,
    /// Where the message was complete.
    pub place: Place,
    /// The message.
    pub message: &'a [u8],
}

/// Which way a message went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// To the SIP server.
    Inbound,
    /// From the SIP server.
    Outbound,
}

/// A SIP message on the wire: a datagram, put together from its fragments, or a message cut out of
/// a stream.
#[derive(Clone, Debug)]
pub struct Message<'a> {
    /// Which way it went.
    pub direction: Direction,
    /// Source address and port.
    pub source: SocketAddr,
    /// Destination address and port.
    pub destination: SocketAddr,
    /// UDP or a stream.
    pub transport: Transport,
    /// It belongs to a stream whose handshake was completed.
    pub established: bool,
    /// The server itself handed it on: on the wire it is encrypted.
    pub decrypted: bool,
    /// Where it was seen.
    pub place: Place,
    /// What it says.
    pub sip: &'a sip::Message<'a>,
}

/// The server's packet to `destination` did not arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unreachable {
    /// Who reports it.
    pub reporter: IpAddr,
    /// Whom the packet was for.
    pub destination: SocketAddr,
}

/// What a log line or an event of the manager interface says, after its reader took it apart.
#[derive(Clone, Debug)]
pub struct LogEvent<'a> {
    /// What happened.
    pub kind: LogKind<'a>,
    /// The remote address; `None` where the line names none.
    pub source: Option<SocketAddr>,
    /// The account, as the line has it.
    pub account: Option<&'a [u8]>,
    /// How the remote end talks to the server.
    pub transport: LogTransport,
    /// A connection of exactly this source was seen by another sensor: no stranger made the
    /// address up.
    pub connected: bool,
    /// Where it was read.
    pub place: Place,
    /// The line itself, for the evidence.
    pub text: &'a [u8],
}

/// What happened, in the words of no particular server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogKind<'a> {
    /// Wrong password for an account.
    WrongPassword,
    /// No such account, or the source may not use it.
    UnknownAccount,
    /// The server asked for credentials. Everybody is asked; what counts is that none followed.
    Challenged,
    /// Accepted credentials.
    Success,
    /// The server has enough of this source's sessions, or of everybody's. Counts nothing.
    Limited,
    /// A number that nobody has, dialled by a known endpoint: a misdial, no failure.
    Misdial,
    /// The server refused a call of somebody without an account.
    RefusedCall {
        /// The number, as it was dialled.
        number: &'a [u8],
    },
    /// The server could not read what it got.
    Malformed,
    /// The server gave up waiting for the acknowledgement of an INVITE's answer.
    InviteTimeout {
        /// The dialog's Call-ID.
        call_id: &'a [u8],
    },
    /// The same of a caller who had logged in: a fault of the network more often than an attack.
    AnswerTimeout {
        /// The dialog's Call-ID.
        call_id: &'a [u8],
    },
}

/// How a remote end talks to the server, where a log says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LogTransport {
    /// SIP over UDP; also where the line does not say.
    Udp,
    /// SIP over cleartext TCP.
    Tcp,
    /// SIP over TLS.
    Tls,
    /// SIP over cleartext WebSocket.
    Ws,
    /// SIP over WebSocket in TLS.
    Wss,
    /// IAX2.
    Iax2,
    /// The manager interface.
    Manager,
}

impl LogTransport {
    /// Whether the same thing is seen on the wire, where there is a sensor.
    #[must_use]
    pub const fn is_readable_on_the_wire(self) -> bool {
        match self {
            Self::Udp | Self::Tcp | Self::Ws => true,
            Self::Tls | Self::Wss | Self::Iax2 | Self::Manager => false,
        }
    }

    /// Whether a handshake comes before anything is said.
    #[must_use]
    pub const fn is_connected(self) -> bool {
        match self {
            Self::Udp | Self::Iax2 => false,
            Self::Tcp | Self::Tls | Self::Ws | Self::Wss | Self::Manager => true,
        }
    }
}
