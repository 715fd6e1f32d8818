//! The live guard, with a real Asterisk, unmodified scanners and real phones: what reaches the PBX
//! is counted by its own packet filter and by tcpdump, nothing of ours.
#![allow(clippy::unwrap_used, reason = "a test that fails to set up has failed")]

mod evasions;
mod guard;
mod restarts;
mod scanners;
