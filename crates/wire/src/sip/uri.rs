//! URIs: `sip:`, `sips:`, `tel:` and whatever else is tried.

use alloc::borrow::Cow;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::grammar::{number, split_around, split_once, trim};
use super::params::Params;

/// What stands before the first colon of a URI.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// `sip:`
    Sip,
    /// `sips:`
    Sips,
    /// `tel:` (RFC 3966)
    Tel,
    /// Another one; the URI is not taken apart.
    Other,
    /// None; the URI is read as if `sip:` stood before it.
    Missing,
}

/// A URI, taken apart the way servers do: the user ends at the first `@`.
///
/// Nothing is decoded; [`percent_decode`] does that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Uri<'a> {
    /// All of it, trimmed; the rest is read from between angle brackets where there are any, as
    /// chan_sip reads a request URI.
    pub raw: &'a [u8],
    /// Its scheme, in any case.
    pub scheme: Scheme,
    /// The user part with its own parameters (`sip:+358-555;phone-context=x@host`), without the
    /// password; the number of a `tel:` URI. `None` without an `@`.
    pub user: Option<&'a [u8]>,
    /// What follows a colon in the user part.
    pub password: Option<&'a [u8]>,
    /// Host name or address, an IPv6 address without its brackets. Empty for `tel:`.
    pub host: &'a [u8],
    /// `None` where there is none and where it is not a number below 65,536.
    pub port: Option<u16>,
    /// The parameters after the host (after the number of a `tel:` URI).
    pub params: Params<'a>,
    /// What follows the question mark.
    pub headers: &'a [u8],
}

impl<'a> Uri<'a> {
    /// Reads any bytes.
    #[must_use]
    pub fn parse(bytes: &'a [u8]) -> Self {
        let raw = trim(bytes);
        let bare = match raw.strip_prefix(b"<") {
            Some(inside) => split_once(inside, b'>').map_or(inside, |(uri, _)| trim(uri)),
            None => raw,
        };
        let (scheme, rest) = scheme(bare);
        let opaque = Self {
            raw,
            scheme,
            user: None,
            password: None,
            host: Default::default(),
            port: None,
            params: Params::default(),
            headers: Default::default(),
        };
        match scheme {
            Scheme::Sip | Scheme::Sips | Scheme::Missing => Self::with_host(opaque, rest),
            Scheme::Tel => {
                let (number, params) = split_once(rest, b';').unwrap_or((rest, &[]));
                Self {
                    user: Some(number),
                    params: Params { raw: params },
                    ..opaque
                }
            }
            Scheme::Other => opaque,
        }
    }

    /// The host where it is an address.
    #[must_use]
    pub fn host_address(&self) -> Option<IpAddr> {
        let text = core::str::from_utf8(self.host).ok()?;
        let v4 = text.parse::<Ipv4Addr>().map(IpAddr::from);
        v4.or_else(|_| text.parse::<Ipv6Addr>().map(IpAddr::from))
            .ok()
    }

    /// The user part without its own parameters, as dialplans see it.
    #[must_use]
    pub fn user_name(&self) -> Option<&'a [u8]> {
        let user = self.user?;
        Some(split_once(user, b';').map_or(user, |(name, _)| name))
    }

    fn with_host(self, rest: &'a [u8]) -> Self {
        let (user_info, rest) = match split_once(rest, b'@') {
            Some((user_info, rest)) => (Some(user_info), rest),
            None => (None, rest),
        };
        let (user, password) = match user_info.and_then(|info| split_once(info, b':')) {
            Some((user, password)) => (Some(user), Some(password)),
            None => (user_info, None),
        };
        let (rest, headers) = split_once(rest, b'?').unwrap_or((rest, &[]));
        let (host_port, params) = split_once(rest, b';').unwrap_or((rest, &[]));
        let (host, port) = host_and_port(host_port);
        Self {
            user,
            password,
            host,
            port,
            params: Params { raw: params },
            headers,
            ..self
        }
    }
}

/// Replaces `%41` by `A` and leaves what is no escape as it is (RFC 3986 section 2.1). Allocates
/// only where there is a percent sign.
#[must_use]
pub fn percent_decode(bytes: &[u8]) -> Cow<'_, [u8]> {
    if !bytes.contains(&b'%') {
        return Cow::Borrowed(bytes);
    }
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let [first, after @ ..] = rest {
        (rest, _) = match escaped(rest) {
            Some((byte, after)) => (after, decoded.push(byte)),
            None => (after, decoded.push(*first)),
        };
    }
    Cow::Owned(decoded)
}

/// Splits `host:port`, with blanks around the colon as in Via; takes the brackets off an IPv6
/// address.
pub(super) fn host_and_port(bytes: &[u8]) -> (&[u8], Option<u16>) {
    let bytes = trim(bytes);
    let bracketed = bytes
        .strip_prefix(b"[")
        .and_then(|inside| split_once(inside, b']'));
    let (host, port) = match bracketed {
        Some((host, rest)) => (host, split_once(rest, b':').map(|(_, port)| port)),
        None => match split_once(bytes, b':') {
            Some((host, port)) => (trim(host), Some(port)),
            None => (bytes, None),
        },
    };
    (host, port.and_then(|port| number(trim(port))))
}

fn escaped(bytes: &[u8]) -> Option<(u8, &[u8])> {
    let [b'%', high, low, rest @ ..] = bytes else {
        return None;
    };
    Some(((hex(*high)? << 4) | hex(*low)?, rest))
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|value| u8::try_from(value).ok())
}

fn scheme(uri: &[u8]) -> (Scheme, &[u8]) {
    let is_scheme_byte = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-.".contains(byte);
    let length = uri.iter().take_while(|byte| is_scheme_byte(byte)).count();
    let begins_with_letter = uri.first().is_some_and(u8::is_ascii_alphabetic);
    match split_around(uri, length) {
        Some((name, rest)) if begins_with_letter && uri.get(length) == Some(&b':') => {
            (named_scheme(name), rest)
        }
        Some(_) | None => (Scheme::Missing, uri),
    }
}

fn named_scheme(name: &[u8]) -> Scheme {
    const KNOWN: [(&[u8], Scheme); 3] = [
        (b"sip", Scheme::Sip),
        (b"sips", Scheme::Sips),
        (b"tel", Scheme::Tel),
    ];
    KNOWN
        .iter()
        .find(|(known, _)| known.eq_ignore_ascii_case(name))
        .map_or(Scheme::Other, |(_, scheme)| *scheme)
}
