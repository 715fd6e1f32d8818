//! The real kernel program, run by the running kernel and by older ones.
#![allow(clippy::unwrap_used, reason = "a test that fails to set up has failed")]

mod common;
mod releases;
mod verdicts;
