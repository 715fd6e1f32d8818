//! What the events say.

use std::net::{IpAddr, SocketAddr};

use super::Message;
use crate::log::SecurityEvent;

/// A security event. `None` for everything else.
#[must_use]
pub fn security_event(message: &Message) -> Option<SecurityEvent<'_>> {
    message.security_event()
}

/// A phone or trunk, as `PeerStatus` and `ContactStatus` have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer<'a> {
    /// The name in the configuration.
    pub name: &'a [u8],
    /// How it is.
    pub state: PeerState,
    /// Where it is. For `ContactStatus` that is what the phone said of itself, and only
    /// [`PeerState::Reachable`] proves it: Asterisk's OPTIONS was answered from there.
    pub address: Option<SocketAddr>,
}

/// How a peer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerState {
    /// It registered, or registered again.
    Registered,
    /// It answers Asterisk's OPTIONS.
    Reachable,
    /// It does not answer, or not in time.
    Unreachable,
    /// Its registration ended.
    Unregistered,
}

/// The state of a peer. `None` for everything else, and for states that say nothing.
#[must_use]
pub fn peer(message: &Message) -> Option<Peer<'_>> {
    match message.event()? {
        b"PeerStatus" => Some(Peer {
            name: message.get("Peer")?,
            state: match message.get("PeerStatus")? {
                b"Registered" => PeerState::Registered,
                b"Reachable" => PeerState::Reachable,
                b"Lagged" | b"Unreachable" => PeerState::Unreachable,
                b"Unregistered" => PeerState::Unregistered,
                _ => return None,
            },
            address: message.get("Address").and_then(parse),
        }),
        b"ContactStatus" => Some(Peer {
            name: message.get("EndpointName").or_else(|| message.get("AOR"))?,
            state: match message.get("ContactStatus")? {
                b"Created" | b"NonQualified" | b"Updated" => PeerState::Registered,
                b"Reachable" => PeerState::Reachable,
                b"Unreachable" => PeerState::Unreachable,
                b"Removed" => PeerState::Unregistered,
                _ => return None,
            },
            address: message.get("URI").and_then(of_uri),
        }),
        _ => None,
    }
}

/// A registration of Asterisk with somebody else, as `Registry` has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Registration<'a> {
    /// With whom: a name, an address, or PJSIP's `server_uri`.
    pub with: &'a [u8],
    /// It is accepted.
    pub accepted: bool,
}

/// The state of a registration. `None` for everything else.
#[must_use]
pub fn registration(message: &Message) -> Option<Registration<'_>> {
    (message.event()? == b"Registry").then_some(())?;
    Some(Registration {
        with: message.get("Domain")?,
        accepted: message.get("Status")? == b"Registered",
    })
}

/// An address with or without a port.
fn parse(text: &[u8]) -> Option<SocketAddr> {
    let text = std::str::from_utf8(text).ok()?;
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    let address: IpAddr = text.trim_matches(['[', ']']).parse().ok()?;
    Some(SocketAddr::new(address, 0))
}

/// The address in `sip:112@198.51.100.10:54062;transport=UDP`.
fn of_uri(uri: &[u8]) -> Option<SocketAddr> {
    let colon = memchr::memchr(b':', uri)?;
    let rest = uri.get(colon + 1..)?;
    let host = memchr::memrchr(b'@', rest).map_or(Some(rest), |at| rest.get(at + 1..))?;
    let end = host.iter().position(|b| matches!(b, b';' | b'?' | b'>'));
    parse(host.get(..end.unwrap_or(host.len()))?)
}
