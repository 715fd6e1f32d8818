//! Addresses: `"Bob" <sip:bob@example.com;user=phone>;tag=88` in From, To, Contact and others.

use super::grammar::{Elements, Unquoted, split_around, split_once, unquote};
use super::params::Params;
use super::uri::Uri;

/// A name and a URI, with parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NameAddr<'a> {
    /// The display name without its quotes ([`unescape`](super::unescape) takes out the
    /// backslashes); `None` where there is none.
    pub display: Option<&'a [u8]>,
    /// The URI. Without angle brackets it ends at the first semicolon (RFC 3261 section 20.10).
    pub uri: Uri<'a>,
    /// The parameters of the header, not of the URI.
    pub params: Params<'a>,
}

impl<'a> NameAddr<'a> {
    /// Reads any bytes.
    #[must_use]
    pub fn parse(bytes: &'a [u8]) -> Self {
        let bracket = Unquoted::quotes().find(bytes, b'<');
        let Some((display, rest)) = bracket.and_then(|at| split_around(bytes, at)) else {
            let (uri, params) = split_once(bytes, b';').unwrap_or((bytes, &[]));
            let params = Params { raw: params };
            return Self {
                display: None,
                uri: Uri::parse(uri),
                params,
            };
        };
        let (uri, params) = split_once(rest, b'>').unwrap_or((rest, &[]));
        let display = Some(unquote(display)).filter(|display| !display.is_empty());
        Self {
            display,
            uri: Uri::parse(uri),
            params: Params { raw: params },
        }
    }

    /// The tag, which names one side of a dialog.
    #[must_use]
    pub fn tag(&self) -> Option<&'a [u8]> {
        self.params.value("tag")
    }
}

/// The addresses of a list, as in Contact, Route or P-Asserted-Identity.
#[derive(Debug, Clone)]
pub struct Addresses<'a> {
    elements: Elements<'a>,
}

impl<'a> Addresses<'a> {
    /// Splits at the commas outside quotes and angle brackets.
    #[must_use]
    pub fn parse(bytes: &'a [u8]) -> Self {
        Self {
            elements: Elements::new(bytes, b',', Unquoted::quotes_and_brackets()),
        }
    }
}

impl<'a> Iterator for Addresses<'a> {
    type Item = NameAddr<'a>;

    fn next(&mut self) -> Option<NameAddr<'a>> {
        self.elements.next().map(NameAddr::parse)
    }
}
