//! Ways to write a header that a server still reads, and ways that only look like it.

use crate::common::{STANDARD, STRICT, first};
use sipward_signature::{Profile, ScanMode, SignatureSet};
use test_case::test_case;

/// An OPTIONS request whose last header line is `line`.
fn options(line: &str) -> Vec<u8> {
    format!("{HEAD}{line}\r\nContent-Length: 0\r\n\r\n").into_bytes()
}

const HEAD: &str = "OPTIONS sip:100@192.0.2.1 SIP/2.0\r\n\
    Via: SIP/2.0/UDP 198.51.100.9:5060;branch=z9hG4bK-3232\r\n\
    From: <sip:100@192.0.2.1>;tag=1\r\n\
    To: <sip:100@192.0.2.1>\r\n\
    CSeq: 1 OPTIONS\r\n";

#[test_case("User-Agent: friendly-scanner"; "as sent")]
#[test_case("user-agent: friendly-scanner"; "lower case name")]
#[test_case("uSeR-aGeNt: fRiEnDlY-sCaNnEr"; "mixed case")]
#[test_case("User-Agent:friendly-scanner"; "no blank")]
#[test_case("User-Agent: \t  friendly-scanner \t "; "blanks around the value")]
#[test_case("User-Agent \t : friendly-scanner"; "blanks before the colon")]
#[test_case("User-Agent\r\n : friendly-scanner"; "fold before the colon")]
#[test_case("User-Agent\r\n\t\r\n : friendly-scanner"; "two folds before the colon")]
#[test_case("User-Agent:\r\n friendly-scanner"; "CRLF SP fold")]
#[test_case("User-Agent:\r\n\tfriendly-scanner"; "CRLF TAB fold")]
#[test_case("User-Agent:\n friendly-scanner"; "LF fold")]
#[test_case("User-Agent:\r friendly-scanner"; "CR fold")]
#[test_case("User-Agent:\r\n \r\n\t\r\n friendly-scanner"; "folds of blanks only")]
#[test_case("User-Agent: my\r\n friendly-scanner"; "fold inside the value")]
#[test_case("X-Y: z\nUser-Agent: friendly-scanner"; "LF as line end")]
#[test_case("X-Y: z\rUser-Agent: friendly-scanner"; "CR as line end")]
#[test_case("X-Y: z\n\rUser-Agent: friendly-scanner"; "LF CR as line end")]
#[test_case("X-Y: z\r\r\nUser-Agent: friendly-scanner"; "CR CR LF as line end")]
#[test_case("X-Y: z\r\n\r\rUser-Agent: friendly-scanner"; "CRs at the line start")]
#[test_case("-\r\nUser-Agent: friendly-scanner"; "a line that begins with a dash")]
#[test_case("no colon here\r\nUser-Agent: friendly-scanner"; "a line without a colon")]
#[test_case(": nothing\r\nUser-Agent: friendly-scanner"; "a line that begins with a colon")]
#[test_case("User-Agent: snom370\r\nUser-Agent: friendly-scanner"; "two User-Agents, the second")]
#[test_case("User-Agent: friendly-scanner\r\nUser-Agent: snom370"; "two User-Agents, the first")]
#[test_case("\0User-Agent: friendly-scanner"; "NUL before the name")]
#[test_case("User-Agent\0: friendly-scanner"; "NUL before the colon")]
#[test_case("User-Agent:\0friendly-scanner"; "NUL before the value")]
#[test_case("User-Agent: friendly-\0scanner"; "NUL in the value")]
#[test_case("User-Agent: friendly-scanner\0phone"; "NUL after the value")]
#[test_case("X: a\0b\r\nUser-Agent: friendly-scanner"; "NUL in a line before")]
#[test_case("User-Agent:\x01\x0bfriendly-scanner"; "control bytes before the value")]
#[test_case("User-Agent\x0c: friendly-scanner"; "control byte before the colon")]
fn a_scanner_cannot_hide_its_user_agent(line: &str) {
    let found = first(&STANDARD, &options(line), ScanMode::DATAGRAM);
    assert_eq!(found, Some("sipvicious-friendly-scanner"));
}

#[test]
fn a_byte_that_is_no_text_hides_nothing() {
    let mut message = HEAD.as_bytes().to_vec();
    message.extend(b"\xff\xfe: \xff\r\nX\xff\r\nUser-Agent: \xff friendly-scanner\r\n\r\n");
    let found = first(&STANDARD, &message, ScanMode::DATAGRAM);
    assert_eq!(found, Some("sipvicious-friendly-scanner"));
}

#[test_case("\r\n\r\n"; "CRLFs")]
#[test_case("\n\n\n"; "LFs")]
#[test_case("\r\r"; "CRs")]
#[test_case(" \t\r\n \r\n"; "blank lines")]
#[test_case("\0\0"; "NULs")]
#[test_case("  "; "blanks before the method")]
#[test_case("\t"; "a tab before the method")]
fn what_comes_before_the_first_line_hides_nothing(before: &str) {
    let mut message = before.as_bytes().to_vec();
    message.extend(options("User-Agent: friendly-scanner"));
    let found = first(&STANDARD, &message, ScanMode::DATAGRAM);
    assert_eq!(found, Some("sipvicious-friendly-scanner"));
}

#[test]
fn many_headers_before_it_hide_nothing() {
    let many = "X-Filler: 0123456789\r\n".repeat(3000);
    let message = options(&format!("{many}User-Agent: friendly-scanner"));
    assert!(message.len() > 60_000);
    let found = first(&STANDARD, &message, ScanMode::DATAGRAM);
    assert_eq!(found, Some("sipvicious-friendly-scanner"));
}

#[test_case("f: \"sipvicious\"<sip:100@1.1.1.1>;tag=1", "sipvicious-from"; "compact From")]
#[test_case("F : \"SIPVICIOUS\"<sip:100@1.1.1.1>", "sipvicious-from"; "compact, upper case, blank")]
#[test_case("t:\"sipvicious\"<sip:100@1.1.1.1>", "sipvicious-to"; "compact To")]
#[test_case("f: \"\\s\\i\\p\\vicious\" <sip:1@192.0.2.1>", "sipvicious-from"; "quoted pairs")]
#[test_case("f: \"%73ip%76icious\" <sip:1@192.0.2.1>", "sipvicious-from"; "percent-encoded")]
#[test_case("f: <sip:%73%49pVicious@192.0.2.1>", "sipvicious-from"; "percent-encoded, upper case hex")]
#[test_case("f: <sip:%%73ipvicious@192.0.2.1>", "sipvicious-from"; "after a lone percent sign")]
#[test_case("f: <sip:%7sipvicious@192.0.2.1>", "sipvicious-from"; "after half an escape")]
#[test_case("From: sip:nm@nm", "nmap-options-from"; "URI alone")]
#[test_case("From: sip:nm@nm;tag=root", "nmap-options-from"; "URI with header parameter")]
#[test_case("From: <sip:nm@nm>;tag=root", "nmap-options-from"; "URI in brackets")]
#[test_case("From: <sip:nm@nm;lr>", "nmap-options-from"; "URI with URI parameter")]
#[test_case("From: <sip:nm@nm?a=b>", "nmap-options-from"; "URI with headers")]
#[test_case("From: \"x\" <sip:nm@nm>;tag=1", "nmap-options-from"; "after a display name")]
#[test_case("From: x y<sip:nm@nm>", "nmap-options-from"; "after an unquoted display name")]
#[test_case("From: \"a <sip:x@y> \\\" b\" <sip:nm@nm>", "nmap-options-from"; "quoted brackets")]
#[test_case("From: < sip:nm@nm >", "nmap-options-from"; "blanks in the brackets")]
#[test_case("From:\r\n <\r\n sip:nm@nm\r\n >", "nmap-options-from"; "folds in the brackets")]
#[test_case("From: <SIP:NM@NM>", "nmap-options-from"; "URI in upper case")]
#[test_case("From: <sip:%6em@%4em>", "nmap-options-from"; "URI percent-encoded")]
#[test_case("From: <sip:nm@nm", "nmap-options-from"; "bracket left open")]
#[test_case("From: <sip:nm@nm\0>", "nmap-options-from"; "NUL in the URI")]
#[test_case("m: <sip:nm@nm>", "nmap-options-contact"; "compact Contact")]
#[test_case("From:   sipp    <sip:sipp@192.0.2.1>", "sipp"; "blanks are collapsed")]
#[test_case("From: sipp\r\n\t<sip:sipp@192.0.2.1>", "sipp"; "a fold is a blank")]
fn a_scanner_cannot_hide_its_addresses(line: &str, name: &str) {
    assert_eq!(
        first(&STANDARD, &options(line), ScanMode::DATAGRAM),
        Some(name)
    );
}

#[test_case("From: <sip:nm@nmedia.example>"; "longer host")]
#[test_case("From: <sip:xnm@nm>"; "longer user")]
#[test_case("From: <sip:nm@nm:5060>"; "with a port it is another URI")]
#[test_case("From: <sips:nm@nm>"; "another scheme")]
#[test_case("From: \"<sip:nm@nm>\" <sip:1001@pbx.example.com>"; "only in the display name")]
#[test_case("From: \"sip:nm@nm\" <sip:1001@pbx.example.com>"; "as the display name")]
#[test_case("From: <sip:1001@pbx.example.com>;x=sip:nm@nm"; "only in a parameter")]
#[test_case("From: <sip:1001@pbx.example.com>, <sip:nm@nm>"; "only the second address")]
#[test_case("From: sippy <sip:1001@pbx.example.com>"; "longer display name")]
#[test_case("From\x7f: <sip:nm@nm>"; "another header name")]
#[test_case("Fro m: <sip:nm@nm>"; "blank in the name")]
#[test_case("From <sip:nm@nm>"; "no colon")]
#[test_case("\x01From: <sip:nm@nm>"; "control byte before the name")]
fn an_honest_address_is_no_match(line: &str) {
    assert_eq!(first(&STRICT, &options(line), ScanMode::DATAGRAM), None);
}

#[test_case("INVITE sip:carol@chicago.com SIP/2.0", true; "as sent")]
#[test_case("invite  \t sip:carol@chicago.com\tsip/2.0", true; "lower case, blanks and tabs")]
#[test_case(" \tINVITE sip:carol@chicago.com SIP/2.0", true; "blanks before the method")]
#[test_case("INVITE sip:carol@chicago.com", true; "no version")]
#[test_case("INVITE sip:carol@chicago.com;transport=udp SIP/2.0", true; "parameters")]
#[test_case("INVITE sip:carol@chicago.com?x=y SIP/2.0", true; "headers")]
#[test_case("INVITE sip:%63arol@chicago.com SIP/2.0", true; "percent-encoded")]
#[test_case("INVITE\r\n sip:carol@chicago.com SIP/2.0", true; "folded")]
#[test_case("F sip:carol@chicago.com SIP/2.0", true; "a method that is a header name")]
#[test_case("INVITE sip:carol@chicago.com:5060 SIP/2.0", false; "port")]
#[test_case("INVITE sip:carol@chicago.community SIP/2.0", false; "longer host")]
#[test_case("INVITE sip:1@192.0.2.1 sip:carol@chicago.com", false; "third word")]
#[test_case("INVITE :sip:carol@chicago.com SIP/2.0", false; "a colon first")]
#[test_case(": sip:carol@chicago.com", false; "a line that begins with a colon")]
#[test_case("SIP/2.0 200 sip:carol@chicago.com", false; "status line")]
#[test_case("X-Uri: sip:carol@chicago.com", false; "header line")]
fn the_request_uri_is_the_second_word_of_the_first_line(line: &str, matches: bool) {
    let message = format!("{line}\r\nVia: SIP/2.0/UDP 192.0.2.1\r\n\r\n");
    let found = first(&STANDARD, message.as_bytes(), ScanMode::DATAGRAM);
    assert_eq!(found, matches.then_some("rfc3261-carol-uri"));
}

#[test]
fn later_lines_have_no_request_uri() {
    let line = "X\r\nINVITE sip:carol@chicago.com SIP/2.0";
    assert_eq!(first(&STRICT, &options(line), ScanMode::DATAGRAM), None);
}

#[test_case("\r\n\r\n"; "CRLF CRLF")]
#[test_case("\n\n"; "LF LF")]
#[test_case("\n\r\n"; "LF CRLF")]
#[test_case("\n\r\r\r\n"; "LF CRs LF")]
#[test_case("\r\n\n"; "CRLF LF")]
fn headers_end_at_the_empty_line(end: &str) {
    let message = format!("{HEAD}X: y{end}User-Agent: friendly-scanner\r\n\r\n");
    assert_eq!(
        first(&STANDARD, message.as_bytes(), ScanMode::DATAGRAM),
        None
    );
    let found = first(&STANDARD, message.as_bytes(), ScanMode::SEGMENT);
    assert_eq!(
        found,
        Some("sipvicious-friendly-scanner"),
        "a stream goes on"
    );
}

#[test_case("\r\r"; "CR CR")]
#[test_case("\n\r"; "LF CR")]
#[test_case("\r\n \r\n"; "a line of blanks")]
fn headers_do_not_end_here(end: &str) {
    let message = format!("{HEAD}X: y{end}User-Agent: friendly-scanner\r\n\r\n");
    let found = first(&STANDARD, message.as_bytes(), ScanMode::DATAGRAM);
    assert_eq!(found, Some("sipvicious-friendly-scanner"));
}

#[test]
fn the_second_message_of_a_segment_is_read() {
    let mut both = options("User-Agent: snom370");
    both.extend(options("User-Agent: Gulp"));
    assert_eq!(first(&STANDARD, &both, ScanMode::DATAGRAM), None);
    assert_eq!(first(&STANDARD, &both, ScanMode::SEGMENT), Some("gulp"));
}

#[test]
fn a_segment_may_begin_at_a_header() {
    let segment = b"User-Agent: friendly-scanner\r\nContent-Length: 0\r\n\r\n";
    let found = first(&STANDARD, segment, ScanMode::SEGMENT);
    assert_eq!(found, Some("sipvicious-friendly-scanner"));
}

#[test_case("User-Agent: Gulp", true, true; "the value may be longer than what was seen of it")]
#[test_case("User-Agent: Gulp\r\n", true, true; "a fold may follow")]
#[test_case("User-Agent: Gulp\r\nX", true, false; "the next line has begun")]
#[test_case("User-Agent: Gulp\r\n\r\n", true, false; "the headers have ended")]
#[test_case("User-Agent: friendly-scanner", true, false; "a part of it is enough")]
fn an_exact_value_is_believed_when_it_has_ended(tail: &str, whole: bool, needs_end: bool) {
    let message = format!("{HEAD}{tail}");
    let cut = ScanMode {
        complete: false,
        ..ScanMode::DATAGRAM
    };
    let found = |mode| first(&STANDARD, message.as_bytes(), mode).is_some();
    assert_eq!(found(ScanMode::DATAGRAM), whole);
    assert_eq!(found(cut), !needs_end);
}

#[test]
fn shared_signatures_spare_a_user_agent_that_logged_in_here() {
    let exempt = [
        "Cisco/SPA504G-7.6.2f".to_owned(),
        "Asterisk  PBX 16".to_owned(),
    ];
    let tables = SignatureSet::builtin()
        .compile(Profile::Strict, &exempt)
        .unwrap();
    let found = |value: &str| {
        let line = format!("User-Agent: {value}");
        first(&tables, &options(&line), ScanMode::DATAGRAM).map(str::to_owned)
    };

    assert_eq!(found("Cisco/SPA504G-7.6.2f"), None);
    assert_eq!(found("  CISCO/spa504g-7.6.2F \t "), None);
    assert_eq!(found("Asterisk\r\n PBX \t16"), None);
    for value in [
        "Cisco/SPA504G-7.6.2",
        "Cisco/SPA504G-7.6.2g",
        "Cisco/SPA504G-7.6.2f2",
        "Cisco/SPA504G-7.6.2f 2",
        "Cisco",
    ] {
        assert_eq!(found(value).as_deref(), Some("cisco"), "{value}");
    }
    assert_eq!(found("Asterisk PBX 16.1").as_deref(), Some("asterisk"));
    assert_eq!(found("Asterisk PBX").as_deref(), Some("asterisk"));
    assert_eq!(
        found("friendly-scanner").as_deref(),
        Some("sipvicious-friendly-scanner")
    );
}

#[test]
fn an_exempt_user_agent_does_not_excuse_a_scanner() {
    let exempt = ["friendly-scanner".to_owned(), "sipcli/v1.8".to_owned()];
    let tables = SignatureSet::builtin()
        .compile(Profile::Strict, &exempt)
        .unwrap();
    for value in ["friendly-scanner", "sipcli/v1.8"] {
        let line = format!("User-Agent: {value}");
        assert!(
            tables.scan(&options(&line), ScanMode::DATAGRAM).is_some(),
            "{value}"
        );
    }
}
