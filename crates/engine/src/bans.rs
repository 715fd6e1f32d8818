//! The bans in force, as the engine knows them.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    ops::Bound,
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::{
    Time,
    command::{Ban, Scope},
    source::host,
};

/// What tells two bans apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub prefix: IpNet,
    pub port: Option<u16>,
    pub scope: Scope,
}

impl Key {
    pub fn of(ban: &Ban) -> Self {
        Self {
            prefix: ban.prefix,
            port: ban.port,
            scope: ban.scope,
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Bans {
    bans: BTreeMap<Key, Ban>,
    ends: BTreeSet<(Time, Key)>,
    /// How many bans there are of each prefix length, IPv4 and IPv6.
    ipv4_lengths: BTreeMap<u8, usize>,
    ipv6_lengths: BTreeMap<u8, usize>,
}

impl Bans {
    /// Adds a ban. One of the same prefix, port and scope that lasts at least as long stays as it
    /// is; then the answer is false.
    pub fn add(&mut self, ban: Ban) -> bool {
        let key = Key::of(&ban);
        if let Some(old) = self.bans.get(&key) {
            let lasts_as_long = match (old.until, ban.until) {
                (None, _) => true,
                (Some(_), None) => false,
                (Some(old), Some(new)) => old >= new,
            };
            if lasts_as_long {
                return false;
            }
            self.remove(&key);
        }
        if let Some(until) = ban.until {
            self.ends.insert((until, key));
        }
        self.bans.insert(key, ban);
        *self
            .lengths_mut(&key.prefix)
            .entry(key.prefix.prefix_len())
            .or_insert(0) += 1;
        true
    }

    pub fn get(&self, key: &Key) -> Option<&Ban> {
        self.bans.get(key)
    }

    pub fn remove(&mut self, key: &Key) -> Option<Ban> {
        let ban = self.bans.remove(key)?;
        if let Some(until) = ban.until {
            self.ends.remove(&(until, *key));
        }
        let length = key.prefix.prefix_len();
        let lengths = self.lengths_mut(&key.prefix);
        if let Some(count) = lengths.get_mut(&length) {
            *count -= 1;
            if *count == 0 {
                lengths.remove(&length);
            }
        }
        Some(ban)
    }

    /// When the next ban lapses.
    pub fn next_end(&self) -> Option<Time> {
        self.ends.first().map(|(until, _)| *until)
    }

    /// Takes out one ban that has lapsed.
    pub fn pop_lapsed(&mut self, now: Time) -> Option<Key> {
        let (until, key) = self.ends.first().copied()?;
        if until > now {
            return None;
        }
        self.remove(&key).map(|_| key)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Ban> {
        self.bans.values()
    }

    /// The bans behind this one, in the order of their keys.
    pub fn after(&self, key: Key) -> impl Iterator<Item = &Ban> {
        let behind = (Bound::Excluded(key), Bound::Unbounded);
        self.bans.range(behind).map(|(_, ban)| ban)
    }

    /// The bans that drop packets of this address, of whatever port, longest prefix first. Looks
    /// up one prefix of each length that occurs, so that a hundred thousand bans cost no more
    /// than ten.
    pub fn covering(&self, address: IpAddr) -> impl Iterator<Item = &Ban> {
        let host = host(address);
        let lengths = match host {
            IpNet::V4(_) => &self.ipv4_lengths,
            IpNet::V6(_) => &self.ipv6_lengths,
        };
        lengths.keys().rev().flat_map(move |length| {
            let prefix = shorten(host, *length);
            let first = Key {
                prefix,
                port: None,
                scope: Scope::All,
            };
            let last = Key {
                prefix,
                port: Some(u16::MAX),
                scope: Scope::Sip,
            };
            self.bans.range(first..=last).map(|(_, ban)| ban)
        })
    }

    fn lengths_mut(&mut self, prefix: &IpNet) -> &mut BTreeMap<u8, usize> {
        match prefix {
            IpNet::V4(_) => &mut self.ipv4_lengths,
            IpNet::V6(_) => &mut self.ipv6_lengths,
        }
    }

    /// Keys of the bans within `prefix`, and of those wider than it that contain it.
    pub fn touching(&self, prefix: &IpNet) -> (Vec<Key>, Vec<Key>) {
        let keys = self.bans.keys();
        let within = keys.clone().filter(|key| prefix.contains(&key.prefix));
        let around = keys.filter(|key| key.prefix != *prefix && key.prefix.contains(prefix));
        (within.copied().collect(), around.copied().collect())
    }
}

/// The prefixes that cover `range` but for `hole`, which lies in it.
#[must_use]
pub fn without(range: &IpNet, hole: &IpNet) -> Vec<IpNet> {
    let mut rest = Vec::new();
    let mut part = *range;
    while part.prefix_len() < hole.prefix_len() {
        let Ok(halves) = part.subnets(part.prefix_len() + 1) else {
            break;
        };
        for half in halves {
            if half.contains(hole) {
                part = half;
            } else {
                rest.push(half);
            }
        }
    }
    rest
}

fn shorten(net: IpNet, len: u8) -> IpNet {
    match net {
        IpNet::V4(net) => Ipv4Net::new(net.addr(), len)
            .map_or(net, |net| net.trunc())
            .into(),
        IpNet::V6(net) => Ipv6Net::new(net.addr(), len)
            .map_or(net, |net| net.trunc())
            .into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_hole_leaves_the_rest_of_the_range() {
        let range: IpNet = "192.0.2.0/29".parse().unwrap();
        let hole: IpNet = "192.0.2.5/32".parse().unwrap();
        let rest: Vec<String> = without(&range, &hole)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(rest, ["192.0.2.0/30", "192.0.2.6/31", "192.0.2.4/32"]);
    }

    proptest! {
        #[test]
        fn range_without_hole_holds_every_other_address(
            base: u32, len in 22u8..=32, hole: u32, hole_len in 22u8..=32,
        ) {
            let range = Ipv4Net::new(base.into(), len).unwrap().trunc();
            let inside = u32::from(range.addr()) | (hole & (!0u32).checked_shr(len.into()).unwrap_or(0));
            let hole = Ipv4Net::new(inside.into(), hole_len.max(len)).unwrap().trunc();
            let rest = without(&range.into(), &hole.into());
            for address in range.hosts().chain([range.addr(), range.broadcast()]) {
                let covered = rest.iter().filter(|net| net.contains(&IpAddr::V4(address))).count();
                prop_assert_eq!(covered, usize::from(!hole.contains(&address)), "{}", address);
            }
        }
    }
}
