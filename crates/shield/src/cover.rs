//! Which ends hold for a prefix when shorter prefixes around it are banned, too.
//!
//! The kernel's trie answers with the longest prefix only: an expired /32 inside a /24 that is
//! banned for ever would open the gate. So each entry carries the latest ends of all prefixes
//! that cover it, and this index says which entries a change touches.

use std::collections::BTreeMap;

use ipnet::IpNet;

/// The end of a ban in each scope, in nanoseconds of boot time; 0 is no ban.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ends {
    pub all: u64,
    pub sip: u64,
}

impl Ends {
    fn latest(self, other: Self) -> Self {
        Self {
            all: self.all.max(other.all),
            sip: self.sip.max(other.sip),
        }
    }
}

/// An entry of the trie as it has to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    pub prefix: IpNet,
    pub own: Ends,
    pub in_force: Ends,
}

/// The banned prefixes with their own ends.
#[derive(Debug, Default)]
pub struct Cover {
    own: BTreeMap<IpNet, Ends>,
}

impl Cover {
    /// The prefixes, in order.
    pub fn prefixes(&self) -> impl Iterator<Item = IpNet> {
        self.own.keys().copied()
    }

    /// The own ends of a prefix.
    pub fn own(&self, prefix: &IpNet) -> Option<Ends> {
        self.own.get(prefix).copied()
    }

    /// All entries as they have to be written.
    pub fn entries(&self) -> Vec<Entry> {
        let entry = |(prefix, own): (&IpNet, &Ends)| Entry {
            prefix: *prefix,
            own: *own,
            in_force: self.in_force(*prefix),
        };
        self.own.iter().map(entry).collect()
    }

    /// Gives a prefix its own ends and returns the entries to write: it and those inside it.
    pub fn set(&mut self, prefix: IpNet, ends: Ends) -> Vec<Entry> {
        self.own.insert(prefix, ends);
        self.inside(prefix)
    }

    /// Takes a prefix out and returns the entries to write: those inside it.
    pub fn remove(&mut self, prefix: &IpNet) -> Vec<Entry> {
        self.own.remove(prefix);
        self.inside(*prefix)
    }

    /// The entries of a prefix and all inside it. They stand together in the map's order, by
    /// first address and then by length, but for shorter prefixes with the same first address.
    fn inside(&self, prefix: IpNet) -> Vec<Entry> {
        self.own
            .range(prefix..)
            .take_while(|(inner, _)| prefix.contains(*inner))
            .map(|(inner, own)| Entry {
                prefix: *inner,
                own: *own,
                in_force: self.in_force(*inner),
            })
            .collect()
    }

    fn in_force(&self, prefix: IpNet) -> Ends {
        let mut ends = Ends::default();
        let mut next = Some(prefix);
        while let Some(cover) = next {
            ends = ends.latest(self.own.get(&cover).copied().unwrap_or_default());
            next = cover.supernet();
        }
        ends
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn prefixes() -> impl Strategy<Value = IpNet> {
        // Few addresses and many lengths, so that prefixes nest.
        let v4 = (0u8..4, 20u8..=32).prop_map(|(low, len)| {
            IpNet::new([10, 0, low / 2, low].into(), len)
                .unwrap()
                .trunc()
        });
        let v6 = (0u16..4, 40u8..=64).prop_map(|(low, len)| {
            IpNet::new([0x2001, 0xdb8, low, low, 0, 0, 0, 0].into(), len)
                .unwrap()
                .trunc()
        });
        prop_oneof![v4, v6]
    }

    proptest! {
        #[test]
        fn the_trie_holds_the_latest_end_of_every_cover_whatever_the_order(
            steps in proptest::collection::vec((prefixes(), 0u64..9, 0u64..9, any::<bool>()), 1..40)
        ) {
            let mut cover = Cover::default();
            let mut trie: BTreeMap<IpNet, Ends> = BTreeMap::new();
            let mut naive: BTreeMap<IpNet, Ends> = BTreeMap::new();
            for (prefix, all, sip, remove) in steps {
                let written = if remove {
                    trie.remove(&prefix);
                    naive.remove(&prefix);
                    cover.remove(&prefix)
                } else {
                    naive.insert(prefix, Ends { all, sip });
                    cover.set(prefix, Ends { all, sip })
                };
                for entry in written {
                    trie.insert(entry.prefix, entry.in_force);
                }
                for (prefix, in_force) in &trie {
                    let latest = naive
                        .iter()
                        .filter(|(other, _)| other.contains(prefix))
                        .fold(Ends::default(), |ends, (_, own)| ends.latest(*own));
                    prop_assert_eq!(*in_force, latest);
                }
                prop_assert_eq!(trie.len(), naive.len());
            }
        }
    }
}
