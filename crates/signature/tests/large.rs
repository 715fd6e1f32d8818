//! A list of 5,000 signatures.

use std::fmt::Write;
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};
use sipward_signature::{Profile, ScanMode, SignatureSet, TABLE_UNITS, lint};

const SIGNATURES: usize = 5_000;

/// Twelve letters and digits that share next to nothing with those of another number: the most
/// rows that so many names can need.
fn scrambled(at: usize) -> String {
    let mut state = (at as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mut letter = || {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        let pick = state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33;
        char::from(b"abcdefghijklmnopqrstuvwxyz0123456789"[pick as usize % 36])
    };
    (0..12).map(|_| letter()).collect()
}

fn list() -> String {
    let mut text = String::new();
    for at in 0..SIGNATURES {
        write!(
            text,
            "[[signature]]\nname = \"s{at}\"\nfield = \"user-agent\"\nmatch = \"contains\"\n\
             pattern = \"{}\"\nconfidence = \"certain\"\nsource = \"test\"\n",
            scrambled(at)
        )
        .expect("a string");
    }
    text
}

/// What the process has spent on all processors, so that a busy machine fails nobody.
fn processor_time() -> Duration {
    clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID)
        .expect("a clock")
        .into()
}

/// A debug build is not what the promise is about; there this only checks that it works.
#[test]
fn five_thousand_signatures_are_read_and_compiled_in_less_than_a_second() {
    let text = list();
    let (start, before) = (Instant::now(), processor_time());
    let set = SignatureSet::parse("large.toml", &text).unwrap();
    let tables = set.compile(Profile::Standard, &[]).unwrap();
    let (elapsed, took) = (start.elapsed(), processor_time() - before);
    println!(
        "{SIGNATURES} signatures, {} of {TABLE_UNITS} units: {took:?} of processor, {elapsed:?} elapsed",
        tables.units()
    );
    let last = format!("User-Agent: x{}\r\n\r\n", scrambled(SIGNATURES - 1));
    let slot = tables.scan(last.as_bytes(), ScanMode::DATAGRAM).unwrap();
    assert_eq!(tables.signature(slot).unwrap().name, "s4999");
    if !cfg!(debug_assertions) {
        assert!(took < Duration::from_secs(1), "{took:?}");
    }
}

#[test]
fn nothing_is_found_wrong_with_them() {
    let set = SignatureSet::parse("large.toml", &list()).unwrap();
    assert_eq!(lint(&set), []);
}
