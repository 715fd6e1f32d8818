//! What the engine wants done. The caller carries it out: the shield enforces, the ledger
//! remembers.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::{Detector, Time};

/// One thing to do, in the order in which the engine gave them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Set a ban, or give the ban of the same prefix, port and scope a new end.
    Ban(Ban),
    /// Lift a ban, or clear away one that has lapsed.
    Unban(Unban),
    /// A detector fired: remember it. A ban that follows from it comes as the next command.
    Alert(Alert),
    /// Remember an address as trusted, or renew it, and give it the larger rate.
    Trust(Trusted),
    /// Forget that an address was trusted; the larger rate goes with it.
    Distrust(IpAddr),
    /// Take the larger rate of an address away; it stays trusted otherwise.
    TakeRate(IpAddr),
    /// Drop every SIP packet of this prefix until then or until it is released: an answer is
    /// awaited, this is no ban and goes into no history.
    Hold(Hold),
    /// End a hold.
    Release(IpNet),
}

impl Command {
    /// The ban that it sets.
    #[must_use]
    pub const fn ban(&self) -> Option<&Ban> {
        match self {
            Self::Ban(ban) => Some(ban),
            Self::Unban(_)
            | Self::Alert(_)
            | Self::Trust(_)
            | Self::Distrust(_)
            | Self::TakeRate(_)
            | Self::Hold(_)
            | Self::Release(_) => None,
        }
    }
}

/// Which packets of a banned source are dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// Every packet, whatever its protocol.
    All,
    /// Packets to the SIP ports, WebSocket SIP and IAX2 included.
    Sip,
}

/// Where a ban comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    /// A detector on this machine.
    Local,
    /// Somebody asked for it.
    Manual,
    /// A list from elsewhere.
    Feed,
    /// Another node of the fleet.
    Fleet,
    /// Taken over from another tool.
    Import,
}

impl Origin {
    /// The name that people and scripts see.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Manual => "manual",
            Self::Feed => "feed",
            Self::Fleet => "fleet",
            Self::Import => "import",
        }
    }
}

/// A ban: whom, what, how long, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ban {
    /// The banned addresses, host bits zero.
    pub prefix: IpNet,
    /// Only packets from this source port; the prefix is then a single address.
    pub port: Option<u16>,
    /// What is dropped.
    pub scope: Scope,
    /// Since when.
    pub since: Time,
    /// When it lapses; `None`: never.
    pub until: Option<Time>,
    /// The detector that fired; `None` where no detector did.
    pub detector: Option<Detector>,
    /// Why, in words; safe to show.
    pub reason: String,
    /// Whether the source answered something that only the real owner of the address could have
    /// received.
    pub proven: bool,
    /// Name of the signature, where one hit.
    pub signature: Option<String>,
    /// The account concerned, where there is one; safe to show.
    pub account: Option<String>,
    /// Who decided it.
    pub origin: Origin,
}

impl Ban {
    /// Whether it is in force at `now`.
    #[must_use]
    pub fn is_in_force(&self, now: Time) -> bool {
        self.until.is_none_or(|until| until > now)
    }

    /// Whether it drops packets of this address and source port.
    #[must_use]
    pub fn hits(&self, address: IpAddr, port: u16) -> bool {
        self.prefix.contains(&address.to_canonical()) && self.port.is_none_or(|own| own == port)
    }
}

/// A ban that ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unban {
    /// The ban's addresses.
    pub prefix: IpNet,
    /// The ban's source port.
    pub port: Option<u16>,
    /// The ban's scope.
    pub scope: Scope,
    /// Why it ends.
    pub cause: UnbanCause,
}

/// Why a ban ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum UnbanCause {
    /// Its time is over.
    Lapsed,
    /// Somebody asked for it.
    Lifted,
    /// It is split around addresses that somebody wants free; the bans of the rest precede this.
    Split,
}

/// A detector fired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    /// When the evidence was complete.
    pub at: Time,
    /// The address that completed it, or the prefix of a campaign.
    pub source: IpNet,
    /// The source port that completed it; `None` where it has no meaning.
    pub port: Option<u16>,
    /// The detector.
    pub detector: Detector,
    /// Whether the source proved to own its address.
    pub proven: bool,
    /// One sentence; safe to show.
    pub summary: String,
    /// The account concerned, where there is one; safe to show.
    pub account: Option<String>,
    /// What was seen, oldest first.
    pub evidence: Vec<Evidence>,
    /// Why no ban follows, where none does.
    pub spared: Option<String>,
}

/// One thing that was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// When.
    pub at: Time,
    /// Where to find it.
    pub place: Place,
    /// What it was; safe to show.
    pub summary: String,
}

/// Where an observation was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// Packet number, from 1, of a recording or of the tap.
    Packet(u64),
    /// Line number, from 1, of a log.
    Line(u64),
    /// An event of the kernel's program.
    Kernel,
    /// An event of the manager interface.
    Ami,
}

/// An address that proved itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trusted {
    /// The address.
    pub address: IpAddr,
    /// How it proved itself last.
    pub by: TrustedBy,
    /// The account of the last success; safe to show.
    pub username: Option<String>,
    /// The User-Agent of the last success, as sent.
    pub user_agent: Option<Vec<u8>>,
    /// First success.
    pub since: Time,
    /// Last success.
    pub last: Time,
    /// When the trust ends unless renewed.
    pub until: Time,
}

/// How an address proved itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TrustedBy {
    /// A REGISTER with accepted credentials.
    Registration,
    /// Another request with accepted credentials.
    Login,
    /// A call that was answered and acknowledged.
    Call,
    /// It answered a request that the PBX itself sent to it: a trunk or a provider.
    Peer,
}

impl TrustedBy {
    /// The name that people and scripts see.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Registration => "registration",
            Self::Login => "login",
            Self::Call => "call",
            Self::Peer => "peer",
        }
    }
}

/// A source whose answers are awaited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// The held addresses.
    pub prefix: IpNet,
    /// When it ends by itself.
    pub until: Time,
}
