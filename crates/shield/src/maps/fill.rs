//! How full the maps are.

use ipnet::IpNet;

use super::Maps;
use crate::{Fill, abi::PINNED_MAPS};

impl Maps {
    /// From what is remembered: to count in the kernel would take a system call for each entry.
    pub fn fill(&self) -> Vec<Fill> {
        let (allowed4, allowed6) = by_family(self.allowed.iter().copied());
        let (prefixes4, prefixes6) = by_family(self.cover.prefixes());
        let fill = |(table, entries)| {
            let shape = PINNED_MAPS.iter().find(|map| map.name == table)?;
            Some(Fill {
                table,
                entries,
                capacity: shape.max_entries as usize,
            })
        };
        [
            ("allowed4", allowed4),
            ("allowed6", allowed6),
            ("bans", self.banned.len()),
            ("prefix_bans4", prefixes4),
            ("prefix_bans6", prefixes6),
            ("trusted", self.logged_in.len()),
        ]
        .into_iter()
        .filter_map(fill)
        .collect()
    }
}

/// How many are of IPv4, and how many of IPv6.
fn by_family(prefixes: impl Iterator<Item = IpNet>) -> (usize, usize) {
    prefixes.fold((0, 0), |(v4, v6), prefix| match prefix {
        IpNet::V4(_) => (v4 + 1, v6),
        IpNet::V6(_) => (v4, v6 + 1),
    })
}
