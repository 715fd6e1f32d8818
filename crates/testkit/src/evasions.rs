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

mod delivery;
mod dice;
mod draft;
mod list;
mod message;
mod mutations;
mod variation;

pub use delivery::{Delivery, Sent};
pub use list::EVASIONS;
pub use message::Request;
pub use variation::{Mark, Target, Variation, variations};

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

impl Evasion {
    /// True if some driver reads the value.
    #[must_use]
    pub fn is_read(&self) -> bool {
        !self.read_by.is_empty()
    }

    /// True if both addresses of the request must be IPv6.
    #[must_use]
    pub fn is_ipv6(&self) -> bool {
        self.wire.is_ipv6()
    }

    /// The payload of each datagram or TCP segment, before fragmentation.
    #[must_use]
    pub fn payloads(&self, request: &Request) -> Vec<Vec<u8>> {
        (self.render)(request)
    }

    /// The frames, in order. Of a TCP connection only those with payload.
    #[must_use]
    pub fn frames(&self, request: &Request) -> Vec<Vec<u8>> {
        self.delivery(request).frames()
    }

    /// Sends it towards the lab's PBX, see [`Delivery::send`].
    ///
    /// # Errors
    /// As [`Delivery::send`].
    pub fn send(&self, lab: &Lab, request: &Request, timeout: Duration) -> Result<Sent> {
        self.delivery(request).send(lab, timeout)
    }

    fn delivery(&self, request: &Request) -> Delivery {
        Delivery {
            transport: self.transport,
            wire: self.wire,
            source: request.source,
            destination: request.destination,
            payloads: self.payloads(request),
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
