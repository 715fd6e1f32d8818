//! The built-in list: what it stops, and whom it leaves alone.

use std::collections::BTreeSet;

use crate::common::{STANDARD, STRICT, all, first, register_with};
use sipward_signature::{
    Action, Confidence, Field, GENUINE_USER_AGENTS, MatchKind, Profile, ScanMode, Signature,
    SignatureSet,
};

/// The 75 distinct patterns of the guide's rules, decoded, each in the place where its scanner
/// sends it (header, value), and the signature that stands for it.
const GUIDE: &[(&str, &str, &str, &str)] = &[
    (
        "friendly-scanner",
        "User-Agent",
        "friendly-scanner",
        "sipvicious-friendly-scanner",
    ),
    (
        "VaxSIPUserAgent",
        "User-Agent",
        "VaxSIPUserAgent/3.0",
        "vaxvoip",
    ),
    (
        "sundayddr",
        "User-Agent",
        "sundayddr",
        "sipvicious-sundayddr",
    ),
    ("sipsak", "User-Agent", "sipsak 0.9.7", "sipsak"),
    (
        "sipvicious",
        "From",
        "\"sipvicious\"<sip:100@1.1.1.1>;tag=6131",
        "sipvicious-from",
    ),
    ("iWar", "User-Agent", "iWar", "iwar"),
    ("sip-scan", "User-Agent", "sip-scan", "sip-scan"),
    ("sipcli", "User-Agent", "sipcli/v1.9", "sipcli"),
    ("ppslip", "User-Agent", "ppslip", "pplsip-misspelt"),
    (
        "eyeBeam",
        "User-Agent",
        "eyeBeam release 1102q stamp 51814",
        "eyebeam",
    ),
    ("sip:nm2@nm2", "To", "<sip:nm2@nm2>", "nmap-options-to"),
    ("sip:n@n", "From", "<sip:n@n>;tag=1", "probe-n-at-n-from"),
    (
        "sip:nm@nm",
        "From",
        "<sip:nm@nm>;tag=root",
        "nmap-options-from",
    ),
    (
        "VaxSIPUserAgent/3.1",
        "User-Agent",
        "VaxSIPUserAgent/3.1",
        "vaxvoip",
    ),
    (
        "VaxSIPUserAgent/3.5",
        "User-Agent",
        "VaxSIPUserAgent/3.5",
        "vaxvoip",
    ),
    ("sipcli/v1.8", "User-Agent", "sipcli/v1.8", "sipcli"),
    ("sipcli/v2.2", "User-Agent", "sipcli/v2.2", "sipcli"),
    ("sipcli/v", "User-Agent", "sipcli/v", "sipcli"),
    (
        "CSipSimple",
        "User-Agent",
        "CSipSimple_crespo-16/r1916",
        "csipsimple",
    ),
    (
        "SIVuS",
        "User-Agent",
        "SIVuS_VoIP_Security_Scanner",
        "sivus",
    ),
    ("Gulp", "User-Agent", "Gulp", "gulp"),
    ("sipv", "User-Agent", "sipv", "sipv"),
    ("smap", "User-Agent", "smap 0.6", "smap"),
    (
        "friendly-request",
        "User-Agent",
        "friendly-request",
        "friendly-request",
    ),
    (
        "VaxIPUserAgent",
        "User-Agent",
        "VaxIPUserAgent/3.1",
        "vaxvoip-older",
    ),
    ("siparmyknife", "User-Agent", "siparmyknife", "siparmyknife"),
    ("Test Agent", "User-Agent", "Test Agent", "test-agent"),
    ("TestAgent", "User-Agent", "TestAgent", "testagent"),
    ("User-Agent: sipcli", "User-Agent", "sipcli/v1.8", "sipcli"),
    ("User-Agent: Nmap NSE", "User-Agent", "Nmap NSE", "nmap-nse"),
    (
        "From: sipp <sip:",
        "From",
        "sipp <sip:sipp@192.0.2.1:5060>;tag=1",
        "sipp",
    ),
    (
        "User-Agent: VaxSIPUserAgent",
        "User-Agent",
        "VaxSIPUserAgent/3.1",
        "vaxvoip",
    ),
    ("PortSip", "User-Agent", "PortSIP VoIP SDK 16.0", "portsip"),
    ("ppIsip", "User-Agent", "ppIsip", "pplsip-lookalike"),
    ("pplsip", "User-Agent", "pplsip", "pplsip"),
    (
        "sip:carol@chicago.com",
        "To",
        "<sip:carol@chicago.com>",
        "rfc3261-host-to",
    ),
    (
        "sipfurious",
        "From",
        "\"sipfurious\" <sip:100@1.1.1.1>;tag=1",
        "sipfurious-from",
    ),
    ("FPBX", "User-Agent", "FPBX-15.0.17(16.21.1)", "fpbx"),
    (
        "MGKsip release 1110",
        "User-Agent",
        "MGKsip release 1110",
        "mgksip",
    ),
    ("Cisco", "User-Agent", "Cisco/SPA303-7.4.7", "cisco"),
    (
        "Avaya IP Phone 1120E",
        "User-Agent",
        "Avaya IP Phone 1120E",
        "avaya-1120e",
    ),
    (
        "Linksys-SPA942",
        "User-Agent",
        "Linksys-SPA942",
        "linksys-spa942-hyphen",
    ),
    ("ims", "User-Agent", "ims", "ims"),
    (
        "PhonerLite/2.95",
        "User-Agent",
        "PhonerLite/2.95",
        "phonerlite",
    ),
    (
        "Avaya one-X Deskphone",
        "User-Agent",
        "Avaya one-X Deskphone",
        "avaya-one-x",
    ),
    (
        "erafsadfasfa",
        "User-Agent",
        "erafsadfasfa",
        "keystrokes-erafsadfasfa",
    ),
    (
        "Cisco-SIPGateway/IOS-12.x",
        "User-Agent",
        "Cisco-SIPGateway/IOS-12.x",
        "cisco",
    ),
    (
        "Cisco-SIPGateway",
        "User-Agent",
        "Cisco-SIPGateway/IOS-15.2.4.M5",
        "cisco",
    ),
    (
        "FPBX-2.11.0(11.8.1)",
        "User-Agent",
        "FPBX-2.11.0(11.8.1)",
        "fpbx",
    ),
    (
        "A2billingPBXooooPoPcisco",
        "User-Agent",
        "A2billingPBXooooPoPcisco",
        "a2billing-cisco",
    ),
    (
        "Linksys/SPA942",
        "User-Agent",
        "Linksys/SPA942-5.1.15",
        "linksys-spa942",
    ),
    (
        "AGFEO SIP V3.00.15 b  ",
        "User-Agent",
        "AGFEO SIP V3.00.15 b  ",
        "agfeo",
    ),
    (
        "Z 3.14.38765 rv2.8.3",
        "User-Agent",
        "Z 3.14.38765 rv2.8.3",
        "zoiper-3.14",
    ),
    ("0000000000", "User-Agent", "0000000000", "ten-zeros"),
    ("Zed-1.5", "User-Agent", "Zed-1.5", "zed"),
    ("OpenEndPBX", "User-Agent", "OpenEndPBX", "openendpbx"),
    ("TEST", "User-Agent", "TEST", "test"),
    ("Mm-21.3", "User-Agent", "Mm-21.3", "mm-21"),
    (
        "eyeBeam release 3007n stamp 17816",
        "User-Agent",
        "eyeBeam release 3007n stamp 17816",
        "eyebeam",
    ),
    ("-", "User-Agent", "-", "dash"),
    (
        "Avaya J129 IP Phone",
        "User-Agent",
        "Avaya J129 IP Phone",
        "avaya-j129",
    ),
    ("cisco", "User-Agent", "cisco", "cisco"),
    (
        "Alcatel-Lucent 5060 MGC-89.3.0.7.0.4",
        "User-Agent",
        "Alcatel-Lucent 5060 MGC-89.3.0.7.0.4",
        "alcatel-5060",
    ),
    ("PBX", "User-Agent", "PBX", "pbx"),
    (
        "FreeSWITCH",
        "User-Agent",
        "FreeSWITCH-mod_sofia/1.6.20",
        "freeswitch",
    ),
    (
        "SylkServer-5.2.0",
        "User-Agent",
        "SylkServer-5.2.0",
        "sylkserver",
    ),
    (
        "FOXOA2billingPBXooooPoPcisco",
        "User-Agent",
        "FOXOA2billingPBXooooPoPcisco",
        "foxo-a2billing-cisco",
    ),
    (
        "Asterisk PBX",
        "User-Agent",
        "Asterisk PBX 11.25.3",
        "asterisk",
    ),
    (
        "Avaya Communicator for iPhone",
        "User-Agent",
        "Avaya Communicator for iPhone",
        "avaya-communicator-iphone",
    ),
    (
        "DX800A/41.175.00.000.000",
        "User-Agent",
        "DX800A/41.175.00.000.000",
        "gigaset-dx800a",
    ),
    (
        "Ozeki VoIP SIP SDK v1.3.6",
        "User-Agent",
        "Ozeki VoIP SIP SDK v1.3.6",
        "ozeki",
    ),
    (
        "Sphairon-SL5501-4.38.2.04.01",
        "User-Agent",
        "Sphairon-SL5501-4.38.2.04.01",
        "sphairon",
    ),
    (
        "3CXPhoneSystem 15.0.59950.0 (59299)",
        "User-Agent",
        "3CXPhoneSystem 15.0.59950.0 (59299)",
        "3cx-15",
    ),
    (
        "Yealink SIP-T21P_E2 52.80.0.130",
        "User-Agent",
        "Yealink SIP-T21P_E2 52.80.0.130",
        "yealink-t21p",
    ),
    (
        "PolycomVVX-VVX_300-UA/4.1.6.4835 v11.0.0",
        "User-Agent",
        "PolycomVVX-VVX_300-UA/4.1.6.4835 v11.0.0",
        "polycom-vvx300",
    ),
];

/// What is left of svmap when it is told other names: its tag says `c000020113c4`, the address and
/// the port that it asked, a byte 1, and `3871296334`.
const SVMAP: &str =
    "\"reception\"<sip:100@pbx.example.com>;tag=6330303030323031313363340133383731323936333334";

/// The other places in which the guide's patterns are sent, and what scanners leave behind when
/// they are told to send no User-Agent.
const ELSEWHERE: &[(&str, &str, &str)] = &[
    ("User-Agent", "sipvicious", "sipvicious-user-agent"),
    ("To", "\"sipvicious\"<sip:100@1.1.1.1>", "sipvicious-to"),
    (
        "From",
        "\"friend\"<sip:100@1.1.1.1>;tag=6131",
        "sipvicious-identity-from",
    ),
    (
        "To",
        "\"friend\"<sip:100@1.1.1.1>",
        "sipvicious-identity-to",
    ),
    ("User-Agent", "sipfurious 0.1", "sipfurious-user-agent"),
    ("To", "<sip:sipfurious@192.0.2.1>", "sipfurious-to"),
    ("Contact", "<sip:nm@nm>", "nmap-options-contact"),
    ("To", "<sip:n@n>", "probe-n-at-n-to"),
    ("Contact", "sip:n@n", "probe-n-at-n-contact"),
    ("request-uri", "sip:carol@chicago.com", "rfc3261-carol-uri"),
    (
        "From",
        "Alice <sip:alice@atlanta.com>;tag=1928301774",
        "rfc3261-host-from",
    ),
    ("From", SVMAP, "sipvicious-tag"),
    (
        "From",
        "\"100\" <sip:100@192.0.2.1>;tag=3206210844",
        "svcrack-tag",
    ),
    ("Contact", "sip:123@1.1.1.1", "sipvicious-identity-contact"),
    (
        "User-Agent",
        "SIP Scanner Pro 2.1",
        "sip-scanner-pro-user-agent",
    ),
    (
        "From",
        "\"SIP Scanner Pro\" <sip:100@192.0.2.9>;tag=1",
        "sip-scanner-pro-from",
    ),
];

/// For each `certain` signature something that looks like it and is not.
const NEAR_MISSES: &[(&str, &str, &str)] = &[
    (
        "sipvicious-friendly-scanner",
        "User-Agent",
        "friendly scanner app 2.0",
    ),
    (
        "sipvicious-user-agent",
        "User-Agent",
        "sip-vicious-circle phone",
    ),
    (
        "sipvicious-from",
        "From",
        "\"Sid Vicious\" <sip:sid@pbx.example.com>;tag=1",
    ),
    (
        "sipvicious-to",
        "To",
        "\"vicious\" <sip:sip.vicious@pbx.example.com>",
    ),
    (
        "sipvicious-tag",
        "From",
        "\"Anna\" <sip:1001@pbx.example.com>;tag=3130303a313435",
    ),
    ("sipvicious-sundayddr", "User-Agent", "sunday ddr phone"),
    ("friendly-request", "User-Agent", "friendly-requests/1.0"),
    ("sipfurious-user-agent", "User-Agent", "sip-furious"),
    (
        "sipfurious-from",
        "From",
        "\"furious\" <sip:fast@pbx.example.com>;tag=1",
    ),
    ("sipfurious-to", "To", "<sip:sip_furious@pbx.example.com>"),
    ("pplsip", "User-Agent", "applsip/1.0"),
    ("pplsip-lookalike", "User-Agent", "ppIsip-phone/3"),
    ("pplsip-misspelt", "User-Agent", "ppslip 1.0"),
    ("siparmyknife", "User-Agent", "Swiss siparmyknife"),
    ("sivus", "User-Agent", "Pasivus 1.0"),
    ("smap", "User-Agent", "smapphone/1.2"),
    ("iwar", "User-Agent", "KaiWare iWarden"),
    ("sip-scan", "User-Agent", "my-sip-scanner-free phone"),
    (
        "sip-scanner-pro-user-agent",
        "User-Agent",
        "VoIP SIP Scanner Pro",
    ),
    (
        "sip-scanner-pro-from",
        "From",
        "\"Scanner Pro\" <sip:fax@pbx.example.com>;tag=1",
    ),
    ("nmap-nse", "User-Agent", "WinNmap NSE"),
    ("nmap-options-from", "From", "<sip:nm@nmedia.example>;tag=1"),
    ("nmap-options-to", "To", "<sip:nm2@nm2.example>"),
    ("nmap-options-contact", "Contact", "<sip:xnm@nm>"),
    ("probe-n-at-n-from", "From", "<sip:n@nortel.example>;tag=1"),
    ("probe-n-at-n-to", "To", "<sip:n@n:5060>"),
    ("probe-n-at-n-contact", "Contact", "<sip:jn@n>"),
    ("keystrokes-erafsadfasfa", "User-Agent", "erafsadfasfa2"),
    ("a2billing-cisco", "User-Agent", "A2billingPBX"),
    (
        "foxo-a2billing-cisco",
        "User-Agent",
        "FOXOA2billingPBXooooPoPcisco/2",
    ),
];

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
