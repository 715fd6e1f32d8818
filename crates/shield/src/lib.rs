//! The kernel's side of sipward: the XDP program `bpf/shield.bpf.c`, the binary interface that it
//! shares with this crate, and the loader that attaches, pins and feeds it.
//!
//! Callers see [`Shield`], a small trait; [`xdp::Xdp`] is the real thing.

mod error;
mod types;

pub use error::Error;
pub use types::*;

/// Bytes of payload that an [`Event`] carries at most.
pub const SAMPLE_LEN: usize = 512;
