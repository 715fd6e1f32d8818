//! Who sends: what bans, ladders and counters are kept by.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// A sender as it is counted: an IPv4 address, or the /64 of an IPv6 address, within which a
/// sender changes its address at will. IPv4 addresses in IPv6 clothes (`::ffff:203.0.113.7`) are
/// the IPv4 address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// An IPv4 address.
    V4(Ipv4Addr),
    /// The upper 64 bits of an IPv6 address.
    V6(u64),
}

impl Source {
    /// The sender behind an address.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address),
            IpAddr::V6(address) => Self::V6((u128::from(address) >> 64) as u64),
        }
    }

    /// The addresses that are counted together.
    #[must_use]
    pub fn prefix(self) -> IpNet {
        match self {
            Self::V4(address) => Ipv4Net::from(address).into(),
            Self::V6(upper) => {
                let address = Ipv6Addr::from(u128::from(upper) << 64);
                Ipv6Net::new_assert(address, 64).into()
            }
        }
    }

    /// The neighbourhood that a campaign is looked for in: the /24 or the /48.
    #[must_use]
    pub fn neighbourhood(self) -> IpNet {
        match self {
            Self::V4(address) => Ipv4Net::new_assert(address, 24).trunc().into(),
            Self::V6(upper) => {
                let address = Ipv6Addr::from(u128::from(upper) << 64);
                Ipv6Net::new_assert(address, 48).trunc().into()
            }
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::V4(address) => address.fmt(f),
            Self::V6(_) => self.prefix().fmt(f),
        }
    }
}

/// True where the two prefixes have an address in common.
#[must_use]
pub fn overlap(a: &IpNet, b: &IpNet) -> bool {
    a.contains(b) || b.contains(a)
}

/// The single address as a prefix, an IPv4 address in IPv6 clothes undressed.
#[must_use]
pub fn host(address: IpAddr) -> IpNet {
    IpNet::from(address.to_canonical())
}
