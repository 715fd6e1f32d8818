//! The request that all evasions are variations of.

use std::net::SocketAddr;

use super::{Field, Transport};

/// What an evasion is asked to carry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The header that has the value.
    pub field: Field,
    /// The value, for example `friendly-scanner`.
    pub value: String,
    /// Identifies the request in what the PBX notes.
    pub call_id: String,
    /// The sender.
    pub source: SocketAddr,
    /// The PBX.
    pub destination: SocketAddr,
    /// Written into the Via header.
    pub transport: Transport,
}

/// An INVITE in the making. Without a word said it is as RFC 3261 wants it.
pub(super) struct Message<'a> {
    request: &'a Request,
    call_id: String,
    start: Vec<u8>,
    from: String,
    before: Vec<u8>,
    line: Vec<u8>,
    length: &'static str,
    body: Vec<u8>,
}

impl<'a> Message<'a> {
    pub(super) fn new(request: &'a Request) -> Self {
        let (line, from) = match request.field {
            Field::UserAgent => (
                format!("User-Agent: {}\r\n", request.value),
                "From: <{uri}>",
            ),
            Field::FromUser => (String::new(), "From: <{uri}>"),
        };
        Self {
            request,
            call_id: request.call_id.clone(),
            start: format!("INVITE sip:100@{} SIP/2.0\r\n", request.destination).into_bytes(),
            from: from.to_owned(),
            before: Vec::new(),
            line: line.into_bytes(),
            length: "0",
            body: Vec::new(),
        }
    }

    /// Another start line; `{uri}` stands for the request URI.
    pub(super) fn start(mut self, start: &str) -> Self {
        let uri = format!("sip:100@{}", self.request.destination);
        self.start = start.replace("{uri}", &uri).into_bytes();
        self
    }

    /// Another From up to its tag; `{value}` and `{uri}` stand for what they say,
    /// `{visitor}` for a URI without the value.
    pub(super) fn from(mut self, from: &str) -> Self {
        self.from = from.to_owned();
        self
    }

    /// What stands before the line with the value.
    pub(super) fn before(mut self, bytes: &[u8]) -> Self {
        self.before = bytes.to_vec();
        self
    }

    /// Another line with the value; `{value}` stands for it.
    pub(super) fn line(mut self, line: &str) -> Self {
        self.line = line.replace("{value}", &self.request.value).into_bytes();
        self
    }

    /// What Content-Length says.
    pub(super) fn length(mut self, length: &'static str) -> Self {
        self.length = length;
        self
    }

    /// What follows the empty line.
    pub(super) fn body(mut self, body: &str) -> Self {
        self.body = body.replace("{value}", &self.request.value).into_bytes();
        self
    }

    /// Makes it an innocent request of another Call-ID.
    pub(super) fn innocent(mut self) -> Self {
        self.call_id = format!("innocent-{}", self.call_id);
        self.line = b"User-Agent: Yealink SIP-T46S 66.86.0.15\r\n".to_vec();
        self
    }

    pub(super) fn bytes(self) -> Vec<u8> {
        let Request {
            source,
            destination,
            value,
            ..
        } = self.request;
        let transport = match self.request.transport {
            Transport::Udp => "UDP",
            Transport::Tcp => "TCP",
        };
        let user = match self.request.field {
            Field::UserAgent => "visitor",
            Field::FromUser => value,
        };
        let call_id = &self.call_id;
        let from = self
            .from
            .replace("{value}", value)
            .replace("{uri}", &format!("sip:{user}@{source}"))
            .replace("{visitor}", &format!("sip:visitor@{source}"));
        let mut bytes = self.start;
        bytes.extend(
            format!(
                "Via: SIP/2.0/{transport} {source};branch=z9hG4bK-{call_id};rport\r\n\
                 Max-Forwards: 70\r\n{from};tag={call_id}\r\nTo: <sip:100@{destination}>\r\n\
                 Call-ID: {call_id}\r\nCSeq: 1 INVITE\r\nContact: <sip:visitor@{source}>\r\n"
            )
            .bytes(),
        );
        bytes.extend(&self.before);
        bytes.extend(&self.line);
        bytes.extend(format!("Content-Length: {}\r\n\r\n", self.length).bytes());
        bytes.extend(&self.body);
        bytes
    }
}

/// The same with another line end everywhere.
pub(super) fn line_ends(message: Vec<u8>, line_end: &str) -> Vec<u8> {
    let text = String::from_utf8_lossy(&message).replace("\r\n", line_end);
    text.into_bytes()
}
