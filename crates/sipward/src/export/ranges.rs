//! Bans that lie in one another as ranges that do not.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::IpNet;
use jiff::Timestamp;

use crate::address;

/// Addresses of one family from the first to the last, and until when they are banned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// The first address.
    pub first: IpAddr,
    /// The last one.
    pub last: IpAddr,
    /// The end; `None`: never.
    pub until: Option<Timestamp>,
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match address::between(self.first, self.last).as_slice() {
            [net] => f.write_str(&address::show(net)),
            _ => write!(f, "{}-{}", self.first, self.last),
        }
    }
}

/// The fewest ranges that ban exactly what these prefixes ban together, in order, IPv4 first; where
/// several hold an address, until the latest of their ends.
pub fn disjoint(bans: impl IntoIterator<Item = (IpNet, Option<Timestamp>)>) -> Vec<Range> {
    let mut bans: Vec<_> = bans.into_iter().collect();
    // A prefix comes before those in it.
    bans.sort_unstable_by_key(|(net, _)| (net.addr(), net.prefix_len()));
    let mut sweep = Sweep::default();
    for (net, until) in &bans {
        sweep.begin(net, *until);
    }
    sweep.end_before(None);
    sweep.ranges
}

/// Goes over the addresses from the first to the last.
#[derive(Default)]
struct Sweep {
    ranges: Vec<Range>,
    /// The prefixes around where the sweep is, the narrowest last: last address, and the latest end
    /// of it and of those around it.
    around: Vec<(IpAddr, Option<Timestamp>)>,
    /// Where the sweep is; `None` behind the last address of a family.
    at: Option<IpAddr>,
}

impl Sweep {
    fn begin(&mut self, net: &IpNet, until: Option<Timestamp>) {
        let first = net.network();
        self.end_before(Some(first));
        let mut until = until;
        if let Some((_, around)) = self.around.last().copied() {
            if let Some(before) = previous(first) {
                self.emit(before, around);
            }
            until = later(until, around);
        }
        self.around.push((net.broadcast(), until));
        self.at = Some(first);
    }

    /// Ends the prefixes that end before this address, or all.
    fn end_before(&mut self, address: Option<IpAddr>) {
        while let Some((last, until)) = self.around.last().copied() {
            if address.is_some_and(|address| address <= last) {
                return;
            }
            self.emit(last, until);
            self.around.pop();
        }
    }

    /// What lies between here and `last` is banned until then.
    fn emit(&mut self, last: IpAddr, until: Option<Timestamp>) {
        let Some(first) = self.at.filter(|first| *first <= last) else {
            return;
        };
        self.at = next(last);
        if let Some(before) = self.ranges.last_mut()
            && before.until == until
            && next(before.last) == Some(first)
        {
            before.last = last;
            return;
        }
        self.ranges.push(Range { first, last, until });
    }
}

fn later(a: Option<Timestamp>, b: Option<Timestamp>) -> Option<Timestamp> {
    Some(a?.max(b?))
}

fn next(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(v4) => Some(Ipv4Addr::from(u32::from(v4).checked_add(1)?).into()),
        IpAddr::V6(v6) => Some(Ipv6Addr::from(u128::from(v6).checked_add(1)?).into()),
    }
}

fn previous(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(v4) => Some(Ipv4Addr::from(u32::from(v4).checked_sub(1)?).into()),
        IpAddr::V6(v6) => Some(Ipv6Addr::from(u128::from(v6).checked_sub(1)?).into()),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use ipnet::{IpNet, Ipv4Net};
    use jiff::Timestamp;
    use proptest::prelude::*;
    use test_case::test_case;

    use super::disjoint;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test_case(&[("192.0.2.0/24", None), ("192.0.2.7/32", Some(5))], &["192.0.2.0/24 -"]; "a shorter ban inside a longer one")]
    #[test_case(&[("192.0.2.0/30", Some(5)), ("192.0.2.1/32", None)], &["192.0.2.0 5", "192.0.2.1 -", "192.0.2.2/31 5"]; "a longer ban inside a shorter one")]
    #[test_case(&[("192.0.2.0/31", None), ("192.0.2.2/32", None)], &["192.0.2.0-192.0.2.2 -"]; "neighbours")]
    #[test_case(&[("0.0.0.0/0", None), ("255.255.255.255/32", Some(1))], &["0.0.0.0/0 -"]; "all of IPv4")]
    #[test_case(&[("::/0", Some(1)), ("ffff::/16", None), ("10.0.0.1/32", None)], &["10.0.0.1 -", "::-fffe:ffff:ffff:ffff:ffff:ffff:ffff:ffff 1", "ffff::/16 -"]; "both families")]
    #[test_case(&[], &[]; "nobody")]
    fn ranges_are(bans: &[(&str, Option<i64>)], ranges: &[&str]) {
        let bans = bans
            .iter()
            .map(|(net, until)| (net.parse().unwrap(), until.map(at)));
        let shown: Vec<String> = disjoint(bans)
            .iter()
            .map(|range| {
                let until = range.until.map(|until| until.as_second().to_string());
                format!("{range} {}", until.unwrap_or_else(|| "-".to_owned()))
            })
            .collect();
        assert_eq!(shown, ranges);
    }

    proptest! {
        #[test]
        fn every_address_is_banned_until_the_latest_end(
            bans in prop::collection::vec((0u32..256, 24u8..=32, prop::option::of(1i64..4)), 0..12),
        ) {
            let bans: Vec<(IpNet, _)> = bans
                .into_iter()
                .map(|(base, len, until)| {
                    let net = Ipv4Net::new(Ipv4Addr::from(0xc000_0200 + base), len).unwrap();
                    (IpNet::V4(net.trunc()), until.map(at))
                })
                .collect();
            let ranges = disjoint(bans.clone());
            for address in (0xc000_0200u32..0xc000_0300).map(|bits| IpAddr::V4(bits.into())) {
                let latest = bans
                    .iter()
                    .filter(|(net, _)| net.contains(&address))
                    .map(|(_, until)| until.unwrap_or(Timestamp::MAX))
                    .max();
                let held: Vec<_> = ranges
                    .iter()
                    .filter(|range| range.first <= address && address <= range.last)
                    .map(|range| range.until.unwrap_or(Timestamp::MAX))
                    .collect();
                prop_assert_eq!(held, latest.into_iter().collect::<Vec<_>>(), "{}", address);
            }
        }
    }
}
