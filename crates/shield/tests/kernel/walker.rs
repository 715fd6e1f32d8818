//! The kernel's walker takes short cuts that its twin, `Tables::scan`, does not: both must find the
//! same signature in anything.

use std::cell::{Cell, RefCell};

use proptest::{
    prelude::*,
    sample::select,
    test_runner::{Config, TestRunner},
};
use sipward_shield::{Limits, Policy, Rate, Reason, Shield as _};
use sipward_signature::{Profile, ScanMode, SignatureSet, Tables};
use sipward_testkit::packet::Packet;

use crate::common::*;

/// What the kernel scans of one payload.
const SCANNED: usize = 2048;
/// The longest payload that BPF_PROG_TEST_RUN takes in one page.
const LONGEST: usize = 3000;

const SYNTAX: &[&str] = &[
    "\r\n",
    "\r\n",
    "\r\n",
    "\n",
    "\r",
    "\r\n\r\n",
    "\r\n ",
    "\n\t",
    "\0",
    " ",
    "  ",
    "\t",
    "\x01",
    ":",
    ": ",
    " : ",
    "<",
    ">",
    "\"",
    "\\",
    ";",
    "%",
    "%73",
    "%53",
    "sip:",
    "SIP/2.0",
    "INVITE ",
    "REGISTER sip:100@192.0.2.1 SIP/2.0\r\n",
    "Via: SIP/2.0/UDP 192.0.2.1\r\n",
    "Subject: x\r\n",
];

const NAMES: &[&str] = &[
    "User-Agent",
    "Server",
    "From",
    "To",
    "f",
    "t",
    "m",
    "Contact",
    "Call-ID",
    "i",
    "Via",
    "Max-Forwards",
];

/// A piece of a message: (text, how its case is changed).
fn piece(patterns: Vec<String>) -> impl Strategy<Value = Vec<u8>> {
    let part = select(patterns.clone()).prop_flat_map(|pattern| {
        (0..=pattern.len()).prop_map(move |end| pattern.as_bytes()[..end].to_vec())
    });
    let header = (
        select(NAMES),
        select(vec![":", ": ", " :\t", ":\r\n "]),
        select(patterns.clone()),
        select(vec!["", "\r\n", " \r\n", "x\r\n"]),
    )
        .prop_map(|(name, colon, pattern, end)| {
            format!("\r\n{name}{colon}{pattern}{end}").into_bytes()
        });
    let text = prop_oneof![
        4 => select(SYNTAX).prop_map(|text| text.as_bytes().to_vec()),
        2 => select(NAMES).prop_map(|text| text.as_bytes().to_vec()),
        2 => select(patterns).prop_map(String::into_bytes),
        2 => part,
        4 => header,
        // Lengths around the words and windows that the walker reads at once.
        2 => (select(vec![b'x', b's', b'f', b' ', 0x80, 0xff]), 0_usize..300)
            .prop_map(|(byte, len)| vec![byte; len]),
        1 => proptest::collection::vec(any::<u8>(), 0..20),
        1 => "[ -~]{0,40}".prop_map(String::into_bytes),
    ];
    (text, any::<u64>(), 0_u8..4).prop_map(|(mut text, seed, how)| {
        for (at, byte) in text.iter_mut().enumerate() {
            if how == 0 && seed >> (at % 64) & 1 == 1 && byte.is_ascii_alphabetic() {
                *byte ^= 0x20;
            }
        }
        text
    })
}

fn payload(tables: &Tables) -> impl Strategy<Value = Vec<u8>> + use<> {
    let patterns: Vec<String> = tables
        .signatures
        .iter()
        .map(|s| s.pattern.clone())
        .collect();
    proptest::collection::vec(piece(patterns), 1..30).prop_map(|pieces| {
        let mut payload = pieces.concat();
        payload.truncate(LONGEST);
        payload
    })
}

fn unlimited() -> Policy {
    Policy {
        limits: Limits::uniform(Rate::UNLIMITED),
        ..policy()
    }
}

/// Values in which a byte that is not ASCII is the first of what is looked for.
const FOREIGN: &str = r#"
[[signature]]
name = "foreign-user-agent"
field = "user-agent"
match = "contains"
pattern = "überscan"
confidence = "certain"
source = "made up"

[[signature]]
name = "foreign-from"
field = "from"
match = "contains"
pattern = "Ünbekannt"
confidence = "likely"
source = "made up"
"#;

#[test]
fn the_walker_finds_what_its_twin_finds() {
    let foreign = SignatureSet::parse("foreign.toml", FOREIGN).unwrap();
    let foreign = foreign.compile(Profile::Standard, &[]).unwrap();
    for tables in [tables(Profile::Standard), tables(Profile::Strict), &foreign] {
        let Some(mut simulator) = simulator(Profile::Standard) else {
            return;
        };
        simulator.set_signatures(tables).unwrap();
        simulator.set_policy(&unlimited()).unwrap();
        let trusted = "198.51.100.9:5060";
        simulator.trust("198.51.100.9".parse().unwrap()).unwrap();

        let config = Config {
            cases: 3000,
            failure_persistence: None,
            ..Config::default()
        };
        // proptest calls a closure that may not change what it captures.
        let simulator = RefCell::new(simulator);
        let hits = Cell::new(0);
        let cases = (payload(tables), any::<bool>(), any::<bool>());
        TestRunner::new(config)
            .run(&cases, |(payload, stream, is_trusted)| {
                let source = if is_trusted { trusted } else { STRANGER };
                let packet = if stream {
                    Packet::tcp(source, PBX)
                } else {
                    Packet::udp(source, PBX)
                };
                let judgement = simulator
                    .borrow_mut()
                    .run(&packet.payload(&payload).build())
                    .unwrap();
                let mode = ScanMode {
                    stream,
                    complete: !stream && payload.len() <= SCANNED,
                    trusted: is_trusted,
                };
                let slot = tables.scan(&payload[..payload.len().min(SCANNED)], mode);
                hits.set(hits.get() + usize::from(slot.is_some()));
                let clean = if payload.len() > SCANNED {
                    Reason::CleanLong
                } else {
                    Reason::Clean
                };
                let reason = if slot.is_some() {
                    Reason::Signature
                } else {
                    clean
                };
                prop_assert_eq!(judgement.reason, reason, "slot {:?}", slot);
                // A drop says which, unless there are too many to tell of each.
                if let (Some(hit), Some(slot)) = (judgement.signature, slot) {
                    prop_assert_eq!(hit.slot, slot);
                }
                Ok(())
            })
            .unwrap();
        let hits = hits.get();
        println!("{hits} of 3000 messages hit");
        assert!(hits > 500, "the messages are too tame: {hits}");
    }
}
