//! Arbitrary configuration trees through reader, audit and `--apply`.
#![no_main]

#[path = "../../crates/asterisk/tests/invariants/mod.rs"]
mod invariants;

libfuzzer_sys::fuzz_target!(|input: &[u8]| invariants::check(input));
