//! Payloads as frames, or as segments of a connection.

use std::io::Write;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;

use super::{Transport, Wire};
use crate::lab::Lab;
use crate::packet::{Extension, Packet, flags};
use crate::stream::Stream;

/// Datagrams or segments on their way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// What carries them.
    pub transport: Transport,
    /// What stands around them.
    pub wire: Wire,
    /// From where.
    pub source: SocketAddr,
    /// To where.
    pub destination: SocketAddr,
    /// The payload of each datagram or TCP segment, before fragmentation.
    pub payloads: Vec<Vec<u8>>,
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

impl Delivery {
    /// The frames, in order. Of a TCP connection only those with payload.
    #[must_use]
    pub fn frames(&self) -> Vec<Vec<u8>> {
        let mut sequence = 1;
        let mut frames = Vec::new();
        for payload in &self.payloads {
            let packet = match self.transport {
                Transport::Udp => Packet::udp(self.source, self.destination),
                Transport::Tcp => Packet::tcp(self.source, self.destination)
                    .tcp_numbers(sequence, 1)
                    .tcp_flags(flags::PSH | flags::ACK),
            };
            sequence += payload.len() as u32;
            self.wire.wrap(packet.payload(payload), &mut frames);
        }
        frames
    }

    /// Sends it towards the lab's PBX: UDP as frames on the router's side of the PBX's link, so
    /// that the source may be any address; TCP from the attacker's namespace, whose address the
    /// source must be. With TCP it stops at the first segment that is not acknowledged within
    /// `timeout`.
    ///
    /// # Errors
    /// If a frame cannot be sent. A connection that nobody answers is no error: nothing was sent.
    pub fn send(&self, lab: &Lab, timeout: Duration) -> Result<Sent> {
        match self.transport {
            Transport::Udp => {
                let packets = self.inject(lab)?;
                Ok(Sent {
                    packets,
                    connection: None,
                })
            }
            Transport::Tcp => {
                let (source, destination) = (self.source, self.destination);
                let stream = Stream::connect(&lab.attacker, source, destination, timeout);
                let Ok(mut stream) = stream else {
                    return Ok(Sent {
                        packets: 0,
                        connection: None,
                    });
                };
                let packets = stream.send(&self.payloads, timeout)?;
                Ok(Sent {
                    packets,
                    connection: Some(stream),
                })
            }
        }
    }

    /// As [`Delivery::send`] without waiting for acknowledgements, for many at once: each segment
    /// still leaves by itself.
    ///
    /// # Errors
    /// If a frame cannot be sent, or the connection not opened.
    pub fn post(&self, lab: &Lab, timeout: Duration) -> Result<Option<Stream>> {
        match self.transport {
            Transport::Udp => {
                self.inject(lab)?;
                Ok(None)
            }
            Transport::Tcp => {
                let (source, destination) = (self.source, self.destination);
                let stream = Stream::connect(&lab.attacker, source, destination, timeout)?;
                for payload in &self.payloads {
                    stream.socket().write_all(payload)?;
                }
                Ok(Some(stream))
            }
        }
    }

    fn inject(&self, lab: &Lab) -> Result<usize> {
        let frames = self.frames();
        frames.iter().try_for_each(|frame| lab.inject(frame))?;
        Ok(frames.len())
    }
}

impl Wire {
    /// True if both addresses must be IPv6.
    #[must_use]
    pub fn is_ipv6(self) -> bool {
        match self {
            Self::Ipv6
            | Self::Ipv6HopByHop
            | Self::Ipv6DestinationOptions
            | Self::Ipv6Fragments(_) => true,
            Self::Plain | Self::Vlan(_) | Self::Ipv4Options(_) | Self::Fragments(_) => false,
        }
    }

    fn wrap(self, packet: Packet, frames: &mut Vec<Vec<u8>>) {
        match self {
            Self::Plain | Self::Ipv6 => frames.push(packet.build()),
            Self::Vlan(tags) => {
                let tagged = tags.iter().fold(packet, |packet, (ethertype, control)| {
                    packet.tag(*ethertype, *control)
                });
                frames.push(tagged.build());
            }
            Self::Ipv4Options(options) => frames.push(packet.ipv4_options(options).build()),
            Self::Ipv6HopByHop => {
                frames.push(packet.extension(Extension::HopByHop(vec![])).build());
            }
            Self::Ipv6DestinationOptions => {
                let packet = packet.extension(Extension::HopByHop(vec![]));
                // An experimental option (RFC 4727) that receivers skip; Linux refuses more
                // than seven bytes of padding.
                let mut option = vec![0x1e, 18];
                option.extend([0; 18]);
                let options = Extension::DestinationOptions(option);
                frames.push(packet.extension(options).build());
            }
            Self::Fragments(size) | Self::Ipv6Fragments(size) => {
                frames.extend(packet.fragments(size));
            }
        }
    }
}
