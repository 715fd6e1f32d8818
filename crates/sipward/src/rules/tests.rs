//! What the rules say; that the tools take them and what they do is tested with the tools.

use sipward_signature::SignatureSet;

use super::{Family, Protection, headers::texts, iptables, nftables};
use crate::{
    config::{Config, Profile},
    control::api::BanView,
};

const NOW: &str = "2026-11-22T16:00:00Z";

fn bans() -> Vec<BanView> {
    let bans = serde_json::json!([
        ["203.0.113.7/32", null, null, "all"],
        ["203.0.113.0/24", null, "2026-11-22T16:10:00Z", "sip"],
        ["198.51.100.9/32", 5062, "2026-11-22T17:00:00Z", "all"],
        ["198.51.100.10/32", null, "2026-11-22T15:00:00Z", "all"],
        ["198.51.100.11/32", null, "2050-01-01T00:00:00Z", "all"],
        ["0.0.0.0/0", null, null, "sip"],
        ["2001:db8:bad::/48", null, null, "sip"],
    ]);
    let view = |ban: &serde_json::Value| {
        serde_json::from_value(serde_json::json!({
            "prefix": ban[0], "port": ban[1], "since": NOW, "until": ban[2], "scope": ban[3],
            "detector": null, "reason": "night", "proven": false, "origin": "manual",
            "dropped_packets": 0,
        }))
    };
    let bans = bans.as_array().unwrap().iter();
    bans.map(|ban| view(ban).unwrap()).collect()
}

/// Of the signatures a few, one of each kind.
fn signatures() -> SignatureSet {
    let mut text = String::new();
    for (name, field, kind, pattern, confidence) in [
        (
            "scanner",
            "user-agent",
            "contains",
            "friendly-scanner",
            "certain",
        ),
        ("quoted", "user-agent", "prefix", "a \"b\" | $c", "likely"),
        ("dash", "user-agent", "exact", "-", "likely"),
        ("name", "from", "contains", "sipvicious", "certain"),
        ("uri", "to", "exact", "sip:nm@nm", "likely"),
        ("request", "request-uri", "exact", "sip:nm", "likely"),
        ("part", "request-uri", "contains", "sip:x", "likely"),
        ("regex", "user-agent", "regex", "x[0-9]{9}", "likely"),
        ("phone", "user-agent", "contains", "cisco", "shared"),
    ] {
        text += &format!(
            "[[signature]]\nname = \"{name}\"\nfield = \"{field}\"\nmatch = \"{kind}\"\n\
             pattern = {pattern:?}\nconfidence = \"{confidence}\"\nsource = \"test\"\n"
        );
    }
    SignatureSet::parse("test", &text).unwrap()
}

fn written(config: &Config, write: impl Fn(&Protection<'_>) -> String) -> String {
    let signatures = signatures();
    let protection = Protection {
        config,
        signatures: &signatures,
        allowed: ["198.51.100.0/28", "2001:db8:51::10/128"]
            .map(|net| net.parse().unwrap())
            .to_vec(),
        bans: bans(),
        now: NOW.parse().unwrap(),
    };
    write(&protection).replace(env!("CARGO_PKG_VERSION"), "VERSION")
}

fn config() -> Config {
    let mut config = Config::default();
    config.ports.tripwire = vec![5038];
    config
}

#[test]
fn the_rules_for_iptables_are() {
    insta::assert_snapshot!(written(&config(), |protection| iptables(
        protection,
        Family::V4
    )));
}

#[test]
fn the_rules_for_ip6tables_are() {
    insta::assert_snapshot!(written(&config(), |protection| iptables(
        protection,
        Family::V6
    )));
}

#[test]
fn the_rules_for_nftables_are() {
    insta::assert_snapshot!(written(&config(), nftables));
}

#[test]
fn the_strict_profile_has_the_guides_burst_and_shared_signatures() {
    let mut config = config();
    config.signatures.profile = Profile::Strict;
    let text = written(&config, |protection| iptables(protection, Family::V4));
    assert!(
        text.contains("--hashlimit-above 5/second --hashlimit-burst 30 "),
        "{text}"
    );
    assert!(text.contains("--comment phone "), "{text}");
}

/// An ordinary request without anything that a signature is for.
const REQUEST: &[u8] = b"REGISTER sip:192.0.2.1 SIP/2.0\r\n\
    Via: SIP/2.0/UDP 198.51.100.10:5060;branch=z9hG4bK-1\r\nMax-Forwards: 70\r\n\
    From: \"friendly-scanner Cisco PBX\" <sip:alice@192.0.2.1>;tag=1\r\nTo: <sip:alice@192.0.2.1>\r\n\
    Call-ID: sipvicious-1@198.51.100.10\r\nCSeq: 1 REGISTER\r\n\
    Contact: <sip:alice@198.51.100.10>\r\nUser-Agent: Yealink SIP-T46S 66.86.0.15\r\n\
    Content-Length: 0\r\n\r\n";

#[test]
fn no_text_of_a_builtin_signature_is_in_an_ordinary_request() {
    let folded = REQUEST.to_ascii_lowercase();
    let mut said = 0;
    for signature in SignatureSet::builtin().iter() {
        for text in texts(signature).into_iter().flatten() {
            let text = text.to_ascii_lowercase();
            assert!(text.len() > 4, "{}", signature.name);
            let hit = folded.windows(text.len()).any(|window| window == text);
            assert!(!hit, "{}", signature.name);
            said += 1;
        }
    }
    assert!(said >= 70, "{said}");
}
