//! UDP (RFC 768).

use crate::NotUnderstood;
use crate::cursor::Cursor;

/// Bytes of a UDP header.
pub const HEADER_LENGTH: usize = 8;

/// A UDP datagram, or the first fragment of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Udp<'a> {
    /// Source port.
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
    /// The shorter of what the length field says and what is there.
    pub payload: &'a [u8],
}

impl<'a> Udp<'a> {
    /// A length of 0 means "to the end" (RFC 2675); otherwise one below 8 is refused.
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, NotUnderstood> {
        let mut cursor = Cursor::new(bytes);
        let [source_port, destination_port, length, _checksum] =
            header(&mut cursor).ok_or(NotUnderstood::ShortTransport)?;
        let payload_length = match usize::from(length) {
            0 => cursor.rest.len(),
            length => length
                .checked_sub(HEADER_LENGTH)
                .ok_or(NotUnderstood::BadUdpLength)?,
        };
        Ok(Self {
            source_port,
            destination_port,
            payload: cursor.rest.get(..payload_length).unwrap_or(cursor.rest),
        })
    }
}

fn header(cursor: &mut Cursor<'_>) -> Option<[u16; 4]> {
    Some([cursor.u16()?, cursor.u16()?, cursor.u16()?, cursor.u16()?])
}
