//! Digest challenges and credentials (RFC 3261 section 22, RFC 8760).

use super::grammar::{Elements, Unquoted, split_token, trim};
use super::params::Param;

/// The value of Authorization, Proxy-Authorization, WWW-Authenticate or Proxy-Authenticate.
///
/// Values come without their quotes; [`unescape`](super::unescape) takes out the backslashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Digest<'a> {
    /// `Digest`, or another scheme.
    pub scheme: &'a [u8],
    /// What follows the scheme.
    pub raw: &'a [u8],
}

macro_rules! digest_params {
    ($($(#[doc = $doc:expr])+ $name:ident;)+) => {
        $($(#[doc = $doc])+
        #[must_use]
        pub fn $name(&self) -> Option<&'a [u8]> {
            self.value(stringify!($name))
        })+
    };
}

impl<'a> Digest<'a> {
    /// Reads any bytes.
    #[must_use]
    pub fn parse(bytes: &'a [u8]) -> Self {
        let (scheme, raw) = split_token(trim(bytes));
        Self { scheme, raw }
    }

    /// Whether the scheme is Digest, in any case.
    #[must_use]
    pub fn is_digest(&self) -> bool {
        self.scheme.eq_ignore_ascii_case(b"Digest")
    }

    /// All parameters, in order.
    pub fn params(&self) -> impl Iterator<Item = Param<'a>> + use<'a> {
        Elements::new(self.raw, b',', Unquoted::quotes()).map(Param::parse)
    }

    /// The value of the first parameter of this name, in any case; `Some` and empty for `nonce=""`.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&'a [u8]> {
        self.params()
            .find(|param| param.name.eq_ignore_ascii_case(name.as_bytes()))?
            .value
    }

    digest_params! {
        /// Whose password.
        username;
        /// Protection domain.
        realm;
        /// The server's challenge.
        nonce;
        /// The URI that was hashed.
        uri;
        /// The hash.
        response;
        /// `MD5` (also where missing), `SHA-256`, ...
        algorithm;
        /// The client's nonce.
        cnonce;
        /// Nonce count, 8 hexadecimal digits.
        nc;
        /// Quality of protection: `auth`, or a list of them in a challenge.
        qop;
        /// To be returned unchanged.
        opaque;
    }

    /// Only the nonce was too old: the password was right.
    #[must_use]
    pub fn stale(&self) -> bool {
        self.value("stale")
            .is_some_and(|value| value.eq_ignore_ascii_case(b"true"))
    }
}
