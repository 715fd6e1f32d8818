//! Bytes to borrowed views: Ethernet to UDP and TCP, and a SIP reader that never fails. And the few
//! packets that sipward sends itself, as bytes.
//!
//! Everything here is written for hostile input. Nothing panics, nothing is an error that would
//! lose a packet or a message: what is odd is reported beside what could be read. A packet that
//! is not understood carries its [reason](NotUnderstood); a SIP message carries its
//! [anomalies](sip::Anomalies).
//!
//! The views borrow from the bytes that were given. Only a few functions allocate (unfolding a
//! folded header, percent-decoding an escaped one), they say so, and they do it only where there
//! is something to rewrite. The crate is `no_std`, so it has neither a clock nor I/O.
//!
//! ```
//! use sipward_wire::{LinkType, Packet, Transport, sip};
//!
//! # let frame: &[u8] = &[];
//! let packet = Packet::parse(LinkType::Ethernet, frame);
//! if let Transport::Udp(udp) = packet.transport
//!     && sip::classify(udp.payload) == sip::PayloadKind::Sip
//! {
//!     let message = sip::Message::parse(udp.payload);
//!     let agent = message.user_agent().map(|value| value.unfold());
//!     # let _ = agent;
//! }
//! ```

#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

extern crate alloc;

mod cursor;
pub mod icmp;
pub mod ip;
pub mod link;
mod packet;
pub mod sip;
pub mod tcp;
pub mod udp;
mod write;

pub use link::LinkType;
pub use packet::{NotUnderstood, Packet, Transport};
pub use write::{is_host, prohibited, udp_packet};
