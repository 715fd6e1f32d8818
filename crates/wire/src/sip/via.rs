//! Via: which way a request came, and where its response goes (RFC 3261 section 20.42, RFC 3581).

use core::net::IpAddr;

use super::grammar::{Elements, Unquoted, split_once, split_token, trim, trim_start};
use super::params::Params;
use super::uri::host_and_port;

/// The transport that a Via claims.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ViaTransport {
    /// `UDP`
    Udp,
    /// `TCP`
    Tcp,
    /// `TLS`
    Tls,
    /// `SCTP`
    Sctp,
    /// `WS` (RFC 7118)
    Ws,
    /// `WSS`
    Wss,
    /// Another one, or none.
    Other,
}

/// One hop: `SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK776;rport`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Via<'a> {
    /// The transport, in any case.
    pub transport: ViaTransport,
    /// Host or address of sent-by, an IPv6 address without its brackets.
    pub host: &'a [u8],
    /// Port of sent-by.
    pub port: Option<u16>,
    /// Parameters.
    pub params: Params<'a>,
}

impl<'a> Via<'a> {
    /// Reads any bytes.
    #[must_use]
    pub fn parse(bytes: &'a [u8]) -> Self {
        let (front, params) = split_once(bytes, b';').unwrap_or((bytes, &[]));
        // Blanks may stand around the slashes: `SIP / 2.0 / UDP`.
        let after_version = split_once(front, b'/').and_then(|(_, rest)| split_once(rest, b'/'));
        let (transport, sent_by) = match after_version {
            Some((_, rest)) => split_token(trim_start(rest)),
            None => (Default::default(), front),
        };
        let (host, port) = host_and_port(sent_by);
        Self {
            transport: transport_named(transport),
            host,
            port,
            params: Params { raw: params },
        }
    }

    /// Splits the Vias of one header line.
    pub(super) fn list(bytes: &'a [u8]) -> impl Iterator<Item = Self> {
        Elements::new(bytes, b',', Unquoted::quotes()).map(Self::parse)
    }

    /// Names the transaction; `z9hG4bK` at its start marks an RFC 3261 sender.
    #[must_use]
    pub fn branch(&self) -> Option<&'a [u8]> {
        self.params.value("branch")
    }

    /// Where the request really came from, as the next hop saw it.
    #[must_use]
    pub fn received(&self) -> Option<IpAddr> {
        let text = core::str::from_utf8(self.params.value("received")?).ok()?;
        text.trim_start_matches('[')
            .trim_end_matches(']')
            .parse()
            .ok()
    }

    /// The port it really came from: `None` also where `;rport` only asks for it.
    #[must_use]
    pub fn rport(&self) -> Option<u16> {
        super::grammar::number(trim(self.params.value("rport")?))
    }
}

fn transport_named(name: &[u8]) -> ViaTransport {
    const KNOWN: [(&[u8], ViaTransport); 6] = [
        (b"UDP", ViaTransport::Udp),
        (b"TCP", ViaTransport::Tcp),
        (b"TLS", ViaTransport::Tls),
        (b"SCTP", ViaTransport::Sctp),
        (b"WS", ViaTransport::Ws),
        (b"WSS", ViaTransport::Wss),
    ];
    KNOWN
        .iter()
        .find(|(known, _)| known.eq_ignore_ascii_case(name))
        .map_or(ViaTransport::Other, |(_, transport)| *transport)
}
