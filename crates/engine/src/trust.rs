//! Addresses that proved themselves by a successful login or call.
//!
//! ```text
//! unknown ── success ──► trusted ── 7 days without a success, or a proven alert ──► remembered
//!                           ▲                                                           │
//!                           └──────────────────────── success ──────────────────────────┘
//! remembered ── pushed out by younger ones ──► unknown
//! ```

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

use ipnet::IpNet;

use crate::{
    Source, Time,
    command::{Trusted, TrustedBy},
    window::DAY,
};

/// Numbers of trust.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustConfig {
    /// How long an address is trusted after a success; longer where a registration lasts longer.
    pub lasts: Duration,
    /// How long a success is remembered, for what forgives old customers.
    pub memory: Duration,
    /// Addresses remembered at most, the oldest out.
    pub addresses: usize,
}

impl Default for TrustConfig {
    fn default() -> Self {
        Self {
            lasts: DAY * 7,
            memory: DAY * 30,
            addresses: 100_000,
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Trust {
    addresses: BTreeMap<IpAddr, Entry>,
    by_age: BTreeSet<(Time, IpAddr)>,
}

#[derive(Debug)]
struct Entry {
    trusted: Trusted,
    /// Hashes of the users that succeeded, and when last.
    users: Vec<(u64, Time)>,
    /// When the caller was last told; `None` where it is to be told whatever comes.
    told: Option<Time>,
}

/// A success.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Success<'a> {
    pub address: IpAddr,
    pub by: TrustedBy,
    /// Hash of the username, and the username in a form that is safe to show.
    pub user: Option<(u64, &'a str)>,
    pub user_agent: Option<&'a [u8]>,
    /// How long a registration lasts.
    pub registered_for: Duration,
}

/// Users remembered of one address.
const MOST_USERS: usize = 512;
/// How often the caller is told of the successes of an address.
const TOLD_EVERY: Duration = Duration::from_secs(3_600);

impl Trust {
    /// Takes over what the ledger remembers of one address; `user` is the hash of the username.
    pub fn restore(&mut self, trusted: Trusted, user: Option<u64>, config: &TrustConfig) {
        let address = trusted.address.to_canonical();
        let last = trusted.last;
        self.make_room(address, config);
        self.by_age.insert((last, address));
        let entry = Entry {
            trusted: Trusted { address, ..trusted },
            users: user.map(|user| (user, last)).into_iter().collect(),
            told: Some(last),
        };
        self.addresses.insert(address, entry);
    }

    /// Notes a success. The answer is what to tell the caller, where that is new or long ago.
    pub fn succeed(
        &mut self,
        success: Success<'_>,
        config: &TrustConfig,
        now: Time,
    ) -> Option<Trusted> {
        let address = success.address.to_canonical();
        let until = now + config.lasts.max(success.registered_for);
        let Some(entry) = self.addresses.get_mut(&address) else {
            let trusted = Trusted {
                address,
                by: success.by,
                username: success.user.map(|(_, name)| name.to_owned()),
                user_agent: success.user_agent.map(<[u8]>::to_vec),
                since: now,
                last: now,
                until,
            };
            let user = success.user.map(|(hash, _)| hash);
            self.restore(trusted.clone(), user, config);
            return Some(trusted);
        };
        self.by_age.remove(&(entry.trusted.last, address));
        self.by_age.insert((now, address));
        entry.renew(success, until, config, now)
    }

    /// The next success is told, however short the last one is ago: the larger rate was taken
    /// away.
    pub fn tell_again(&mut self, address: IpAddr) {
        if let Some(entry) = self.addresses.get_mut(&address.to_canonical()) {
            entry.told = None;
        }
    }

    /// The entry of a trusted address.
    pub fn get(&self, address: IpAddr, now: Time) -> Option<&Trusted> {
        let entry = self.addresses.get(&address.to_canonical())?;
        (entry.trusted.until > now).then_some(&entry.trusted)
    }

    /// How many users succeeded from this address within `span`.
    pub fn users(&self, address: IpAddr, span: Duration, now: Time) -> usize {
        let entry = self.addresses.get(&address.to_canonical());
        let lately = |user: &&(u64, Time)| now.since(user.1) < span;
        entry.map_or(0, |entry| entry.users.iter().filter(lately).count())
    }

    /// Whether this user succeeded from this address within `span`.
    pub fn user_succeeded(&self, address: IpAddr, user: u64, span: Duration, now: Time) -> bool {
        let entry = self.addresses.get(&address.to_canonical());
        let lately = |known: &(u64, Time)| known.0 == user && now.since(known.1) < span;
        entry.is_some_and(|entry| entry.users.iter().any(lately))
    }

    /// Whether the address had a success within `span`, trusted or not.
    pub fn succeeded_within(&self, address: IpAddr, span: Duration, now: Time) -> bool {
        let entry = self.addresses.get(&address.to_canonical());
        entry.is_some_and(|entry| now.since(entry.trusted.last) <= span)
    }

    /// Whether a client at this address has logged in and that is remembered, trusted or not.
    pub fn has_logged_in(&self, address: IpAddr) -> bool {
        let entry = self.addresses.get(&address.to_canonical());
        entry.is_some_and(|entry| match entry.trusted.by {
            TrustedBy::Registration | TrustedBy::Login => true,
            TrustedBy::Call | TrustedBy::Peer => false,
        })
    }

    /// Ends the trust of an address.
    pub fn end(&mut self, address: IpAddr, now: Time) {
        if let Some(entry) = self.addresses.get_mut(&address.to_canonical()) {
            entry.trusted.until = entry.trusted.until.min(now);
        }
    }

    /// Whether an address of the prefix had a success that is remembered.
    pub fn remembered_within(&self, prefix: &IpNet) -> bool {
        let range = prefix.network()..=prefix.broadcast();
        self.addresses.range(range).next().is_some()
    }

    /// Whether another address of the same source is trusted.
    pub fn has_neighbour(&self, address: IpAddr, now: Time) -> bool {
        let address = address.to_canonical();
        let prefix = Source::of(address).prefix();
        self.addresses
            .range(prefix.network()..=prefix.broadcast())
            .any(|(known, entry)| *known != address && entry.trusted.until > now)
    }

    /// All trusted addresses, in order.
    pub fn iter(&self, now: Time) -> impl Iterator<Item = &Trusted> {
        self.addresses
            .values()
            .map(|entry| &entry.trusted)
            .filter(move |trusted| trusted.until > now)
    }

    fn make_room(&mut self, address: IpAddr, config: &TrustConfig) {
        if let Some(old) = self.addresses.remove(&address) {
            self.by_age.remove(&(old.trusted.last, address));
        }
        while self.addresses.len() >= config.addresses.max(1) {
            let Some((_, oldest)) = self.by_age.pop_first() else {
                break;
            };
            self.addresses.remove(&oldest);
        }
    }
}

impl Entry {
    fn renew(
        &mut self,
        success: Success<'_>,
        until: Time,
        config: &TrustConfig,
        now: Time,
    ) -> Option<Trusted> {
        if let Some((hash, name)) = success.user {
            self.users
                .retain(|(user, at)| *user != hash && now.since(*at) < config.memory);
            if self.users.len() >= MOST_USERS {
                self.users.remove(0);
            }
            self.users.push((hash, now));
            self.trusted.username = Some(name.to_owned());
        }
        if let Some(user_agent) = success.user_agent
            && self.trusted.user_agent.as_deref() != Some(user_agent)
        {
            self.trusted.user_agent = Some(user_agent.to_vec());
        }
        let ended = self.trusted.until <= now;
        if ended {
            self.trusted.since = now;
        }
        let is_news = ended || self.trusted.by != success.by;
        self.trusted.by = success.by;
        self.trusted.last = now;
        self.trusted.until = if ended {
            until
        } else {
            self.trusted.until.max(until)
        };
        if !is_news && self.told.is_some_and(|told| now.since(told) < TOLD_EVERY) {
            return None;
        }
        self.told = Some(now);
        Some(self.trusted.clone())
    }
}
