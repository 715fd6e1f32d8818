//! By which host the site's phones log in: a name, or the bare address.
//!
//! ```text
//! learning ── three accounts registered with a name, the first of them a day ago ──► has a name
//!     ▲                                                                                  │
//!     └──────────── 30 days ◄── one registered with an address ◄─────────────────────────┘
//! ```
//!
//! Nothing of it outlasts the process: phones register again within hours, and it takes a day anyway.

use std::{net::IpAddr, time::Duration};

use crate::{
    Source, Time,
    engine::Engine,
    text::escape,
    transactions::{Name, Request},
    window::DAY,
};

/// Accounts that must have used a name.
const ACCOUNTS: usize = 3;
/// So long one account that used an address speaks for others that may come back.
const MEMORY: Duration = DAY.saturating_mul(30);

/// What was learned.
#[derive(Debug, Default)]
pub(crate) struct Site {
    /// When an account first used a name.
    since: Option<Time>,
    /// Hashes of accounts that used one.
    accounts: Vec<u64>,
    /// The name that was used last.
    name: Box<[u8]>,
    /// When an account last used an address.
    by_address: Option<Time>,
}

impl Site {
    /// An account registered with the host in this request URI.
    pub fn registered(&mut self, host: &[u8], account: &Name, now: Time) {
        if is_address(host) {
            self.by_address = Some(now);
            return;
        }
        self.since.get_or_insert(now);
        if self.accounts.len() < ACCOUNTS && !self.accounts.contains(&account.hash) {
            self.accounts.push(account.hash);
        }
        self.name = host.into();
    }

    /// The name that the site's phones use; none where one of them does not, or too few did yet.
    pub fn name(&self, now: Time) -> Option<&[u8]> {
        let is_old = self.since.is_some_and(|since| now.since(since) >= DAY);
        let is_used = self.accounts.len() >= ACCOUNTS;
        let by_address = self.by_address.is_some_and(|at| now.since(at) < MEMORY);
        (is_old && is_used && !by_address).then_some(&*self.name)
    }
}

impl Engine {
    /// Notes that a stranger registers with the bare address where the site's phones use a name, and
    /// says which, safe to show.
    pub(crate) fn bare_address(&mut self, request: &Request) -> Option<String> {
        let is_bare = request.registrar.as_deref().is_some_and(is_address);
        let address = request.client.ip();
        let memory = self.config.trust.memory;
        if !is_bare
            || self.config.extension_enumeration.bare_address == 0
            || self.is_exempt(request.client)
            || self.trust.succeeded_within(address, memory, self.now)
        {
            return None;
        }
        let name = escape(self.site.name(self.now)?).to_string();
        let state = self.sources.touch(Source::of(address));
        state.suspect().enumeration.asked_bare_address();
        Some(name)
    }
}

/// Whether a URI's host, an IPv6 address without its brackets, is an address.
fn is_address(host: &[u8]) -> bool {
    std::str::from_utf8(host).is_ok_and(|host| host.parse::<IpAddr>().is_ok())
}
