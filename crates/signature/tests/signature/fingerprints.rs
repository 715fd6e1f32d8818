//! Scanners under a telephone's name: what they leave in tags and hosts, and who else might.

use sipward_signature::ScanMode;
use test_case::test_case;

use crate::common::{STANDARD, STRICT, first, register_with};

/// As the three tools fill them: what svmap asked for, svwar's extension, svcrack's account and
/// password.
#[test_case("6330303030323031313363340133383731323936333334"; "svmap")]
#[test_case("3130310131303434383733323930"; "svwar")]
#[test_case("3130303a313435013933373138323034"; "svcrack")]
fn what_sipvicious_writes_into_a_tag_is_found_under_any_name(tag: &str) {
    let value = format!("\"Anna\" <sip:1001@pbx.example.com>;tag={tag}");
    let found = first(
        &STANDARD,
        &register_with("From", &value),
        ScanMode::DATAGRAM,
    );
    assert_eq!(found, Some("sipvicious-tag"));
}

/// Their makers' ways to draw a tag, and texts that are written so by chance.
#[test_case("as5b3c1f7e"; "chan_sip")]
#[test_case("0c5c0e4e-2a3f-4d1b-9a44-52a3c3a2f0b1"; "PJSIP: a UUID")]
#[test_case("vK7rHaDg8U5aN"; "Sofia")]
#[test_case("6a4be2d1"; "eight digits in hexadecimal")]
#[test_case("9f86d081884c7d65"; "sixteen")]
#[test_case("9f86d081884c7d659a2feaa0c55ad015"; "thirty-two: MD5")]
#[test_case("d41d8cd98f00b204e980013132333435"; "five digits behind a byte 1")]
#[test_case("9f86d0818801323334353637383a"; "a byte that is no digit")]
#[test_case("f86d081880132333435363738"; "an odd number of digits")]
#[test_case("0132333435363738"; "nothing before the byte 1")]
#[test_case("3130303a313435"; "a text, and no more")]
#[test_case("3206210845"; "a number")]
#[test_case("9f86d08188013233343536373839-1"; "more behind it")]
#[test_case("27SIPpTag001"; "SIPp")]
#[test_case("1928301774"; "RFC 3261")]
fn tags_as_honest_software_draws_them_pass(tag: &str) {
    let value = format!("\"Anna\" <sip:1001@pbx.example.com>;tag={tag}");
    let found = first(&STRICT, &register_with("From", &value), ScanMode::DATAGRAM);
    assert_eq!(found, None);
}

/// The automaton does not look at it: eight digits in hexadecimal behind a dash, as Linksys and
/// Cisco write them, are a number in decimal once in 43, and home-made monitors number theirs.
#[test]
fn a_decimal_branch_alone_is_no_fingerprint() {
    let via = "SIP/2.0/UDP 192.0.2.21:5060;branch=z9hG4bK-3871296334;rport";
    let found = first(&STRICT, &register_with("Via", via), ScanMode::DATAGRAM);
    assert_eq!(found, None);
}

#[test_case("From", "<sip:alice@atlanta.com:5060>;tag=1", true; "a port")]
#[test_case("From", "sip:bob@biloxi.com;tag=1", true; "without brackets")]
#[test_case("To", "Bob <sip:bob@sip.biloxi.com>", true; "a host in the domain")]
#[test_case("To", "<sip:chicago.com;transport=udp>", true; "no user, and parameters")]
#[test_case("From", "<sip:alice@chicago.community>;tag=1", false; "a longer name")]
#[test_case("From", "<sip:alice@atlanta.com.example>;tag=1", false; "a domain in another")]
#[test_case("From", "<sip:alice@hotelatlanta.com>;tag=1", false; "the end of a name")]
#[test_case("From", "\"chicago.com\" <sip:alice@pbx.example.com>;tag=1", false; "a display name")]
#[test_case("To", "<sip:chicago.com@pbx.example.com>", false; "a user")]
#[test_case("Contact", "<sip:alice@pc33.atlanta.com>", false; "where nobody puts it alone")]
fn the_sample_hosts_are_whole_hosts(header: &str, value: &str, matches: bool) {
    let found = first(&STANDARD, &register_with(header, value), ScanMode::DATAGRAM);
    assert_eq!(found.is_some(), matches, "{found:?}");
}
