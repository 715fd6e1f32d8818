//! Requests to the PBX and what became of them.
//!
//! ```text
//! request ──► waiting ── 1xx ──► waiting longer ─┐
//!                │ final answer                  │ final answer
//!                ▼                               ▼
//!             answered ── INVITE, 3xx-6xx: 2 s for the ACK ──► acknowledged, or not
//!                      └─ 401/407: 4 s for credentials ──────► followed, or not
//! ```
//!
//! A request is known by client address, Call-ID, CSeq, method and branch. One sent again with
//! other credentials, or for another identity, is another request.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use sipward_wire::sip::{self, Digest, Method};

use crate::{
    Time,
    command::Place,
    delay::Delay,
    hash::{HashKey, Map},
    nonces::{Freshness, octets},
};

/// Requests remembered at most, the oldest out.
const MOST: usize = 65_536;
/// Timer B and F of RFC 3261, and as much again for the acknowledgement.
const REMEMBERED: Duration = Duration::from_secs(64);
/// An INVITE may ring this long (RFC 3261 section 16.6 asks for more than three minutes).
const RINGING: Duration = Duration::from_secs(300);

/// A request, as much of it as the detectors need.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub client: SocketAddr,
    /// In a stream whose handshake was completed.
    pub established: bool,
    pub method: Method,
    pub call: u64,
    pub cseq: u32,
    /// It has a To tag.
    pub in_dialog: bool,
    /// Hash of To (REGISTER) or From: who the client says it is before any credentials.
    pub claimant: u64,
    /// To of a REGISTER, else the digest's username, else From.
    pub identity: Name,
    /// The user part of the request URI.
    pub target: Option<Name>,
    /// The host of the request URI of a REGISTER.
    pub registrar: Option<Box<[u8]>>,
    pub credentials: Option<Box<Credentials>>,
    /// Hash of User-Agent and user of Contact: what stays the same on one device.
    pub device: u64,
    /// Hash of From, URI and port.
    pub keep_alive: u64,
    pub user_agent: Option<Box<[u8]>>,
    pub first_line: Box<[u8]>,
    pub place: Place,
    pub at: Time,
}

/// A request and what became of it.
#[derive(Clone, Debug)]
pub(crate) struct Transaction {
    pub request: Arc<Request>,
    pub answer: Option<Answer>,
    /// The credentials turned out to be right, as far as one can tell.
    pub accepted: bool,
}

/// A name and its hash, without regard to case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Name {
    pub hash: u64,
    pub text: Box<[u8]>,
}

/// Credentials with a nonce and a response in them.
#[derive(Clone, Debug)]
pub(crate) struct Credentials {
    pub username: Name,
    pub freshness: Freshness,
    /// The nonce was sent in answer to the same method of the same claimant, so the PBX does ask
    /// for a password there.
    pub bound: bool,
    /// The value of the header, to be read again where the password is looked at.
    pub header: Box<[u8]>,
}

/// The final answer to a request.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub at: Time,
    pub status: u16,
    pub reason: Box<[u8]>,
    pub outcome: Outcome,
    /// Hash of the To tag; `None` without one.
    pub to_tag: Option<u64>,
    pub acknowledged: bool,
    /// Acknowledged from the client's own address.
    pub acknowledged_by_client: bool,
    /// Nothing more is to be concluded from a missing acknowledgement.
    pub excused: bool,
}

/// What a final answer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Asks for credentials, and none were there, or none for this realm.
    Challenged,
    /// The password is right, the nonce too old.
    Stale,
    /// The password is wrong.
    WrongPassword,
    /// The credentials were right, whatever else is said.
    Accepted,
    /// 2xx, and nobody asked for a password.
    Done,
    /// Anything else.
    Refused,
}

/// Requests by their keys, and INVITEs by their Call-ID.
#[derive(Debug)]
pub(crate) struct Transactions {
    key: HashKey,
    requests: Map<u64, Transaction>,
    invites: Map<u64, Vec<u64>>,
    ends: Delay<(u64, Time)>,
    ringing_ends: Delay<(u64, Time)>,
}

impl Transactions {
    pub fn new(key: HashKey) -> Self {
        Self {
            key,
            requests: key.map(),
            invites: key.map(),
            ends: Delay::new(REMEMBERED),
            ringing_ends: Delay::new(RINGING),
        }
    }

    /// Where a request is kept, or the one that a response answers.
    pub fn key_of(&self, client: SocketAddr, message: &sip::Message<'_>) -> Option<u64> {
        let cseq = message.cseq()?;
        let via = message.via();
        let branch = via.as_ref().and_then(|via| via.branch());
        Some(self.key.of(&[
            &octets(client.ip()),
            message.call_id()?,
            &cseq.number?.to_be_bytes(),
            cseq.method_name,
            branch.unwrap_or_default(),
        ]))
    }

    pub fn get(&self, key: u64) -> Option<&Transaction> {
        self.requests.get(&key)
    }

    pub fn get_mut(&mut self, key: u64) -> Option<&mut Transaction> {
        self.requests.get_mut(&key)
    }

    /// Keeps a new request; false where it is one sent again.
    pub fn add(&mut self, key: u64, request: Request) -> bool {
        if let Some(Transaction { request: old, .. }) = self.requests.get(&key) {
            let same_password = match (&old.credentials, &request.credentials) {
                (Some(old), Some(new)) => old.header == new.header,
                (None, None) => true,
                (Some(_), None) | (None, Some(_)) => false,
            };
            if same_password
                && old.identity.hash == request.identity.hash
                && old.target.as_ref().map(|name| name.hash)
                    == request.target.as_ref().map(|name| name.hash)
            {
                return false;
            }
            self.remove(key);
        }
        while self.requests.len() >= MOST {
            let Some((oldest, at)) = self.ends.pop().or_else(|| self.ringing_ends.pop()) else {
                break;
            };
            self.remove_if_of(oldest, at);
        }
        self.ends.push(request.at, (key, request.at));
        if request.method == Method::Invite {
            self.invites.entry(request.call).or_default().push(key);
        }
        let transaction = Transaction {
            request: Arc::new(request),
            answer: None,
            accepted: false,
        };
        self.requests.insert(key, transaction);
        true
    }

    /// The INVITEs of a dialog.
    pub fn invites(&self, call: u64) -> &[u64] {
        self.invites
            .get(&call)
            .map(Vec::as_slice)
            .unwrap_or_default()
    }

    /// When something is to be forgotten.
    pub fn next(&self) -> Option<Time> {
        [self.ends.next(), self.ringing_ends.next()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Forgets what is over; an INVITE without an answer is given the time to ring.
    pub fn forget(&mut self, now: Time) {
        while let Some((key, at)) = self.ends.pop_due(now) {
            let rings = self.requests.get(&key).is_some_and(|transaction| {
                let request = &transaction.request;
                let is_invite = request.at == at && request.method == Method::Invite;
                is_invite && transaction.answer.is_none()
            });
            if rings {
                self.ringing_ends.push(now, (key, at));
            } else {
                self.remove_if_of(key, at);
            }
        }
        while let Some((key, at)) = self.ringing_ends.pop_due(now) {
            self.remove_if_of(key, at);
        }
    }

    fn remove_if_of(&mut self, key: u64, at: Time) {
        let is_same = |transaction: &Transaction| transaction.request.at == at;
        if self.requests.get(&key).is_some_and(is_same) {
            self.remove(key);
        }
    }

    fn remove(&mut self, key: u64) {
        let Some(Transaction { request, .. }) = self.requests.remove(&key) else {
            return;
        };
        if request.method != Method::Invite {
            return;
        }
        if let Some(keys) = self.invites.get_mut(&request.call) {
            keys.retain(|known| *known != key);
            if keys.is_empty() {
                self.invites.remove(&request.call);
            }
        }
    }
}

impl Transaction {
    /// Whether its sender received something that was sent to its address: credentials with a
    /// fresh nonce, the answer's To tag in an ACK, or a stream.
    pub fn is_proven(&self) -> bool {
        let acknowledged = self
            .answer
            .as_ref()
            .is_some_and(|answer| answer.acknowledged_by_client);
        self.request.established || self.request.has_fresh_nonce() || acknowledged
    }
}

impl Request {
    fn has_fresh_nonce(&self) -> bool {
        self.credentials
            .as_ref()
            .is_some_and(|credentials| credentials.freshness == Freshness::Fresh)
    }
}

impl Credentials {
    /// They themselves.
    pub fn digest(&self) -> Digest<'_> {
        Digest {
            scheme: b"Digest",
            raw: &self.header,
        }
    }
}

/// The digest credentials of a request; those with an empty nonce or response are none (IMS
/// handsets announce themselves so).
pub(crate) fn digest_of<'a>(message: &sip::Message<'a>) -> Option<Digest<'a>> {
    message.credentials().find(|digest| {
        let is_there = |value: Option<&[u8]>| value.is_some_and(|value| !value.is_empty());
        digest.is_digest() && is_there(digest.nonce()) && is_there(digest.response())
    })
}
