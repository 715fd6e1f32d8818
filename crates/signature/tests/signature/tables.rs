//! The table that the kernel is given, and what does not go into it.

use std::fmt::Write as _;

use crate::common::{STANDARD, STRICT, first, register_with};
use sipward_signature::{
    CELL_SPECIAL, Confidence, Error, INFO_DEAD, INFO_END, INFO_SLOT_MASK, OFFSET_MASK, Profile,
    ScanMode, SignatureSet, TABLE_UNITS, Tables,
};

fn signature(name: &str, keys: &str) -> String {
    format!(
        "[[signature]]\nname = \"{name}\"\nconfidence = \"certain\"\nsource = \"test\"\n\
         field = \"user-agent\"\n{keys}\n"
    )
}

fn contains(count: usize, pattern: impl Fn(usize) -> String) -> SignatureSet {
    let mut text = String::new();
    for at in 0..count {
        let keys = format!("match = \"contains\"\npattern = \"{}\"", pattern(at));
        text.write_str(&signature(&format!("s{at}"), &keys))
            .unwrap();
    }
    SignatureSet::parse("many.toml", &text).unwrap()
}

/// Twelve letters that share next to nothing with those of another number.
fn scrambled(at: usize) -> String {
    let mut seed = at as u64 + 1;
    let mut letter = || {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        char::from(b'a' + (seed >> 33) as u8 % 26)
    };
    (0..12).map(|_| letter()).collect()
}

#[test]
fn every_cell_leads_to_a_row_and_is_special_if_that_row_has_something_to_say() {
    for tables in [&*STANDARD, &*STRICT] {
        let stride = tables.stride();
        assert_eq!(tables.cells.len() % stride, 0);
        assert_eq!(tables.info, tables.eof + 1);
        assert!(
            tables
                .classes
                .iter()
                .all(|&class| u32::from(class) < tables.eof)
        );
        assert_eq!(tables.start as usize % stride, 0);
        for row in tables.cells.chunks(stride) {
            let (info, transitions) = row.split_last().unwrap();
            for cell in transitions {
                let target = (cell & OFFSET_MASK) as usize;
                assert_eq!(cell & !(OFFSET_MASK | CELL_SPECIAL), 0);
                assert_eq!(target % stride, 0);
                let target_info = tables.cells[target + tables.info as usize];
                assert_eq!(cell & CELL_SPECIAL != 0, target_info != 0);
            }
            assert_eq!(info & !(INFO_SLOT_MASK | INFO_DEAD | INFO_END), 0);
            assert!((info & INFO_SLOT_MASK) as usize <= tables.signatures.len());
        }
    }
}

#[test]
fn a_dead_row_is_left_by_line_ends_only() {
    for tables in [&*STANDARD, &*STRICT] {
        let stride = tables.stride();
        let mut dead = 0;
        for row in tables.cells.chunks(stride) {
            if row[tables.info as usize] & INFO_DEAD == 0 {
                continue;
            }
            dead += 1;
            for byte in 0..=u8::MAX {
                let cell = row[usize::from(tables.classes[usize::from(byte)])];
                let target = (cell & OFFSET_MASK) as usize;
                let target_dead = tables.cells[target + tables.info as usize] == INFO_DEAD;
                assert_eq!(target_dead, !matches!(byte, b'\r' | b'\n'), "{byte}");
            }
        }
        assert!(dead > 1);
    }
}

#[test]
fn slots_are_numbered_by_strength() {
    let confidences: Vec<Confidence> = STRICT.signatures.iter().map(|s| s.confidence).collect();
    assert!(confidences.is_sorted());
    assert_eq!(
        STRICT.signatures.len(),
        SignatureSet::builtin().iter().len()
    );
    let shared = |tables: &Tables| {
        tables
            .signatures
            .iter()
            .any(|signature| signature.confidence == Confidence::Shared)
    };
    assert!(shared(&STRICT) && !shared(&STANDARD));
}

/// What the built-in list costs. A growth beyond this is worth a look: the table is shared with
/// the administrator's own signatures.
#[test]
fn the_built_in_list_takes_a_twelfth_of_the_table_at_most() {
    for tables in [&*STANDARD, &*STRICT] {
        assert!(
            tables.units() * 12 <= TABLE_UNITS,
            "{} units",
            tables.units()
        );
    }
}

#[test]
fn most_of_a_genuine_message_is_skipped() {
    let message = register_with("X", "");
    let mut walked = 0;
    let mut skipping = false;
    let mut row = STRICT.start;
    for &byte in &message {
        if skipping && !matches!(byte, b'\r' | b'\n') {
            continue;
        }
        walked += 1;
        let column = row + u32::from(STRICT.classes[usize::from(byte)]);
        row = STRICT.cells[column as usize] & OFFSET_MASK;
        skipping = STRICT.cells[(row + STRICT.info) as usize] & INFO_DEAD != 0;
    }
    // Lines that no signature is on die within the header's name; Contact and User-Agent values
    // at the first byte that no pattern has there.
    assert!(
        walked * 5 < message.len() * 3,
        "{walked} of {} bytes",
        message.len()
    );
}

#[test]
fn five_thousand_signatures_of_one_family_fit() {
    let set = contains(5_000, |at| format!("scanner-{at:05}"));
    let tables = set.compile(Profile::Standard, &[]).unwrap();
    assert!(tables.units() < TABLE_UNITS);
    let slot = tables
        .scan(b"User-Agent: a Scanner-04711!", ScanMode::DATAGRAM)
        .unwrap();
    assert_eq!(tables.signature(slot).unwrap().name, "s4711");
}

#[test]
fn a_table_that_does_not_fit_names_the_costliest_signature() {
    let mut set = contains(8_000, scrambled);
    let long = signature(
        "the-long-one",
        "match = \"contains\"\npattern = \"a very long pattern that shares nothing with others\"",
    );
    set.merge(SignatureSet::parse("long.toml", &long).unwrap());
    let error = set.compile(Profile::Standard, &[]).unwrap_err();
    let Error::TooLarge {
        units,
        limit,
        costliest,
    } = error
    else {
        panic!("{error}");
    };
    assert!(units >= limit);
    assert_eq!(costliest, "the-long-one");
}

#[test]
fn signatures_and_regular_expressions_are_counted() {
    let many = contains(8_193, |at| format!("s{at}"));
    assert!(matches!(
        many.compile(Profile::Standard, &[]),
        Err(Error::TooMany {
            count: 8_193,
            limit: 8_192
        })
    ));

    let mut text = String::new();
    for at in 0..17 {
        let keys = format!("match = \"regex\"\npattern = \"^scan{at}$\"");
        text.write_str(&signature(&format!("r{at}"), &keys))
            .unwrap();
    }
    let regexes = SignatureSet::parse("regexes.toml", &text).unwrap();
    assert!(matches!(
        regexes.compile(Profile::Standard, &[]),
        Err(Error::TooManyRegexes {
            count: 17,
            limit: 16
        })
    ));
}

#[test]
fn no_signatures_are_a_table_that_finds_nothing() {
    let tables = SignatureSet::default()
        .compile(Profile::Strict, &[])
        .unwrap();
    let message = register_with("User-Agent", "friendly-scanner");
    assert_eq!(tables.scan(&message, ScanMode::SEGMENT), None);
}

#[test]
fn a_pattern_that_can_never_match_costs_nothing() {
    let never = signature("never", "match = \"contains\"\npattern = \"two\\nlines\"");
    let tables = SignatureSet::parse("never.toml", &never)
        .unwrap()
        .compile(Profile::Standard, &[])
        .unwrap();
    let empty = SignatureSet::default()
        .compile(Profile::Standard, &[])
        .unwrap();
    assert_eq!(tables.rows(), empty.rows());
    assert_eq!(
        tables.scan(b"User-Agent: two\nlines", ScanMode::DATAGRAM),
        None
    );
}

#[test]
fn the_strongest_of_two_that_end_together_is_found() {
    let text = "
        [[signature]]
        name = 'weak'
        field = 'user-agent'
        match = 'contains'
        pattern = 'scanner'
        confidence = 'shared'
        source = 'test'
        [[signature]]
        name = 'strong'
        field = 'user-agent'
        match = 'contains'
        pattern = 'evil scanner'
        confidence = 'certain'
        source = 'test'";
    let set = SignatureSet::parse("two.toml", text).unwrap();
    let tables = set.compile(Profile::Strict, &[]).unwrap();
    let name = |payload: &[u8]| first(&tables, payload, ScanMode::DATAGRAM);
    assert_eq!(name(b"User-Agent: an evil scanner"), Some("strong"));
    assert_eq!(name(b"User-Agent: a scanner"), Some("weak"));
}

#[test]
fn case_counts_where_the_signature_says_so() {
    let keys = "match = \"contains\"\npattern = \"ScAn\"\ncase = \"sensitive\"";
    let set = SignatureSet::parse("case.toml", &signature("cased", keys)).unwrap();
    let tables = set.compile(Profile::Standard, &[]).unwrap();
    let found = |payload: &[u8]| tables.scan(payload, ScanMode::DATAGRAM).is_some();
    assert!(found(b"USER-AGENT: xScAnx"));
    assert!(!found(b"User-Agent: xscanx"));
}

#[test]
fn a_thousand_firmwares_that_logged_in_fit_beside_the_built_in_list() {
    let mut exempt = Vec::new();
    for version in 0..250 {
        let (major, minor) = (version / 16, version % 16);
        exempt.push(format!("Cisco/SPA504G-{major}.{minor}.2f"));
        exempt.push(format!(
            "Asterisk PBX {major}.{minor}.0~dfsg-0+deb11u{minor}"
        ));
        exempt.push(format!("FPBX-{major}.0.{minor}(18.{version}.0)"));
        exempt.push(format!("snom370/8.{major}.{minor}.35"));
    }
    let strict = |exempt: &[String]| {
        SignatureSet::builtin()
            .compile(Profile::Strict, exempt)
            .unwrap()
    };
    let tables = strict(&exempt);
    assert!(
        tables.units() * 2 <= TABLE_UNITS,
        "{} units",
        tables.units()
    );
    for user_agent in &exempt {
        let message = register_with("User-Agent", user_agent);
        assert_eq!(
            tables.scan(&message, ScanMode::DATAGRAM),
            None,
            "{user_agent}"
        );
    }

    // What no shared signature matches needs no exemption.
    let snoms: Vec<String> = exempt
        .into_iter()
        .filter(|value| value.starts_with("snom"))
        .collect();
    assert_eq!(strict(&snoms).rows(), STRICT.rows());
}
