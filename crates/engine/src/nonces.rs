//! The challenges that the PBX sent, so that an answer to one of them is known as such.

use std::{net::IpAddr, time::Duration};

use sipward_wire::sip::Method;

use crate::{
    Time,
    delay::Delay,
    hash::{HashKey, Map},
};

/// Challenges remembered at most, the oldest out.
const MOST: usize = 200_000;
/// Servers let nonces live for half a minute to an hour.
const REMEMBERED: Duration = Duration::from_secs(3_600);

/// Nonces by the address that they were sent to.
#[derive(Debug)]
pub(crate) struct Nonces {
    key: HashKey,
    nonces: Map<u64, Issued>,
    ends: Delay<(u64, Time)>,
}

/// A nonce that was sent, and in answer to what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Issued {
    pub at: Time,
    pub method: Method,
    /// Hash of the identity that the challenged request claimed.
    pub claimant: u64,
    /// Hash of the username that was accepted with it last.
    pub accepted_for: Option<u64>,
}

/// What is known of the nonce in somebody's credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Freshness {
    /// Sent to this address not long ago: the sender received it, so the address is its own.
    Fresh,
    /// Sent to this address long ago, never, or to another address; or this user was accepted
    /// with it before. A phone that keeps its nonce is refused when the PBX has forgotten it:
    /// chan_sip after 32 s, and without `stale=true`.
    Old,
}

impl Nonces {
    pub fn new(key: HashKey) -> Self {
        Self {
            key,
            nonces: key.map(),
            ends: Delay::new(REMEMBERED),
        }
    }

    /// Notes a nonce that went to this address. One sent again keeps the time of the last sending.
    pub fn issue(&mut self, to: IpAddr, nonce: &[u8], issued: Issued) {
        self.forget(issued.at);
        let hash = self.hash(to, nonce);
        self.nonces.insert(hash, issued);
        self.ends.push(issued.at, (hash, issued.at));
    }

    /// Notes that the user was accepted with the nonce.
    pub fn accept(&mut self, from: IpAddr, nonce: &[u8], user: u64) {
        let hash = self.hash(from, nonce);
        if let Some(issued) = self.nonces.get_mut(&hash) {
            issued.accepted_for = Some(user);
        }
    }

    /// The nonce as it was sent to this address.
    pub fn find(&self, from: IpAddr, nonce: &[u8]) -> Option<Issued> {
        self.nonces.get(&self.hash(from, nonce)).copied()
    }

    fn forget(&mut self, now: Time) {
        while let Some(due) = self.ends.next() {
            if due > now && self.nonces.len() < MOST {
                break;
            }
            let Some((hash, at)) = self.ends.pop() else {
                break;
            };
            if self.nonces.get(&hash).is_some_and(|issued| issued.at == at) {
                self.nonces.remove(&hash);
            }
        }
    }

    fn hash(&self, address: IpAddr, nonce: &[u8]) -> u64 {
        self.key.of(&[&octets(address), nonce])
    }
}

/// The address in 16 bytes, IPv4 mapped.
pub(crate) fn octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}
