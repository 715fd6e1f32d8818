//! Spellings that servers let through: whatever is done to one line, no other header is lost.

use sipward_wire::sip::{Anomalies, HeaderName, Message, Method, PayloadKind, Scheme, classify};

const BODY: &str = "v=0\r\no=- 7 7 IN IP4 192.0.2.77\r\ns=-\r\n";
const AGENT: &[u8] = b"telescope/4.2 (spelling bee)";

/// The headers of [`invite`].
const HEADERS: [HeaderName; 11] = [
    HeaderName::Via,
    HeaderName::MaxForwards,
    HeaderName::From,
    HeaderName::To,
    HeaderName::CallId,
    HeaderName::CSeq,
    HeaderName::Contact,
    HeaderName::Allow,
    HeaderName::ContentType,
    HeaderName::ContentLength,
    HeaderName::UserAgent,
];

fn invite() -> Vec<u8> {
    let length = BODY.len();
    let message = format!(
        "INVITE sip:0041555001@pbx.example.net SIP/2.0\r\n\
         Via: SIP/2.0/UDP 192.0.2.77:5071;branch=z9hG4bKspell1;rport\r\n\
         Max-Forwards: 69\r\n\
         From: \"Reader\" <sip:reader@example.com>;tag=fr1\r\n\
         To: <sip:0041555001@pbx.example.net>\r\n\
         Call-ID: spelling-1@192.0.2.77\r\n\
         CSeq: 11 INVITE\r\n\
         Contact: <sip:reader@192.0.2.77:5071>\r\n\
         Allow: INVITE, ACK, BYE\r\n\
         Content-Type: application/sdp\r\n\
         Content-Length: {length}\r\n\
         User-Agent: telescope/4.2 (spelling bee)\r\n\
         \r\n\
         {BODY}"
    );
    message.into_bytes()
}

/// The invite with the first `from` replaced.
fn with(from: &str, to: &[u8]) -> Vec<u8> {
    let message = invite();
    let at = message
        .windows(from.len())
        .position(|part| part == from.as_bytes());
    let at = at.expect("the text to replace is in the message");
    [&message[..at], to, &message[at + from.len()..]].concat()
}

/// The invite with `end` for each line end of its head.
fn with_line_ends(end: &str) -> Vec<u8> {
    let message = String::from_utf8(invite()).expect("the invite is text");
    let (head, body) = message.split_once("\r\n\r\n").expect("an empty line");
    format!("{}{end}{end}{body}", head.replace("\r\n", end)).into_bytes()
}

fn without_end() -> Vec<u8> {
    let message = invite();
    let end = message
        .windows(4)
        .position(|part| part == b"\r\n\r\n")
        .expect("an empty line");
    message[..end].to_vec()
}

/// What was done, the message, the anomalies, and the header lines beside [`HEADERS`].
#[rustfmt::skip] // One line, one case.
fn spellings() -> Vec<(&'static str, Vec<u8>, Anomalies, usize)> {
    use Anomalies as A;
    let many = [b"69\r\n", "X: y\r\n".repeat(300).as_bytes()].concat();
    let long = [b"69\r\nX: ", "y".repeat(60_000).as_bytes(), b"\r\n"].concat();
    let uri = "sip:0041555001@pbx.example.net";
    vec![
        ("nothing", invite(), A::NONE, 0),

        ("LF alone", with_line_ends("\n"), A::BARE_LF, 0),
        ("LF CR", with_line_ends("\n\r"), A::BARE_LF | A::BARE_CR | A::EXTRA_BYTES, 0),
        ("CR CR LF", with_line_ends("\r\r\n"), A::BARE_CR, 0),
        ("CR after one header", with("69\r\n", b"69\r"), A::BARE_CR, 0),
        ("leading CRLFs", [b"\r\n\r\n".as_slice(), &invite()].concat(), A::LEADING_EMPTY_LINE, 0),
        ("no final CRLFCRLF", without_end(), A::NO_EMPTY_LINE | A::SHORT_BODY, 0),

        ("compact From", with("From:", b"f:"), A::NONE, 0),
        ("compact Call-ID, no blank", with("Call-ID: ", b"I:"), A::NONE, 0),
        ("mixed case", with("User-Agent:", b"uSER-aGENT:"), A::NONE, 0),
        ("blanks before the colon", with("User-Agent:", b"User-Agent  :"), A::NONE, 0),
        ("tabs around the colon", with("User-Agent: ", b"User-Agent\t:\t"), A::NONE, 0),
        ("NUL before the name", with("User-Agent:", b"\0User-Agent:"), A::NUL, 0),

        ("fold before the value", with("User-Agent: ", b"User-Agent:\r\n "), A::NONE, 0),
        ("fold with a tab", with("4.2 (", b"4.2\r\n\t("), A::NONE, 0),
        ("fold with LF", with("4.2 (", b"4.2\n ("), A::BARE_LF, 0),
        ("fold with CR", with("4.2 (", b"4.2\r ("), A::BARE_CR, 0),
        ("fold on blanks only", with("4.2 (", b"4.2\r\n \r\n  ("), A::NONE, 0),
        ("fold before the colon", with("User-Agent:", b"User-Agent\r\n :"), A::FOLD_BEFORE_COLON, 0),
        ("the same on blanks only", with("User-Agent:", b"User-Agent \r\n \r\n\t:"), A::FOLD_BEFORE_COLON, 0),

        ("0xFF in a value", with("69\r\n", b"69\r\nSubject: \xff\r\n"), A::NOT_UTF8, 1),
        ("0xFF without a colon", with("69\r\n", b"69\r\n\xff\r\n"), A::NOT_UTF8 | A::NO_COLON, 0),
        ("NUL in a value", with("69\r\n", b"69\r\nSubject: a\0b\r\n"), A::NUL, 1),
        ("line without a colon", with("69\r\n", b"69\r\nno colon\r\n"), A::NO_COLON, 0),
        ("line that begins with a dash", with("69\r\n", b"69\r\n-----\r\n"), A::NO_COLON, 0),
        ("line that begins with a colon", with("69\r\n", b"69\r\n: nameless\r\n"), A::EMPTY_NAME, 1),
        ("name with blanks inside", with("69\r\n", b"69\r\nUser Agent: x\r\n"), A::ODD_NAME, 1),
        ("300 headers before", with("69\r\n", &many), A::TOO_MANY_HEADERS, 300),
        ("a line of 60,000 bytes before", with("69\r\n", &long), A::LONG_LINE, 1),

        ("negative Content-Length", with("Content-Length: 37", b"Content-Length: -999"), A::BAD_CONTENT_LENGTH, 0),
        ("huge Content-Length", with("Content-Length: 37", b"Content-Length: 99999999999999999999"), A::BAD_CONTENT_LENGTH | A::SHORT_BODY, 0),
        ("second Content-Length", with("69\r\n", b"69\r\nl: 37\r\n"), A::DUPLICATE_CONTENT_LENGTH, 1),
        ("small Content-Length", with("Content-Length: 37", b"Content-Length: 6"), A::EXTRA_BYTES, 0),
        ("Content-Length of 2^31", with("Content-Length: 37", b"Content-Length: 2147483648"), A::BAD_CONTENT_LENGTH | A::SHORT_BODY, 0),
        ("largest CSeq", with("CSeq: 11", b"CSeq: 2147483647"), A::NONE, 0),
        ("CSeq of 2^31", with("CSeq: 11", b"CSeq: 2147483648"), A::BAD_CSEQ, 0),
        ("CSeq without a method", with("CSeq: 11 INVITE", b"CSeq: 11"), A::BAD_CSEQ | A::CSEQ_METHOD, 0),
        ("oversized CSeq", with("CSeq: 11", b"CSeq: 36893488147419103232"), A::BAD_CSEQ, 0),
        ("another method in CSeq", with("CSeq: 11 INVITE", b"CSeq: 11 OPTIONS"), A::CSEQ_METHOD, 0),
        ("SQL in the user part", with("sip:reader@", b"sip:'or''='x'); DROP TABLE subscriber;--@"), A::NONE, 0),
        ("From without a URI", with("\"Reader\" <sip:reader@example.com>", b"<>"), A::BAD_ADDRESS, 0),
        ("To without a host", with("To: <sip:0041555001@pbx.example.net>", b"To: <sip:0041555001@>"), A::BAD_ADDRESS, 0),
        ("Via without sent-by", with("192.0.2.77:5071;branch", b";branch"), A::BAD_VIA, 0),
        ("Expires with a letter", with("69\r\n", b"69\r\nExpires: 1h\r\n"), A::BAD_NUMBER, 1),
        ("second From", with("69\r\n", b"69\r\nFrom: <sip:x@h>;tag=fr1\r\n"), A::DUPLICATE_HEADER, 1),
        ("open quote in Contact", with("<sip:reader@192", b"\"Reader <sip:reader@192"), A::OPEN_QUOTE, 0),

        ("blank before the method", with("INVITE sip", b" INVITE sip"), A::LEADING_BLANK, 0),
        ("tab before the method", with("INVITE sip", b"\tINVITE sip"), A::LEADING_BLANK, 0),
        ("lower-case method", with("INVITE sip", b"invite sip"), A::METHOD_CASE, 0),
        ("lower-case version", with("SIP/2.0\r\n", b"sip/2.0\r\n"), A::NONE, 0),
        ("two blanks in the request line", with("INVITE sip", b"INVITE  sip"), A::LOOSE_START_LINE, 0),
        ("tab in the request line", with(" SIP/2.0\r\n", b"\tSIP/2.0\r\n"), A::LOOSE_START_LINE, 0),
        ("blank after the version", with(" SIP/2.0\r\n", b" SIP/2.0 \r\n"), A::LOOSE_START_LINE, 0),
        ("folded request line", with(" SIP/2.0\r\n", b"\r\n SIP/2.0\r\n"), A::FOLDED_START_LINE | A::LOOSE_START_LINE, 0),
        ("SIP/7.0", with("SIP/2.0\r\n", b"SIP/7.0\r\n"), A::ODD_VERSION, 0),
        ("no version", with(" SIP/2.0\r\n", b"\r\n"), A::ODD_VERSION, 0),
        ("URI without a scheme", with(uri, b"pbx.example.net"), A::ODD_URI, 0),
        ("garbage URI", with(uri, b"<%%\xfe& *\x01>"), A::ODD_URI | A::NOT_UTF8, 0),
        ("tel URI", with(uri, b"tel:+1900"), A::NONE, 0),
    ]
}

#[test]
fn no_spelling_hides_a_header() {
    for (name, bytes, anomalies, more) in spellings() {
        let message = Message::parse(&bytes);

        assert_eq!(message.anomalies(), anomalies, "{name}");
        assert_eq!(message.headers().count(), HEADERS.len() + more, "{name}");
        for header in HEADERS {
            assert!(message.header(header).is_some(), "{name}: {header:?}");
        }
        assert_eq!(message.method(), Some(Method::Invite), "{name}");
        assert_eq!(message.user_agent().expect(name).unfold(), AGENT, "{name}");
        assert_eq!(
            message.call_id(),
            Some(b"spelling-1@192.0.2.77".as_slice()),
            "{name}"
        );
        assert_eq!(message.max_forwards(), Some(69), "{name}");
        assert_eq!(
            message.from().expect(name).tag(),
            Some(b"fr1".as_slice()),
            "{name}"
        );
        assert_eq!(classify(&bytes), PayloadKind::Sip, "{name}");
    }
}

/// Messages that are no INVITE, and their anomalies.
fn others() -> [(Vec<u8>, Anomalies); 5] {
    const REST: &[u8] = b"v: x\nf: sip:h\nt: sip:h\ni: 1\n";
    let message = |start: &[u8], cseq: &[u8]| [start, b"\n", REST, cseq, b"\n\n"].concat();
    let lf = Anomalies::BARE_LF;
    [
        (
            message(b"INV(ITE sip:h SIP/2.0", b"CSeq: 1 INV(ITE"),
            lf | Anomalies::ODD_METHOD,
        ),
        (message(b"SIP/2.0 699 x", b"CSeq: 1 INVITE"), lf),
        (
            message(b"SIP/2.0 700 x", b"CSeq: 1 INVITE"),
            lf | Anomalies::ODD_STATUS,
        ),
        (
            message(b"hello", b"CSeq: 1 INVITE"),
            lf | Anomalies::UNRECOGNISED_START_LINE,
        ),
        (
            message(b"BYE sip:h SIP/2.0", b""),
            lf | Anomalies::MISSING_HEADER,
        ),
    ]
}

#[test]
fn other_messages_have_their_anomalies() {
    for (bytes, anomalies) in others() {
        let text = bytes.escape_ascii();
        assert_eq!(Message::parse(&bytes).anomalies(), anomalies, "{text}");
        let unparsable = anomalies.intersects(Anomalies::UNPARSABLE);
        assert_eq!(
            unparsable,
            text.to_string().starts_with(['h', 'B']),
            "{text}"
        );
    }
}

#[test]
fn every_anomaly_is_shown_by_a_message() {
    let shown = spellings()
        .into_iter()
        .map(|(_, _, anomalies, _)| anomalies);
    let shown = shown.chain(others().map(|(_, anomalies)| anomalies));
    let shown = shown.fold(Anomalies::NONE, Anomalies::union);
    let all = Anomalies::ALL
        .iter()
        .fold(Anomalies::NONE, |all, (flag, _)| all | *flag);
    assert_eq!(shown, all);
}

#[test]
fn the_body_survives_each_line_end() {
    for end in ["\r\n", "\n", "\n\r", "\r\r\n"] {
        // After LF CR LF CR the last CR already belongs to the body.
        let body = [if end == "\n\r" { "\r" } else { "" }, BODY].concat();
        let bytes = with_line_ends(end);
        assert_eq!(
            Message::parse(&bytes).body(),
            &body.as_bytes()[..BODY.len()],
            "{end:?}"
        );
    }
}

#[test]
fn what_is_wrong_with_a_value_is_still_told_from_its_neighbours() {
    let bytes = with(
        "sip:0041555001@pbx.example.net",
        b"tel:+1900;phone-context=example.com",
    );
    let uri = Message::parse(&bytes).request().expect("a request").uri;
    assert_eq!(
        (uri.scheme, uri.user),
        (Scheme::Tel, Some(b"+1900".as_slice()))
    );

    let bytes = with("sip:0041555001@pbx.example.net", b"<%% & *>");
    let uri = Message::parse(&bytes).request().expect("a request").uri;
    assert_eq!(
        (uri.scheme, uri.raw),
        (Scheme::Missing, b"<%% & *>".as_slice())
    );

    let bytes = with("CSeq: 11", b"CSeq: 36893488147419103232");
    let message = Message::parse(&bytes);
    let cseq = message.cseq().expect("a CSeq");
    assert_eq!((cseq.number, cseq.method), (None, Method::Invite));

    let bytes = with("sip:reader@", b"sip:'or''='x'); DROP TABLE subscriber;--@");
    let from = Message::parse(&bytes).from().expect("a From");
    assert_eq!(
        from.uri.user,
        Some(b"'or''='x'); DROP TABLE subscriber;--".as_slice())
    );
    assert_eq!(from.uri.host, b"example.com");

    let bytes = with("SIP/2.0\r\n", b"SIP/7.0\r\n");
    assert_eq!(
        Message::parse(&bytes).request().expect("a request").version,
        b"SIP/7.0"
    );

    let bytes = with("Content-Length: 37", b"Content-Length: -999");
    assert_eq!(Message::parse(&bytes).content_length(), None);
}

#[test]
fn a_name_after_the_empty_line_is_body() {
    let bytes = with("User-Agent:", b"\r\nUser-Agent:");
    let message = Message::parse(&bytes);
    assert_eq!(message.user_agent(), None);
    assert!(message.body().starts_with(b"User-Agent: telescope"));
}

#[test]
fn a_second_message_in_the_datagram_is_found() {
    let bytes = [invite(), with("4.2", b"5.0")].concat();
    let first = Message::parse(&bytes);
    assert_eq!(first.anomalies(), Anomalies::EXTRA_BYTES);
    let second = Message::parse(first.rest());
    assert_eq!(
        second.user_agent().expect("an agent").raw,
        b"telescope/5.0 (spelling bee)"
    );
    assert_eq!(first.consumed() + second.consumed(), bytes.len());
}

#[test]
fn the_second_of_two_user_agents_is_seen() {
    let bytes = with("Allow:", b"User-Agent: first\r\nAllow:");
    let message = Message::parse(&bytes);
    let agents: Vec<_> = message
        .values(HeaderName::UserAgent)
        .map(|value| value.raw)
        .collect();
    assert_eq!(agents, [b"first".as_slice(), AGENT]);
}
