//! What the lint says of lists as people write them.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use insta::assert_snapshot;
use sipward_signature::{Finding, Severity, Signature, SignatureSet, lint};
use test_case::test_case;

/// The guide's rules, word for word and in its order, repetitions included.
const GUIDE_VERBATIM: &[&str] = &[
    "friendly-scanner",
    "VaxSIPUserAgent",
    "sundayddr",
    "sipsak",
    "sipvicious",
    "iWar",
    "sip-scan",
    "sipcli",
    "ppslip",
    "eyeBeam",
    "sip:nm2@nm2",
    "sip:n@n",
    "sip:nm@nm",
    "VaxSIPUserAgent/3.1",
    "VaxSIPUserAgent/3.5",
    "sipcli/v1.8",
    "sipcli/v2.2",
    "sipcli/v",
    "CSipSimple",
    "SIVuS",
    "Gulp",
    "sipv",
    "smap",
    "friendly-request",
    "VaxIPUserAgent",
    "siparmyknife",
    "Test Agent",
    "TestAgent",
    "User-Agent: sipcli",
    "User-Agent: Nmap NSE",
    "From: sipp <sip:",
    "From: sipp <sip:",
    "User-Agent: VaxSIPUserAgent",
    "PortSip",
    "ppIsip",
    "pplsip",
    "sip:carol@chicago.com",
    "sipfurious",
    "FPBX",
    "MGKsip%20release%201110",
    "Cisco",
    "Avaya%20IP%20Phone%201120E",
    "Linksys-SPA942",
    "ims",
    "PhonerLite/2.95",
    "Avaya%20one-X%20Deskphone",
    "erafsadfasfa",
    "Cisco-SIPGateway/IOS-12.x",
    "Cisco-SIPGateway",
    "FPBX-2.11.0(11.8.1)",
    "A2billingPBXooooPoPcisco",
    "Linksys/SPA942",
    "AGFEO%20SIP%20V3.00.15%20b%20%20",
    "Z%203.14.38765%20rv2.8.3",
    "0000000000",
    "Zed-1.5",
    "OpenEndPBX",
    "TEST",
    "Mm-21.3",
    "eyeBeam%20release%203007n%20stamp%2017816",
    "-",
    "Avaya%20J129%20IP%20Phone",
    "cisco",
    "Linksys-SPA942",
    "Alcatel-Lucent%205060%20MGC-89.3.0.7.0.4",
    "PBX",
    "FreeSWITCH",
    "Z%203.14.38765%20rv2.8.3",
    "SylkServer-5.2.0",
    "FOXOA2billingPBXooooPoPcisco",
    "Asterisk%20PBX",
    "Avaya%20Communicator%20for%20iPhone",
    "DX800A/41.175.00.000.000",
    "Ozeki%20VoIP%20SIP%20SDK%20v1.3.6",
    "Sphairon-SL5501-4.38.2.04.01",
    "3CXPhoneSystem%2015.0.59950.0%20(59299)",
    "Yealink%20SIP-T21P_E2%2052.80.0.130",
    "PolycomVVX-VVX_300-UA/4.1.6.4835%20v11.0.0",
];

/// Which of them are sound: names of scanners that no product has, or that hardly any product has,
/// each where it stands first and in its widest form. All others are broken.
const GUIDE_SOUND: &[&str] = &[
    "friendly-scanner",
    "VaxSIPUserAgent",
    "sundayddr",
    "sipsak",
    "sipvicious",
    "iWar",
    "sip-scan",
    "sipcli",
    "ppslip",
    "SIVuS",
    "Gulp",
    "smap",
    "friendly-request",
    "VaxIPUserAgent",
    "siparmyknife",
    "ppIsip",
    "pplsip",
    "sipfurious",
    "Linksys-SPA942",
    "erafsadfasfa",
    "A2billingPBXooooPoPcisco",
    "Zed-1.5",
    "OpenEndPBX",
    "Mm-21.3",
];

fn signature(name: &str, keys: &str) -> String {
    format!("[[signature]]\nname = \"{name}\"\nsource = \"test\"\n{keys}\n")
}

fn findings(text: &str) -> Vec<Finding> {
    lint(&SignatureSet::parse("test.toml", text).unwrap())
}

fn printed(findings: &[Finding]) -> String {
    let mut text = String::new();
    for finding in findings {
        let severity = match finding.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Note => "note",
        };
        writeln!(
            text,
            "{}: {severity}: {}\n    {}",
            finding.signature, finding.message, finding.fix
        )
        .unwrap();
    }
    text
}

#[test]
fn the_built_in_list_has_no_findings() {
    assert_eq!(printed(&lint(&SignatureSet::builtin())), "");
}

fn guide_rules() -> Vec<(String, Signature)> {
    let mut text = String::new();
    for (at, pattern) in GUIDE_VERBATIM.iter().enumerate() {
        let keys = format!(
            "field = \"user-agent\"\nmatch = \"contains\"\npattern = {pattern:?}\n\
             confidence = \"certain\""
        );
        text += &signature(&format!("rule-{:02}", at + 1), &keys);
    }
    let set = SignatureSet::parse("guide.toml", &text).unwrap();
    set.iter().map(|s| (s.name.clone(), s.clone())).collect()
}

fn set_of(signatures: impl IntoIterator<Item = Signature>) -> SignatureSet {
    signatures.into_iter().collect()
}

#[test]
fn the_guides_list_taken_word_for_word() {
    let set = set_of(guide_rules().into_iter().map(|(_, signature)| signature));
    assert_snapshot!(printed(&lint(&set)));
}

#[test]
fn every_broken_rule_of_the_guide_is_flagged_and_no_sound_one() {
    let set = set_of(guide_rules().into_iter().map(|(_, signature)| signature));
    let flagged: BTreeSet<String> = lint(&set).into_iter().map(|f| f.signature).collect();
    let mut unseen: BTreeSet<&str> = GUIDE_SOUND.iter().copied().collect();
    for (name, signature) in guide_rules() {
        let sound = unseen.remove(signature.pattern.as_str());
        assert_eq!(flagged.contains(&name), !sound, "{}", signature.pattern);
    }
    assert!(unseen.is_empty(), "{unseen:?}");
}

/// Takes each advice; where it offers several, the first.
fn mended(signature: &Signature, fix: &str) -> Option<Signature> {
    if fix.starts_with("remove") {
        return None;
    }
    let mut mended = toml::Table::try_from(signature).unwrap();
    let first = fix.split(", or ").next().unwrap();
    for (key, after) in ["field", "match", "pattern", "confidence"]
        .into_iter()
        .filter_map(|key| Some((key, first.split_once(&format!("{key} = \""))?.1)))
    {
        let value = after.split('"').next().unwrap().to_owned();
        mended.insert(key.to_owned(), value.into());
    }
    Some(mended.try_into().unwrap())
}

#[test]
fn a_list_mended_as_advised_is_sound() {
    let mut rules: Vec<Signature> = guide_rules().into_iter().map(|(_, rule)| rule).collect();
    // Some say the same only once they are mended.
    for _ in 0..3 {
        let findings = lint(&set_of(rules.clone()));
        rules = rules
            .into_iter()
            .filter_map(
                |rule| match findings.iter().find(|f| f.signature == rule.name) {
                    Some(finding) => mended(&rule, &finding.fix),
                    None => Some(rule),
                },
            )
            .collect();
    }
    assert_eq!(printed(&lint(&set_of(rules.clone()))), "");
    assert!(rules.len() > 2 * GUIDE_SOUND.len(), "{}", rules.len());
}

#[test]
fn a_fragment_is_flagged_and_not_what_it_is_a_fragment_of() {
    let both = [
        ("part", "Evil"),
        ("whole", "evilscanner"),
        ("apart", "evil-phone"),
    ]
    .map(|(name, pattern)| {
        let keys = "field = \"user-agent\"\nmatch = \"contains\"\nconfidence = \"certain\"";
        signature(name, &format!("{keys}\npattern = \"{pattern}\""))
    })
    .concat();
    let found = findings(&both);
    assert_eq!(found.len(), 1, "{}", printed(&found));
    assert_eq!(found[0].signature, "part");
    assert_eq!(
        found[0].message,
        "matches too much: the beginning of \"evilscanner\", and of other words"
    );
}

#[test_case("user-agent", "prefix", "NanoSIP"; "a User-Agent")]
#[test_case("contact", "contains", "101@198.51.100.10"; "an address of a phone")]
#[test_case("request-uri", "exact", "sip:600@192.0.2.1:5060"; "who is called")]
fn what_the_corpus_has_is_never_certain(field: &str, kind: &str, pattern: &str) {
    let keys = format!(
        "field = \"{field}\"\nmatch = \"{kind}\"\npattern = \"{pattern}\"\nconfidence = \"certain\""
    );
    let found = findings(&signature("one", &keys));
    let says = "called certain, but genuine devices send it";
    assert!(
        found.len() == 1 && found[0].message.starts_with(says),
        "{}",
        printed(&found)
    );
}

#[test]
fn a_list_that_does_not_fit_is_refused_with_what_costs_most() {
    let scrambled = |at: u64| {
        let mut seed = at + 1;
        let mut letter = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            char::from(b'a' + (seed >> 40) as u8 % 26)
        };
        (0..24).map(|_| letter()).collect::<String>()
    };
    let one = |name: &str, pattern: String| Signature {
        name: name.to_owned(),
        pattern,
        ..guide_rules().swap_remove(0).1
    };
    let long = "a very long pattern that shares nothing with the others".to_owned();
    let many = (0..3_000).map(|at| one(&format!("s{at}"), scrambled(at)));
    let found = lint(&set_of(many.chain([one("the-long-one", long)])));
    assert_eq!(found.len(), 1, "{}", printed(&found));
    assert_eq!(found[0].signature, "the-long-one");
    assert!(
        found[0].message.starts_with("the list needs")
            && found[0].message.ends_with("and this signature costs most"),
        "{}",
        found[0].message
    );
}

#[test_case("user-agent", "contains", "abc", "matches too much: \"abc\" is a part of"; "three letters")]
#[test_case("user-agent", "contains", " a\\t ", "matches too much: \"a\" is a part of"; "blanks are no letters")]
#[test_case("user-agent", "exact", "-", ""; "a lone dash as the whole value")]
#[test_case("user-agent", "contains", "evil%20scanner", "never matches: the pattern is percent-encoded"; "percent-encoded")]
#[test_case("from", "contains", "%73ip", "never matches: the pattern is percent-encoded"; "percent-encoded in an address")]
#[test_case("user-agent", "contains", "100%2x", ""; "a percent sign")]
#[test_case("user-agent", "contains", "two\\nlines", "never matches: a value holds no line end"; "line end")]
#[test_case("user-agent", "prefix", "User-Agent: evil", "never matches: the header's name is no part"; "header name")]
#[test_case("from", "prefix", "f : evil", "never matches: the header's name is no part"; "compact header name")]
#[test_case("user-agent", "contains", "sip:evil@evil", "never matches: user-agent holds no URI"; "a URI in the User-Agent")]
#[test_case("from", "exact", "evil", "never matches: `exact` on from compares the URI"; "a display name as URI")]
#[test_case("to", "exact", "<sip:evil@evil>", "never matches: `exact` on to compares the URI"; "brackets around the URI")]
#[test_case("request-uri", "exact", "sip:evil@evil;lr", "never matches: `exact` on request-uri"; "parameters behind the URI")]
#[test_case("to", "exact", "sip:evil@evil", ""; "a URI")]
#[test_case("user-agent", "prefix", "snom", "called certain, but genuine devices send it: \"snom370/8.7.5.35\" and 1 more"; "a genuine device")]
#[test_case("user-agent", "regex", "^yealink", "called certain, but genuine devices send it"; "a genuine device by expression")]
#[test_case("via", "contains", "branch=z9hG4bK", "called certain, but genuine devices send it: \"REGISTER sip:pbx.example.com SIP/2.0\" and "; "what every Via has")]
#[test_case("via", "contains", "SIP/2.0/UDP", "matches too much: \"SIP/2.0/UDP\" is what ordinary names are made of"; "ordinary words")]
#[test_case("contact", "contains", "transport", "matches too much: \"transport\" is what ordinary names are made of"; "an ordinary parameter")]
#[test_case("user-agent", "contains", "Test Agent", "matches too much: \"Test Agent\" is what ordinary names are made of"; "two ordinary words")]
#[test_case("user-agent", "prefix", "sip client", "matches too much: \"sip client\" is what ordinary names"; "how ordinary names begin")]
#[test_case("user-agent", "exact", "test", ""; "an ordinary word as the whole value")]
#[test_case("user-agent", "contains", "0000000000", "matches too much: \"0000000000\" is a part of ordinary numbers"; "digits")]
#[test_case("user-agent", "contains", "test-evil", ""; "an ordinary word beside one that is not")]
fn a_signature_is_judged_by_itself(field: &str, kind: &str, pattern: &str, says: &str) {
    let keys = format!(
        "field = \"{field}\"\nmatch = \"{kind}\"\npattern = \"{pattern}\"\nconfidence = \"certain\""
    );
    match &findings(&signature("one", &keys))[..] {
        [] => assert_eq!(says, ""),
        [finding] => {
            assert!(
                !says.is_empty() && finding.message.starts_with(says),
                "{}",
                finding.message
            );
            assert_eq!(finding.severity, Severity::Error);
        }
        more => panic!("{more:?}"),
    }
}

#[test]
fn a_pattern_longer_than_any_header_never_matches() {
    let keys = format!(
        "field = \"user-agent\"\nmatch = \"contains\"\npattern = \"{}\"\nconfidence = \"certain\"",
        "long".repeat(300)
    );
    let found = findings(&signature("long", &keys));
    assert_eq!(found.len(), 1);
    assert_eq!(
        found[0].message,
        "never matches: 1200 bytes are longer than any header"
    );
}

#[test]
fn less_than_certain_is_held_to_less() {
    let keys = |confidence: &str| {
        let keys = "field = \"user-agent\"\nmatch = \"prefix\"\npattern = \"snom\"";
        signature("snom", &format!("{keys}\nconfidence = \"{confidence}\""))
    };
    assert_eq!(findings(&keys("likely"))[0].severity, Severity::Warning);
    assert_eq!(findings(&keys("shared")), []);
}

#[test]
fn signatures_that_say_the_same_are_named() {
    let rows = [
        ("wide", "prefix", "evil", "likely"),
        ("narrower", "prefix", "Evil  Scanner", "likely"),
        ("stronger", "exact", "evil/3", "certain"),
        ("twin", "prefix", "EVIL", "likely"),
        ("inside", "contains", "evil", "certain"),
        ("apart", "prefix", "devil", "shared"),
    ];
    let mut text = String::new();
    for (name, kind, pattern, confidence) in rows {
        let keys = format!(
            "field = \"user-agent\"\nmatch = \"{kind}\"\npattern = \"{pattern}\"\n\
             confidence = \"{confidence}\""
        );
        text += &signature(name, &keys);
    }
    text += &signature(
        "elsewhere",
        "field = \"server\"\nmatch = \"prefix\"\npattern = \"evil\"\nconfidence = \"likely\"",
    );
    assert_snapshot!(printed(&findings(&text)), @r#"
    wide: warning: adds nothing: "inside" matches whatever it matches
        remove it
    narrower: warning: adds nothing: "wide" matches whatever it matches
        remove it
    stronger: warning: hidden: "wide" matches whatever it matches, earlier, and is only likely
        make "wide" narrower, or remove one of them
    twin: warning: says the same as "wide"
        remove one of them
    apart: warning: adds nothing: "inside" matches whatever it matches
        remove it
    "#);
}
