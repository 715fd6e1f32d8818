//! Addresses as lists write them.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Subnets, Ipv6Subnets};

/// Reads an address, a prefix or a range. Bits behind a prefix length don't count: lists are full
/// of `198.51.100.7/24`, and mean the network. IPv4 in IPv6 clothes is IPv4.
pub(crate) fn read(text: &str) -> Option<Vec<IpNet>> {
    if let Some((first, last)) = text.split_once('-') {
        return range(address(first)?, address(last)?);
    }
    let Some((base, length)) = text.split_once('/') else {
        return Some(vec![address(text)?.into()]);
    };
    let canonical = address(base)?;
    let mapped = if canonical.is_ipv4() && base.contains(':') {
        96
    } else {
        0
    };
    let length: u8 = length.trim().parse().ok()?;
    let net = IpNet::new(canonical, length.checked_sub(mapped)?).ok()?;
    Some(vec![net.trunc()])
}

fn address(text: &str) -> Option<IpAddr> {
    let address: IpAddr = text.trim().parse().ok()?;
    Some(address.to_canonical())
}

fn range(first: IpAddr, last: IpAddr) -> Option<Vec<IpNet>> {
    match (first, last) {
        (IpAddr::V4(first), IpAddr::V4(last)) if first <= last => {
            Some(Ipv4Subnets::new(first, last, 0).map(IpNet::V4).collect())
        }
        (IpAddr::V6(first), IpAddr::V6(last)) if first <= last => {
            Some(Ipv6Subnets::new(first, last, 0).map(IpNet::V6).collect())
        }
        (IpAddr::V4(_) | IpAddr::V6(_), IpAddr::V4(_) | IpAddr::V6(_)) => None,
    }
}
