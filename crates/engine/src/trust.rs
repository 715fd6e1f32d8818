//! Addresses that proved themselves by a successful login or call.
//!
//! ```text
//! unknown ── success ──► trusted ── 7 days without a success, or a proven alert ──► remembered
//!                           ▲                                                           │
//!                           └──────────────────────── success ──────────────────────────┘
//! remembered ── 30 days without a success ──► unknown
//! ```

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

use ipnet::IpNet;

use crate::{Source, Time, command::Trusted};

/// Numbers of trust.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustConfig {
    /// How long an address is trusted after a success.
    pub lasts: Duration,
    /// How long a success is remembered, for what forgives old customers.
    pub memory: Duration,
    /// Addresses remembered at most, the oldest out.
    pub addresses: usize,
}

impl Default for TrustConfig {
    fn default() -> Self {
        const DAY: Duration = Duration::from_secs(86_400);
        Self {
            lasts: DAY * 7,
            memory: DAY * 30,
            addresses: 100_000,
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Trust {
    addresses: BTreeMap<IpAddr, Trusted>,
    by_age: BTreeSet<(Time, IpAddr)>,
}

impl Trust {
    /// Takes over what the ledger remembers of one address.
    pub fn restore(&mut self, trusted: Trusted, config: &TrustConfig) {
        let address = trusted.address.to_canonical();
        if let Some(old) = self.addresses.remove(&address) {
            self.by_age.remove(&(old.last, address));
        }
        while self.addresses.len() >= config.addresses.max(1) {
            let Some((_, oldest)) = self.by_age.pop_first() else {
                break;
            };
            self.addresses.remove(&oldest);
        }
        self.by_age.insert((trusted.last, address));
        self.addresses
            .insert(address, Trusted { address, ..trusted });
    }

    /// The entry of a trusted address.
    pub fn get(&self, address: IpAddr, now: Time) -> Option<&Trusted> {
        self.addresses
            .get(&address.to_canonical())
            .filter(|trusted| trusted.until > now)
    }

    /// Whether the address had a success within `span`, trusted or not.
    pub fn succeeded_within(&self, address: IpAddr, span: Duration, now: Time) -> bool {
        self.addresses
            .get(&address.to_canonical())
            .is_some_and(|trusted| now.since(trusted.last) <= span)
    }

    /// Ends the trust of an address; false where there was none.
    pub fn end(&mut self, address: IpAddr, now: Time) -> bool {
        match self.addresses.get_mut(&address.to_canonical()) {
            Some(trusted) if trusted.until > now => {
                trusted.until = now;
                true
            }
            Some(_) | None => false,
        }
    }

    /// The trusted addresses of a prefix.
    pub fn within(&self, prefix: &IpNet, now: Time) -> impl Iterator<Item = &Trusted> {
        self.addresses
            .range(prefix.network()..=prefix.broadcast())
            .map(|(_, trusted)| trusted)
            .filter(move |trusted| trusted.until > now)
    }

    /// Whether another address of the same source is trusted.
    pub fn has_neighbour(&self, address: IpAddr, now: Time) -> bool {
        let address = address.to_canonical();
        self.within(&Source::of(address).prefix(), now)
            .any(|trusted| trusted.address != address)
    }

    /// All trusted addresses, in order.
    pub fn iter(&self, now: Time) -> impl Iterator<Item = &Trusted> {
        self.addresses
            .values()
            .filter(move |trusted| trusted.until > now)
    }
}
