//! Whom Asterisk itself calls: trunks and registrars of its configuration, that are never banned.
//!
//! Read are `host=` and `outboundproxy=` of chan_sip and IAX2 and their `register` lines; `match=`,
//! `server_uri`, `outbound_proxy`, a static `contact` and the wizard's `remote_hosts` of PJSIP. Never
//! `permit`: FreePBX writes `permit=0.0.0.0/0.0.0.0` into every extension, and that is nobody's
//! address. Names are returned as names.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

use crate::config::{Config, Place, Section, Tree, Variable};

/// Shortest prefix that can be a peer, IPv4 and IPv6.
const SHORTEST: (u8, u8) = (24, 48);

/// Longest name of a host: RFC 1035 section 2.3.4.
const NAME: usize = 253;

/// What a configuration says of peers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peers {
    /// Names to be resolved (SRV, AAAA, A), in lower case, each with the first place that has it.
    pub names: BTreeMap<String, Mention>,
    /// Addresses and prefixes.
    pub prefixes: BTreeMap<IpNet, Mention>,
    /// What cannot be a peer, in the order of the files.
    pub refused: Vec<Refused>,
}

/// Where a peer is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mention {
    /// The section: the peer's name in the configuration.
    pub section: String,
    /// The option, `host` or `match`.
    pub option: &'static str,
    /// The place, in [`Tree::files`].
    pub at: Place,
}

/// A value that cannot be a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The value as written.
    pub value: String,
    /// Why not.
    pub why: Why,
    /// Where it is written.
    pub at: Mention,
}

/// Why a value cannot be a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Shorter than /24, or /48 for IPv6: that is not one provider.
    TooShort,
    /// Neither a name nor an address.
    NotAnAddress,
}

impl std::fmt::Display for Why {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::TooShort => {
                "shorter than /24 (/48 for IPv6), so it is not trusted; write the provider's addresses, or allow them by hand"
            }
            Self::NotAnAddress => "neither a name nor an address; write sip.provider.example or 198.51.100.77",
        })
    }
}

/// Reads the peers of a configuration tree.
pub fn read(tree: &mut Tree<'_>) -> Peers {
    let mut peers = Peers::default();
    for name in ["sip.conf", "iax.conf"] {
        if let Some(config) = tree.read(name) {
            peers.of_drivers(&config);
        }
    }
    for name in ["pjsip.conf", "pjsip_wizard.conf"] {
        if let Some(config) = tree.read(name) {
            peers.of_pjsip(&config);
        }
    }
    peers
}

impl Peers {
    /// chan_sip and IAX2.
    fn of_drivers(&mut self, config: &Config) {
        for section in config.live() {
            for line in section.all("register") {
                if let Some(registrar) = registrar(&line.value) {
                    self.add(registrar, section, "register", line);
                }
            }
            if let Some(proxy) = section.last("outboundproxy") {
                self.add(of_proxy(&proxy.value), section, "outboundproxy", proxy);
            }
            if let Some(host) = section.last("host")
                && !host.value.eq_ignore_ascii_case("dynamic")
            {
                self.add(without_port(&host.value), section, "host", host);
            }
        }
    }

    fn of_pjsip(&mut self, config: &Config) {
        // A list, a URI, and as chan_sip writes a proxy.
        for section in config.live() {
            for (option, is_uri) in [
                ("match", false),
                ("remote_hosts", false),
                ("server_uri", true),
                ("outbound_proxy", true),
                ("contact", true),
            ] {
                for variable in section.all(option) {
                    for value in variable.value.split(',') {
                        let host = if is_uri {
                            of_uri(value.trim())
                        } else {
                            without_port(value.trim())
                        };
                        self.add(host, section, option, variable);
                    }
                }
            }
        }
    }

    fn add(&mut self, host: &str, section: &Section, option: &'static str, from: &Variable) {
        if host.is_empty() {
            return;
        }
        let mention = Mention {
            section: section.name.to_string(),
            option,
            at: from.at,
        };
        let why = match prefix(host) {
            Some(prefix) if is_long_enough(prefix) => {
                self.prefixes.entry(prefix.trunc()).or_insert(mention);
                return;
            }
            Some(_) => Why::TooShort,
            None if is_name(host) => {
                self.names
                    .entry(host.trim_end_matches('.').to_ascii_lowercase())
                    .or_insert(mention);
                return;
            }
            None => Why::NotAnAddress,
        };
        self.refused.push(Refused {
            value: host.to_owned(),
            why,
            at: mention,
        });
    }
}

/// An address alone, with a length, or with a mask.
fn prefix(text: &str) -> Option<IpNet> {
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    if let Ok(address) = bare.parse::<IpAddr>() {
        return Some(address.into());
    }
    if let Ok(prefix) = text.parse() {
        return Some(prefix);
    }
    let (address, mask) = text.split_once('/')?;
    let mask: Ipv4Addr = mask.parse().ok()?;
    IpNet::with_netmask(address.parse::<Ipv4Addr>().ok()?.into(), mask.into()).ok()
}

/// No address that stands for all, and not more than one provider has.
fn is_long_enough(prefix: IpNet) -> bool {
    let shortest = match prefix {
        IpNet::V4(_) => SHORTEST.0,
        IpNet::V6(_) => SHORTEST.1,
    };
    prefix.prefix_len() >= shortest && !prefix.addr().is_unspecified()
}

/// Letters, and not only digits and dots: `1.2.3` is a mistake, no name.
fn is_name(text: &str) -> bool {
    text.len() <= NAME
        && text.bytes().any(|b| b.is_ascii_alphabetic())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
}

/// `[peer?][transport://]user[:secret[:authuser]]@host[:port][/extension][~expiry]` of chan_sip, and
/// IAX2's `user[:secret]@host[:port]`. A secret may have an `@`.
fn registrar(value: &str) -> Option<&str> {
    let (_, host) = value.rsplit_once('@')?;
    let end = host.find(['/', '~', '?']).unwrap_or(host.len());
    Some(without_port(host.get(..end)?.trim()))
}

/// chan_sip: `[transport://]host[:port][,force]`.
fn of_proxy(value: &str) -> &str {
    let host = value.split_once("://").map_or(value, |(_, host)| host);
    let host = host.split(',').next().unwrap_or(host).trim();
    of_uri(host)
}

/// The host of `sip:user@host:port;lr`, or of a host alone.
pub(crate) fn of_uri(value: &str) -> &str {
    let value = value.trim_start_matches('<').trim_end_matches('>');
    let rest = ["sips:", "sip:"]
        .iter()
        .find_map(|scheme| {
            let (head, rest) = value.split_at_checked(scheme.len())?;
            head.eq_ignore_ascii_case(scheme).then_some(rest)
        })
        .unwrap_or(value);
    let end = rest.find([';', '?', '>', '\\']).unwrap_or(rest.len());
    let rest = rest.get(..end).unwrap_or(rest);
    without_port(rest.rsplit_once('@').map_or(rest, |(_, host)| host))
}

/// `host:5060`, `[2001:db8::1]:5060`; an IPv6 address without brackets has no port.
pub(crate) fn without_port(host: &str) -> &str {
    if let Some(inside) = host.strip_prefix('[') {
        return inside.split(']').next().unwrap_or(inside);
    }
    match host.split_once(':') {
        Some((before, port)) if !port.contains(':') => before,
        _ => host,
    }
}
