//! Header lines: names in any spelling, values folded or not.

use alloc::borrow::Cow;
use alloc::vec::Vec;

use super::anomalies::Anomalies;
use super::grammar::{is_blank, split_once, trim, trim_start};
use super::lines::Lines;
use super::message::MAX_LINE;
use super::start_line::is_token;

macro_rules! header_names {
    ($($name:ident = $long:literal $($compact:literal)?;)+) => {
        /// The headers that are known by name.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum HeaderName {
            $(#[doc = concat!("`", $long, "`" $(, ", compact `", $compact, "`")?)] $name,)+
            /// Any other.
            Other,
        }

        /// In the order of the enum, whose values index the message's table of first lines.
        const NAMES: &[(HeaderName, &str, &str)] = &[
            $((HeaderName::$name, $long, concat!($($compact)?)),)+
        ];
    };
}

// The frequent ones first: names are looked up in this order.
header_names! {
    Via = "Via" "v";
    From = "From" "f";
    To = "To" "t";
    CallId = "Call-ID" "i";
    CSeq = "CSeq";
    Contact = "Contact" "m";
    MaxForwards = "Max-Forwards";
    UserAgent = "User-Agent";
    ContentLength = "Content-Length" "l";
    ContentType = "Content-Type" "c";
    Expires = "Expires";
    Allow = "Allow";
    Supported = "Supported" "k";
    Authorization = "Authorization";
    ProxyAuthorization = "Proxy-Authorization";
    WwwAuthenticate = "WWW-Authenticate";
    ProxyAuthenticate = "Proxy-Authenticate";
    Server = "Server";
    Event = "Event" "o";
    Route = "Route";
    RecordRoute = "Record-Route";
    Accept = "Accept";
    AllowEvents = "Allow-Events" "u";
    ContentEncoding = "Content-Encoding" "e";
    Date = "Date";
    Diversion = "Diversion";
    MinExpires = "Min-Expires";
    Organization = "Organization";
    PAssertedIdentity = "P-Asserted-Identity";
    Path = "Path";
    PPreferredIdentity = "P-Preferred-Identity";
    ProxyRequire = "Proxy-Require";
    Reason = "Reason";
    ReferredBy = "Referred-By" "b";
    ReferTo = "Refer-To" "r";
    RemotePartyId = "Remote-Party-ID";
    Replaces = "Replaces";
    Require = "Require";
    RetryAfter = "Retry-After";
    SessionExpires = "Session-Expires" "x";
    Subject = "Subject" "s";
    SubscriptionState = "Subscription-State";
    Unsupported = "Unsupported";
    Warning = "Warning";
}

impl HeaderName {
    /// How many names there are beside `Other`.
    pub(super) const KNOWN: usize = NAMES.len();

    /// The header of this name, long or compact, in any case.
    #[must_use]
    pub fn from_name(name: &[u8]) -> Self {
        let is_compact = name.len() == 1;
        NAMES
            .iter()
            .find(|(_, long, compact)| {
                let spelling = if is_compact { compact } else { long };
                spelling.as_bytes().eq_ignore_ascii_case(name)
            })
            .map_or(Self::Other, |(header, _, _)| *header)
    }

    /// The name in its long form; `None` for [`Other`](Self::Other).
    #[must_use]
    pub fn name(self) -> Option<&'static str> {
        NAMES
            .iter()
            .find(|(header, _, _)| *header == self)
            .map(|(_, long, _)| *long)
    }
}

/// One header line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header<'a> {
    /// Which header it is.
    pub name: HeaderName,
    /// The name as it is spelled, without the blanks around it.
    pub raw_name: &'a [u8],
    /// What follows the colon.
    pub value: Value<'a>,
}

impl<'a> Header<'a> {
    /// `None`: a line without a colon.
    pub(super) fn parse(line: &'a [u8]) -> Option<Self> {
        let (raw_name, value) = split_once(line, b':')?;
        let raw_name = trim(raw_name);
        Some(Self {
            name: HeaderName::from_name(raw_name),
            raw_name,
            value: Value { raw: trim(value) },
        })
    }

    /// What is odd about a line and the header read from it.
    pub(super) fn anomalies(header: Option<&Self>, line: &[u8]) -> Anomalies {
        let mut anomalies = Anomalies::NONE;
        anomalies.set(Anomalies::LONG_LINE, line.len() > MAX_LINE);
        let Some(header) = header else {
            return anomalies | Anomalies::NO_COLON;
        };
        anomalies.set(Anomalies::EMPTY_NAME, header.raw_name.is_empty());
        let token = header.raw_name.iter().all(|byte| is_token(*byte));
        anomalies.set(Anomalies::ODD_NAME, !token);
        let before_colon = split_once(line, b':').map_or(line, |(before, _)| before);
        let folded = before_colon
            .iter()
            .any(|byte| matches!(byte, b'\r' | b'\n'));
        anomalies.set(Anomalies::FOLD_BEFORE_COLON, folded);
        anomalies
    }
}

/// The value of a header, without the blanks around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Value<'a> {
    /// As it stands in the message, with line ends inside where it is folded.
    pub raw: &'a [u8],
}

impl<'a> Value<'a> {
    /// Whether it goes over more than one line.
    #[must_use]
    pub fn is_folded(&self) -> bool {
        self.raw.iter().any(|byte| matches!(byte, b'\r' | b'\n'))
    }

    /// On one line: each fold, with the blanks around it, becomes one blank (RFC 3261 section
    /// 7.3.1). Allocates only where the value is folded.
    #[must_use]
    pub fn unfold(&self) -> Cow<'a, [u8]> {
        if !self.is_folded() {
            return Cow::Borrowed(self.raw);
        }
        let mut unfolded = Vec::with_capacity(self.raw.len());
        let mut rest = self.raw;
        while let [first, after @ ..] = rest {
            let after_blanks = trim_start(rest);
            let (blanks, _) = rest.split_at(rest.len() - after_blanks.len());
            if blanks.iter().any(|byte| matches!(byte, b'\r' | b'\n')) {
                unfolded.push(b' ');
                rest = after_blanks;
            } else if is_blank(*first) {
                unfolded.extend_from_slice(blanks);
                rest = after_blanks;
            } else {
                unfolded.push(*first);
                rest = after;
            }
        }
        Cow::Owned(unfolded)
    }
}

/// The headers of a message, in order.
#[derive(Debug, Clone)]
pub struct Headers<'a> {
    lines: Lines<'a>,
}

impl<'a> Headers<'a> {
    /// From the start of a header line in a header section.
    pub(super) fn at(section: &'a [u8], position: usize) -> Self {
        Self {
            lines: Lines::at(section, position),
        }
    }
}

impl<'a> Iterator for Headers<'a> {
    type Item = Header<'a>;

    fn next(&mut self) -> Option<Header<'a>> {
        self.lines.find_map(Header::parse)
    }
}
