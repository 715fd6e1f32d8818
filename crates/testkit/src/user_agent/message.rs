//! Messages as text: what a user agent sends, and what it needs to know of what it receives.

use std::fmt::Write;

use super::{Acknowledges, Exchange, Transport};

/// The realm of an Asterisk as the test bench sets it up, for credentials that are sent unasked.
pub(super) const REALM: &str = "asterisk";

/// A received message.
#[derive(Debug, Clone)]
pub(super) struct Incoming {
    pub start: String,
    headers: Vec<(String, String)>,
    /// Bytes of the whole message.
    pub length: usize,
}

impl Incoming {
    /// Reads the first message of the bytes, once it is whole: a stream may hold a part of one.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
        let text = String::from_utf8_lossy(&bytes[..end]);
        let mut lines = text.lines();
        let start = lines.next()?.to_owned();
        let headers = lines.filter_map(|line| line.split_once(':'));
        let headers = headers
            .map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()))
            .collect();
        let mut message = Self {
            start,
            headers,
            length: end,
        };
        let body: usize = message.header("Content-Length").parse().unwrap_or(0);
        message.length += body;
        (message.length <= bytes.len()).then_some(message)
    }

    /// The first header of that name; empty where there is none.
    pub fn header(&self, name: &str) -> &str {
        self.all(name).first().copied().unwrap_or_default()
    }

    /// All headers of that name, in their order.
    pub fn all(&self, name: &str) -> Vec<&str> {
        let mut values = Vec::new();
        for (key, value) in &self.headers {
            if key.eq_ignore_ascii_case(name) {
                values.push(value.as_str());
            }
        }
        values
    }

    /// The status of a response.
    pub fn status(&self) -> Option<u16> {
        self.start.strip_prefix("SIP/2.0 ")?.get(..3)?.parse().ok()
    }

    /// The method of a request.
    pub fn method(&self) -> &str {
        self.start.split(' ').next().unwrap_or_default()
    }

    /// Number and method of `CSeq`.
    pub fn cseq(&self) -> (u32, &str) {
        let (number, method) = self.header("CSeq").split_once(' ').unwrap_or_default();
        (number.parse().unwrap_or(0), method.trim())
    }

    pub fn to_tag(&self) -> Option<&str> {
        self.header("To").split_once(";tag=").map(|(_, tag)| tag)
    }

    pub fn challenge(&self) -> Option<Challenge> {
        let header = match self.status()? {
            401 => self.header("WWW-Authenticate"),
            407 => self.header("Proxy-Authenticate"),
            _ => return None,
        };
        let parameter = |name: &str| {
            let mut parts = header.trim_start_matches("Digest ").split(',');
            let value = parts.find_map(|part| part.trim().strip_prefix(name)?.strip_prefix('='));
            value.map(|value| value.trim_matches('"').to_owned())
        };
        Some(Challenge {
            is_proxy: self.status() == Some(407),
            realm: parameter("realm").unwrap_or_default(),
            nonce: parameter("nonce")?,
            opaque: parameter("opaque"),
            has_qop: parameter("qop").is_some(),
            stale: parameter("stale").is_some_and(|stale| stale.eq_ignore_ascii_case("true")),
        })
    }
}

/// What a server asks credentials for (RFC 3261 §22).
#[derive(Debug, Clone, Default)]
pub(super) struct Challenge {
    pub is_proxy: bool,
    pub realm: String,
    pub nonce: String,
    pub opaque: Option<String>,
    pub has_qop: bool,
    pub stale: bool,
}

impl Challenge {
    /// One that nobody sent: a nonce from elsewhere.
    pub fn unasked(nonce: &str) -> Self {
        Self {
            realm: REALM.to_owned(),
            nonce: nonce.to_owned(),
            ..Self::default()
        }
    }

    /// The header line that answers it (RFC 2617 §3.2.2).
    pub fn answer(&self, exchange: &Exchange, password: &str) -> String {
        let Self { realm, nonce, .. } = self;
        let (method, user, uri) = (exchange.method, &exchange.username, exchange.uri());
        let hash = |text: String| format!("{:x}", md5::compute(text));
        let secret = hash(format!("{user}:{realm}:{password}"));
        let request = hash(format!("{method}:{uri}"));
        let (middle, qop) = if self.has_qop {
            let middle = format!("{nonce}:00000001:0a4f113b:auth");
            (middle, ", qop=auth, nc=00000001, cnonce=\"0a4f113b\"")
        } else {
            (nonce.clone(), "")
        };
        let response = hash(format!("{secret}:{middle}:{request}"));
        let opaque = self.opaque.iter();
        let opaque: String = opaque
            .map(|value| format!(", opaque=\"{value}\""))
            .collect();
        let name = if self.is_proxy {
            "Proxy-Authorization"
        } else {
            "Authorization"
        };
        format!(
            "{name}: Digest username=\"{user}\", realm=\"{realm}\", nonce=\"{nonce}\", \
             uri=\"{uri}\", response=\"{response}\", algorithm=MD5{opaque}{qop}\r\n"
        )
    }
}

/// Empty credentials, as handsets made for IMS send them first (TS 24.229 §5.1.1.2).
pub(super) fn empty_credentials(exchange: &Exchange) -> String {
    format!(
        "Authorization: Digest username=\"{}\", realm=\"{REALM}\", nonce=\"\", uri=\"{}\", response=\"\"\r\n",
        exchange.username,
        exchange.uri()
    )
}

impl Exchange {
    /// The request URI.
    pub(super) fn uri(&self) -> String {
        match self.target.as_str() {
            "" => format!("sip:{}", self.server),
            target => format!("sip:{target}@{}", self.server),
        }
    }

    /// PJSIP does not answer where a branch is no token (RFC 3261 §25.1), as with an `@` in it.
    fn branch(&self, cseq: u32) -> String {
        format!("z9hG4bK{}.{cseq}{}", self.number(), self.branch)
    }

    /// What stands before the `@` of the Call-ID, also used as the tag in From.
    fn number(&self) -> &str {
        self.call_id.split('@').next().unwrap_or_default()
    }

    fn to_user(&self) -> &str {
        if self.target.is_empty() {
            &self.user
        } else {
            &self.target
        }
    }

    /// What all requests of the exchange have in common.
    fn head(&self, method: &str, branch: &str, cseq: u32, to_tag: Option<&str>) -> String {
        let Self {
            source,
            server,
            user,
            call_id,
            ..
        } = self;
        let transport = self.transport.name();
        let to_tag = to_tag.map(|tag| format!(";tag={tag}")).unwrap_or_default();
        let to = self.to_user();
        let mut text = format!(
            "{method} {} SIP/2.0\r\nVia: SIP/2.0/{transport} {source};branch={branch};rport\r\n\
             Max-Forwards: 70\r\nFrom: <sip:{user}@{server}>;tag={}\r\nTo: <sip:{to}@{server}>{to_tag}\r\n\
             Call-ID: {call_id}\r\nCSeq: {cseq} {method}\r\n",
            self.uri(),
            self.number(),
        );
        if let Some(user_agent) = self.user_agent {
            let _ = write!(text, "User-Agent: {user_agent}\r\n");
        }
        text
    }

    /// The request itself.
    pub(super) fn request(&self, cseq: u32, authorization: &str) -> String {
        let mut text = self.head(self.method, &self.branch(cseq), cseq, None);
        let Self {
            source,
            server,
            user,
            ..
        } = self;
        let transport = match self.transport {
            Transport::Udp => "",
            Transport::Tcp => ";transport=tcp",
            Transport::Tls => ";transport=tls",
            Transport::Ws | Transport::Wss => ";transport=ws",
        };
        let _ = write!(
            text,
            "Contact: <sip:{user}@{source}{transport}>\r\n{authorization}"
        );
        let body = match self.method {
            "INVITE" => offer(self),
            "MESSAGE" => "hello".to_owned(),
            _ => String::new(),
        };
        text += match self.method {
            "REGISTER" => "Expires: 3600\r\n",
            "SUBSCRIBE" => {
                "Event: dialog\r\nAccept: application/dialog-info+xml\r\nExpires: 3600\r\n"
            }
            "NOTIFY" => "Event: keep-alive\r\n",
            "INVITE" => "Content-Type: application/sdp\r\n",
            "MESSAGE" => "Content-Type: text/plain\r\n",
            _ => "",
        };
        if self.method == "REFER" {
            let _ = write!(text, "Refer-To: <sip:600@{server}>\r\n");
        }
        let _ = write!(text, "Content-Length: {}\r\n\r\n{body}", body.len());
        text
    }

    /// The ACK of a final answer, if this party sends one.
    pub(super) fn ack(&self, answer: &Incoming) -> Option<String> {
        let is_success = answer.status().is_some_and(|status| status < 300);
        let sends = match self.acknowledges {
            Acknowledges::Everything => true,
            Acknowledges::Refusals => !is_success,
            Acknowledges::Nothing => false,
        };
        let (cseq, _) = answer.cseq();
        let branch = self.branch(cseq) + if is_success { "ack" } else { "" };
        let head = self.head("ACK", &branch, cseq, answer.to_tag());
        sends.then(|| head + "Content-Length: 0\r\n\r\n")
    }

    pub(super) fn cancel(&self, cseq: u32) -> String {
        self.head("CANCEL", &self.branch(cseq), cseq, None) + "Content-Length: 0\r\n\r\n"
    }

    pub(super) fn bye(&self, answer: &Incoming) -> String {
        let cseq = answer.cseq().0 + 1;
        let head = self.head("BYE", &self.branch(cseq), cseq, answer.to_tag());
        head + "Content-Length: 0\r\n\r\n"
    }
}

fn offer(exchange: &Exchange) -> String {
    let family = if exchange.source.is_ipv4() {
        "IP4"
    } else {
        "IP6"
    };
    let address = exchange.source.ip();
    format!(
        "v=0\r\no=- 1 1 IN {family} {address}\r\ns=-\r\nc=IN {family} {address}\r\nt=0 0\r\n\
         m=audio 40000 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n"
    )
}

/// The answer of a user agent to a request.
pub(super) fn response(request: &Incoming, status: &str) -> String {
    let mut text = format!("SIP/2.0 {status}\r\n");
    for via in request.all("Via") {
        let _ = write!(text, "Via: {via}\r\n");
    }
    for name in ["From", "Call-ID", "CSeq"] {
        let _ = write!(text, "{name}: {}\r\n", request.header(name));
    }
    let to = request.header("To");
    let tag = if to.contains(";tag=") {
        ""
    } else {
        ";tag=callee"
    };
    let _ = write!(text, "To: {to}{tag}\r\nContent-Length: 0\r\n\r\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_in_a_stream_is_read_when_it_is_whole() {
        let bytes = b"SIP/2.0 200 OK\r\nCSeq: 7 INVITE\r\nTo: <sip:a>;tag=x\r\ncontent-length: 2\r\n\r\nabSIP";
        assert!(Incoming::read(&bytes[..bytes.len() - 4]).is_none());
        let message = Incoming::read(bytes).unwrap();
        assert_eq!(message.length, bytes.len() - 3);
        assert_eq!(
            (message.status(), message.cseq()),
            (Some(200), (7, "INVITE"))
        );
        assert_eq!(message.to_tag(), Some("x"));
    }

    /// The example of RFC 2617 §3.5 is HTTP's; this one was computed by hand from the formula.
    #[test]
    fn a_challenge_is_answered_with_and_without_qop() {
        let exchange = Exchange::new("192.0.2.7:5060", "192.0.2.1:5060", "REGISTER", "100");
        let text = "SIP/2.0 401 Unauthorized\r\nWWW-Authenticate: Digest  realm=\"asterisk\",nonce=\"1/2\",\
                    opaque=\"77\",algorithm=md5,qop=\"auth\",stale=true\r\n\r\n";
        let mut challenge = Incoming::read(text.as_bytes())
            .unwrap()
            .challenge()
            .unwrap();
        assert!(challenge.stale && challenge.has_qop);
        let hash = |text: &str| format!("{:x}", md5::compute(text));
        let (a1, a2) = (hash("100:asterisk:x"), hash("REGISTER:sip:192.0.2.1:5060"));
        let with = hash(&format!("{a1}:1/2:00000001:0a4f113b:auth:{a2}"));
        let answer = challenge.answer(&exchange, "x");
        assert!(
            answer.contains(&with) && answer.contains("opaque=\"77\""),
            "{answer}"
        );
        challenge.has_qop = false;
        let without = hash(&format!("{a1}:1/2:{a2}"));
        assert!(challenge.answer(&exchange, "x").contains(&without));
    }
}
