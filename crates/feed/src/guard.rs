//! What a list of strangers may not do.

use std::collections::BTreeSet;

use ipnet::IpNet;

/// The shortest prefixes that a feed may ban: a /8 is more than any list of scanners means.
const SHORTEST: (u8, u8) = (8, 19);

/// Private networks (RFC 1918, RFC 6598, RFC 4193): whoever publishes them never means ours.
const PRIVATE: [&str; 5] = [
    "10.0.0.0/8",
    "100.64.0.0/10",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "fc00::/7",
];

/// What is left of a feed's prefixes, and why the others are not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Guarded {
    /// May be banned; sorted, none inside another.
    pub kept: Vec<IpNet>,
    /// Shorter than /8 (IPv6: /19), as 0.0.0.0/0.
    pub too_wide: Vec<IpNet>,
    /// Hit somebody who is never to be hit.
    pub protected: Vec<IpNet>,
}

/// Takes out what a feed may never ban: prefixes that are too short, and those that overlap a
/// private network or one of `never`, which are the allowed, the trusted and our own.
#[must_use]
pub fn guard(prefixes: &[IpNet], never: &[IpNet]) -> Guarded {
    let private = PRIVATE.iter().filter_map(|text| text.parse().ok());
    let never: BTreeSet<IpNet> = never.iter().map(IpNet::trunc).chain(private).collect();
    let sorted: BTreeSet<IpNet> = prefixes.iter().map(IpNet::trunc).collect();
    let mut guarded = Guarded::default();
    for prefix in sorted {
        let shortest = match prefix {
            IpNet::V4(_) => SHORTEST.0,
            IpNet::V6(_) => SHORTEST.1,
        };
        if prefix.prefix_len() < shortest {
            guarded.too_wide.push(prefix);
        } else if overlaps(&never, &prefix) {
            guarded.protected.push(prefix);
        } else if !guarded
            .kept
            .last()
            .is_some_and(|last| last.contains(&prefix))
        {
            // Sorted, a prefix stands right behind the one that holds it.
            guarded.kept.push(prefix);
        }
    }
    guarded
}

fn overlaps(set: &BTreeSet<IpNet>, prefix: &IpNet) -> bool {
    let around = std::iter::successors(Some(*prefix), IpNet::supernet);
    let (first, last) = (prefix.network(), IpNet::from(prefix.broadcast()));
    let first = IpNet::new(first, 0).unwrap_or(*prefix);
    let mut within = set.range(first..=last);
    around.into_iter().any(|wider| set.contains(&wider)) || within.any(|part| prefix.contains(part))
}

/// Whether a list that had `before` entries and now has `after` is more likely broken than short:
/// it lost more than half, or all.
#[must_use]
pub const fn shrinks(before: usize, after: usize) -> bool {
    before > 0 && after * 2 < before
}
