//! The program `sipward`: configuration, ledger, event loop, control socket, commands.
//!
//! ```text
//! cli ──► control::client ── Unix socket ──► control::server ──► daemon::Guard
//!                                                                 │ engine (decides)
//!                       kernel events ──► daemon::run (waits) ──► │ shield (enforces)
//!                                                                 │ ledger (remembers)
//! http (metrics) ── once a second at most ───────────────────────► │
//! ```
#![forbid(unsafe_code)]

pub mod address;
pub mod apply;
pub mod cli;
pub mod clock;
pub mod config;
pub mod control;
pub mod daemon;
pub mod doctor;
pub mod exit;
pub mod explain;
pub mod export;
pub mod feeds;
pub mod http;
pub mod import;
pub mod ledger;
pub mod packed;
mod panics;
pub mod pcap;
pub mod replay;
pub mod rules;
pub mod sensors;
pub mod signatures;
pub mod span;
mod sparing;

pub use cli::main;
