//! The words that the kernel's side and its callers share: whom to ban, what to protect, at which
//! rate, and what came of it.

use std::{net::IpAddr, time::Duration};

use ipnet::IpNet;
use sipward_signature::Tables;

use crate::interfaces::{Present, Wanted};

/// Nanoseconds of the kernel's boot clock (`CLOCK_BOOTTIME`), which goes on in suspend, so that a
/// ban lapses at the right moment with the daemon dead or the machine asleep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BootTime(pub u64);

impl BootTime {
    /// A ban with this end never lapses.
    pub const NEVER: Self = Self(u64::MAX);
}

/// Which packets of a banned source are dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// Every packet, whatever its protocol.
    All,
    /// Packets to the SIP ports, WebSocket SIP and IAX2 included.
    Sip,
}

/// Whom a ban hits: a prefix, or one source port behind one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Target {
    /// The banned prefix, its host bits zero.
    pub prefix: IpNet,
    /// Only packets from this source port; the prefix is then a single address.
    pub port: Option<u16>,
}

/// One ban as the kernel enforces it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ban {
    /// Whom it hits.
    pub target: Target,
    /// What it drops.
    pub scope: Scope,
    /// When it lapses.
    pub until: BootTime,
}

/// A ban as it stands in the kernel, with what it has dropped so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EnforcedBan {
    /// The ban.
    pub ban: Ban,
    /// Packets dropped by it since it was set.
    pub dropped_packets: u64,
}

/// What a port is for, by transport protocol and number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PortClass {
    /// Cleartext SIP: rate and signatures.
    Sip,
    /// SIP that cannot be read on the wire (TLS, WebSocket) and IAX2: bans only.
    SipOpaque,
    /// SSH: new connections are limited per source and destination.
    Ssh,
    /// A port that nobody has a reason to use: any packet is an alarm.
    Tripwire,
}

/// The ports to protect; a port in no list is not looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ports {
    /// Class of each protected UDP port.
    pub udp: Vec<(u16, PortClass)>,
    /// Class of each protected TCP port.
    pub tcp: Vec<(u16, PortClass)>,
}

impl Ports {
    /// These ports for cleartext SIP, over UDP and TCP.
    #[must_use]
    pub fn sip(ports: &[u16]) -> Self {
        let class: Vec<_> = ports.iter().map(|&port| (port, PortClass::Sip)).collect();
        Self {
            udp: class.clone(),
            tcp: class,
        }
    }
}

/// A token bucket: `burst` packets at once, refilled at `packets` per `per_seconds`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Tokens that come back per `per_seconds`; at least 1.
    pub packets: u32,
    /// The interval, in seconds; at least 1.
    pub per_seconds: u32,
    /// Packets that may come at once; at least 1.
    pub burst: u32,
}

impl Rate {
    /// More than any link brings.
    pub const UNLIMITED: Self = Self {
        packets: 1_000_000_000,
        per_seconds: 1,
        burst: u32::MAX,
    };
}

/// The limits by class of packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// SIP requests of one unknown source (IPv4 address, IPv6 /64).
    pub sip: Rate,
    /// Responses and keep-alives of one unknown source.
    pub responses: Rate,
    /// All unknown sources together.
    pub unknown: Rate,
    /// One trusted source.
    pub trusted: Rate,
    /// New SSH connections of one source to one destination.
    pub ssh: Rate,
}

impl Limits {
    /// The same rate for every class.
    #[must_use]
    pub const fn uniform(rate: Rate) -> Self {
        Self {
            sip: rate,
            responses: rate,
            unknown: rate,
            trusted: rate,
            ssh: rate,
        }
    }
}

/// Whether a decision to drop is carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Drop what is decided to be dropped.
    Protect,
    /// Pass everything and count what would have been dropped.
    Observe,
}

/// What becomes of a packet that is over a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Over {
    /// It is dropped.
    #[default]
    Drop,
    /// It is dropped, and its event has a [`Quote`] for whoever sends an ICMP error.
    Reject,
}

/// What the kernel's program is told to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Enforce or only watch.
    pub mode: Mode,
    /// Which ports are protected, and as what.
    pub ports: Ports,
    /// The rate limits.
    pub limits: Limits,
    /// What becomes of requests over [`Limits::sip`].
    pub over: Over,
}

impl Policy {
    /// Protects these ports by bans, tripwires and signatures alone: for a question to which the
    /// limits are no part of the answer.
    #[must_use]
    pub const fn without_limits(ports: Ports) -> Self {
        Self {
            mode: Mode::Protect,
            ports,
            limits: Limits::uniform(Rate::UNLIMITED),
            over: Over::Drop,
        }
    }
}

/// What was done with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// It went on to the machine.
    Pass,
    /// It was dropped.
    Drop,
}

/// Packets of one reason, by what was done with them. In observe mode a packet that would have
/// been dropped counts as passed under the reason that would have dropped it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Packets let through.
    pub passed: u64,
    /// Packets dropped.
    pub dropped: u64,
}

/// An event from the kernel: a packet that was dropped (or would have been) for a reason the
/// daemon wants to hear of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When the packet was seen.
    pub at: BootTime,
    /// Its source address.
    pub source: IpAddr,
    /// Its destination address.
    pub destination: IpAddr,
    /// Source port, host order.
    pub source_port: u16,
    /// Destination port, host order.
    pub destination_port: u16,
    /// IP protocol number: 6 TCP, 17 UDP.
    pub protocol: u8,
    /// What was done with it.
    pub verdict: Verdict,
    /// Why.
    pub reason: Reason,
    /// The signature's slot and the generation of the tables that found it.
    pub signature: Option<SignatureHit>,
    /// Packets that were dropped and that this one stands for, itself included: drops of a source
    /// for its rate are told once a second, all others one by one.
    pub count: u32,
    /// Packets of the source that passed to SIP ports since the last such event of its rate.
    pub passed: u32,
    /// Length of the transport's payload in bytes.
    pub payload_len: u32,
    /// What an ICMP error about the packet has to quote, where it is to be rejected.
    pub quote: Option<Quote>,
    /// The first bytes of the payload, at most [`crate::SAMPLE_LEN`].
    pub sample: Vec<u8>,
}

/// How an IP packet begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quote {
    /// The IP header and 8 bytes at least, where the header has no more than 40 bytes.
    pub head: Vec<u8>,
    /// How long the packet is, in bytes.
    pub length: usize,
}

/// Which signature hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SignatureHit {
    /// Number in [`Tables::signatures`].
    pub slot: u16,
    /// The generation that [`crate::Shield::set_signatures`] returned for those tables.
    pub generation: u32,
}

/// How the program is attached to an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum XdpMode {
    /// In the driver.
    Native,
    /// In the network stack, before anything else of it.
    Generic,
}

/// An interface that is guarded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuardedInterface {
    /// Its name, the wanted one where it is not there.
    pub name: String,
    /// The name that is to be guarded; another than [`Self::name`] once that was changed.
    pub wanted: String,
    /// Whether there is such an interface.
    pub is_present: bool,
    /// How the program is attached; none where it is not, and where nftables guards.
    pub mode: Option<XdpMode>,
    /// Whether what comes in there is judged; false where nothing can.
    pub attached: bool,
    /// Why [`Shield::reattach`] has left it unguarded.
    pub refused: Option<Refusal>,
}

/// Why an interface is left unguarded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// For the administrator.
    pub why: String,
    /// What follows from it.
    pub kind: RefusalKind,
}

/// What follows from a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalKind {
    /// It is another sipward's, which may be down: it is to have it again.
    Anothers,
    /// The program cannot be there; another backend could guard it.
    NoXdp,
    /// It may pass: the next look tries again.
    Passing,
}

impl GuardedInterface {
    /// Not guarded so far.
    pub(crate) fn of(wanted: &Wanted, present: Option<Present>) -> Self {
        let is_present = present.is_some();
        Self {
            name: present.map_or_else(|| wanted.name.clone(), |present| present.name),
            wanted: wanted.name.clone(),
            is_present,
            mode: None,
            attached: false,
            refused: None,
        }
    }
}

/// Says whether an interface may be guarded, by its index and the name that it has now; if not, why.
pub type Claim<'a> = dyn FnMut(u32, &str) -> Result<(), String> + 'a;

/// Reads the bans in force.
pub type ReadBans = Box<dyn FnOnce() -> Result<Vec<EnforcedBan>, crate::Error> + Send>;

/// What enforces bans, limits and signatures: [`crate::xdp::Xdp`] on interfaces,
/// [`crate::nftables::Nftables`] where that cannot be, [`crate::Simulator`] on single frames.
pub trait Shield: Send {
    /// Puts mode, ports and limits in force, at once and without a gap.
    fn set_policy(&mut self, policy: &Policy) -> Result<(), crate::Error>;

    /// Puts a new set of signatures in force atomically: a packet is judged by the old set or by
    /// the new one, never by none. Returns the generation that events will carry.
    fn set_signatures(&mut self, tables: &Tables) -> Result<u32, crate::Error>;

    /// Sets a ban, or gives the ban of the same target and scope a new end.
    fn ban(&mut self, ban: &Ban) -> Result<(), crate::Error>;

    /// Sets many bans in one go.
    ///
    /// # Errors
    /// Some may be set then.
    fn ban_all(&mut self, bans: &[Ban]) -> Result<(), crate::Error> {
        bans.iter().try_for_each(|ban| self.ban(ban))
    }

    /// Lifts the ban of exactly this target and scope; no ban is no error. Returns how many packets
    /// it has dropped.
    fn unban(&mut self, target: &Target, scope: Scope) -> Result<u64, crate::Error>;

    /// The ban of exactly this target and scope as the kernel has it; none where it has none. Under
    /// a wider ban that lasts as long, that one's end may be the answer.
    fn held(&self, target: &Target, scope: Scope) -> Result<Option<EnforcedBan>, crate::Error>;

    /// When the ban lapses of which [`Self::held`] tells.
    fn ban_end(&self, target: &Target, scope: Scope) -> Result<Option<BootTime>, crate::Error> {
        Ok(self.held(target, scope)?.map(|held| held.ban.until))
    }

    /// By how much at most a ban outlasts its end: where its time stands still while the machine sleeps,
    /// by what that has slept.
    fn overdue(&self) -> Duration {
        Duration::ZERO
    }

    /// What reads the bans in force, in the order of their targets, when it is called, in whatever
    /// thread. Lapsed ones are left out, and one that is set or lifted meanwhile may be.
    fn read_bans(&self) -> Result<ReadBans, crate::Error>;

    /// As [`Self::read_bans`], at once.
    fn bans(&self) -> Result<Vec<EnforcedBan>, crate::Error> {
        self.read_bans()?()
    }

    /// Never drops a packet from this prefix.
    fn allow(&mut self, prefix: IpNet) -> Result<(), crate::Error>;

    /// Takes back [`Self::allow`]; a prefix that is not allowed is no error.
    fn disallow(&mut self, prefix: IpNet) -> Result<(), crate::Error>;

    /// The allowed prefixes in order.
    fn allowed(&self) -> Result<Vec<IpNet>, crate::Error>;

    /// How many they are, as far as this shield knows, without a look at each.
    fn allowed_count(&self) -> usize;

    /// Gives a source the larger rate of trusted sources, and the forbearance with signatures
    /// that genuine devices may send.
    fn trust(&mut self, source: IpAddr) -> Result<(), crate::Error>;

    /// Takes back [`Self::trust`].
    fn distrust(&mut self, source: IpAddr) -> Result<(), crate::Error>;

    /// The trusted sources in order; the first address of an IPv6 /64 stands for all of it.
    fn trusted(&self) -> Result<Vec<IpAddr>, crate::Error>;

    /// Frees these sources of [`Limits::ssh`] until then, and of nothing else; an IPv6 address stands
    /// for its /64. A later call gives them a new end, and leaves others theirs.
    fn lift_ssh_limit(&mut self, sources: &[IpAddr], until: BootTime) -> Result<(), crate::Error>;

    /// Packets so far, by reason.
    fn counters(&self) -> Result<Counters, crate::Error>;

    /// How full the tables are that have room for so many entries and no more; those of nftables, a
    /// set for each length of prefix, are not told.
    fn fill(&self) -> Vec<Fill> {
        Vec::new()
    }

    /// The guarded interfaces as they are now.
    fn interfaces(&self) -> Result<Vec<GuardedInterface>, crate::Error>;

    /// Calls `sink` with the events that wait, at most 1,024 in one call; returns how many there
    /// were.
    fn drain_events(&mut self, sink: &mut dyn FnMut(Event)) -> usize;

    /// Puts the program on its interfaces, or in the place of an earlier one there. Everything set
    /// before is in force from the first packet on. Returns what is worth a line in the log.
    ///
    /// # Errors
    /// What was attached before the call stays as it was, and nothing is attached beside it.
    fn attach(&mut self) -> Result<Vec<String>, crate::Error>;

    /// Puts the program back on each of its interfaces where it is missing, and in the place of
    /// another one in its link. An interface that is gone is left alone until it is there again, one
    /// that may not be claimed for as long as that is so. Returns what was mended, and each refusal once: [`GuardedInterface::refused`] has it from
    /// then on.
    ///
    /// # Errors
    /// What concerns all interfaces; they are left as they are.
    fn reattach(&mut self, claim: &mut Claim<'_>) -> Result<Vec<String>, crate::Error>;

    /// Detaches from every interface and removes every pin or table: nothing of it stays behind.
    fn detach(&mut self) -> Result<(), crate::Error>;
}

/// How full a table of the kernel is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fill {
    /// Its name, as `bpftool map` has it.
    pub table: &'static str,
    /// Entries in it.
    pub entries: usize,
    /// Entries that it has room for.
    pub capacity: usize,
}

/// Packets by reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters(pub Vec<(Reason, Count)>);

impl Counters {
    /// The count of one reason; zero where the reason never occurred.
    #[must_use]
    pub fn of(&self, reason: Reason) -> Count {
        self.0
            .iter()
            .find_map(|(key, count)| (*key == reason).then_some(*count))
            .unwrap_or_default()
    }
}

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $variant:ident = $number:literal => $name:literal,)+) => {
        /// Why a packet passed or was dropped. Every packet has exactly one; the number indexes
        /// the kernel's counters.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Reason {
            $($(#[doc = $doc])+ $variant = $number,)+
        }

        impl Reason {
            /// All reasons in the order of their numbers.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The name that people and scripts see.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }
        }
    };
}

reasons! {
    /// Passed: not IPv4 or IPv6.
    NotIp = 0 => "not-ip",
    /// Passed: headers that could not be read to the end.
    NotUnderstood = 1 => "not-understood",
    /// Passed: the source is on the allowlist.
    Allowed = 2 => "allowed",
    /// Passed: no TCP and no UDP, or a port that is not protected.
    NotProtected = 3 => "not-protected",
    /// Passed: a fragment without the transport header; the first one was judged.
    LaterFragment = 4 => "later-fragment",
    /// Passed: to a protected port, and nothing against it.
    Clean = 5 => "clean",
    /// Passed: as clean, and longer than what is scanned of a packet; the tap reads the rest.
    CleanLong = 6 => "clean-long",
    /// Dropped: the source is banned.
    Banned = 7 => "banned",
    /// Dropped: to a port that nobody has a reason to use.
    Tripwire = 8 => "tripwire",
    /// Dropped: the source sends more than its share.
    Rate = 9 => "rate",
    /// Dropped: all unknown sources together send more than their share; a retransmission passes.
    RateUnknown = 10 => "rate-unknown",
    /// Dropped: a first fragment too short to hold a SIP request, from an unknown source.
    TinyFragment = 11 => "tiny-fragment",
    /// Dropped: a scanner's signature.
    Signature = 12 => "signature",
}
