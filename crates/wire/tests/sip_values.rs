//! The typed views: URIs, addresses, Via, digest parameters, numbers, classification.

use std::borrow::Cow;
use std::net::IpAddr;

use sipward_wire::sip::{
    Addresses, Digest, HeaderName, Message, Method, NameAddr, PayloadKind, Scheme, StartLine, Uri,
    Value, Via, ViaTransport, classify, is_sip, percent_decode, unescape,
};
use test_case::test_case;

/// `None` and the text of `Some`, for comparison.
fn text(bytes: Option<&[u8]>) -> Option<Cow<'_, str>> {
    bytes.map(String::from_utf8_lossy)
}

/// Scheme, user, password, host, port.
type UriParts<'a> = (
    Scheme,
    Option<&'a str>,
    Option<&'a str>,
    &'a str,
    Option<u16>,
);

#[test_case("sip:bob@example.com", (Scheme::Sip, Some("bob"), None, "example.com", None))]
#[test_case("SIPS:bob:pw@example.com:5061", (Scheme::Sips, Some("bob"), Some("pw"), "example.com", Some(5061)))]
#[test_case("sip:example.com", (Scheme::Sip, None, None, "example.com", None); "no user")]
#[test_case("sip:@example.com", (Scheme::Sip, Some(""), None, "example.com", None); "empty user")]
#[test_case("sip:bob@", (Scheme::Sip, Some("bob"), None, "", None); "empty host")]
#[test_case("sip:a@b@c", (Scheme::Sip, Some("a"), None, "b@c", None); "two at signs")]
#[test_case("sip:a?b;c@d", (Scheme::Sip, Some("a?b;c"), None, "d", None); "question mark in the user")]
#[test_case("sip:[2001:db8::1]:5060;lr", (Scheme::Sip, None, None, "2001:db8::1", Some(5060)); "IPv6")]
#[test_case("sip:[2001:db8::1", (Scheme::Sip, None, None, "[2001", None); "open bracket")]
#[test_case("sip:h:99999", (Scheme::Sip, None, None, "h", None); "port too large")]
#[test_case("sip:h:5060x", (Scheme::Sip, None, None, "h", None); "port with a letter")]
#[test_case("tel:+41-555;phone-context=x", (Scheme::Tel, Some("+41-555"), None, "", None); "telephone number")]
#[test_case("mailto:bob@example.com", (Scheme::Other, None, None, "", None); "another scheme")]
#[test_case("100@192.0.2.1", (Scheme::Missing, Some("100"), None, "192.0.2.1", None); "no scheme")]
#[test_case("192.0.2.1:5060", (Scheme::Missing, None, None, "192.0.2.1", Some(5060)); "an address alone")]
#[test_case("", (Scheme::Missing, None, None, "", None); "nothing")]
#[test_case("<sip:bob@example.com>", (Scheme::Sip, Some("bob"), None, "example.com", None); "in brackets")]
fn uris(uri: &str, expected: UriParts<'_>) {
    let uri = Uri::parse(uri.as_bytes());
    let user = text(uri.user);
    let password = text(uri.password);
    let host = text(Some(uri.host)).unwrap_or_default();
    assert_eq!(
        (
            uri.scheme,
            user.as_deref(),
            password.as_deref(),
            &*host,
            uri.port
        ),
        expected
    );
}

#[test]
fn uri_parameters_and_headers() {
    let uri = Uri::parse(b"sip:h;Transport=TCP;lr;maddr=?subject=a;b&x=%41");
    assert_eq!(text(uri.params.value("transport")).as_deref(), Some("TCP"));
    assert_eq!(uri.params.find("lr").expect("lr").value, None);
    assert_eq!(text(uri.params.value("maddr")).as_deref(), Some(""));
    assert_eq!(uri.params.find("subject"), None);
    assert_eq!(uri.headers, b"subject=a;b&x=%41");
    let odd = NameAddr::parse(b"<sip:h>;x=<;tag=\";>\";y");
    assert_eq!(
        text(odd.params.value("x")).as_deref(),
        Some("<"),
        "no bracket in parameters"
    );
    assert_eq!(text(odd.tag()).as_deref(), Some(";>"));
    assert_eq!(
        Uri::parse(b"sip:a;b=c@h").user_name(),
        Some(b"a".as_slice())
    );
}

#[test_case("sip:192.0.2.1", Some("192.0.2.1"))]
#[test_case("sip:[2001:db8::1]", Some("2001:db8::1"))]
#[test_case("sip:example.com", None)]
fn host_addresses(uri: &str, address: Option<&str>) {
    let address = address.map(|address| address.parse::<IpAddr>().expect("an address"));
    assert_eq!(Uri::parse(uri.as_bytes()).host_address(), address);
}

#[test_case("plain", "plain")]
#[test_case("%41%62c", "Abc")]
#[test_case("100%", "100%"; "percent at the end")]
#[test_case("%4", "%4"; "half an escape")]
#[test_case("%zz%20", "%zz "; "no hexadecimal digits")]
#[test_case("%2541", "%41"; "decoded once")]
fn percent_decoding(encoded: &str, decoded: &str) {
    assert_eq!(*percent_decode(encoded.as_bytes()), *decoded.as_bytes());
}

#[test]
fn only_what_must_be_rewritten_is_allocated() {
    assert!(matches!(percent_decode(b"plain"), Cow::Borrowed(_)));
    assert!(matches!(unescape(b"plain"), Cow::Borrowed(_)));
    assert!(matches!(Value { raw: b"a  b" }.unfold(), Cow::Borrowed(_)));
}

#[test_case("a \r\n\t b", "a b")]
#[test_case("a  b\n c", "a  b c"; "other blanks stay")]
#[test_case("a\r\n \r\n b\r c", "a b c"; "several folds")]
fn unfolding(raw: &str, unfolded: &str) {
    assert_eq!(
        *Value {
            raw: raw.as_bytes()
        }
        .unfold(),
        *unfolded.as_bytes()
    );
}

#[test_case("a\\\"b", "a\"b")]
#[test_case("a\\\\", "a\\")]
#[test_case("a\\", "a"; "backslash at the end")]
fn unescaping(inside: &str, plain: &str) {
    assert_eq!(*unescape(inside.as_bytes()), *plain.as_bytes());
}

/// Display name, URI, tag.
type AddressParts<'a> = (Option<&'a str>, &'a str, Option<&'a str>);

#[test_case("<sip:a@b>;tag=1", (None, "sip:a@b", Some("1")))]
#[test_case("sip:a@b;tag=1", (None, "sip:a@b", Some("1")); "without brackets the tag is the header's")]
#[test_case("<sip:a@b;tag=1>", (None, "sip:a@b;tag=1", None); "within them it is the URI's")]
#[test_case("Bob <sip:a@b>", (Some("Bob"), "sip:a@b", None); "unquoted name")]
#[test_case("\"<sip:x@y>\" <sip:a@b>", (Some("<sip:x@y>"), "sip:a@b", None); "a URI for a name")]
#[test_case("\"a;tag=2,\" <sip:a@b> ; TAG = 1", (Some("a;tag=2,"), "sip:a@b", Some("1")); "a tag in the name")]
#[test_case("\"\" <sip:a@b>", (None, "sip:a@b", None); "empty name")]
#[test_case("\"open <sip:a@b>;tag=1", (Some("open"), "sip:a@b", Some("1")); "open quote")]
#[test_case("<sip:a@b;tag=1", (None, "sip:a@b;tag=1", None); "open bracket")]
#[test_case("a\r\n <sip:a@b>\r\n ;tag=1", (Some("a"), "sip:a@b", Some("1")); "folded")]
#[test_case("<sip:a@b>;tag=\"1\"", (None, "sip:a@b", Some("1")); "quoted tag")]
#[test_case("*", (None, "*", None); "asterisk")]
#[test_case("", (None, "", None); "nothing")]
fn addresses(value: &str, expected: AddressParts<'_>) {
    let address = NameAddr::parse(value.as_bytes());
    let (display, tag) = (text(address.display), text(address.tag()));
    let uri = text(Some(address.uri.raw)).unwrap_or_default();
    assert_eq!((display.as_deref(), &*uri, tag.as_deref()), expected);
}

#[test_case("<sip:a>, <sip:b>", &["sip:a", "sip:b"])]
#[test_case("<sip:a,x>;q=\",\",\"B,\" <sip:b>", &["sip:a,x", "sip:b"]; "commas inside")]
#[test_case(",, <sip:a> ,", &["sip:a"]; "empty elements")]
#[test_case("<sip:a, <sip:b", &["sip:a", "sip:b"]; "open brackets")]
#[test_case("\"a, <sip:b>", &["\"a", "sip:b"]; "open quote")]
fn lists_of_addresses(value: &str, uris: &[&str]) {
    let read: Vec<_> = Addresses::parse(value.as_bytes())
        .map(|it| text(Some(it.uri.raw)).unwrap_or_default())
        .collect();
    assert_eq!(read, uris);
}

#[test]
fn vias() {
    let via =
        Via::parse(b"SIP/2.0/UDP 192.0.2.1:5070;rport=5071;received=198.51.100.7;branch=z9hG4bKx");
    assert_eq!(
        (via.transport, via.host, via.port),
        (ViaTransport::Udp, b"192.0.2.1".as_slice(), Some(5070))
    );
    assert_eq!(
        (via.rport(), via.received()),
        (Some(5071), "198.51.100.7".parse().ok())
    );
    assert_eq!(via.branch(), Some(b"z9hG4bKx".as_slice()));

    let asking = Via::parse(b"SIP/2.0/tcp [2001:db8::1];rport");
    assert_eq!(
        (asking.host, asking.port),
        (b"2001:db8::1".as_slice(), None)
    );
    assert!(asking.params.find("rport").is_some());
    assert_eq!(asking.rport(), None);

    let spaced = Via::parse(b"SIP / 2.0 / TLS  example.com : 5061 ; received=[2001:db8::2]");
    assert_eq!(
        (spaced.transport, spaced.host, spaced.port),
        (ViaTransport::Tls, b"example.com".as_slice(), Some(5061))
    );
    assert_eq!(spaced.received(), "2001:db8::2".parse().ok());

    assert_eq!(Via::parse(b"example.com").host, b"example.com");
    assert_eq!(Via::parse(b"").host, b"");
}

#[test]
fn digest_credentials() {
    let digest = Digest::parse(
        b"digest Username=\"o\\\"brien, x\" , realm = \"a=b\",nonce=\"\", uri=\"sip:h\",\r\n \
          response=\"0a\", algorithm=MD5, cnonce=\"c\", nc=00000001, qop=auth, opaque=\"5ccc\"",
    );
    assert!(digest.is_digest());
    assert_eq!(
        *unescape(digest.username().expect("a username")),
        *b"o\"brien, x"
    );
    assert_eq!(text(digest.realm()).as_deref(), Some("a=b"));
    assert_eq!(
        text(digest.nonce()).as_deref(),
        Some(""),
        "empty is not missing"
    );
    assert_eq!(text(digest.uri()).as_deref(), Some("sip:h"));
    assert_eq!(text(digest.response()).as_deref(), Some("0a"));
    assert_eq!(text(digest.algorithm()).as_deref(), Some("MD5"));
    assert_eq!(text(digest.cnonce()).as_deref(), Some("c"));
    assert_eq!(text(digest.nc()).as_deref(), Some("00000001"));
    assert_eq!(text(digest.qop()).as_deref(), Some("auth"));
    assert_eq!(text(digest.opaque()).as_deref(), Some("5ccc"));
    assert!(!digest.stale());
}

#[test_case("Digest nonce=\"n\", stale=TRUE", true)]
#[test_case("Digest nonce=\"n\", stale=\"true\"", true; "in quotes")]
#[test_case("Digest nonce=\"n\", stale=false", false)]
#[test_case("Digest nonce=\"stale=true\"", false; "inside the nonce")]
#[test_case("Digest nonce=\"open, stale=true", true; "behind an open quote")]
fn stale_challenges(value: &str, stale: bool) {
    assert_eq!(Digest::parse(value.as_bytes()).stale(), stale);
}

#[test]
fn credentials_and_challenges_of_a_message() {
    let message = Message::parse(
        b"INVITE sip:h SIP/2.0\r\nProxy-Authorization: Digest username=\"p\"\r\n\
          Authorization: Digest username=\"a\"\r\nWWW-Authenticate: Digest nonce=\"w\"\r\n\
          authorization: Digest username=\"b\"\r\nProxy-Authenticate: Digest nonce=\"x\"\r\n\r\n",
    );
    let users: Vec<_> = message
        .credentials()
        .filter_map(|digest| digest.username())
        .collect();
    assert_eq!(users, [b"a", b"b", b"p"]);
    let nonces: Vec<_> = message
        .challenges()
        .filter_map(|digest| digest.nonce())
        .collect();
    assert_eq!(nonces, [b"w", b"x"]);
}

#[test]
fn small_headers() {
    let message = Message::parse(
        b"NOTIFY sip:h SIP/2.0\r\no: dialog;id=7\r\nC: application/sdp; a=b\r\nExpires: 4294967296\r\n\
          Max-Forwards: 70\r\nCSeq: 7  notify\r\nl: 12abc\r\nServer: lamp\r\nk: timer\r\nX-Y: 1\r\n\
          x-y: 2\r\n\r\n",
    );
    assert_eq!(text(message.event()).as_deref(), Some("dialog"));
    assert_eq!(
        text(message.content_type()).as_deref(),
        Some("application/sdp")
    );
    assert_eq!(
        (message.expires(), message.max_forwards()),
        (None, Some(70))
    );
    let cseq = message.cseq().expect("CSeq");
    assert_eq!((cseq.number, cseq.method), (Some(7), Method::Notify));
    assert_eq!(message.content_length(), Some(12), "as sscanf reads it");
    assert_eq!(message.server().expect("Server").raw, b"lamp");
    assert!(message.header(HeaderName::Supported).is_some());
    assert_eq!(message.header(HeaderName::Other), None);
    assert_eq!(message.values(HeaderName::Other).count(), 2);
}

#[test]
fn numbers_beyond_all_types_do_not_wrap_around() {
    // 2^64 + 5
    let message = Message::parse(
        b"NOTIFY sip:h SIP/2.0\r\nCSeq: 18446744073709551621 NOTIFY\r\n\
          Max-Forwards: 18446744073709551621\r\nl: 18446744073709551621\r\n\r\nbodies",
    );
    assert_eq!(message.cseq().expect("CSeq").number, None);
    assert_eq!(message.max_forwards(), None);
    assert_eq!(message.content_length(), Some(u64::MAX));
    assert_eq!(message.body(), b"bodies");
}

/// In quadratic time each of these would take minutes.
#[test]
fn long_runs_of_open_quotes_and_brackets_are_read_in_linear_time() {
    for piece in [
        "\"\\\"", "\",", "<,", "\\\",", ";\"", "\r\n \"", "<\"", "a=\",", "%",
    ] {
        let value = piece.repeat(300_000 / piece.len());
        let text = format!(
            "INVITE sip:{value}@h SIP/2.0\r\nContact: {value}\r\nFrom: {value}\r\nVia: {value}\r\n\
             Authorization: Digest {value}\r\n\r\n"
        );
        let message = Message::parse(text.as_bytes());
        let contacts = message
            .contacts()
            .map(|contact| contact.params.iter().count());
        assert!(contacts.count() > 0);
        assert!(message.vias().count() > 0);
        assert!(
            message
                .credentials()
                .all(|digest| digest.params().count() > 0)
        );
        assert!(message.from().is_some_and(|from| from.tag().is_none()));
    }
}

#[test]
fn every_header_name_is_found_in_its_long_and_compact_form() {
    let compact = [
        ("v", "Via"),
        ("f", "From"),
        ("t", "To"),
        ("i", "Call-ID"),
        ("m", "Contact"),
        ("l", "Content-Length"),
        ("c", "Content-Type"),
        ("e", "Content-Encoding"),
        ("k", "Supported"),
        ("s", "Subject"),
        ("o", "Event"),
        ("u", "Allow-Events"),
        ("r", "Refer-To"),
        ("b", "Referred-By"),
        ("x", "Session-Expires"),
    ];
    for (short, long) in compact {
        let name = HeaderName::from_name(short.as_bytes());
        assert_eq!(name.name(), Some(long));
        assert_eq!(
            HeaderName::from_name(long.to_ascii_uppercase().as_bytes()),
            name
        );
    }
    assert_eq!(HeaderName::from_name(b""), HeaderName::Other);
    assert_eq!(HeaderName::from_name(b"User Agent"), HeaderName::Other);
}

#[test_case("OPTIONS sip:h SIP/2.0", Some(Method::Options))]
#[test_case("subscribe sip:h", Some(Method::Subscribe); "no version")]
#[test_case("INVITE", Some(Method::Invite); "nothing but a method")]
#[test_case("FROB sip:h SIP/2.0", Some(Method::Other); "unknown method")]
#[test_case("FROB sip:h", None; "unknown method without version")]
#[test_case("OPTIONS * RTSP/1.0", None; "RTSP")]
#[test_case("OPTIONS / HTTP/1.1", None; "HTTP")]
#[test_case("INVITEsip:h SIP/2.0", Some(Method::Other); "no blank")]
#[test_case("", None; "nothing")]
fn request_lines(line: &str, method: Option<Method>) {
    let read = match StartLine::parse(line.as_bytes()) {
        StartLine::Request(request) => Some(request.method),
        StartLine::Response(_) | StartLine::Unrecognised(_) => None,
    };
    assert_eq!(read, method);
}

#[test_case("SIP/2.0 200 OK", Some(200), "OK")]
#[test_case("sip/2.0\t404", Some(404), ""; "no reason")]
#[test_case("SIP/2.0  999 x  y", Some(999), "x  y"; "blanks")]
#[test_case("SIP/2.0 099 x", None, "x"; "below 100")]
#[test_case("SIP/2.0 2000 x", None, "x"; "four digits")]
#[test_case("SIP/2.0 0200 x", None, "x"; "leading zero")]
#[test_case("SIP/2.0", None, ""; "version alone")]
fn status_lines(line: &str, status: Option<u16>, reason: &str) {
    let StartLine::Response(response) = StartLine::parse(line.as_bytes()) else {
        panic!("not a response");
    };
    assert_eq!(
        (response.status, response.reason),
        (status, reason.as_bytes())
    );
}

#[test_case(b"", PayloadKind::KeepAlive; "nothing")]
#[test_case(b"\r\n\r\n", PayloadKind::KeepAlive; "CRLFCRLF")]
#[test_case(b"\0\0\0\0", PayloadKind::KeepAlive; "NULs")]
#[test_case(b"12345678", PayloadKind::KeepAlive; "eight bytes")]
#[test_case(b"123456789", PayloadKind::Other; "nine bytes")]
#[test_case(b"\r\n\r\n \t\0register sip:h SIP/2.0\r\n", PayloadKind::Sip; "after blanks")]
#[test_case(b"SIP/2.0 100 Trying\r\n", PayloadKind::Sip; "response")]
#[test_case(b"NOTIFY\r\n\r\n", PayloadKind::Sip; "method alone")]
#[test_case(b"GET / HTTP/1.1\r\n\r\n", PayloadKind::Other; "HTTP")]
#[test_case(b"\0\x01\0\0\x21\x12\xa4\x42abcdefghijkl", PayloadKind::Stun; "STUN")]
#[test_case(b"\0\x01\0\x04\x21\x12\xa4\x42abcdefghijkl", PayloadKind::Other; "STUN with a wrong length")]
#[test_case(b"\0\x01\0\x02\x21\x12\xa4\x42abcdefghijklmn", PayloadKind::Other; "STUN with an odd length")]
#[test_case(b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03", PayloadKind::Other; "TLS")]
fn payloads(payload: &[u8], kind: PayloadKind) {
    assert_eq!(classify(payload), kind);
    assert_eq!(is_sip(payload), kind == PayloadKind::Sip);
}

#[test]
fn anomalies_have_distinct_names() {
    use sipward_wire::sip::Anomalies;
    let mut names: Vec<_> = Anomalies::ALL.iter().map(|(_, name)| *name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), Anomalies::ALL.len());
    let two = Anomalies::NUL | Anomalies::BARE_LF;
    assert_eq!(two.names().collect::<Vec<_>>(), ["bare-lf", "nul"]);
    assert!(two.intersects(Anomalies::NUL) && !two.intersects(Anomalies::BARE_CR));
    assert!(!two.is_empty() && Anomalies::NONE.is_empty());
}
