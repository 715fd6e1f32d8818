//! Which ends hold for a prefix when shorter prefixes around it are banned, too.
//!
//! The kernel's trie answers with the longest prefix only: an expired /32 inside a /24 that is
//! banned for ever would open the gate. So each entry carries the latest ends of all prefixes
//! that cover it, and this index says which entries a change touches.

use std::{collections::BTreeMap, net::IpAddr};

use ipnet::IpNet;

use crate::{BootTime, Scope};

/// The end of a ban in each scope, in nanoseconds of boot time; 0 is no ban.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ends {
    pub all: u64,
    pub sip: u64,
}

impl Ends {
    /// With another end in one scope.
    pub fn with(self, scope: Scope, until: BootTime) -> Self {
        match scope {
            Scope::All => Self {
                all: until.0,
                ..self
            },
            Scope::Sip => Self {
                sip: until.0,
                ..self
            },
        }
    }

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

/// The banned prefixes with their ends.
#[derive(Debug, Default)]
pub struct Cover {
    held: BTreeMap<IpNet, Held>,
}

#[derive(Clone, Copy, Debug)]
struct Held {
    own: Ends,
    in_force: Ends,
}

impl Cover {
    /// The prefixes, in order.
    pub fn prefixes(&self) -> impl Iterator<Item = IpNet> {
        self.held.keys().copied()
    }

    /// The own ends of a prefix.
    pub fn own(&self, prefix: &IpNet) -> Option<Ends> {
        self.held.get(prefix).map(|held| held.own)
    }

    /// Gives prefixes, in order, their own ends and returns the entries to write, in order: they
    /// and those inside them.
    pub fn set_all(&mut self, prefixes: &[(IpNet, Ends)]) -> Vec<Entry> {
        for (prefix, own) in prefixes {
            // What is in force is found below.
            let in_force = *own;
            self.held.insert(
                *prefix,
                Held {
                    own: *own,
                    in_force,
                },
            );
        }
        let mut entries: Vec<Entry> = Vec::with_capacity(prefixes.len());
        let mut done: Option<IpNet> = None;
        for (prefix, _) in prefixes {
            if !done.is_some_and(|done| done.contains(prefix)) {
                self.renew(*prefix, &mut entries);
                done = Some(*prefix);
            }
        }
        entries
    }

    /// Takes a prefix out and returns the entries to write: those inside it.
    pub fn remove(&mut self, prefix: &IpNet) -> Vec<Entry> {
        self.held.remove(prefix);
        let mut entries = Vec::new();
        self.renew(*prefix, &mut entries);
        entries
    }

    /// Finds anew what is in force for a prefix and all inside it. They stand together in the
    /// map's order, by first address and then by length, but for shorter prefixes with the same
    /// first address.
    fn renew(&mut self, prefix: IpNet, entries: &mut Vec<Entry>) {
        // From the widest to the one that the next prefix may be in.
        let mut around: Vec<(IpNet, Ends)> = self.cover_of(prefix).into_iter().collect();
        let inside = self
            .held
            .range_mut(prefix..)
            .take_while(|(inner, _)| prefix.contains(*inner));
        for (inner, held) in inside {
            while around.pop_if(|(outer, _)| !outer.contains(inner)).is_some() {}
            let covers = around.last().map(|(_, ends)| *ends).unwrap_or_default();
            held.in_force = held.own.latest(covers);
            around.push((*inner, held.in_force));
            entries.push(Entry {
                prefix: *inner,
                own: held.own,
                in_force: held.in_force,
            });
        }
    }

    /// The longest prefix around this one, with what is in force there. It stands before this one
    /// in the map's order, but perhaps not next to it: whatever stands between is in it, too, and
    /// so is what that has in common with this one.
    fn cover_of(&self, prefix: IpNet) -> Option<(IpNet, Ends)> {
        let mut before = self.held.range(..prefix).next_back();
        while let Some((found, held)) = before {
            if found.contains(&prefix) {
                return Some((*found, held.in_force));
            }
            let common = common(*found, prefix)?;
            before = self.held.range(..=common).next_back();
        }
        None
    }
}

/// The longest prefix around both; none for one of each family.
fn common(a: IpNet, b: IpNet) -> Option<IpNet> {
    let same = match (a.network(), b.network()) {
        (IpAddr::V4(a), IpAddr::V4(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros(),
        (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros(),
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return None,
    };
    let longest = a.prefix_len().min(b.prefix_len());
    let len = u8::try_from(same).map_or(longest, |same| same.min(longest));
    IpNet::new(b.network(), len).ok().map(|net| net.trunc())
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
                    cover.set_all(&[(prefix, Ends { all, sip })])
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
