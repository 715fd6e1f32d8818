//! Addresses as users write them.

use std::{fmt, net::IpAddr, str::FromStr};

use ipnet::{IpNet, Ipv4Subnets, Ipv6Subnets};
use serde::{Deserialize, Deserializer, de::Error as _};

/// What the user named: an address, a prefix or a range, as the fewest prefixes that cover exactly
/// that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    written: String,
    prefixes: Vec<IpNet>,
}

impl Address {
    /// The prefixes, in order, none inside another.
    #[must_use]
    pub fn prefixes(&self) -> &[IpNet] {
        &self.prefixes
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let prefixes = match text.split_once('-') {
            Some((first, last)) => range(address(first.trim())?, address(last.trim())?)?,
            None => vec![prefix(text)?],
        };
        Ok(Self {
            written: text.to_owned(),
            prefixes,
        })
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(D::Error::custom)
    }
}

/// Reads an address or a prefix. IPv4 in IPv6 clothes (`::ffff:192.0.2.1`, `::ffff:192.0.2.0/120`)
/// is IPv4, since that is what its packets carry.
fn prefix(text: &str) -> Result<IpNet, String> {
    let Some((base, length)) = text.split_once('/') else {
        return address(text).map(IpNet::from);
    };
    let canonical = address(base)?;
    // The bits of an IPv4-mapped address before the IPv4 address (RFC 4291 §2.5.5.2).
    let mapped = if canonical.is_ipv4() && base.contains(':') {
        96
    } else {
        0
    };
    let most = mapped + if canonical.is_ipv4() { 32 } else { 128 };
    let length: u8 = length
        .parse()
        .ok()
        .filter(|at_most| length.bytes().all(|byte| byte.is_ascii_digit()) && *at_most <= most)
        .ok_or_else(|| {
            format!("{text:?}: the prefix length must be a number from {mapped} to {most}")
        })?;
    let Some(bits) = length.checked_sub(mapped) else {
        let meant = IpNet::new(canonical, length.min(32)).map(|net| net.trunc());
        let meant = meant.map_or_else(|_| canonical.to_string(), |net| net.to_string());
        return Err(format!(
            "{text:?}: the prefix length of IPv4 written as IPv6 is from 96 to 128; did you mean \
             {meant}?"
        ));
    };
    let net = IpNet::new(canonical, bits).map_err(|error| format!("{text:?}: {error}"))?;
    if net.trunc() != net {
        return Err(format!(
            "{text:?}: bits are set behind the prefix length; did you mean {}, or {canonical}?",
            net.trunc()
        ));
    }
    Ok(net)
}

fn address(text: &str) -> Result<IpAddr, String> {
    text.parse::<IpAddr>()
        .map(|address| address.to_canonical())
        .map_err(|_| {
            format!(
                "{:?} is no address: write 203.0.113.7, 2001:db8::/48 or 203.0.113.7-203.0.113.20",
                text
            )
        })
}

fn range(first: IpAddr, last: IpAddr) -> Result<Vec<IpNet>, String> {
    if first.is_ipv4() != last.is_ipv4() {
        return Err(format!("{first}-{last}: one end is IPv4, the other IPv6"));
    }
    if last < first {
        return Err(format!(
            "{first}-{last}: the range is written backwards; did you mean {last}-{first}?"
        ));
    }
    Ok(between(first, last))
}

/// The fewest prefixes that cover `first..=last`; empty if the ends are of different families.
#[must_use]
pub fn between(first: IpAddr, last: IpAddr) -> Vec<IpNet> {
    match (first, last) {
        (IpAddr::V4(first), IpAddr::V4(last)) => {
            Ipv4Subnets::new(first, last, 0).map(IpNet::V4).collect()
        }
        (IpAddr::V6(first), IpAddr::V6(last)) => {
            Ipv6Subnets::new(first, last, 0).map(IpNet::V6).collect()
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => Vec::new(),
    }
}

/// Whom the user named: by address or by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// An address, a prefix or a range.
    Address(Address),
    /// A host name, in lower case.
    Name(String),
}

impl FromStr for Host {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let name = text.trim_end_matches('.').to_ascii_lowercase();
        if is_name(&name) {
            Ok(Self::Name(name))
        } else {
            text.parse().map(Self::Address)
        }
    }
}

impl<'de> Deserialize<'de> for Host {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(D::Error::custom)
    }
}

/// Whether this has the form of a host name: labels of letters, digits, `-` and `_` (RFC 1123 §2.1;
/// the underscore is not in it, and in use), the last of which is no number: that is an address
/// with a slip in it.
#[must_use]
pub fn is_name(text: &str) -> bool {
    let is_label = |label: &str| {
        let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        (1..=63).contains(&label.len())
            && label.bytes().all(inner)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let last = text.rsplit('.').next().unwrap_or_default();
    text.len() <= 253
        && text.split('.').all(is_label)
        && last.bytes().any(|byte| byte.is_ascii_alphabetic())
}

/// All prefixes of what the user named.
#[must_use]
pub fn prefixes(addresses: &[Address]) -> Vec<IpNet> {
    addresses
        .iter()
        .flat_map(|address| address.prefixes().iter().copied())
        .collect()
}

/// The address alone where the prefix is a single one, as people write it.
#[must_use]
pub fn show(net: &IpNet) -> String {
    if net.prefix_len() == net.max_prefix_len() {
        net.addr().to_string()
    } else {
        net.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::{Address, Host};
    use ipnet::IpNet;
    use test_case::test_case;

    fn written(prefixes: &[IpNet]) -> Vec<String> {
        prefixes.iter().map(ToString::to_string).collect()
    }

    #[test_case("203.0.113.7", &["203.0.113.7/32"]; "an address")]
    #[test_case("2001:db8::/48", &["2001:db8::/48"]; "a prefix")]
    #[test_case("::ffff:192.0.2.1", &["192.0.2.1/32"]; "IPv4 in IPv6 clothes")]
    #[test_case("87.119.220.200-87.119.220.203", &["87.119.220.200/30"]; "a range that is one prefix")]
    #[test_case("10.0.0.1-10.0.0.4", &["10.0.0.1/32", "10.0.0.2/31", "10.0.0.4/32"]; "a range that is three")]
    #[test_case("0.0.0.0-255.255.255.255", &["0.0.0.0/0"]; "everything")]
    #[test_case("2001:db8::-2001:db8::1", &["2001:db8::/127"]; "an IPv6 range")]
    #[test_case("192.0.2.1-192.0.2.1", &["192.0.2.1/32"]; "a range of one")]
    #[test_case("::ffff:203.0.113.0/120", &["203.0.113.0/24"]; "a prefix of IPv4 in IPv6 clothes")]
    #[test_case("::ffff:0:0/96", &["0.0.0.0/0"]; "all of IPv4 in IPv6 clothes")]
    fn an_address_is_read_as(text: &str, prefixes: &[&str]) {
        let address: Address = text.parse().unwrap();
        assert_eq!(written(address.prefixes()), prefixes);
    }

    #[test_case("sip.example.org", Some("sip.example.org"); "a name")]
    #[test_case("SIP.Example.org.", Some("sip.example.org"); "another way to write it")]
    #[test_case("localhost", Some("localhost"); "a short name")]
    #[test_case("_sip._udp.example.org", Some("_sip._udp.example.org"); "underscores")]
    #[test_case("1und1.de", Some("1und1.de"); "a digit first")]
    #[test_case("192.0.2.1", None; "an address")]
    #[test_case("192.0.2.1-192.0.2.9", None; "a range")]
    #[test_case("dead:beef::", None; "letters of an address")]
    fn a_host_is_a_name_or_an_address(text: &str, name: Option<&str>) {
        let host: Host = text.parse().unwrap();
        match (host, name) {
            (Host::Name(read), Some(name)) => assert_eq!(read, name),
            (Host::Address(_), None) => {}
            (host, name) => panic!("{host:?} {name:?}"),
        }
    }

    #[test_case("192.0.2.256"; "an address with a slip")]
    #[test_case("a..b"; "an empty label")]
    #[test_case("-a.example"; "a dash first")]
    #[test_case("sip.example.org/24"; "a name with a length")]
    #[test_case("a\x1b[2J"; "an escape")]
    #[test_case(""; "nothing")]
    fn what_is_neither_name_nor_address_is_refused(text: &str) {
        text.parse::<Host>().unwrap_err();
    }

    #[test_case("87.119.220.203-87.119.220.200", "backwards"; "a range written backwards")]
    #[test_case("192.0.2.1-2001:db8::1", "other IPv6"; "a range of two families")]
    #[test_case("192.0.2.1/24", "did you mean 192.0.2.0/24"; "host bits")]
    #[test_case("192.0.2.0/33", "from 0 to 32"; "a prefix too long")]
    #[test_case("192.0.2.0/+8", "from 0 to 32"; "a sign before the length")]
    #[test_case("::ffff:203.0.113.0/24", "did you mean 203.0.113.0/24"; "IPv4 in IPv6 clothes that are too short")]
    #[test_case("::ffff:203.0.113.1/120", "did you mean 203.0.113.0/24"; "host bits in IPv6 clothes")]
    #[test_case("::ffff:203.0.113.0/129", "from 96 to 128"; "IPv4 in IPv6 clothes that are too long")]
    #[test_case("example.org", "is no address"; "a name")]
    #[test_case("1.2.3", "is no address"; "three numbers")]
    #[test_case("", "is no address"; "nothing")]
    fn what_is_no_address_is_refused_with(text: &str, part: &str) {
        let error = text.parse::<Address>().unwrap_err();
        assert!(error.contains(part), "{error}");
        assert!(!error.contains('\n'));
    }
}
