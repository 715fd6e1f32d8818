//! Arbitrary lines through the reader of the log.
#![no_main]

#[path = "../../crates/asterisk/tests/invariants/log.rs"]
mod invariants;

libfuzzer_sys::fuzz_target!(|input: &[u8]| invariants::check(input));
