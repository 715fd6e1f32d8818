//! Arbitrary bytes through the codec of the manager interface.
#![no_main]

#[path = "../../crates/asterisk/tests/invariants/ami.rs"]
mod invariants;

libfuzzer_sys::fuzz_target!(|input: &[u8]| invariants::check(input));
