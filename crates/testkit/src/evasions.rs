//! Ways to write a scanner's name so that a PBX reads it and a filter may not.
//!
//! Each is a request that carries a given value in a given header, and says which driver of a
//! real Asterisk 16.28 reads that value (the integration test `evasions_are_read_by_asterisk`
//! asks Asterisk again), and whether one packet alone shows it. The verdict tests of the kernel
//! program and the end-to-end tests walk the same list.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;

use crate::asterisk::Driver;
use crate::lab::Lab;
use crate::packet::{Extension, Packet, flags};
use crate::stream::Stream;

mod list;
mod message;

pub use list::EVASIONS;
pub use message::Request;

/// What carries the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// One datagram, or the fragments of one.
    Udp,
    /// Segments of one connection.
    Tcp,
}

/// The header with the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// The value of `User-Agent`.
    UserAgent,
    /// In `From`, as the user part of the URI or as the display name: as the driver hands it on
    /// as the caller's number or name.
    FromUser,
}

/// What stands around the datagram. Segments of TCP are always plain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wire {
    /// Nothing special.
    Plain,
    /// Tags, the outer first: ethertype and tag control information.
    Vlan(&'static [(u16, u16)]),
    /// IPv4 options.
    Ipv4Options(&'static [u8]),
    /// Over IPv6.
    Ipv6,
    /// Over IPv6 with a hop-by-hop header.
    Ipv6HopByHop,
    /// Over IPv6 with destination options behind a hop-by-hop header.
    Ipv6DestinationOptions,
    /// IPv4 fragments of this many bytes each.
    Fragments(usize),
    /// IPv6 fragments of this many bytes each.
    Ipv6Fragments(usize),
}

/// One way.
#[derive(Debug, Clone, Copy)]
pub struct Evasion {
    /// What it does, in words.
    pub name: &'static str,
    /// What carries it.
    pub transport: Transport,
    /// The PBX's port if the point is that it is another than usual.
    pub port: Option<u16>,
    /// The header that has the value.
    pub field: Field,
    /// What stands around it.
    pub wire: Wire,
    /// The drivers of Asterisk 16.28 that read the value.
    pub read_by: &'static [Driver],
    /// True if one packet holds the start of the message and the whole value within the first
    /// 2,048 bytes of its payload. The others are for whoever reassembles.
    pub seen_in_one_packet: bool,
    /// True if the value is where no PBX looks for it: whoever drops this drops honest messages.
    /// Where nobody reads the value and this is false, either verdict does.
    pub must_pass: bool,
    /// Payloads of datagrams or segments.
    render: fn(&Request) -> Vec<Vec<u8>>,
}

/// What was sent. A connection stays open as long as this lives, and must until the PBX has
/// read: at its end PJSIP throws away what it has not looked at.
#[derive(Debug)]
#[must_use]
pub struct Sent {
    /// Frames that left, or segments that were acknowledged.
    pub packets: usize,
    /// Over TCP, if it could be opened.
    pub connection: Option<Stream>,
}

impl Evasion {
    /// True if some driver reads the value.
    #[must_use]
    pub fn is_read(&self) -> bool {
        !self.read_by.is_empty()
    }

    /// True if both addresses of the request must be IPv6.
    #[must_use]
    pub fn is_ipv6(&self) -> bool {
        match self.wire {
            Wire::Ipv6
            | Wire::Ipv6HopByHop
            | Wire::Ipv6DestinationOptions
            | Wire::Ipv6Fragments(_) => true,
            Wire::Plain | Wire::Vlan(_) | Wire::Ipv4Options(_) | Wire::Fragments(_) => false,
        }
    }

    /// The payload of each datagram or TCP segment, before fragmentation.
    #[must_use]
    pub fn payloads(&self, request: &Request) -> Vec<Vec<u8>> {
        (self.render)(request)
    }

    /// The frames, in order. Of a TCP connection only those with payload.
    #[must_use]
    pub fn frames(&self, request: &Request) -> Vec<Vec<u8>> {
        let mut sequence = 1;
        let mut frames = Vec::new();
        for payload in self.payloads(request) {
            let packet = match self.transport {
                Transport::Udp => Packet::udp(request.source, request.destination),
                Transport::Tcp => Packet::tcp(request.source, request.destination)
                    .tcp_numbers(sequence, 1)
                    .tcp_flags(flags::PSH | flags::ACK),
            };
            sequence += payload.len() as u32;
            let packet = packet.payload(&payload);
            match self.wire {
                Wire::Plain | Wire::Ipv6 => frames.push(packet.build()),
                Wire::Vlan(tags) => {
                    let tagged = tags.iter().fold(packet, |packet, (ethertype, control)| {
                        packet.tag(*ethertype, *control)
                    });
                    frames.push(tagged.build());
                }
                Wire::Ipv4Options(options) => frames.push(packet.ipv4_options(options).build()),
                Wire::Ipv6HopByHop => {
                    frames.push(packet.extension(Extension::HopByHop(vec![])).build());
                }
                Wire::Ipv6DestinationOptions => {
                    let packet = packet.extension(Extension::HopByHop(vec![]));
                    // An experimental option (RFC 4727) that receivers skip; Linux refuses more
                    // than seven bytes of padding.
                    let mut option = vec![0x1e, 18];
                    option.extend([0; 18]);
                    let options = Extension::DestinationOptions(option);
                    frames.push(packet.extension(options).build());
                }
                Wire::Fragments(size) | Wire::Ipv6Fragments(size) => {
                    frames.extend(packet.fragments(size));
                }
            }
        }
        frames
    }

    /// Sends it towards the lab's PBX: UDP as frames on the router's side of the PBX's link, so
    /// that the request's source may be any address; TCP from the attacker's namespace, whose
    /// address the source must be. With TCP it stops at the first segment that is not
    /// acknowledged within `timeout`.
    ///
    /// # Errors
    /// If a frame cannot be sent. A connection that nobody answers is no error: nothing was sent.
    pub fn send(&self, lab: &Lab, request: &Request, timeout: Duration) -> Result<Sent> {
        match self.transport {
            Transport::Udp => {
                let frames = self.frames(request);
                frames.iter().try_for_each(|frame| lab.inject(frame))?;
                Ok(Sent {
                    packets: frames.len(),
                    connection: None,
                })
            }
            Transport::Tcp => {
                let (source, destination) = (request.source, request.destination);
                let stream = Stream::connect(&lab.attacker, source, destination, timeout);
                let Ok(mut stream) = stream else {
                    return Ok(Sent {
                        packets: 0,
                        connection: None,
                    });
                };
                let packets = stream.send(&self.payloads(request), timeout)?;
                Ok(Sent {
                    packets,
                    connection: Some(stream),
                })
            }
        }
    }

    /// An address of the lab's attacker that no other `number` gets, of the right family;
    /// `number` is at most 99.
    #[must_use]
    pub fn source(&self, number: usize) -> SocketAddr {
        let text = if self.is_ipv6() {
            format!("[2001:db8:bad:{}::7]:5060", number + 1)
        } else {
            format!("203.0.113.{}:5060", number + 20)
        };
        text.parse().expect("both are written as addresses")
    }
}
