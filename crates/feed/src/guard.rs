//! What a list of strangers may not do.

use std::{collections::BTreeSet, fmt, ops::Add};

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

/// IPv4 addresses that lists may ban: a 64th of all, as many as four /8 have.
const MOST_IPV4: u64 = 1 << 26;
/// IPv6 networks (/64) that lists may ban: a /16.
const MOST_IPV6: u64 = 1 << 48;

/// A list becomes so many times as long at most …
const GROWTH: u64 = 10;
/// … unless it has no more entries then than this, …
const FEW_ENTRIES: u64 = 1_000;
/// … and no more addresses (IPv6: networks) than this.
const FEW_ADDRESSES: u64 = 1 << 16;

/// How much of the address space prefixes cover.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Extent {
    /// IPv4 addresses.
    pub ipv4: u64,
    /// IPv6 networks (/64); a longer prefix counts as one.
    pub ipv6: u64,
}

impl Extent {
    /// What they cover together, no address counted twice.
    #[must_use]
    pub fn of(prefixes: impl IntoIterator<Item = IpNet>) -> Self {
        let mut sorted: Vec<IpNet> = prefixes.into_iter().collect();
        // Two sorted runs behind each other, as often as not.
        sorted.sort();
        let mut extent = Self::default();
        let mut last: Option<IpNet> = None;
        for prefix in sorted {
            if last.is_some_and(|last| last.contains(&prefix)) {
                continue;
            }
            last = Some(prefix);
            let (sum, bits) = match prefix {
                IpNet::V4(_) => (&mut extent.ipv4, 32),
                IpNet::V6(_) => (&mut extent.ipv6, 64_u8),
            };
            let count = 1_u64.checked_shl(bits.saturating_sub(prefix.prefix_len()).into());
            *sum = sum.saturating_add(count.unwrap_or(u64::MAX));
        }
        extent
    }

    /// Whether it is more than lists may ban, each and all together.
    #[must_use]
    pub const fn is_too_much(self) -> bool {
        self.ipv4 > MOST_IPV4 || self.ipv6 > MOST_IPV6
    }

    /// Whether a list that covered `before` has become implausibly large.
    #[must_use]
    pub const fn outgrows(self, before: Self) -> bool {
        is_many_times(before.ipv4, self.ipv4, FEW_ADDRESSES)
            || is_many_times(before.ipv6, self.ipv6, FEW_ADDRESSES)
    }
}

/// As if no address were in both.
impl Add for Extent {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            ipv4: self.ipv4.saturating_add(other.ipv4),
            ipv6: self.ipv6.saturating_add(other.ipv6),
        }
    }
}

impl fmt::Display for Extent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self { ipv4, ipv6: 0 } => write!(f, "{ipv4} IPv4 addresses"),
            Self { ipv4: 0, ipv6 } => write!(f, "{ipv6} IPv6 networks (/64)"),
            Self { ipv4, ipv6 } => {
                write!(f, "{ipv4} IPv4 addresses and {ipv6} IPv6 networks (/64)")
            }
        }
    }
}

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

/// Whether a list that had `before` entries and now has `after` is more likely another one, or
/// somebody else's: it has more than ten times as many.
#[must_use]
pub const fn grows(before: usize, after: usize) -> bool {
    is_many_times(before as u64, after as u64, FEW_ENTRIES)
}

const fn is_many_times(before: u64, after: u64, few: u64) -> bool {
    after > few && after / GROWTH > before
}
