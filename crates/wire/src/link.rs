//! Link layers: what stands before the IP header.
//!
//! Ethernet with at most [`MAX_VLAN_TAGS`] tags, Linux "cooked" captures (version 1 and 2), BSD
//! loopback, and no link header at all.

use crate::NotUnderstood;
use crate::cursor::Cursor;

/// IEEE 802.1Q and 802.1ad tags that are skipped. A third one is
/// [`NotUnderstood::TooManyVlanTags`].
pub const MAX_VLAN_TAGS: usize = 2;

/// EtherType of IPv4.
pub const ETHERTYPE_IPV4: u16 = 0x0800;
/// EtherType of IPv6.
pub const ETHERTYPE_IPV6: u16 = 0x86dd;
/// EtherType of an IEEE 802.1Q tag.
pub const ETHERTYPE_VLAN: u16 = 0x8100;
/// EtherType of an IEEE 802.1ad service tag.
pub const ETHERTYPE_QINQ: u16 = 0x88a8;

/// How the captured bytes begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LinkType {
    /// Ethernet II, 14 bytes, then up to two VLAN tags.
    Ethernet,
    /// Linux cooked capture, 16 bytes (`tcpdump -i any` of old).
    LinuxCooked,
    /// Linux cooked capture version 2, 20 bytes.
    LinuxCooked2,
    /// No link header: the first nibble tells IPv4 from IPv6.
    RawIp,
    /// BSD loopback: a 4-byte address family in either byte order.
    Loopback,
}

impl LinkType {
    /// The link type for a number from a pcap file header or a pcapng interface block
    /// (tcpdump's LINKTYPE registry). `None`: not one that is read here.
    #[must_use]
    pub const fn from_pcap(number: u32) -> Option<Self> {
        match number {
            1 => Some(Self::Ethernet),
            113 => Some(Self::LinuxCooked),
            276 => Some(Self::LinuxCooked2),
            // 12 and 14 are DLT_RAW of various systems, written to files by mistake.
            12 | 14 | 101 | 228 | 229 => Some(Self::RawIp),
            0 | 108 => Some(Self::Loopback),
            _ => None,
        }
    }
}

/// VLAN identifiers of a frame, outermost first.
pub type VlanIds = [Option<u16>; MAX_VLAN_TAGS];

/// What the link header said.
pub(crate) struct Link<'a> {
    pub(crate) vlan_ids: VlanIds,
    pub(crate) ip: Result<&'a [u8], NotUnderstood>,
}

impl<'a> Link<'a> {
    pub(crate) fn parse(link_type: LinkType, bytes: &'a [u8]) -> Self {
        let mut vlan_ids = VlanIds::default();
        let ip = match link_type {
            LinkType::Ethernet => ethernet(bytes, 12, &mut vlan_ids),
            LinkType::LinuxCooked => ethernet(bytes, 14, &mut vlan_ids),
            LinkType::LinuxCooked2 => cooked2(bytes, &mut vlan_ids),
            LinkType::RawIp => Ok(bytes),
            LinkType::Loopback => loopback(bytes),
        };
        Self { vlan_ids, ip }
    }
}

/// A header whose last two bytes are the EtherType, `addresses` bytes after its start.
fn ethernet<'a>(
    bytes: &'a [u8],
    addresses: usize,
    vlan_ids: &mut VlanIds,
) -> Result<&'a [u8], NotUnderstood> {
    let mut cursor = Cursor::new(bytes);
    cursor
        .take(addresses)
        .ok_or(NotUnderstood::ShortLinkHeader)?;
    let ether_type = cursor.u16().ok_or(NotUnderstood::ShortLinkHeader)?;
    tagged(ether_type, cursor, vlan_ids)
}

fn cooked2<'a>(bytes: &'a [u8], vlan_ids: &mut VlanIds) -> Result<&'a [u8], NotUnderstood> {
    let mut cursor = Cursor::new(bytes);
    let ether_type = cursor.u16().ok_or(NotUnderstood::ShortLinkHeader)?;
    cursor.take(18).ok_or(NotUnderstood::ShortLinkHeader)?;
    tagged(ether_type, cursor, vlan_ids)
}

fn tagged<'a>(
    mut ether_type: u16,
    mut cursor: Cursor<'a>,
    vlan_ids: &mut VlanIds,
) -> Result<&'a [u8], NotUnderstood> {
    for id in vlan_ids {
        if !is_vlan(ether_type) {
            break;
        }
        let control = cursor.u16().ok_or(NotUnderstood::ShortLinkHeader)?;
        *id = Some(control & 0x0fff);
        ether_type = cursor.u16().ok_or(NotUnderstood::ShortLinkHeader)?;
    }
    match ether_type {
        // The version nibble must agree: the network stack hands each EtherType to its own
        // protocol, which drops the other version.
        ETHERTYPE_IPV4 => versioned(cursor.rest, 4),
        ETHERTYPE_IPV6 => versioned(cursor.rest, 6),
        ETHERTYPE_VLAN | ETHERTYPE_QINQ => Err(NotUnderstood::TooManyVlanTags),
        _ => Err(NotUnderstood::NotIp),
    }
}

fn is_vlan(ether_type: u16) -> bool {
    matches!(ether_type, ETHERTYPE_VLAN | ETHERTYPE_QINQ)
}

fn versioned(bytes: &[u8], version: u8) -> Result<&[u8], NotUnderstood> {
    let first = bytes.first().ok_or(NotUnderstood::ShortIpHeader)?;
    if first >> 4 == version {
        Ok(bytes)
    } else {
        Err(NotUnderstood::WrongIpVersion)
    }
}

fn loopback(bytes: &[u8]) -> Result<&[u8], NotUnderstood> {
    let mut cursor = Cursor::new(bytes);
    let family = cursor.array::<4>().ok_or(NotUnderstood::ShortLinkHeader)?;
    // Files are written in the byte order of the capturing machine.
    let family = match u32::from_be_bytes(family) {
        big if big <= 0xff => big,
        _ => u32::from_le_bytes(family),
    };
    match family {
        2 => versioned(cursor.rest, 4),
        // Linux, NetBSD and OpenBSD, FreeBSD, Darwin.
        10 | 24 | 28 | 30 => versioned(cursor.rest, 6),
        _ => Err(NotUnderstood::NotIp),
    }
}
