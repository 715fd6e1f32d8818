//! Which networks anything is listed of, so that the kernel spares the lookups for all others.
//!
//! A network (an IPv4 /24, an IPv6 /48) has flags, by a hash of it. A flag may be set for nothing,
//! which costs time; it is never missing where there is an entry. So it is set before an entry is
//! made and cleared when the last one is gone: who dies in between leaves it set, and the next
//! start, which counts the entries anew, clears it.

use std::{collections::BTreeSet, iter};

use aya::maps::{Array, MapData};
use ipnet::IpNet;

use crate::{
    Error,
    abi::{Address, LISTED_BITS, LISTED_BLOCK, ListedAbi},
    entries::in_map,
};

/// What may be listed of a network; the number of the flag's bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A prefix that is allowed.
    Allowed = 0,
    /// A single address, or an IPv6 /64, that is banned.
    Banned = 1,
    /// A source port behind an address that is banned.
    PortBanned = 2,
    /// Any other prefix that is banned.
    PrefixBanned = 3,
    /// A source that has logged in.
    Trusted = 4,
}

const KINDS: usize = 5;
/// A prefix that is shorter than a network by more bits than these is not marked network by
/// network but for all.
const WIDE_BITS: u8 = 16;

/// How many entries of each kind there are of a network.
type Entries = [u32; KINDS];

/// The flags in the kernel, and the entries behind them.
pub struct Listed {
    blocks: Array<MapData, ListedAbi>,
    flags: Vec<u8>,
    /// By the hash of a network; pages of it that are all zero take no memory.
    entries: Vec<Entries>,
    everywhere: Entries,
}

impl Listed {
    /// Knows of no entry yet; the flags that the map has are left until [`Self::write_all`].
    pub fn new(blocks: Array<MapData, ListedAbi>) -> Self {
        Self {
            blocks,
            flags: vec![0; 1 << LISTED_BITS],
            entries: vec![Entries::default(); 1 << LISTED_BITS],
            everywhere: Entries::default(),
        }
    }

    /// The flags that hold for every network.
    pub fn everywhere(&self) -> u8 {
        flags_of(&self.everywhere)
    }

    /// Counts an entry that is there already; returns the blocks whose flags that changes.
    pub fn count(&mut self, kind: Kind, prefix: IpNet) -> BTreeSet<u32> {
        self.change(kind, prefix, |entries| entries.saturating_add(1))
    }

    /// Sets the flags of an entry that is about to be made.
    pub fn add(&mut self, kind: Kind, prefix: IpNet) -> Result<(), Error> {
        self.add_all(iter::once((kind, prefix)))
    }

    /// As [`Self::add`], for many. Where it fails, none of them is counted: an entry that is made later
    /// must not find its flag set here only.
    pub fn add_all(
        &mut self,
        entries: impl Iterator<Item = (Kind, IpNet)> + Clone,
    ) -> Result<(), Error> {
        let mut blocks = BTreeSet::new();
        for (kind, prefix) in entries.clone() {
            blocks.extend(self.count(kind, prefix));
        }
        self.write(blocks).inspect_err(|_| {
            for (kind, prefix) in entries {
                self.uncount(kind, prefix);
            }
        })
    }

    /// Clears the flags of an entry that is gone, where no other needs them.
    pub fn remove(&mut self, kind: Kind, prefix: IpNet) -> Result<(), Error> {
        let blocks = self.uncount(kind, prefix);
        self.write(blocks)
    }

    /// Brings all flags of the kernel in line with the entries.
    pub fn write_all(&mut self) -> Result<(), Error> {
        let blocks = (0..self.blocks.len()).filter_map(|block| {
            let known = match self.blocks.get(&block, 0) {
                Ok(known) => known,
                Err(error) => return Some(Err(in_map("listed")(error))),
            };
            (known.flags != self.block(block).flags).then_some(Ok(block))
        });
        let blocks: BTreeSet<u32> = blocks.collect::<Result<_, _>>()?;
        self.write(blocks)
    }

    fn uncount(&mut self, kind: Kind, prefix: IpNet) -> BTreeSet<u32> {
        self.change(kind, prefix, |entries| entries.saturating_sub(1))
    }

    fn change(&mut self, kind: Kind, prefix: IpNet, change: impl Fn(u32) -> u32) -> BTreeSet<u32> {
        let mut blocks = BTreeSet::new();
        let Some(hashes) = hashes(prefix) else {
            let entries = &mut self.everywhere[kind as usize];
            *entries = change(*entries);
            return blocks;
        };
        for hash in hashes {
            let entries = &mut self.entries[hash as usize];
            entries[kind as usize] = change(entries[kind as usize]);
            let flags = flags_of(entries);
            let known = &mut self.flags[hash as usize];
            if *known != flags {
                *known = flags;
                blocks.insert(hash / LISTED_BLOCK as u32);
            }
        }
        blocks
    }

    fn write(&mut self, blocks: BTreeSet<u32>) -> Result<(), Error> {
        for block in blocks {
            let flags = self.block(block);
            self.blocks.set(block, flags, 0).map_err(in_map("listed"))?;
        }
        Ok(())
    }

    fn block(&self, block: u32) -> ListedAbi {
        let mut abi = ListedAbi {
            flags: [0; LISTED_BLOCK],
        };
        let from = block as usize * LISTED_BLOCK;
        abi.flags
            .copy_from_slice(&self.flags[from..from + LISTED_BLOCK]);
        abi
    }
}

fn flags_of(entries: &Entries) -> u8 {
    let set = |(bit, entries): (usize, &u32)| u8::from(*entries > 0) << bit;
    entries.iter().enumerate().map(set).sum()
}

/// The hashes of the networks that a prefix is in or has in it; `None` if they are too many.
fn hashes(prefix: IpNet) -> Option<impl Iterator<Item = u32>> {
    let network_len: u8 = match prefix {
        IpNet::V4(_) => 24,
        IpNet::V6(_) => 48,
    };
    let bits = network_len.saturating_sub(prefix.prefix_len());
    if bits > WIDE_BITS {
        return None;
    }
    let Address(octets) = Address::from(prefix.network());
    // The network's bytes in the order of their weight: an IPv4 address stands in the last four.
    let network = octets
        .iter()
        .skip(if network_len == 24 { 12 } else { 0 })
        .take(usize::from(network_len) / 8)
        .fold(0_u64, |number, octet| number << 8 | u64::from(*octet));
    let first = network >> bits << bits;
    let at = u32::from(64 - network_len);
    Some((0..1_u64 << bits).map(move |within| hash(((first + within) << at).swap_bytes())))
}

/// As the kernel has it, over the bytes of a network read as a little-endian number.
fn hash(network: u64) -> u32 {
    (network.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - LISTED_BITS)) as u32
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use sipward_testkit::require::{Need, require};

    use super::*;

    /// The flags in the kernel that are set.
    fn set(listed: &Listed) -> Vec<u8> {
        let blocks = listed.blocks.iter().map(|block| block.unwrap().flags);
        blocks.flatten().filter(|flags| *flags != 0).collect()
    }

    #[test]
    fn flags_are_cleared_with_the_last_entry_and_by_the_next_start() {
        if !require(&[Need::Root]) {
            return;
        }
        let blocks = (1 << LISTED_BITS) / LISTED_BLOCK as u32;
        let mut listed = Listed::new(Array::create(blocks, 0).unwrap());
        let net = |text: &str| text.parse::<IpNet>().unwrap();
        let two = [net("203.0.113.7/32"), net("203.0.113.8/32")];
        listed.add(Kind::Banned, two[0]).unwrap();
        listed.add(Kind::Banned, two[1]).unwrap();
        listed.add(Kind::Trusted, two[1]).unwrap();
        assert_eq!(set(&listed), [0b1_0010]);
        listed.remove(Kind::Banned, two[0]).unwrap();
        assert_eq!(set(&listed), [0b1_0010]);
        listed.remove(Kind::Banned, two[1]).unwrap();
        assert_eq!(set(&listed), [0b1_0000]);
        listed.add(Kind::Allowed, net("::/0")).unwrap();
        assert_eq!((set(&listed).len(), listed.everywhere()), (1, 1));

        let mut listed = Listed::new(listed.blocks);
        listed.count(Kind::PrefixBanned, net("198.51.100.0/23"));
        assert_eq!(set(&listed), [0b1_0000]);
        listed.write_all().unwrap();
        assert_eq!((set(&listed), listed.everywhere()), (vec![0b1000; 2], 0));
    }

    #[test]
    fn a_flag_that_could_not_be_set_is_not_taken_for_set() {
        if !require(&[Need::Root]) {
            return;
        }
        // Of all blocks the kernel has the first only.
        let mut listed = Listed::new(Array::create(1, 0).unwrap());
        let mut sources = (0..=255).map(|network| IpNet::from(IpAddr::from([10, 0, network, 1])));
        let hash = |source: IpNet| hashes(source).unwrap().next().unwrap() as usize;
        let beyond = sources.find(|source| hash(*source) >= LISTED_BLOCK);
        let beyond = beyond.unwrap();
        for _ in 0..2 {
            assert!(listed.add(Kind::Banned, beyond).is_err());
        }
        assert_eq!(listed.entries[hash(beyond)], [0; KINDS]);
    }

    fn networks(prefix: &str) -> Option<Vec<u32>> {
        Some(hashes(prefix.parse().unwrap())?.collect())
    }

    #[test]
    fn a_prefix_has_the_networks_in_it_and_the_one_that_it_is_in() {
        let of = |prefix| networks(prefix).unwrap();
        assert_eq!(of("203.0.113.7/32"), of("203.0.113.0/24"));
        assert_eq!(of("2001:db8:1:2::7/128"), of("2001:db8:1::/48"));
        assert_ne!(of("203.0.113.7/32"), of("203.0.114.7/32"));
        assert_ne!(of("2001:db8:1::/48"), of("2001:db8:2::/48"));
        let two = [of("203.0.112.0/24"), of("203.0.113.0/24")].concat();
        assert_eq!(of("203.0.112.0/23"), two);
        assert_eq!(of("10.0.0.0/8").len(), 65536);
        assert_eq!(of("2001:db8::/32").len(), 65536);
        assert_eq!(networks("10.0.0.0/7"), None);
        assert_eq!(networks("::/0"), None);
    }

    #[test]
    fn networks_side_by_side_are_told_apart() {
        for prefix in ["10.0.0.0/8", "2001:db8::/32"] {
            let different: BTreeSet<u32> = hashes(prefix.parse().unwrap()).unwrap().collect();
            assert!(different.len() > 60_000, "{prefix}: {}", different.len());
        }
    }
}
