//! The bans in force as other tools read them. What a format cannot say is left out, never
//! widened.

mod ranges;

use std::fmt::{Display, Write};

use ipnet::IpNet;
use jiff::Timestamp;

pub use ranges::{Range, disjoint};

use crate::{address, config::BanScope, control::api::BanView};

/// Seconds that an element of an ipset lasts at most; ipset 7.17 refuses more.
const LONGEST_IPSET: i64 = 2_147_483;

/// Elements that an ipset holds when nobody says otherwise.
const IPSET_ELEMENTS: usize = 65_536;

/// One address, prefix or range a line, which every tool takes. Ends are not in it, nor bans at the
/// SIP ports only, which it would widen.
#[must_use]
pub fn plain(bans: &[BanView]) -> String {
    let mut prefixes: Vec<IpNet> = portless(bans)
        .filter(|ban| ban.scope == BanScope::All)
        .map(|ban| ban.prefix)
        .collect();
    prefixes.sort_unstable();
    prefixes.dedup();
    lines(prefixes.iter().map(address::show))
}

/// What `ipset restore` reads: a set for each family and scope, each element with what is left of
/// its time.
#[must_use]
pub fn ipset(bans: &[BanView], now: Timestamp) -> String {
    let mut text = String::from(
        "# Bans of sipward. With -exist: ipset -exist restore < FILE. What is in the sets with \
         \"sip\" in\n# their names is banned at the SIP ports only.\n",
    );
    for (name, scope, family) in SETS {
        let elements: Vec<String> = of(bans, scope, family)
            .flat_map(|ban| {
                let timeout = left(ban, now).map(|seconds| seconds.min(LONGEST_IPSET));
                let timeout = timeout.map(|seconds| format!(" timeout {seconds}"));
                let timeout = timeout.unwrap_or_default();
                let add = move |net: IpNet| format!("add sipward-{name} {net}{timeout}");
                ipset_nets(ban.prefix).into_iter().map(add)
            })
            .collect();
        let most = elements.len().max(IPSET_ELEMENTS);
        let family = family.ipset();
        let create =
            format!("create sipward-{name} hash:net family {family} maxelem {most} timeout 0");
        text.push_str(&lines([create].into_iter().chain(elements)));
    }
    text
}

/// What `nft -f` reads: a table of its own with a set for each family and scope. Overlapping bans,
/// which an interval set refuses, are made one.
#[must_use]
pub fn nftables(bans: &[BanView], now: Timestamp) -> String {
    let mut text = String::from(
        "# Bans of sipward, as sets to be used in rules. What is in the sets with \"sip\" in their \
         names is\n# banned at the SIP ports only. Times count from when this is loaded.\n\
         table inet sipward-export\ndelete table inet sipward-export\n\
         table inet sipward-export {\n",
    );
    for (name, scope, family) in SETS {
        let bans = of(bans, scope, family).map(|ban| (ban.prefix, ban.until));
        nft_set(&mut text, name, family, &disjoint(bans), now);
    }
    text.push_str("}\n");
    text
}

/// Bans of one source port, which the formats but JSON cannot say.
#[must_use]
pub fn of_ports(bans: &[BanView]) -> usize {
    bans.len() - portless(bans).count()
}

/// Bans at the SIP ports only, which a plain list cannot say.
#[must_use]
pub fn of_sip(bans: &[BanView]) -> usize {
    portless(bans)
        .filter(|ban| ban.scope == BanScope::Sip)
        .count()
}

/// Appends a named set with these elements.
pub fn nft_set(text: &mut String, name: &str, family: Family, ranges: &[Range], now: Timestamp) {
    let kind = family.nft();
    let elements: Vec<String> = ranges
        .iter()
        .filter_map(|range| {
            let Some(until) = range.until else {
                return Some(range.to_string());
            };
            let seconds = seconds_until(until, now)?;
            Some(format!("{range} timeout {seconds}s"))
        })
        .collect();
    // Writing to a string does not fail.
    let _ = writeln!(
        text,
        "\tset {name} {{\n\t\ttype {kind}\n\t\tflags interval,timeout"
    );
    if !elements.is_empty() {
        let _ = writeln!(
            text,
            "\t\telements = {{\n\t\t\t{}\n\t\t}}",
            elements.join(",\n\t\t\t")
        );
    }
    text.push_str("\t}\n");
}

/// Of which family the addresses of a set are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4
    V4,
    /// IPv6
    V6,
}

impl Family {
    /// Whether a prefix is of this family.
    #[must_use]
    pub const fn has(self, net: &IpNet) -> bool {
        matches!(
            (self, net),
            (Self::V4, IpNet::V4(_)) | (Self::V6, IpNet::V6(_))
        )
    }

    const fn nft(self) -> &'static str {
        match self {
            Self::V4 => "ipv4_addr",
            Self::V6 => "ipv6_addr",
        }
    }

    const fn ipset(self) -> &'static str {
        match self {
            Self::V4 => "inet",
            Self::V6 => "inet6",
        }
    }
}

/// The sets of an export: name, scope and family.
const SETS: [(&str, BanScope, Family); 4] = [
    ("all-v4", BanScope::All, Family::V4),
    ("all-v6", BanScope::All, Family::V6),
    ("sip-v4", BanScope::Sip, Family::V4),
    ("sip-v6", BanScope::Sip, Family::V6),
];

fn portless(bans: &[BanView]) -> impl Iterator<Item = &BanView> {
    bans.iter().filter(|ban| ban.port.is_none())
}

fn of(bans: &[BanView], scope: BanScope, family: Family) -> impl Iterator<Item = &BanView> {
    portless(bans).filter(move |ban| ban.scope == scope && family.has(&ban.prefix))
}

/// Seconds until a ban's end, at least one; `None`: it has none.
fn left(ban: &BanView, now: Timestamp) -> Option<i64> {
    let until = ban.until?;
    Some(seconds_until(until, now).unwrap_or(1))
}

/// Seconds until then, begun ones counted whole; `None` where it is past.
fn seconds_until(until: Timestamp, now: Timestamp) -> Option<i64> {
    let seconds = until.as_second() - now.as_second();
    (until > now).then(|| seconds.max(1))
}

/// `hash:net` has no prefix of length 0 (ipset(8)): two halves say the same.
fn ipset_nets(net: IpNet) -> Vec<IpNet> {
    if net.prefix_len() > 0 {
        return vec![net];
    }
    net.subnets(1).into_iter().flatten().collect()
}

fn lines(items: impl IntoIterator<Item = impl Display>) -> String {
    let mut text = String::new();
    for item in items {
        let _ = writeln!(text, "{item}");
    }
    text
}

#[cfg(test)]
mod tests;
