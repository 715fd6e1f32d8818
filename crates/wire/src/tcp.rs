//! TCP (RFC 9293).

use crate::NotUnderstood;
use crate::cursor::Cursor;

/// Bytes of a TCP header without options.
pub const HEADER_LENGTH: usize = 20;

/// A TCP segment, or the first fragment of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tcp<'a> {
    /// Source port.
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
    /// Sequence number of the first payload byte (of the SYN, where set).
    pub sequence: u32,
    /// Next byte the sender expects; meaningful with [`TcpFlags::ACK`].
    pub acknowledgment: u32,
    /// Control bits.
    pub flags: TcpFlags,
    /// Receive window as sent, unscaled.
    pub window: u16,
    /// What follows the options. Empty where the options reach beyond what is there.
    pub payload: &'a [u8],
}

/// The control bits of a TCP header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TcpFlags(pub u8);

impl TcpFlags {
    /// No more data from the sender.
    pub const FIN: Self = Self(0x01);
    /// Synchronise sequence numbers.
    pub const SYN: Self = Self(0x02);
    /// Reset the connection.
    pub const RST: Self = Self(0x04);
    /// Push.
    pub const PSH: Self = Self(0x08);
    /// The acknowledgment number counts.
    pub const ACK: Self = Self(0x10);
    /// Urgent.
    pub const URG: Self = Self(0x20);

    /// Whether every bit of `other` is set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl<'a> Tcp<'a> {
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, NotUnderstood> {
        let mut cursor = Cursor::new(bytes);
        let (header_length, segment) = header(&mut cursor).ok_or(NotUnderstood::ShortTransport)?;
        if header_length < HEADER_LENGTH {
            return Err(NotUnderstood::BadTcpOffset);
        }
        Ok(Self {
            payload: bytes.get(header_length..).unwrap_or_default(),
            ..segment
        })
    }
}

fn header<'a>(cursor: &mut Cursor<'a>) -> Option<(usize, Tcp<'a>)> {
    let source_port = cursor.u16()?;
    let destination_port = cursor.u16()?;
    let sequence = cursor.u32()?;
    let acknowledgment = cursor.u32()?;
    let header_length = usize::from(cursor.u8()? >> 4) * 4;
    let flags = TcpFlags(cursor.u8()?);
    let window = cursor.u16()?;
    let _checksum_and_urgent_pointer = cursor.u32()?;
    let segment = Tcp {
        source_port,
        destination_port,
        sequence,
        acknowledgment,
        flags,
        window,
        payload: &[],
    };
    Some((header_length, segment))
}
