//! IPv4 (RFC 791) and IPv6 with its extension headers (RFC 8200).
//!
//! Checksums are not looked at: behind an offloading device they are not filled in yet.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::NotUnderstood;
use crate::cursor::Cursor;

/// IPv6 extension headers that are walked. A ninth one is
/// [`NotUnderstood::TooManyExtensions`].
pub const MAX_IPV6_EXTENSIONS: usize = 8;

/// Protocol number of ICMP.
pub const PROTOCOL_ICMP: u8 = 1;
/// Protocol number of TCP.
pub const PROTOCOL_TCP: u8 = 6;
/// Protocol number of UDP.
pub const PROTOCOL_UDP: u8 = 17;
/// Protocol number of ICMPv6.
pub const PROTOCOL_ICMPV6: u8 = 58;

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION_OPTIONS: u8 = 60;
const MOBILITY: u8 = 135;
const HOST_IDENTITY: u8 = 139;
const SHIM6: u8 = 140;

/// An IP packet: its addresses, and what follows the headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ip<'a> {
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// Time to live (IPv4) or hop limit (IPv6).
    pub hop_limit: u8,
    /// Protocol number of [`payload`](Self::payload): for IPv6 the one after the last extension
    /// header that could be walked.
    pub protocol: u8,
    /// Present where the packet says that it is a fragment. An IPv6 "atomic" fragment (offset 0,
    /// no more to come: RFC 6946) is whole and has one too.
    pub fragment: Option<Fragment<'a>>,
    /// What follows IPv4 options or IPv6 extension headers: the shorter of what the length field
    /// says and what was captured. Ethernet padding is therefore cut off.
    pub payload: &'a [u8],
    /// Fewer bytes were captured than the length field promises.
    pub truncated: bool,
}

/// One piece of a fragmented packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fragment<'a> {
    /// Identification: 16 bits in IPv4, 32 in IPv6.
    pub id: u32,
    /// Where [`data`](Self::data) belongs in the whole, in bytes; a multiple of 8.
    pub offset: u16,
    /// More fragments follow this one.
    pub more: bool,
    /// Protocol number of the whole; in IPv6 possibly that of another extension header.
    pub protocol: u8,
    /// The bytes to put together. [`Packet::of_reassembled`](crate::Packet::of_reassembled)
    /// reads the result.
    pub data: &'a [u8],
}

impl Fragment<'_> {
    /// Not the first piece: it carries no transport header.
    #[must_use]
    pub fn is_later(&self) -> bool {
        self.offset > 0
    }

    /// The only piece: nothing to wait for.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.offset == 0 && !self.more
    }
}

impl<'a> Ip<'a> {
    /// Reads the fixed header (and IPv4 options). IPv6 extension headers are left to
    /// [`skip_extensions`](Self::skip_extensions).
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, NotUnderstood> {
        let first = bytes.first().ok_or(NotUnderstood::ShortIpHeader)?;
        match first >> 4 {
            4 => ipv4(bytes).ok_or(NotUnderstood::ShortIpHeader)?,
            6 => ipv6(bytes).ok_or(NotUnderstood::ShortIpHeader),
            _ => Err(NotUnderstood::WrongIpVersion),
        }
    }

    /// Walks IPv6 extension headers; `protocol` and `payload` end up behind the last one.
    /// Stops at a later fragment: what follows it is data.
    pub(crate) fn skip_extensions(&mut self) -> Result<(), NotUnderstood> {
        if self.source.is_ipv4() {
            return Ok(());
        }
        for _ in 0..MAX_IPV6_EXTENSIONS {
            let Some(()) = self.skip_extension()? else {
                return Ok(());
            };
        }
        if is_extension(self.protocol) && !self.is_later_fragment() {
            return Err(NotUnderstood::TooManyExtensions);
        }
        Ok(())
    }

    /// Whether this is a fragment without a transport header.
    #[must_use]
    pub fn is_later_fragment(&self) -> bool {
        self.fragment.is_some_and(|fragment| fragment.is_later())
    }

    fn skip_extension(&mut self) -> Result<Option<()>, NotUnderstood> {
        if !is_extension(self.protocol) || self.is_later_fragment() {
            return Ok(None);
        }
        let mut cursor = Cursor::new(self.payload);
        let next = cursor.u8().ok_or(NotUnderstood::ShortExtension)?;
        let length = usize::from(cursor.u8().ok_or(NotUnderstood::ShortExtension)?);
        let length = match self.protocol {
            FRAGMENT => 8,
            AUTHENTICATION => (length + 2) * 4,
            _ => (length + 1) * 8,
        };
        let rest = self
            .payload
            .get(length..)
            .ok_or(NotUnderstood::ShortExtension)?;
        if self.protocol == FRAGMENT {
            let offset_and_flags = cursor.u16().ok_or(NotUnderstood::ShortExtension)?;
            self.fragment = Some(Fragment {
                offset: offset_and_flags & !7,
                more: offset_and_flags & 1 != 0,
                id: cursor.u32().ok_or(NotUnderstood::ShortExtension)?,
                protocol: next,
                data: rest,
            });
        }
        self.protocol = next;
        self.payload = rest;
        Ok(Some(()))
    }
}

fn is_extension(protocol: u8) -> bool {
    matches!(
        protocol,
        HOP_BY_HOP
            | ROUTING
            | FRAGMENT
            | AUTHENTICATION
            | DESTINATION_OPTIONS
            | MOBILITY
            | HOST_IDENTITY
            | SHIM6
    )
}

/// `None`: fewer than 20 bytes.
fn ipv4(bytes: &[u8]) -> Option<Result<Ip<'_>, NotUnderstood>> {
    let mut cursor = Cursor::new(bytes);
    let header_length = usize::from(cursor.u8()? & 0x0f) * 4;
    cursor.u8()?;
    let total_length = match usize::from(cursor.u16()?) {
        // Segmentation offload: captured before the device fills the length in.
        0 => bytes.len(),
        length => length,
    };
    let id = u32::from(cursor.u16()?);
    let flags_and_offset = cursor.u16()?;
    let hop_limit = cursor.u8()?;
    let protocol = cursor.u8()?;
    cursor.u16()?;
    let source = Ipv4Addr::from(cursor.array()?);
    let destination = Ipv4Addr::from(cursor.array()?);
    if header_length < 20 || total_length < header_length {
        return Some(Err(NotUnderstood::BadIpHeaderLength));
    }
    let Some(payload) = bytes.get(header_length..total_length.min(bytes.len())) else {
        return Some(Err(NotUnderstood::ShortIpHeader));
    };
    let offset = (flags_and_offset & 0x1fff) << 3;
    let more = flags_and_offset & 0x2000 != 0;
    let fragment = (more || offset > 0).then_some(Fragment {
        id,
        offset,
        more,
        protocol,
        data: payload,
    });
    Some(Ok(Ip {
        source: source.into(),
        destination: destination.into(),
        hop_limit,
        protocol,
        fragment,
        payload,
        truncated: total_length > bytes.len(),
    }))
}

/// `None`: fewer than 40 bytes.
fn ipv6(bytes: &[u8]) -> Option<Ip<'_>> {
    let mut cursor = Cursor::new(bytes);
    cursor.u32()?;
    let length = usize::from(cursor.u16()?);
    let protocol = cursor.u8()?;
    let hop_limit = cursor.u8()?;
    let source = Ipv6Addr::from(cursor.array()?);
    let destination = Ipv6Addr::from(cursor.array()?);
    let length = match length {
        // A jumbogram (RFC 2675), or segmentation offload.
        0 => cursor.rest.len(),
        length => length,
    };
    Some(Ip {
        source: source.into(),
        destination: destination.into(),
        hop_limit,
        protocol,
        fragment: None,
        truncated: length > cursor.rest.len(),
        payload: cursor.rest.get(..length).unwrap_or(cursor.rest),
    })
}
