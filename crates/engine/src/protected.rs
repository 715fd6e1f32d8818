//! Who is never banned: what this machine lives on, and whom its owner vouches for. And of whom a ban
//! drops nothing but SIP: who has just connected by SSH, and may be logging in.

use std::{fmt, net::IpAddr};

use ipnet::IpNet;

use crate::source::{host, overlap};

/// Why an address is never banned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protection {
    /// An address of this machine.
    Own,
    /// A default gateway of this machine.
    Gateway,
    /// A name server that this machine asks.
    Resolver,
    /// A time server that this machine asks.
    TimeServer,
    /// The remote end of an SSH connection that lasts longer than sshd waits for a login: somebody
    /// has logged in. That it is established proves an address only.
    SshSession,
    /// On the allowlist.
    Allowlist,
    /// A trunk or provider of the PBX.
    Peer,
    /// An address that no packet comes from rightly, or only from this link.
    Special,
}

impl Protection {
    /// The words that complete "… is never banned: it is".
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Own => "an address of this machine",
            Self::Gateway => "a default gateway of this machine",
            Self::Resolver => "a name server of this machine",
            Self::TimeServer => "a time server of this machine",
            Self::SshSession => {
                "the other end of an SSH session that lasts longer than a login may take"
            }
            Self::Allowlist => "on the allowlist",
            Self::Peer => "a trunk or provider of the PBX",
            Self::Special => "a loopback, link-local, multicast, broadcast or unspecified address",
        }
    }
}

/// A protected prefix and why it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProtectedPrefix {
    /// The addresses.
    pub prefix: IpNet,
    /// Why they are never banned.
    pub protection: Protection,
}

impl fmt::Display for ProtectedPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { prefix, protection } = self;
        if prefix.prefix_len() == prefix.max_prefix_len() {
            write!(f, "{} is {}", prefix.addr(), protection.words())
        } else {
            write!(f, "{prefix} is {}", protection.words())
        }
    }
}

/// The protected prefixes. Loopback, link-local, multicast, broadcast and unspecified addresses
/// are always among them.
#[derive(Clone, Debug)]
pub struct Protected {
    entries: Vec<ProtectedPrefix>,
    /// The remote ends of SSH connections that are too young to be an [`Protection::SshSession`].
    ssh_connections: Vec<IpAddr>,
}

/// IPv4 0.0.0.0/8 (RFC 1122), loopback, link-local (RFC 3927), multicast and broadcast; IPv6
/// unspecified, loopback, link-local and multicast (RFC 4291).
const SPECIAL: [&str; 9] = [
    "0.0.0.0/8",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "224.0.0.0/4",
    "255.255.255.255/32",
    "::/128",
    "::1/128",
    "fe80::/10",
    "ff00::/8",
];

impl Default for Protected {
    fn default() -> Self {
        let special = SPECIAL.iter().filter_map(|text| text.parse().ok());
        Self {
            entries: special
                .map(|prefix| ProtectedPrefix {
                    prefix,
                    protection: Protection::Special,
                })
                .collect(),
            ssh_connections: Vec::new(),
        }
    }
}

impl Protected {
    /// Replaces all prefixes of one kind, as after a look at the routing table or at the open SSH
    /// sessions. The special addresses cannot be replaced.
    pub fn set(&mut self, protection: Protection, prefixes: impl IntoIterator<Item = IpNet>) {
        if protection == Protection::Special {
            return;
        }
        self.entries.retain(|entry| entry.protection != protection);
        for prefix in prefixes {
            self.add(protection, prefix);
        }
    }

    /// Replaces those who have an SSH connection that sshd has accepted lately. They are banned as
    /// everybody is, but lose SIP only: see [`Engine::narrow`](crate::Engine::narrow).
    pub fn set_ssh_connections(&mut self, remote_ends: impl IntoIterator<Item = IpAddr>) {
        self.ssh_connections = remote_ends.into_iter().collect();
    }

    /// One of these addresses that has such a connection.
    pub(crate) fn ssh_connection(&self, prefix: &IpNet) -> Option<IpAddr> {
        let mut connections = self.ssh_connections.iter().copied();
        connections.find(|address| prefix.contains(address))
    }

    /// Adds one prefix; one that is there already is no error.
    pub fn add(&mut self, protection: Protection, prefix: IpNet) {
        let entry = ProtectedPrefix {
            prefix: prefix.trunc(),
            protection,
        };
        if !self.entries.contains(&entry) {
            self.entries.push(entry);
        }
    }

    /// Takes one prefix out; false where it was not there.
    pub fn remove(&mut self, protection: Protection, prefix: IpNet) -> bool {
        let prefix = prefix.trunc();
        let before = self.entries.len();
        self.entries
            .retain(|entry| (entry.protection, entry.prefix) != (protection, prefix));
        self.entries.len() < before
    }

    /// The prefixes of one kind.
    pub fn of(&self, protection: Protection) -> impl Iterator<Item = IpNet> {
        self.entries
            .iter()
            .filter(move |entry| entry.protection == protection)
            .map(|entry| entry.prefix)
    }

    /// What a ban of this prefix would hit that must not be hit: a protected prefix that has an
    /// address in common with it.
    #[must_use]
    pub fn conflict(&self, prefix: &IpNet) -> Option<ProtectedPrefix> {
        self.entries
            .iter()
            .find(|entry| overlap(&entry.prefix, prefix))
            .copied()
    }

    /// Why this address is never banned.
    #[must_use]
    pub fn address(&self, address: IpAddr) -> Option<ProtectedPrefix> {
        self.conflict(&host(address))
    }

    /// Whether the address is protected in this way.
    #[must_use]
    pub fn is(&self, protection: Protection, address: IpAddr) -> bool {
        let address = host(address);
        self.of(protection).any(|prefix| prefix.contains(&address))
    }
}
