//! What was seen. Sensors fill these in; the engine reads nothing else.

use std::net::SocketAddr;

pub use sipward_signature::Confidence;

use crate::Reason;

/// One thing that a sensor saw.
#[derive(Clone, Debug)]
pub enum Observation<'a> {
    /// The kernel dropped a packet, or in observe mode would have.
    KernelDrop(KernelDrop<'a>),
}

/// Transport protocol of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// Datagrams; the source address can be forged.
    Udp,
    /// Streams; a completed handshake proves the source address.
    Tcp,
}

/// A packet that the kernel's program dropped.
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
