//! One view over a captured frame, from the link header to the transport payload.

use core::net::{IpAddr, SocketAddr};

use crate::cursor::Cursor;
use crate::icmp::Icmp;
use crate::ip::{Ip, PROTOCOL_ICMP, PROTOCOL_ICMPV6, PROTOCOL_TCP, PROTOCOL_UDP};
use crate::link::{Link, LinkType, VlanIds};
use crate::tcp::Tcp;
use crate::udp::Udp;

/// A captured packet, read as far as it can be.
///
/// The order of the steps and their bounds are those of the in-kernel parser:
/// 1. link header, at most [`MAX_VLAN_TAGS`](crate::link::MAX_VLAN_TAGS) tags of 802.1Q/802.1ad;
/// 2. IP header, whose version must be that of the EtherType; the payload ends where the length
///    field or the capture ends, whichever comes first (length 0: at the end of the capture);
/// 3. at most [`MAX_IPV6_EXTENSIONS`](crate::ip::MAX_IPV6_EXTENSIONS) IPv6 extension headers,
///    in any order and number of each; none of it for IPv4;
/// 4. a later fragment ends here;
/// 5. UDP, TCP, ICMP of its own IP version; anything else is [`Transport::Other`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet<'a> {
    /// VLAN identifiers in the frame, outermost first. Offloading devices strip them.
    pub vlan_ids: VlanIds,
    /// Addresses and fragment information; `None` where already the link or IP header is not
    /// understood, and then [`transport`](Self::transport) says why.
    pub ip: Option<Ip<'a>>,
    /// What the packet carries, or why that is not known.
    pub transport: Transport<'a>,
}

/// What a packet carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport<'a> {
    /// UDP, whole or a first fragment.
    Udp(Udp<'a>),
    /// TCP, whole or a first fragment.
    Tcp(Tcp<'a>),
    /// ICMP over IPv4, ICMPv6 over IPv6.
    Icmp(Icmp<'a>),
    /// Another protocol: its number is in [`Ip::protocol`].
    Other,
    /// A fragment without a transport header: see [`Ip::fragment`].
    LaterFragment,
    /// Not readable; the packet may be harmless.
    NotUnderstood(NotUnderstood),
}

/// Why a packet is not understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NotUnderstood {
    /// The capture ends within the link header or a VLAN tag.
    ShortLinkHeader,
    /// Neither IPv4 nor IPv6: ARP, LLDP, PPPoE and the like.
    NotIp,
    /// More than [`MAX_VLAN_TAGS`](crate::link::MAX_VLAN_TAGS).
    TooManyVlanTags,
    /// The capture ends within the IP header or its options.
    ShortIpHeader,
    /// Neither 4 nor 6, or not the one that the link header promised.
    WrongIpVersion,
    /// An IPv4 header of less than 20 bytes, or a packet shorter than its header.
    BadIpHeaderLength,
    /// The packet ends within an IPv6 extension header.
    ShortExtension,
    /// More than [`MAX_IPV6_EXTENSIONS`](crate::ip::MAX_IPV6_EXTENSIONS).
    TooManyExtensions,
    /// The packet ends within the UDP, TCP or ICMP header.
    ShortTransport,
    /// A UDP length from 1 to 7.
    BadUdpLength,
    /// A TCP header of less than 20 bytes.
    BadTcpOffset,
}

impl<'a> Packet<'a> {
    /// Reads a frame as it was captured.
    #[must_use]
    pub fn parse(link_type: LinkType, bytes: &'a [u8]) -> Self {
        let link = Link::parse(link_type, bytes);
        let ip = link.ip.and_then(Ip::parse);
        Self {
            vlan_ids: link.vlan_ids,
            ..Self::of_ip(ip)
        }
    }

    /// Reads what a reassembled datagram carries: `payload` is the [`data`](crate::ip::Fragment)
    /// of all its fragments in order, `first` any packet of them.
    #[must_use]
    pub fn of_reassembled(first: &Ip<'_>, payload: &'a [u8]) -> Self {
        Self::of_ip(Ok(Ip {
            source: first.source,
            destination: first.destination,
            hop_limit: first.hop_limit,
            protocol: first
                .fragment
                .map_or(first.protocol, |fragment| fragment.protocol),
            fragment: None,
            payload,
            truncated: false,
        }))
    }

    /// Source and destination port of UDP and TCP, also where the rest of the header is missing
    /// or wrong: a first fragment may end within the TCP header.
    #[must_use]
    pub fn ports(&self) -> Option<(u16, u16)> {
        let ip = self.ip.filter(|ip| !ip.is_later_fragment())?;
        match ip.protocol {
            PROTOCOL_UDP | PROTOCOL_TCP => {
                let mut cursor = Cursor::new(ip.payload);
                Some((cursor.u16()?, cursor.u16()?))
            }
            _ => None,
        }
    }

    /// Source address, where IP was understood.
    #[must_use]
    pub fn source(&self) -> Option<IpAddr> {
        self.ip.map(|ip| ip.source)
    }

    /// Destination address, where IP was understood.
    #[must_use]
    pub fn destination(&self) -> Option<IpAddr> {
        self.ip.map(|ip| ip.destination)
    }

    /// Source address and port of UDP and TCP.
    #[must_use]
    pub fn source_socket(&self) -> Option<SocketAddr> {
        Some(SocketAddr::new(self.source()?, self.ports()?.0))
    }

    /// Destination address and port of UDP and TCP.
    #[must_use]
    pub fn destination_socket(&self) -> Option<SocketAddr> {
        Some(SocketAddr::new(self.destination()?, self.ports()?.1))
    }

    /// Payload of UDP and TCP.
    #[must_use]
    pub fn payload(&self) -> Option<&'a [u8]> {
        match self.transport {
            Transport::Udp(udp) => Some(udp.payload),
            Transport::Tcp(tcp) => Some(tcp.payload),
            Transport::Icmp(_)
            | Transport::Other
            | Transport::LaterFragment
            | Transport::NotUnderstood(_) => None,
        }
    }

    fn of_ip(ip: Result<Ip<'a>, NotUnderstood>) -> Self {
        let vlan_ids = VlanIds::default();
        match ip {
            Ok(mut ip) => {
                let walked = ip.skip_extensions();
                let transport = walked
                    .and_then(|()| transport(&ip))
                    .unwrap_or_else(Transport::NotUnderstood);
                Self {
                    vlan_ids,
                    ip: Some(ip),
                    transport,
                }
            }
            Err(reason) => Self {
                vlan_ids,
                ip: None,
                transport: Transport::NotUnderstood(reason),
            },
        }
    }
}

fn transport<'a>(ip: &Ip<'a>) -> Result<Transport<'a>, NotUnderstood> {
    if ip.is_later_fragment() {
        return Ok(Transport::LaterFragment);
    }
    let ipv6 = ip.source.is_ipv6();
    match ip.protocol {
        PROTOCOL_UDP => Udp::parse(ip.payload).map(Transport::Udp),
        PROTOCOL_TCP => Tcp::parse(ip.payload).map(Transport::Tcp),
        PROTOCOL_ICMP if !ipv6 => Icmp::parse(ip.payload, false).map(Transport::Icmp),
        PROTOCOL_ICMPV6 if ipv6 => Icmp::parse(ip.payload, true).map(Transport::Icmp),
        _ => Ok(Transport::Other),
    }
}
