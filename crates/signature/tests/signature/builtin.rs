//! The built-in list: what it stops, and whom it leaves alone.

mod messages;

use std::collections::BTreeSet;

use self::messages::{ELSEWHERE, GUIDE, NEAR_MISSES};
use crate::common::{STANDARD, STRICT, all, first, register_with};
use sipward_signature::{
    Action, Confidence, Field, GENUINE_USER_AGENTS, MatchKind, Profile, ScanMode, Signature,
    SignatureSet,
};

fn signatures() -> Vec<Signature> {
    SignatureSet::builtin().iter().cloned().collect()
}

#[test]
fn the_list_parses() {
    let parsed = SignatureSet::parse("signatures.toml", sipward_signature::BUILTIN);
    assert_eq!(parsed.unwrap(), SignatureSet::builtin());
    assert_eq!(SignatureSet::builtin().iter().len(), 79);
}

#[test]
fn strict_drops_every_pattern_of_the_guide_in_its_own_position() {
    let patterns: BTreeSet<&str> = GUIDE.iter().map(|row| row.0).collect();
    assert_eq!(patterns.len(), 75);
    for (pattern, header, value, name) in GUIDE {
        let message = register_with(header, value);
        let found = first(&STRICT, &message, ScanMode::DATAGRAM);
        assert_eq!(found, Some(*name), "{pattern}");
    }
}

#[test]
fn patterns_are_found_in_each_header_that_scanners_put_them_in() {
    for (header, value, name) in ELSEWHERE {
        let found = all(&STRICT, &register_with(header, value), ScanMode::DATAGRAM);
        assert!(found.contains(name), "{header}: {value}: {found:?}");
    }
}

#[test]
fn every_signature_is_reached_by_some_message() {
    let guide = GUIDE.iter().map(|row| row.3);
    let reached: BTreeSet<&str> = guide.chain(ELSEWHERE.iter().map(|row| row.2)).collect();
    for signature in signatures() {
        assert!(
            reached.contains(signature.name.as_str()),
            "{}",
            signature.name
        );
        assert!(
            signature.reason.is_some(),
            "{} gives no reason",
            signature.name
        );
    }
}

#[test]
fn standard_drops_what_is_certain_or_likely_and_passes_what_is_shared() {
    let signatures = signatures();
    let messages = GUIDE
        .iter()
        .map(|row| (row.1, row.2, row.3))
        .chain(ELSEWHERE.iter().copied());
    for (header, value, name) in messages {
        let signature = signatures.iter().find(|s| s.name == name).unwrap();
        let drops = Profile::Standard.action(signature.confidence) == Action::Drop;
        let message = register_with(header, value);
        let found = first(&STANDARD, &message, ScanMode::DATAGRAM);
        assert_eq!(found.is_some(), drops, "{header}: {value}");
    }
}

#[test]
fn a_source_that_logged_in_is_held_to_certain_signatures_only() {
    let signatures = signatures();
    let trusted = ScanMode {
        trusted: true,
        ..ScanMode::DATAGRAM
    };
    for (pattern, header, value, name) in GUIDE {
        let signature = signatures.iter().find(|s| s.name == *name).unwrap();
        let certain = signature.confidence == Confidence::Certain;
        let found = first(&STRICT, &register_with(header, value), trusted);
        assert_eq!(found.is_some(), certain, "{pattern}");
    }
}

#[test]
fn no_genuine_device_is_dropped_in_standard() {
    assert!(GENUINE_USER_AGENTS.len() >= 50);
    for user_agent in GENUINE_USER_AGENTS {
        let message = register_with("User-Agent", user_agent);
        let found = first(&STANDARD, &message, ScanMode::DATAGRAM);
        assert_eq!(found, None, "{user_agent}");
    }
}

#[test]
fn every_shared_signature_is_sent_by_a_genuine_device_that_standard_passes() {
    // What laboratories, owners of a PBX and careful border controllers write themselves.
    let self_named = ["Test Agent", "TestAgent", "TEST", "ims", "PBX", "-"];
    let built = [
        "Ozeki VoIP SIP SDK v1.3.6",
        "Yealink SIP-T21P_E2 52.80.0.130",
    ];
    let polycom = ["PolycomVVX-VVX_300-UA/4.1.6.4835 v11.0.0"];
    let values: Vec<&str> = [GENUINE_USER_AGENTS, &self_named, &built, &polycom].concat();
    for signature in signatures() {
        if signature.confidence != Confidence::Shared {
            continue;
        }
        assert_eq!(signature.field, Field::UserAgent, "{}", signature.name);
        let sent_by = values.iter().find(|value| {
            let message = register_with("User-Agent", value);
            first(&STRICT, &message, ScanMode::DATAGRAM) == Some(&signature.name)
        });
        let sent_by = sent_by.unwrap_or_else(|| panic!("nobody sends {}", signature.name));
        let message = register_with("User-Agent", sent_by);
        assert_eq!(
            first(&STANDARD, &message, ScanMode::DATAGRAM),
            None,
            "{sent_by}"
        );
    }
}

#[test]
fn what_only_looks_like_a_certain_signature_passes() {
    let certain: BTreeSet<String> = signatures()
        .into_iter()
        .filter(|signature| signature.confidence == Confidence::Certain)
        .map(|signature| signature.name)
        .collect();
    let covered: BTreeSet<String> = NEAR_MISSES.iter().map(|row| row.0.to_owned()).collect();
    assert_eq!(covered, certain);
    for (name, header, value) in NEAR_MISSES {
        let found = first(&STRICT, &register_with(header, value), ScanMode::DATAGRAM);
        assert_eq!(found, None, "{name}: {header}: {value}");
    }
}

#[test]
fn a_pattern_elsewhere_in_the_message_is_no_match() {
    let message = "INVITE sip:cisco@friendly-scanner.example SIP/2.0\r\n\
        Via: SIP/2.0/UDP friendly-scanner;branch=z9hG4bK-sipcli\r\n\
        From: \"PBX\" <sip:cisco@pbx.example.com>;tag=TEST\r\n\
        To: <sip:0000000000@pbx.example.com>\r\n\
        Call-ID: sipvicious@friendly-scanner\r\n\
        Subject: friendly-scanner\r\n\
        X-User-Agent: friendly-scanner\r\n\
        User-Agents: friendly-scanner\r\n\
        Content-Type: application/sdp\r\n\r\n\
        User-Agent: friendly-scanner\r\n";
    assert_eq!(first(&STRICT, message.as_bytes(), ScanMode::DATAGRAM), None);
}

#[test]
fn user_agents_are_matched_with_all_their_signatures() {
    let set = SignatureSet::builtin();
    let names = |user_agent: &str| -> Vec<String> {
        set.match_user_agent(user_agent)
            .into_iter()
            .map(|found| found.name)
            .collect()
    };
    assert_eq!(names("sipcli/v1.8"), ["sipcli"]);
    assert_eq!(
        names("  SIPVicious, a Friendly-Scanner "),
        ["sipvicious-friendly-scanner", "sipvicious-user-agent"]
    );
    assert_eq!(names("Yealink SIP-T46S 66.86.0.15"), [] as [&str; 0]);
    assert_eq!(
        names("two\r\n\r\nlines friendly-scanner"),
        ["sipvicious-friendly-scanner"]
    );

    let cisco = set.match_user_agent("Cisco/SPA504G");
    assert_eq!(Profile::Standard.action_for(&cisco), Action::Evidence);
    assert_eq!(Profile::Strict.action_for(&cisco), Action::Drop);
    assert_eq!(Profile::Strict.action_for(&[]), Action::None);
}

#[test]
fn no_shared_signature_matches_a_part_of_a_value() {
    for signature in signatures() {
        if signature.confidence == Confidence::Shared {
            assert!(matches!(
                signature.kind,
                MatchKind::Exact | MatchKind::Prefix
            ));
        }
    }
}
