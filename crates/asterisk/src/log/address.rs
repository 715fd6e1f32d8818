//! Addresses, in the forms in which Asterisk writes them.

use std::net::{IpAddr, SocketAddr};

use super::{Remote, Transport};

/// Longer text is no address.
const LONGEST: usize = 64;

/// `192.0.2.1:5060`, `[2001:db8::1]:5060`, and PJSIP's `2001:db8::1:5060` without brackets.
pub(super) fn with_port(text: &[u8]) -> Option<SocketAddr> {
    let text = plain(text)?;
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    let (address, port) = text.rsplit_once(':')?;
    Some(SocketAddr::new(
        IpAddr::V6(address.parse().ok()?),
        port.parse().ok()?,
    ))
}

/// The same, or an address alone; then the port is 0.
pub(super) fn maybe_with_port(text: &[u8]) -> Option<SocketAddr> {
    let text = plain(text)?;
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    let bare = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'))
        .unwrap_or(text);
    Some(SocketAddr::new(bare.parse().ok()?, 0))
}

/// `UDP:192.0.2.1:5060`, with a port and maybe a transport.
pub(super) fn maybe_with_transport(text: &[u8]) -> Option<Remote> {
    if let Some(address) = with_port(text) {
        return Some(Remote {
            address,
            transport: None,
        });
    }
    let (name, rest) = super::split_once(text, b":")?;
    Some(Remote {
        transport: Some(transport(name)?),
        address: with_port(rest)?,
    })
}

/// `IPV4/UDP/192.0.2.1/5060`, of security events.
pub(crate) fn transport_address(text: &[u8]) -> Option<Remote> {
    let mut parts = plain(text)?.split('/');
    let family = parts.next()?;
    let name = parts.next()?;
    let address: IpAddr = parts.next()?.parse().ok()?;
    let port = parts.next()?.parse().ok()?;
    let fits = match family {
        "IPV4" => address.is_ipv4(),
        "IPV6" => address.is_ipv6(),
        _ => false,
    };
    (fits && parts.next().is_none()).then_some(Remote {
        address: SocketAddr::new(address, port),
        transport: transport(name.as_bytes()),
    })
}

/// The name of a transport; PJSIP appends a 6 for IPv6.
pub(super) fn transport(name: &[u8]) -> Option<Transport> {
    let name = name.strip_suffix(b"6").unwrap_or(name);
    let transports = [
        (&b"UDP"[..], Transport::Udp),
        (b"TCP", Transport::Tcp),
        (b"TLS", Transport::Tls),
        (b"WS", Transport::Ws),
        (b"WSS", Transport::Wss),
    ];
    transports
        .iter()
        .find(|(known, _)| name.eq_ignore_ascii_case(known))
        .map(|&(_, transport)| transport)
}

fn plain(text: &[u8]) -> Option<&str> {
    if text.len() > LONGEST {
        return None;
    }
    std::str::from_utf8(text).ok()
}
