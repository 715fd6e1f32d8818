//! The first line: what is asked, or what is answered.

use super::anomalies::Anomalies;
use super::grammar::{is_blank, number, split_token, starts_with_ignore_case, trim};
use super::method::Method;
use super::uri::{Scheme, Uri};

/// The first line of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartLine<'a> {
    /// A request.
    Request(RequestLine<'a>),
    /// A response.
    Response(StatusLine<'a>),
    /// Neither: the line as it is. Empty where there are only line ends and blanks.
    Unrecognised(&'a [u8]),
}

/// `INVITE sip:bob@example.com SIP/2.0`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestLine<'a> {
    /// The method, read in any case.
    pub method: Method,
    /// The method as it is spelled.
    pub method_name: &'a [u8],
    /// Everything between method and version, blanks inside included.
    pub uri: Uri<'a>,
    /// `SIP/2.0`, or what stands there instead; empty where no `SIP/` ends the line.
    pub version: &'a [u8],
}

/// `SIP/2.0 401 Unauthorized`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatusLine<'a> {
    /// `SIP/2.0`, or what stands there instead.
    pub version: &'a [u8],
    /// The status code, 100 to 999; `None` where it is not a number of three digits.
    pub status: Option<u16>,
    /// The reason phrase, possibly empty.
    pub reason: &'a [u8],
}

impl<'a> StartLine<'a> {
    /// Reads a logical line.
    ///
    /// A request needs a known method, in any case, as its first word, or a last word that begins
    /// with `SIP/`; a line that ends in the version of another protocol (`OPTIONS *
    /// RTSP/1.0`) is not one. A response begins with `SIP/`.
    #[must_use]
    pub fn parse(line: &'a [u8]) -> Self {
        let text = trim(line);
        let (first, rest) = split_token(text);
        if is_sip_version(first) {
            return Self::Response(status_line(first, rest));
        }
        let method = Method::from_name(first);
        let (uri, last) = split_last_token(rest);
        let (uri, version) = match is_sip_version(last) {
            true => (uri, last),
            false => (rest, Default::default()),
        };
        if version.is_empty() && (method == Method::Other || is_version(last)) {
            return Self::Unrecognised(line);
        }
        Self::Request(RequestLine {
            method,
            method_name: first,
            uri: Uri::parse(uri),
            version,
        })
    }

    pub(super) fn anomalies(&self, line: &[u8]) -> Anomalies {
        let mut anomalies = Anomalies::NONE;
        let folded = line.iter().any(|byte| matches!(byte, b'\r' | b'\n'));
        anomalies.set(Anomalies::FOLDED_START_LINE, folded);
        let mut blanks = line
            .split(|byte| !is_blank(*byte))
            .filter(|run| !run.is_empty());
        let loose = blanks.any(|run| run != b" ") || trim(line).len() < line.len();
        match self {
            Self::Request(request) => {
                anomalies.set(Anomalies::LOOSE_START_LINE, loose);
                anomalies.set(Anomalies::ODD_VERSION, is_odd_version(request.version));
                anomalies.set(Anomalies::ODD_URI, is_odd_uri(&request.uri));
                let known = request.method.name();
                let cased = known.is_some_and(|name| name.as_bytes() != request.method_name);
                anomalies.set(Anomalies::METHOD_CASE, cased);
                let token = request.method_name.iter().all(|byte| is_token(*byte));
                anomalies.set(Anomalies::ODD_METHOD, !token);
            }
            Self::Response(response) => {
                anomalies.set(Anomalies::ODD_VERSION, is_odd_version(response.version));
                let known = response.status.is_some_and(|status| status < 700);
                anomalies.set(Anomalies::ODD_STATUS, !known);
            }
            Self::Unrecognised(_) => anomalies |= Anomalies::UNRECOGNISED_START_LINE,
        }
        anomalies
    }
}

/// RFC 3261 `token`.
pub(super) fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&byte)
}

fn status_line<'a>(version: &'a [u8], rest: &'a [u8]) -> StatusLine<'a> {
    let (code, reason) = split_token(rest);
    let status = number(code).filter(|status| (100..=999).contains(status) && code.len() == 3);
    StatusLine {
        version,
        status,
        reason,
    }
}

fn is_sip_version(word: &[u8]) -> bool {
    starts_with_ignore_case(word, b"SIP/")
}

/// `HTTP/1.1` and the like.
fn is_version(word: &[u8]) -> bool {
    let letters = word
        .iter()
        .take_while(|byte| byte.is_ascii_alphabetic())
        .count();
    letters > 0 && matches!(word.get(letters..), Some([b'/', b'0'..=b'9', ..]))
}

fn split_last_token(text: &[u8]) -> (&[u8], &[u8]) {
    match text.iter().rposition(|byte| is_blank(*byte)) {
        Some(position) => {
            let (before, last) = text.split_at(position);
            (trim(before), trim(last))
        }
        None => (Default::default(), text),
    }
}

fn is_odd_version(version: &[u8]) -> bool {
    !version.eq_ignore_ascii_case(b"SIP/2.0")
}

fn is_odd_uri(uri: &Uri<'_>) -> bool {
    let odd_byte = |byte: &u8| !byte.is_ascii_graphic() || b"<>\"\\^`{|}".contains(byte);
    uri.raw.iter().any(odd_byte)
        || match uri.scheme {
            Scheme::Sip | Scheme::Sips => uri.host.is_empty() || !uri.headers.is_empty(),
            Scheme::Tel => uri.user.is_none_or(<[u8]>::is_empty),
            Scheme::Other => false,
            Scheme::Missing => true,
        }
}
