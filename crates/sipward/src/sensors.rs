//! What brings observations to the engine. No sensor here does I/O or knows a clock: frames, of
//! the tap or of a recording, come with their time.
//!
//! ```text
//! frame ──► whole datagram ──────────────────────────┐
//!        └─ fragment ──► all of them there? ─────────┼──► payload ──► SIP? ──► Observation
//!        └─ segment ──► in order ──► whole message ──┘
//!        └─ ICMP unreachable ────────────────────────────────────────────────► Observation
//! line, event ──► whose connection? ──────────────────────────────────────────► Observation
//! ```

pub mod asterisk;
mod connections;
mod duplicates;
mod fragments;
mod hep;
mod packets;
mod streams;
mod twins;
mod websocket;

pub use connections::{ConnectionPorts, Connections};
pub use duplicates::Duplicates;
pub use fragments::FragmentCounters;
pub use hep::{HepPorts, HepSensor};
pub use packets::{Counters, Frame, PacketSensor, Sink, SipPorts};
pub use streams::StreamCounters;
pub use twins::{Twins, Witness};

#[cfg(test)]
mod tests;
