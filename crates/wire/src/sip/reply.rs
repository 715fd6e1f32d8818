//! The one response that is written here.

use alloc::vec::Vec;
use core::fmt::{self, Write as _};
use core::net::{IpAddr, SocketAddr};

use super::address::NameAddr;
use super::anomalies::Anomalies;
use super::grammar::{Elements, Unquoted, split_once, trim};
use super::header::HeaderName;
use super::message::Message;
use super::method::Method;
use super::via::{Via, ViaTransport};

/// What is not answered: another reader may make another request of it.
const AMBIGUOUS: [Anomalies; 9] = [
    Anomalies::UNPARSABLE,
    Anomalies::NOT_UTF8,
    Anomalies::NUL,
    Anomalies::BAD_CSEQ,
    Anomalies::CSEQ_METHOD,
    Anomalies::DUPLICATE_HEADER,
    Anomalies::BAD_ADDRESS,
    Anomalies::BAD_VIA,
    Anomalies::OPEN_QUOTE,
];

/// `503 Service Unavailable` to a request that came over UDP from `source`, of the request's own
/// headers (RFC 3261 section 8.2.6.2). `tag` completes a To that has none. Allocates.
///
/// `None` for what must not or cannot be answered: an ACK, a message that is none or that is
/// ambiguous, one whose Via names another transport, a header value with control characters, and
/// wherever the answer would be longer than the request.
#[must_use]
pub fn service_unavailable(request: &Message<'_>, source: SocketAddr, tag: u32) -> Option<Vec<u8>> {
    let method = request.method()?;
    let is_ambiguous = AMBIGUOUS
        .iter()
        .any(|anomalies| request.anomalies().intersects(*anomalies));
    if method == Method::Ack || is_ambiguous || request.via()?.transport != ViaTransport::Udp {
        return None;
    }
    let mut reply = Reply(b"SIP/2.0 503 Service Unavailable\r\n".to_vec());
    for (number, value) in request.values(HeaderName::Via).enumerate() {
        let value = value.unfold();
        if number == 0 {
            reply.line("Via", &topmost_with_source(&value, source)?)?;
        } else {
            reply.line("Via", &value)?;
        }
    }
    reply.line("From", &request.header(HeaderName::From)?.unfold())?;
    let mut to = request.header(HeaderName::To)?.unfold().into_owned();
    if NameAddr::parse(&to).params.find("tag").is_none() {
        write!(Bytes(&mut to), ";tag={tag:08x}").ok()?;
    }
    reply.line("To", &to)?;
    reply.line("Call-ID", &request.header(HeaderName::CallId)?.unfold())?;
    reply.line("CSeq", &request.header(HeaderName::CSeq)?.unfold())?;
    reply.line("Content-Length", b"0")?;
    reply.0.extend(b"\r\n");
    (reply.0.len() <= request.consumed()).then_some(reply.0)
}

/// A Via line whose first element says where the request came from (RFC 3261 section 18.2.1, RFC
/// 3581 section 4), whatever the sender has claimed of it.
fn topmost_with_source(line: &[u8], source: SocketAddr) -> Option<Vec<u8>> {
    let mut elements = Elements::new(line, b',', Unquoted::quotes());
    let topmost = elements.next()?;
    let (front, params) = split_once(topmost, b';').unwrap_or((topmost, &[]));
    let mut via = trim(front).to_vec();
    let mut asks_for_port = false;
    for param in Elements::new(params, b';', Unquoted::quotes()) {
        let name = split_once(param, b'=').map_or(param, |(name, _)| trim(name));
        if name.eq_ignore_ascii_case(b"rport") {
            asks_for_port = true;
        } else if !name.eq_ignore_ascii_case(b"received") {
            via.push(b';');
            via.extend(param);
        }
    }
    if asks_for_port || !is_address(Via::parse(topmost).host, source.ip()) {
        write!(Bytes(&mut via), ";received={}", source.ip()).ok()?;
    }
    if asks_for_port {
        write!(Bytes(&mut via), ";rport={}", source.port()).ok()?;
    }
    for element in elements {
        via.extend(b", ");
        via.extend(element);
    }
    Some(via)
}

fn is_address(host: &[u8], address: IpAddr) -> bool {
    let host = core::str::from_utf8(host).ok();
    host.and_then(|host| host.parse().ok()) == Some(address)
}

struct Reply(Vec<u8>);

impl Reply {
    /// `None` for a value that is empty or could end the line.
    fn line(&mut self, name: &str, value: &[u8]) -> Option<()> {
        if value.is_empty() || value.iter().any(u8::is_ascii_control) {
            return None;
        }
        self.0.extend(name.as_bytes());
        self.0.extend(b": ");
        self.0.extend(value);
        self.0.extend(b"\r\n");
        Some(())
    }
}

/// Formats into bytes.
struct Bytes<'a>(&'a mut Vec<u8>);

impl fmt::Write for Bytes<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.extend(text.as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;
    use alloc::string::{String, ToString as _};

    use proptest::prelude::*;
    use test_case::test_case;

    use super::*;

    const SOURCE: &str = "203.0.113.7:5063";

    fn reply(request: &[u8]) -> Option<String> {
        let answer = service_unavailable(&Message::parse(request), SOURCE.parse().unwrap(), 0x2a)?;
        Some(String::from_utf8(answer).unwrap())
    }

    fn guess(via: &str, to: &str) -> String {
        format!(
            "REGISTER sip:192.0.2.1 SIP/2.0\r\nVia: {via}\r\nMax-Forwards: 70\r\n\
             f: \"777\" <sip:777@192.0.2.1>;tag=a1\r\nTo: {to}\r\n\
             Call-ID: 71@h\r\nCSeq: 2  REGISTER\r\n\
             Authorization: Digest username=\"777\",realm=\"asterisk\",nonce=\"0c1d2e3f\",\
             uri=\"sip:192.0.2.1\",response=\"0123456789abcdef0123456789abcdef\"\r\n\
             Content-Length: 0\r\n\r\n"
        )
    }

    #[test]
    fn the_answer_is_the_requests_own_headers() {
        let via = "SIP/2.0/UDP 127.0.0.1:5060;branch=z9hG4bK-1;rport";
        let answer = reply(guess(via, "<sip:777@192.0.2.1>").as_bytes()).unwrap();
        assert_eq!(
            answer,
            "SIP/2.0 503 Service Unavailable\r\n\
             Via: SIP/2.0/UDP 127.0.0.1:5060;branch=z9hG4bK-1;received=203.0.113.7;rport=5063\r\n\
             From: \"777\" <sip:777@192.0.2.1>;tag=a1\r\nTo: <sip:777@192.0.2.1>;tag=0000002a\r\n\
             Call-ID: 71@h\r\nCSeq: 2  REGISTER\r\nContent-Length: 0\r\n\r\n"
        );
    }

    #[test_case("SIP/2.0/UDP 203.0.113.7:5063;branch=z9hG4bK1", "SIP/2.0/UDP 203.0.113.7:5063;branch=z9hG4bK1"; "a true sent-by needs no received")]
    #[test_case("SIP/2.0/UDP phone.example;branch=z9hG4bK1", "SIP/2.0/UDP phone.example;branch=z9hG4bK1;received=203.0.113.7"; "a name does")]
    #[test_case("SIP/2.0/UDP 203.0.113.7;rport;branch=b", "SIP/2.0/UDP 203.0.113.7;branch=b;received=203.0.113.7;rport=5063"; "rport asks for both")]
    #[test_case("SIP/2.0/UDP h;received=198.51.100.1;rport=9;branch=b", "SIP/2.0/UDP h;branch=b;received=203.0.113.7;rport=5063"; "what the sender claims is replaced")]
    #[test_case("SIP/2.0/UDP h;branch=b;rport,SIP/2.0/UDP g;rport", "SIP/2.0/UDP h;branch=b;received=203.0.113.7;rport=5063, SIP/2.0/UDP g;rport"; "only the topmost is")]
    #[test_case("SIP/2.0/UDP h\r\n ;branch=b", "SIP/2.0/UDP h;branch=b;received=203.0.113.7"; "a folded one")]
    fn the_topmost_via_says_where_it_came_from(via: &str, expected: &str) {
        let answer = reply(guess(via, "<sip:777@192.0.2.1>").as_bytes()).unwrap();
        let line = answer.lines().nth(1).unwrap();
        assert_eq!(line, format!("Via: {expected}"));
    }

    #[test]
    fn a_tag_stays() {
        let answer = reply(guess("SIP/2.0/UDP h;branch=b", "<sip:7@h>;tag=x").as_bytes()).unwrap();
        assert!(answer.contains("\r\nTo: <sip:7@h>;tag=x\r\n"), "{answer}");
    }

    #[test_case("REGISTER sip", "ACK sip"; "another method than in CSeq")]
    #[test_case("SIP/2.0/UDP", "SIP/2.0/TCP"; "another transport")]
    #[test_case("Call-ID: 71@h\r\n", ""; "without Call-ID")]
    #[test_case("Call-ID: 71@h", "Call-ID: 71\u{8}@h"; "a control character")]
    #[test_case("Call-ID: 71@h", "Call-ID: "; "an empty Call-ID")]
    #[test_case("CSeq: 2  REGISTER", "CSeq: two REGISTER"; "no sequence number")]
    #[test_case("\"777\" <", "\"777 <"; "an open quote")]
    #[test_case("Max-Forwards: 70", "From: <sip:8@h>;tag=2"; "two From")]
    #[test_case(" SIP/2.0\r\n", " HTTP/1.1\r\n"; "no SIP")]
    fn what_is_ambiguous_is_not_answered(part: &str, other: &str) {
        let request = guess("SIP/2.0/UDP h;branch=b", "<sip:7@h>");
        assert!(reply(request.as_bytes()).is_some());
        assert_eq!(reply(request.replacen(part, other, 1).as_bytes()), None);
    }

    #[test]
    fn an_acknowledgement_is_not_answered() {
        let request = guess("SIP/2.0/UDP h;branch=b", "<sip:7@h>").replace("REGISTER", "ACK");
        assert_eq!(reply(request.as_bytes()), None);
    }

    #[test]
    fn a_request_shorter_than_its_answer_is_not_answered() {
        let request = "REGISTER sip:h SIP/2.0\r\nv: SIP/2.0/UDP h;branch=b;rport\r\nf: <sip:7@h>;tag=1\r\n\
                       t: <sip:7@h>\r\ni: 1\r\nCSeq: 1 REGISTER\r\n\r\n";
        assert_eq!(reply(request.as_bytes()), None);
    }

    /// Pieces that hostile requests are put together from.
    fn value() -> impl Strategy<Value = String> {
        prop_oneof![
            "[ -~]{0,60}",
            "[a-z;,=\"<>\\r\\n\\t\\x00 \\\\:@]{0,40}",
            "[ -~\\x01-\\x08\\x0b\\x0c\\x0e-\\x1f]{1,6}",
            Just("\"7\" <sip:7@h>;tag=1".to_string()),
            Just("SIP/2.0/UDP 192.0.2.9:5070;branch=z9hG4bK;rport".to_string()),
            Just("x\r\nContact: <sip:evil@h>\r\nX: y".to_string()),
            Just("x\r\n\r\nINVITE sip:b@h SIP/2.0".to_string()),
        ]
    }

    proptest! {
        /// Whatever the request: the answer is no longer than it, is one response and nothing
        /// else, and names no other source than the real one.
        #[test]
        fn an_answer_is_one_response_and_no_longer_than_its_request(
            via in prop_oneof![3 => Just("SIP/2.0/UDP h;branch=b;rport".to_string()), 1 => value()],
            second in proptest::option::of(value()),
            from in prop_oneof![2 => Just("<sip:7@h>;tag=1".to_string()), 1 => value()],
            to in prop_oneof![2 => Just("<sip:7@h>".to_string()), 1 => value()],
            call_id in prop_oneof![2 => Just("1@h".to_string()), 1 => value()],
            cseq in prop_oneof![4 => Just("1 REGISTER".to_string()), 1 => value()],
            padding in 0usize..400,
            ipv6: bool,
        ) {
            let mut request = format!("REGISTER sip:h SIP/2.0\r\nVia: {via}\r\n");
            if let Some(second) = second {
                request += &format!("Via: {second}\r\n");
            }
            request += &format!(
                "From: {from}\r\nTo: {to}\r\nCall-ID: {call_id}\r\nCSeq: {cseq}\r\nX: {}\r\n\r\n",
                "x".repeat(padding),
            );
            let source: SocketAddr =
                if ipv6 { "[2001:db8::7]:5063" } else { SOURCE }.parse().unwrap();
            let request = Message::parse(request.as_bytes());
            let Some(answer) = service_unavailable(&request, source, 7) else {
                return Ok(());
            };
            prop_assert!(answer.len() <= request.consumed());
            let text = core::str::from_utf8(&answer).unwrap();
            let lines: Vec<&str> = text.split("\r\n").collect();
            prop_assert!(lines.iter().all(|line| !line.bytes().any(|byte| byte.is_ascii_control())));
            let names: Vec<&str> = lines[1..lines.len() - 2]
                .iter()
                .map(|line| line.split(':').next().unwrap())
                .filter(|name| *name != "Via")
                .collect();
            prop_assert_eq!(names, ["From", "To", "Call-ID", "CSeq", "Content-Length"]);
            let read = Message::parse(&answer);
            prop_assert_eq!(read.status(), Some(503));
            prop_assert!(read.body().is_empty() && read.rest().is_empty());
            let call_id = |message: &Message<'_>| {
                let value = message.header(HeaderName::CallId);
                value.map(|value| value.unfold().into_owned())
            };
            prop_assert_eq!(call_id(&read), call_id(&request));
            prop_assert_eq!(read.cseq(), request.cseq());
            prop_assert_eq!(read.vias().count(), request.vias().count());
            let received = read.via().unwrap().received();
            prop_assert!(received.is_none_or(|received| received == source.ip()));
        }
    }
}
