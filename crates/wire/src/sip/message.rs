//! A whole message.

use super::address::{Addresses, NameAddr};
use super::anomalies::Anomalies;
use super::digest::Digest;
use super::grammar::{leading_number, number, split_once, split_token, trim};
use super::header::{Header, HeaderName, Headers, Value};
use super::lines::Lines;
use super::method::Method;
use super::start_line::{RequestLine, StartLine};
use super::uri::{Scheme, Uri};
use super::via::Via;

/// Header lines above which a message is reported to have too many; a real one has 10 to 40.
/// All are read: servers do so too, and a scanner's name must not hide behind them.
pub const MAX_HEADERS: usize = 256;

/// Bytes of a line, folds included, above which it is reported as long. It is read all the same.
pub const MAX_LINE: usize = 8_192;

/// A SIP message, borrowed from the bytes it was read from.
///
/// Parsing walks the headers once. Finding the first header of a known name afterwards costs one
/// table look-up.
#[derive(Debug, Clone)]
pub struct Message<'a> {
    start_line: StartLine<'a>,
    /// Everything up to and with the empty line.
    head: &'a [u8],
    /// Where the headers begin in `head`.
    headers: usize,
    body: &'a [u8],
    rest: &'a [u8],
    anomalies: Anomalies,
    firsts: [Option<First<'a>>; HeaderName::KNOWN],
}

/// The first header of a name.
#[derive(Debug, Clone, Copy)]
struct First<'a> {
    /// Where in the head its line begins.
    position: usize,
    value: Value<'a>,
}

/// The sequence number of a request, and its method again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CSeq<'a> {
    /// `None` where it is not a number below 2^32.
    pub number: Option<u32>,
    /// The method, read in any case.
    pub method: Method,
    /// The method as it is spelled.
    pub method_name: &'a [u8],
}

impl<'a> Message<'a> {
    /// Reads a datagram, or what a [`Splitter`](super::Splitter) has cut out of a stream.
    #[must_use]
    pub fn parse(bytes: &'a [u8]) -> Self {
        let mut lines = Lines::new(bytes);
        let line = lines.next().unwrap_or_default();
        let start_line = StartLine::parse(line);
        let mut anomalies = start_line.anomalies(line);
        anomalies.set(Anomalies::LONG_LINE, line.len() > MAX_LINE);
        let headers = lines.position();

        let mut firsts = [None; HeaderName::KNOWN];
        let mut count = 0;
        let mut position = headers;
        while let Some(line) = lines.next() {
            count += 1;
            let header = Header::parse(line);
            anomalies |= Header::anomalies(header.as_ref(), line);
            if let Some(header) = header {
                anomalies |= remember(&mut firsts, &header, position);
            }
            position = lines.position();
        }
        anomalies |= lines.anomalies();
        anomalies.set(Anomalies::TOO_MANY_HEADERS, count > MAX_HEADERS);
        anomalies.set(Anomalies::NO_EMPTY_LINE, !lines.ended());

        let (head, rest) = bytes.split_at_checked(position).unwrap_or((bytes, &[]));
        anomalies.set(Anomalies::NOT_UTF8, core::str::from_utf8(head).is_err());
        anomalies.set(Anomalies::NUL, head.contains(&0));
        let mut message = Self {
            start_line,
            head,
            headers,
            body: rest,
            rest: &[],
            anomalies,
            firsts,
        };
        message.cut_body();
        message.anomalies |= message.value_anomalies();
        message
    }

    /// What is odd about the message.
    #[must_use]
    pub fn anomalies(&self) -> Anomalies {
        self.anomalies
    }

    /// The first line.
    #[must_use]
    pub fn start_line(&self) -> StartLine<'a> {
        self.start_line
    }

    /// The first line of a request.
    #[must_use]
    pub fn request(&self) -> Option<RequestLine<'a>> {
        match self.start_line {
            StartLine::Request(request) => Some(request),
            StartLine::Response(_) | StartLine::Unrecognised(_) => None,
        }
    }

    /// The method of a request.
    #[must_use]
    pub fn method(&self) -> Option<Method> {
        self.request().map(|request| request.method)
    }

    /// The status code of a response, where it is a number of three digits.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self.start_line {
            StartLine::Response(response) => response.status,
            StartLine::Request(_) | StartLine::Unrecognised(_) => None,
        }
    }

    /// The header lines in order, but for those without a colon.
    #[must_use]
    pub fn headers(&self) -> Headers<'a> {
        Headers::at(self.head, self.headers)
    }

    /// The first value of a known header. Always `None` for [`HeaderName::Other`].
    #[must_use]
    pub fn header(&self, name: HeaderName) -> Option<Value<'a>> {
        self.first(name).map(|first| first.value)
    }

    /// All values of a header, one for each line; lists within a line are not split.
    pub fn values(&self, name: HeaderName) -> impl Iterator<Item = Value<'a>> + use<'a> {
        let position = if name == HeaderName::Other {
            self.headers
        } else {
            self.first(name)
                .map_or(self.head.len(), |first| first.position)
        };
        Headers::at(self.head, position)
            .filter(move |header| header.name == name)
            .map(|header| header.value)
    }

    /// What follows the empty line, at most Content-Length bytes.
    #[must_use]
    pub fn body(&self) -> &'a [u8] {
        self.body
    }

    /// Everything before the body: start line, headers, empty line.
    #[must_use]
    pub fn head(&self) -> &'a [u8] {
        self.head
    }

    /// What follows the body where Content-Length says where it ends: in a datagram nothing, or
    /// another message that somebody wants to hide.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Bytes of the message, of those that were given.
    #[must_use]
    pub fn consumed(&self) -> usize {
        self.head.len() + self.body.len()
    }

    /// The topmost Via.
    #[must_use]
    pub fn via(&self) -> Option<Via<'a>> {
        self.vias().next()
    }

    /// All Vias, topmost first.
    pub fn vias(&self) -> impl Iterator<Item = Via<'a>> + use<'a> {
        self.values(HeaderName::Via)
            .flat_map(|value| Via::list(value.raw))
    }

    /// From.
    #[must_use]
    pub fn from(&self) -> Option<NameAddr<'a>> {
        self.header(HeaderName::From)
            .map(|value| NameAddr::parse(value.raw))
    }

    /// To.
    #[must_use]
    pub fn to(&self) -> Option<NameAddr<'a>> {
        self.header(HeaderName::To)
            .map(|value| NameAddr::parse(value.raw))
    }

    /// All Contacts; the `*` of an un-REGISTER has the raw URI `*`.
    pub fn contacts(&self) -> impl Iterator<Item = NameAddr<'a>> + use<'a> {
        self.addresses(HeaderName::Contact)
    }

    /// All addresses of a header that is a list of them.
    pub fn addresses(&self, name: HeaderName) -> impl Iterator<Item = NameAddr<'a>> + use<'a> {
        self.values(name)
            .flat_map(|value| Addresses::parse(value.raw))
    }

    /// Call-ID.
    #[must_use]
    pub fn call_id(&self) -> Option<&'a [u8]> {
        self.header(HeaderName::CallId).map(|value| value.raw)
    }

    /// CSeq.
    #[must_use]
    pub fn cseq(&self) -> Option<CSeq<'a>> {
        let value = self.header(HeaderName::CSeq)?;
        let (sequence, method_name) = split_token(value.raw);
        Some(CSeq {
            number: number(sequence),
            method: Method::from_name(method_name),
            method_name,
        })
    }

    /// User-Agent, the first where there are more ([`values`](Self::values) has them all).
    #[must_use]
    pub fn user_agent(&self) -> Option<Value<'a>> {
        self.header(HeaderName::UserAgent)
    }

    /// Server.
    #[must_use]
    pub fn server(&self) -> Option<Value<'a>> {
        self.header(HeaderName::Server)
    }

    /// Content-Length: the digits that the first one begins with, as servers read it. `None`
    /// where there is none. Saturates.
    #[must_use]
    pub fn content_length(&self) -> Option<u64> {
        leading_number(self.header(HeaderName::ContentLength)?.raw)
    }

    /// Content-Type without its parameters.
    #[must_use]
    pub fn content_type(&self) -> Option<&'a [u8]> {
        self.front(HeaderName::ContentType)
    }

    /// Expires, in seconds; `None` also where it is not a number below 2^32.
    #[must_use]
    pub fn expires(&self) -> Option<u32> {
        number(self.header(HeaderName::Expires)?.raw)
    }

    /// The event package (`presence`, `dialog`, `keep-alive`), without its parameters.
    #[must_use]
    pub fn event(&self) -> Option<&'a [u8]> {
        self.front(HeaderName::Event)
    }

    /// Max-Forwards; `None` also where it is not a number below 2^32.
    #[must_use]
    pub fn max_forwards(&self) -> Option<u32> {
        number(self.header(HeaderName::MaxForwards)?.raw)
    }

    /// The credentials of a request: Authorization, then Proxy-Authorization.
    pub fn credentials(&self) -> impl Iterator<Item = Digest<'a>> + use<'a> {
        self.values(HeaderName::Authorization)
            .chain(self.values(HeaderName::ProxyAuthorization))
            .map(|value| Digest::parse(value.raw))
    }

    /// The challenges of a response: WWW-Authenticate, then Proxy-Authenticate.
    pub fn challenges(&self) -> impl Iterator<Item = Digest<'a>> + use<'a> {
        self.values(HeaderName::WwwAuthenticate)
            .chain(self.values(HeaderName::ProxyAuthenticate))
            .map(|value| Digest::parse(value.raw))
    }

    fn first(&self, name: HeaderName) -> Option<First<'a>> {
        *self.firsts.get(name as usize)?
    }

    fn front(&self, name: HeaderName) -> Option<&'a [u8]> {
        let raw = self.header(name)?.raw;
        Some(split_once(raw, b';').map_or(raw, |(front, _)| trim(front)))
    }

    fn cut_body(&mut self) {
        let Some(length) = self.content_length() else {
            return;
        };
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        self.anomalies
            .set(Anomalies::SHORT_BODY, length > self.body.len());
        if let Some((body, rest)) = self.body.split_at_checked(length) {
            self.body = body;
            self.rest = rest;
            self.anomalies.set(Anomalies::EXTRA_BYTES, !rest.is_empty());
        }
    }

    fn value_anomalies(&self) -> Anomalies {
        let mut anomalies = Anomalies::NONE;
        const REQUIRED: [HeaderName; 5] = [
            HeaderName::Via,
            HeaderName::From,
            HeaderName::To,
            HeaderName::CallId,
            HeaderName::CSeq,
        ];
        let missing = REQUIRED.iter().any(|name| self.first(*name).is_none());
        anomalies.set(Anomalies::MISSING_HEADER, missing);
        if let Some(value) = self.header(HeaderName::ContentLength) {
            let good = number::<u32>(value.raw).is_some_and(|length| length < 1 << 31);
            anomalies.set(Anomalies::BAD_CONTENT_LENGTH, !good);
        }
        if let Some(cseq) = self.cseq() {
            let good = cseq.number.is_some_and(|number| number < 1 << 31);
            anomalies.set(Anomalies::BAD_CSEQ, !good || cseq.method_name.is_empty());
            let same = self.request().is_none_or(|request| {
                request.method == cseq.method
                    && (request.method != Method::Other || request.method_name == cseq.method_name)
            });
            anomalies.set(Anomalies::CSEQ_METHOD, !same);
        }
        for address in [self.from(), self.to()].into_iter().flatten() {
            anomalies.set(Anomalies::BAD_ADDRESS, !has_target(&address.uri));
        }
        for name in [HeaderName::From, HeaderName::To, HeaderName::Contact] {
            let value = self.header(name).unwrap_or_default();
            anomalies.set(Anomalies::OPEN_QUOTE, has_open_quote(value.raw));
        }
        let bad_via = self.via().is_some_and(|via| via.host.is_empty());
        anomalies.set(Anomalies::BAD_VIA, bad_via);
        for name in [HeaderName::MaxForwards, HeaderName::Expires] {
            let bad = self
                .header(name)
                .is_some_and(|value| number::<u32>(value.raw).is_none());
            anomalies.set(Anomalies::BAD_NUMBER, bad);
        }
        anomalies
    }
}

/// Keeps the first header of each name; tells which repetition matters.
fn remember<'a>(
    firsts: &mut [Option<First<'a>>],
    header: &Header<'a>,
    position: usize,
) -> Anomalies {
    let name = header.name;
    let Some(first) = firsts.get_mut(name as usize) else {
        return Anomalies::NONE;
    };
    if first.is_none() {
        *first = Some(First {
            position,
            value: header.value,
        });
        return Anomalies::NONE;
    }
    if name == HeaderName::ContentLength {
        return Anomalies::DUPLICATE_CONTENT_LENGTH;
    }
    const SINGLE: [HeaderName; 5] = [
        HeaderName::From,
        HeaderName::To,
        HeaderName::CallId,
        HeaderName::CSeq,
        HeaderName::MaxForwards,
    ];
    if SINGLE.contains(&name) {
        Anomalies::DUPLICATE_HEADER
    } else {
        Anomalies::NONE
    }
}

fn has_target(uri: &Uri<'_>) -> bool {
    match uri.scheme {
        Scheme::Sip | Scheme::Sips => !uri.host.is_empty(),
        Scheme::Tel => uri.user.is_some_and(|number| !number.is_empty()),
        Scheme::Other => true,
        Scheme::Missing => false,
    }
}

fn has_open_quote(value: &[u8]) -> bool {
    let mut open = false;
    let mut escaped = false;
    for byte in value {
        if *byte == b'"' && !escaped {
            open = !open;
        }
        escaped = open && !escaped && *byte == b'\\';
    }
    open
}
