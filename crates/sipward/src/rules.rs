//! The protection as a static rule set, for a machine on which the daemon does not run: allowlist,
//! bans, limits and signatures as far as nftables and iptables can say them. What a tool cannot say
//! is left out and named in a comment, never widened.
//!
//! Both judge before connection tracking (raw), so that no rule for established connections lets a
//! banned source through, and both leave every other table alone.

mod headers;
mod iptables;
mod nftables;

use ipnet::IpNet;
use jiff::Timestamp;
use sipward_shield::{PortClass, Rate};
use sipward_signature::SignatureSet;

pub use crate::export::Family;
pub use iptables::iptables;
pub use nftables::nftables;

use crate::{config::Config, control::api::BanView};

/// A ban of a prefix shorter than this is left out: in a file that is loaded at each boot it would
/// lock out a part of the world for ever. IPv4 and IPv6.
const SHORTEST: (u8, u8) = (8, 16);

/// Payload bytes of a keep-alive at most, which count with the responses, as in the shield.
const KEEP_ALIVE: u32 = 8;

/// What the rules enforce.
#[derive(Clone, Debug)]
pub struct Protection<'a> {
    /// Ports and limits.
    pub config: &'a Config,
    /// The signatures; the configuration's profile says which drop.
    pub signatures: &'a SignatureSet,
    /// Whom nothing drops.
    pub allowed: Vec<IpNet>,
    /// Whom everything drops.
    pub bans: Vec<BanView>,
    /// When the rules are written.
    pub now: Timestamp,
}

/// Ports by what is done at them.
struct Ports {
    sip: Protocols,
    /// SIP that cannot be read: bans only.
    opaque: Protocols,
    tripwire: Protocols,
    ssh: Vec<u16>,
}

#[derive(Default)]
struct Protocols {
    udp: Vec<u16>,
    tcp: Vec<u16>,
}

impl Protocols {
    fn each(&self) -> impl Iterator<Item = (&'static str, &[u16])> {
        let both = [("udp", self.udp.as_slice()), ("tcp", self.tcp.as_slice())];
        both.into_iter().filter(|(_, ports)| !ports.is_empty())
    }
}

impl Protection<'_> {
    fn ports(&self) -> Ports {
        let ports = self.config.policy().ports;
        let of = |class| {
            let of_class = |ports: &[(u16, PortClass)]| {
                let ports = ports.iter().filter(|(_, is)| *is == class);
                ports.map(|(port, _)| *port).collect::<Vec<_>>()
            };
            Protocols {
                udp: of_class(&ports.udp),
                tcp: of_class(&ports.tcp),
            }
        };
        Ports {
            sip: of(PortClass::Sip),
            opaque: of(PortClass::SipOpaque),
            tripwire: of(PortClass::Tripwire),
            ssh: of(PortClass::Ssh).tcp,
        }
    }

    /// The bans of a family that can be said, in order; those that are over are left out.
    fn bans(&self, family: Family) -> impl Iterator<Item = &BanView> {
        let in_force = |ban: &&BanView| ban.until.is_none_or(|until| until > self.now);
        let bans = self.bans.iter().filter(in_force);
        bans.filter(move |ban| family.has(&ban.prefix) && !is_too_short(&ban.prefix))
    }

    /// Bans of so many addresses that they are left out.
    fn too_wide(&self) -> impl Iterator<Item = IpNet> {
        let prefixes = self.bans.iter().map(|ban| ban.prefix);
        prefixes.filter(is_too_short)
    }

    fn allowed(&self, family: Family) -> impl Iterator<Item = &IpNet> {
        self.allowed.iter().filter(move |net| family.has(net))
    }

    /// The first lines of every format.
    fn title(&self) -> String {
        format!(
            "# A SIP server's static protection, written by sipward {} at {}.\n\
             # Without the daemon nobody is banned anew, nobody is trusted for a login, and what \
             strangers\n# send together has no limit.\n",
            env!("CARGO_PKG_VERSION"),
            self.now.strftime("%Y-%m-%d %H:%M:%S UTC")
        )
    }
}

fn is_too_short(net: &IpNet) -> bool {
    let shortest = match net {
        IpNet::V4(_) => SHORTEST.0,
        IpNet::V6(_) => SHORTEST.1,
    };
    net.prefix_len() < shortest
}

/// A rate as both tools write it.
fn rate_text(rate: &Rate) -> String {
    let unit = match rate.per_seconds {
        1 => "second",
        60 => "minute",
        3_600 => "hour",
        _ => "day",
    };
    format!("{}/{unit}", rate.packets)
}

/// Seconds after which a bucket is full again, at least a minute: it must not be forgotten before.
fn refill_seconds(rate: &Rate) -> u64 {
    let full = u64::from(rate.burst) * u64::from(rate.per_seconds);
    full.div_ceil(u64::from(rate.packets.max(1))).max(60)
}

#[cfg(test)]
mod tests;
