//! What can go wrong between this process and the kernel.

use std::{io, path::PathBuf};

use crate::RefusalKind;

/// A failure of the kernel's side; the text names what failed, where, and how to mend it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The process may not use BPF.
    #[error(
        "not permitted to use BPF: run as root, or with CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON"
    )]
    NotPermitted,
    /// The kernel has no BPF, or something forbids it.
    #[error(
        "this kernel does not offer BPF ({0}): it needs Linux 6.1 or newer with CONFIG_BPF_SYSCALL, and no seccomp filter on bpf(2)"
    )]
    NoBpf(io::Error),
    /// No such interface.
    #[error("no interface {0:?} here: `ip link` lists them")]
    NoInterface(String),
    /// Whether an interface is there could not be found out.
    #[error("cannot look at the interfaces: {0}; those that are guarded stay so")]
    Interfaces(io::Error),
    /// Another XDP program stands on the interface.
    #[error(
        "interface {interface}: another XDP program is attached: {by}; sipward never evicts it"
    )]
    Occupied {
        /// The interface.
        interface: String,
        /// The program, as [`crate::xdp::occupant`] tells it.
        by: String,
        /// Whose it is, as far as it matters.
        kind: RefusalKind,
    },
    /// The interface has no Ethernet frames, which are all that the program reads.
    #[error(
        "interface {0}: its frames are not Ethernet's, as those of tun and ppp are not, and XDP cannot judge them: take --backend nftables"
    )]
    NotEthernet(String),
    /// The interface is a port of a bridge or a bond, as whose its packets come to nftables.
    #[error(
        "interface {interface} is a port of {kind} {master}, and nftables sees its packets as those of {master}: guard {master}, or take --backend xdp"
    )]
    Port {
        /// The interface.
        interface: String,
        /// What it is a port of.
        kind: &'static str,
        /// The name of that.
        master: String,
    },
    /// The interface refuses the mode that was asked for.
    #[error("interface {interface} refuses {mode} XDP ({reason}): {hint}")]
    Attach {
        /// The interface.
        interface: String,
        /// The mode, as on the command line.
        mode: &'static str,
        /// What the kernel said.
        reason: String,
        /// How to mend it.
        hint: &'static str,
        /// Whether it can never do it, and has not only failed now.
        is_unsupported: bool,
    },
    /// The program was refused by the kernel.
    #[error("the kernel refused the program: {0}")]
    Load(Box<dyn std::error::Error + Send + Sync>),
    /// A map could not be read or written.
    #[error("map {map}: {source}")]
    Map {
        /// The map's name.
        map: &'static str,
        /// What the kernel said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The folder for pins.
    #[error(
        "{path}: {source}: sipward keeps its maps there; it must be on a BPF file system (`mount -t bpf bpf /sys/fs/bpf`)"
    )]
    Pin {
        /// The folder or file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// Another sipward guards the interface.
    #[error("interface {0} is guarded by another sipward that is running")]
    AlreadyGuarded(String),
    /// The bans do not fit.
    #[error("no room for another ban: the kernel's table holds {0}")]
    Full(u32),
    /// A port ban of more than one address.
    #[error("a ban of one source port needs a single address, not {0}")]
    PortOfPrefix(ipnet::IpNet),
    /// More signatures than the kernel's table holds.
    #[error("the signatures need {units} units, the kernel's table holds {room}: leave some out")]
    TooManySignatures {
        /// What they need.
        units: usize,
        /// What there is.
        room: usize,
    },
    /// The tap behind the shield cannot be opened.
    #[error("cannot see the packets of interface {interface}: {source} (it takes CAP_NET_RAW)")]
    Tap {
        /// The interface.
        interface: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// Nothing can be sent from the server's address.
    #[error(
        "cannot open a raw socket: {0} (it takes CAP_NET_RAW): grant it, or have nothing sent: enabled = false in [answer], over = \"drop\" in [limits.sip]"
    )]
    Raw(io::Error),
    /// nf_tables refused something.
    #[error("nftables: {what}: {source}")]
    Nftables {
        /// What was tried.
        what: String,
        /// What the kernel or `nft` said.
        source: io::Error,
    },
    /// The program that writes rules is missing.
    #[error("nftables: no program nft on the PATH: install it (`apt install nftables`)")]
    NoNft,
    /// Somebody else listens.
    #[error(
        "nftables: somebody else listens to log group {0}, most likely another sipward: a machine has one that guards by nftables"
    )]
    LogGroup(u16),
    /// The filter of the tap would be too long.
    #[error(
        "{0} ports are more than the tap can tell apart: name ranges of neighbours, at most 1,000"
    )]
    TooManyPorts(usize),
}

impl Error {
    /// What follows for an interface that is left unguarded for this.
    pub(crate) const fn kind(&self) -> RefusalKind {
        match self {
            Self::Occupied { kind, .. } => *kind,
            Self::NotEthernet(_)
            | Self::Attach {
                is_unsupported: true,
                ..
            } => RefusalKind::NoXdp,
            Self::AlreadyGuarded(_) => RefusalKind::Anothers,
            Self::NotPermitted
            | Self::NoBpf(_)
            | Self::NoInterface(_)
            | Self::Interfaces(_)
            | Self::Port { .. }
            | Self::Attach { .. }
            | Self::Load(_)
            | Self::Map { .. }
            | Self::Pin { .. }
            | Self::Full(_)
            | Self::PortOfPrefix(_)
            | Self::TooManySignatures { .. }
            | Self::Tap { .. }
            | Self::Raw(_)
            | Self::Nftables { .. }
            | Self::NoNft
            | Self::LogGroup(_)
            | Self::TooManyPorts(_) => RefusalKind::Passing,
        }
    }
}
