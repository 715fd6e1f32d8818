//! The kernel's side of sipward: the XDP program `bpf/shield.bpf.c`, the binary interface that it
//! shares with this crate, and the loader that attaches, pins and feeds it.
//!
//! Callers see [`Shield`], a small trait; [`xdp::Xdp`] is the real thing, and
//! [`nftables::Nftables`] stands in where the kernel or the interface does not take it.

mod abi;
mod automaton;
mod cover;
mod delegate;
mod entries;
mod error;
mod held;
mod interfaces;
mod listed;
mod maps;
pub mod nftables;
mod program;
mod raw;
mod simulator;
mod sys;
mod tap;
mod types;
pub mod xdp;

pub use error::Error;
pub use interfaces::LinkWatch;
pub use raw::RawSender;
pub use simulator::{Judgement, Simulator};
pub use sys::{clock_is_kept, give_up_capabilities, probe};
pub use tap::{Direction, Frames, Tap, TapFrame, TapPorts, TapStatistics};
pub use types::*;

/// Bytes of payload that an [`Event`] carries at most.
pub const SAMPLE_LEN: usize = abi::SAMPLE_MAX;
