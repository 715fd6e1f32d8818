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

    /// How many have not lapsed at `now`.
    pub fn in_force(&self, now: Time) -> usize {
        let lapsed = self.ends.iter().take_while(|(until, _)| *until <= now);
        self.bans.len() - lapsed.count()
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
        let lengths = self.lengths(&host).keys().rev();
        lengths.flat_map(move |length| self.of(shorten(host, *length)).map(|(_, ban)| ban))
    }

    /// The bans of exactly this prefix.
    fn of(&self, prefix: IpNet) -> impl Iterator<Item = (&Key, &Ban)> {
        let last = Key {
            prefix,
            port: Some(u16::MAX),
            scope: Scope::Sip,
        };
        self.bans.range(first_of(prefix)..=last)
    }

    fn lengths(&self, prefix: &IpNet) -> &BTreeMap<u8, usize> {
        match prefix {
            IpNet::V4(_) => &self.ipv4_lengths,
            IpNet::V6(_) => &self.ipv6_lengths,
        }
    }

    fn lengths_mut(&mut self, prefix: &IpNet) -> &mut BTreeMap<u8, usize> {
        match prefix {
            IpNet::V4(_) => &mut self.ipv4_lengths,
            IpNet::V6(_) => &mut self.ipv6_lengths,
        }
    }

    /// The bans that drop packets of any address of `prefix`, in the order of the keys: those around
    /// it, then those of it and within it.
    pub fn touching(&self, prefix: IpNet) -> impl Iterator<Item = &Ban> {
        self.around(prefix).chain(self.within(prefix))
    }

    /// The bans wider than `prefix` that contain it.
    pub fn around(&self, prefix: IpNet) -> impl Iterator<Item = &Ban> {
        let lengths = self.lengths(&prefix).keys().copied();
        let shorter = lengths.take_while(move |length| *length < prefix.prefix_len());
        shorter.flat_map(move |length| self.of(shorten(prefix, length)).map(|(_, ban)| ban))
    }

    /// The bans of `prefix` and within it.
    pub fn within(&self, prefix: IpNet) -> impl Iterator<Item = &Ban> {
        // In the order of the keys they stand together.
        let from_here = self.bans.range(first_of(prefix)..);
        from_here
            .map(|(_, ban)| ban)
            .take_while(move |ban| prefix.contains(&ban.prefix))
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

/// The first key that a ban of this prefix may have.
const fn first_of(prefix: IpNet) -> Key {
    Key {
        prefix,
        port: None,
        scope: Scope::All,
    }
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
    use crate::{command::Origin, source::overlap};
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

    fn any_prefix() -> impl Strategy<Value = IpNet> {
        // Few addresses and many lengths, so that prefixes nest.
        let v4 = (0u8..8, 20u8..=32).prop_map(|(low, len)| {
            IpNet::new([10, 0, low / 4, low * 32].into(), len)
                .unwrap()
                .trunc()
        });
        let v6 = (0u16..4, 40u8..=64).prop_map(|(low, len)| {
            let address = [0x2001, 0xdb8, low, low, 0, 0, 0, 0];
            IpNet::new(address.into(), len).unwrap().trunc()
        });
        prop_oneof![v4, v6]
    }

    fn ban(prefix: IpNet, port: Option<u16>, until: Option<u64>) -> Ban {
        Ban {
            prefix,
            port,
            scope: Scope::Sip,
            since: Time(0),
            until: until.map(Time),
            detector: None,
            reason: String::new(),
            proven: false,
            signature: None,
            account: None,
            origin: Origin::Manual,
        }
    }

    proptest! {
        #[test]
        fn what_touches_a_prefix_and_what_is_in_force_is_found_among_all(
            prefixes in proptest::collection::vec(
                (any_prefix(), proptest::option::of(0u16..2), proptest::option::of(0u64..9)), 0..40,
            ),
            asked in any_prefix(),
            now in 0u64..10,
        ) {
            let mut bans = Bans::default();
            for (prefix, port, until) in prefixes {
                bans.add(ban(prefix, port, until));
            }
            let touching: Vec<&Ban> = bans
                .iter()
                .filter(|ban| overlap(&ban.prefix, &asked))
                .collect();
            prop_assert_eq!(bans.touching(asked).collect::<Vec<_>>(), touching);
            let within = bans.iter().filter(|ban| asked.contains(&ban.prefix));
            prop_assert!(bans.within(asked).eq(within));
            let in_force = bans.iter().filter(|ban| ban.is_in_force(Time(now))).count();
            prop_assert_eq!(bans.in_force(Time(now)), in_force);
        }

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
