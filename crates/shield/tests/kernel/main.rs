//! The real kernel program, run by the running kernel and by older ones.
#![allow(
    clippy::print_stdout,
    reason = "the summary of another kernel is what the reader wants to see"
)]
#![allow(clippy::unwrap_used, reason = "a test that fails to set up has failed")]

mod bans;
mod common;
mod evasions;
#[path = "../common/limits.rs"]
mod limits;
mod listed;
mod nested;
#[path = "../common/policy.rs"]
mod policy;
mod rates;
mod releases;
mod strangers;
mod verdicts;
mod walker;
