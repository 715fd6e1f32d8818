//! ICMP (RFC 792) and ICMPv6 (RFC 4443): only what tells that a datagram did not arrive.

use core::net::{IpAddr, SocketAddr};

use crate::NotUnderstood;
use crate::cursor::Cursor;
use crate::ip::{Ip, PROTOCOL_TCP, PROTOCOL_UDP};

/// An ICMP or ICMPv6 message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Icmp<'a> {
    /// ICMPv6, where the type numbers differ.
    pub ipv6: bool,
    /// Type.
    pub kind: u8,
    /// Code.
    pub code: u8,
    /// The packet that an error is about, as far as it is quoted. `None` for other messages and
    /// where the quote cannot be read.
    pub original: Option<Original<'a>>,
}

/// The packet quoted in an ICMP error. The quote comes from the network: anybody can send one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Original<'a> {
    /// Who had sent it.
    pub source: IpAddr,
    /// Whom it did not reach.
    pub destination: IpAddr,
    /// Its protocol number.
    pub protocol: u8,
    /// Source and destination port, of UDP and TCP.
    pub ports: Option<(u16, u16)>,
    /// What is quoted of a UDP payload; often nothing (RFC 792 asks for 8 bytes after the IP
    /// header, Linux quotes up to 548 in all), enough for a SIP Call-ID where the router was
    /// generous.
    pub payload: &'a [u8],
}

impl Original<'_> {
    /// Source address and port.
    #[must_use]
    pub fn source_socket(&self) -> Option<SocketAddr> {
        self.ports
            .map(|(port, _)| SocketAddr::new(self.source, port))
    }

    /// Destination address and port.
    #[must_use]
    pub fn destination_socket(&self) -> Option<SocketAddr> {
        self.ports
            .map(|(_, port)| SocketAddr::new(self.destination, port))
    }
}

impl<'a> Icmp<'a> {
    /// Destination unreachable, whatever the code (host, port, prohibited, ...).
    #[must_use]
    pub fn is_unreachable(&self) -> bool {
        self.kind == if self.ipv6 { 1 } else { 3 }
    }

    pub(crate) fn parse(bytes: &'a [u8], ipv6: bool) -> Result<Self, NotUnderstood> {
        let mut cursor = Cursor::new(bytes);
        let kind = cursor.u8().ok_or(NotUnderstood::ShortTransport)?;
        let code = cursor.u8().ok_or(NotUnderstood::ShortTransport)?;
        // Checksum, then four bytes whose meaning depends on the type.
        cursor.take(6).ok_or(NotUnderstood::ShortTransport)?;
        let original = is_error(kind, ipv6)
            .then(|| original(cursor.rest))
            .flatten();
        Ok(Self {
            ipv6,
            kind,
            code,
            original,
        })
    }
}

fn is_error(kind: u8, ipv6: bool) -> bool {
    if ipv6 {
        matches!(kind, 1..=4)
    } else {
        matches!(kind, 3 | 4 | 5 | 11 | 12)
    }
}

fn original(quote: &[u8]) -> Option<Original<'_>> {
    let mut ip = Ip::parse(quote).ok()?;
    ip.skip_extensions().ok()?;
    let (ports, payload) = match ip.protocol {
        _ if ip.is_later_fragment() => (None, Default::default()),
        PROTOCOL_UDP => (ports(ip.payload), ip.payload.get(8..).unwrap_or_default()),
        PROTOCOL_TCP => (ports(ip.payload), Default::default()),
        _ => (None, Default::default()),
    };
    Some(Original {
        source: ip.source,
        destination: ip.destination,
        protocol: ip.protocol,
        ports,
        payload,
    })
}

fn ports(bytes: &[u8]) -> Option<(u16, u16)> {
    let mut cursor = Cursor::new(bytes);
    Some((cursor.u16()?, cursor.u16()?))
}
