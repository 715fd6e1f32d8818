//! The nftables backend against the real nf_tables, in network namespaces of its own: what each
//! packet's verdict is, what outlives the daemon, and that nobody else's table is touched.
#![allow(clippy::unwrap_used, reason = "a test that fails to set up has failed")]
#![allow(clippy::print_stdout, reason = "what was measured")]

mod interfaces;
#[path = "../common/limits.rs"]
mod limits;
mod net;
#[path = "../common/policy.rs"]
mod policy;
mod rates;
mod reading;
mod table;
mod tap;
mod verdicts;
