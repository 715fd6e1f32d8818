//! What the compiled signatures find, what they leave alone, and what is said about bad ones.

#![expect(clippy::unwrap_used, reason = "a helper that fails fails its test")]

mod builtin;
mod common;
mod evasions;
mod file;
mod fingerprints;
mod lint;
mod reference;
mod tables;
