//! The twin of the kernel's policy: the same questions in the same order with the same
//! arithmetic, so that a recording is judged as the live machine would have judged it.
//!
//! ```text
//! not IP? ─► not understood? ─► allowed? ─► banned? ─► not understood behind the addresses?
//!   ─► later fragment? ─► not protected? ─► tripwire? ─► over the rate? ─► a signature? ─► clean
//! ```
//!
//! What differs from the kernel: its tables of sources are evicted approximately, this one
//! exactly; several CPUs race there for the last token of a bucket; and its clock is read for each
//! packet, while here the recording's is.

mod config;
mod rate;

use std::{collections::BTreeMap, net::IpAddr};

use ipnet::IpNet;
use sipward_signature::{ScanMode, Tables};
use sipward_wire::{NotUnderstood, Packet, Transport, ip, tcp::TcpFlags};

pub use self::config::{Limits, PolicyConfig, PortClass, Ports, Rate};
use self::rate::{Common, Gcra, OTHERS, Sources};
use crate::{
    Command, Reason, Source, Time,
    bans::{Bans, Key},
    command::Scope,
    hash::HashKey,
    lru::Lru,
    source::host,
    time::nanoseconds,
};

/// Bytes of one payload that are scanned; the tap behind the shield reads what is beyond.
pub const SCAN_MAX: usize = 2_048;
/// Bytes of payload that a first fragment must bring to be taken from a stranger.
const FIRST_FRAGMENT_MIN: usize = 256;
/// Connections to SSH that are remembered, and senders of fragments.
const MOST_CONNECTIONS: usize = 16_384;
/// What follows no first fragment has a bucket of so many a second…
const FRAGMENTS: Rate = Rate {
    packets: 50,
    per_seconds: 1,
    burst: 200,
};
/// … and a later fragment follows a first one for as long as Linux waits for it.
const FRAGMENTS_WAIT: u64 = 30_000_000_000;

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Why it passed or was dropped.
    pub reason: Reason,
    /// The signature's slot in the tables, for [`Reason::Signature`].
    pub signature: Option<u16>,
}

/// The policy and what it remembers.
#[derive(Debug)]
pub struct Policy {
    ports: Ports,
    sip: Gcra,
    responses: Gcra,
    unknown: Gcra,
    others: Gcra,
    fragments: Gcra,
    trusted_rate: Gcra,
    ssh: Gcra,
    tables: Tables,
    allowed: Vec<IpNet>,
    bans: Bans,
    holds: BTreeMap<IpNet, Time>,
    trusted: BTreeMap<Source, u64>,
    sources: Sources,
    common: Common,
    connections: Lru<(Source, Option<IpAddr>), u64>,
    first_fragments: Lru<(Source, Option<IpAddr>), u64>,
}

/// A packet as far as the policy looks at it.
struct Seen<'a> {
    source: IpAddr,
    destination: IpAddr,
    ports: Option<(u16, u16)>,
    protocol: u8,
    fragment: Fragment,
    tcp_flags: TcpFlags,
    payload: &'a [u8],
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fragment {
    Whole,
    First,
    Later,
}

/// How far a frame could be read.
enum Parsed<'a> {
    All(Seen<'a>),
    /// A banned source stays banned, whatever it writes behind its address.
    Addresses(Seen<'a>),
    Nothing(Reason),
}

impl Seen<'_> {
    /// Who sends to whom.
    fn pair(&self) -> (Source, Option<IpAddr>) {
        (Source::of(self.source), Some(self.destination))
    }
}

impl Policy {
    /// A policy that has seen nothing yet. `seed` changes no verdict.
    #[must_use]
    pub fn new(config: &PolicyConfig, tables: Tables, seed: u64) -> Self {
        let key = HashKey::new(seed);
        Self {
            ports: config.ports.clone(),
            sip: Gcra::new(config.limits.sip),
            responses: Gcra::new(config.limits.responses),
            unknown: Gcra::new(config.limits.unknown),
            others: Gcra::new(config.limits.unknown).times(OTHERS),
            fragments: Gcra::new(FRAGMENTS),
            trusted_rate: Gcra::new(config.limits.trusted),
            ssh: Gcra::new(config.limits.ssh),
            tables,
            allowed: Vec::new(),
            bans: Bans::default(),
            holds: BTreeMap::new(),
            trusted: BTreeMap::new(),
            sources: Sources::new(key),
            common: Common::default(),
            connections: Lru::new(MOST_CONNECTIONS, key),
            first_fragments: Lru::new(MOST_CONNECTIONS, key),
        }
    }

    /// The tables that packets are scanned with.
    #[must_use]
    pub fn tables(&self) -> &Tables {
        &self.tables
    }

    /// Never drops a packet from this prefix.
    pub fn allow(&mut self, prefix: IpNet) {
        self.allowed.push(prefix.trunc());
    }

    /// Does what the engine wants done.
    pub fn apply(&mut self, command: &Command) {
        match command {
            Command::Ban(ban) => {
                self.bans.remove(&Key::of(ban));
                self.bans.add(ban.clone());
            }
            Command::Unban(unban) => {
                self.bans.remove(&Key {
                    prefix: unban.prefix,
                    port: unban.port,
                    scope: unban.scope,
                });
            }
            Command::Trust(trusted) => {
                let source = Source::of(trusted.address);
                self.trusted.entry(source).or_insert(0);
            }
            Command::Distrust(address) | Command::TakeRate(address) => {
                self.trusted.remove(&Source::of(*address));
            }
            Command::Hold(hold) => {
                self.holds.insert(hold.prefix, hold.until);
            }
            Command::Release(prefix) => {
                self.holds.remove(prefix);
            }
            Command::Alert(_) => {}
        }
    }

    /// Judges one packet: the first answer that fits is its reason.
    pub fn judge(&mut self, packet: &Packet<'_>, now: Time) -> Verdict {
        let (verdict, seen) = match parse(packet) {
            Parsed::Nothing(reason) => return reason.into(),
            Parsed::Addresses(seen) => (self.judge_addresses(&seen, now).into(), seen),
            Parsed::All(seen) => (self.judge_parsed(&seen, now), seen),
        };
        if seen.fragment == Fragment::First && !verdict.is_drop() {
            *self.first_fragments.touch(seen.pair()) = clock(now);
        }
        verdict
    }

    fn judge_addresses(&self, seen: &Seen<'_>, now: Time) -> Reason {
        if self.is_allowed(seen) {
            Reason::Allowed
        } else if self.is_banned(seen, None, now) {
            Reason::Banned
        } else {
            Reason::NotUnderstood
        }
    }

    fn judge_parsed(&mut self, seen: &Seen<'_>, now: Time) -> Verdict {
        if self.is_allowed(seen) {
            return Reason::Allowed.into();
        }
        let class = self.class_of(seen);
        if self.is_banned(seen, class, now) {
            return Reason::Banned.into();
        }
        if seen.fragment == Fragment::Later {
            return self.judge_later_fragment(seen, now).into();
        }
        match class {
            None => Reason::NotProtected.into(),
            Some(PortClass::Tripwire) => Reason::Tripwire.into(),
            Some(PortClass::Ssh) if self.is_over_ssh_rate(seen, now) => Reason::Rate.into(),
            Some(PortClass::Ssh | PortClass::SipOpaque) => Reason::Clean.into(),
            Some(PortClass::Sip) => match self.over_sip_rate(seen, now) {
                Some(reason) => reason.into(),
                None => self.scan(seen),
            },
        }
    }

    fn is_allowed(&self, seen: &Seen<'_>) -> bool {
        let source = host(seen.source);
        self.allowed.iter().any(|prefix| prefix.contains(&source))
    }

    fn class_of(&self, seen: &Seen<'_>) -> Option<PortClass> {
        let (_, port) = seen.ports?;
        match seen.protocol {
            _ if seen.fragment == Fragment::Later => None,
            ip::PROTOCOL_UDP => self.ports.udp.get(&port).copied(),
            ip::PROTOCOL_TCP => self.ports.tcp.get(&port).copied(),
            _ => None,
        }
    }

    fn is_banned(&self, seen: &Seen<'_>, class: Option<PortClass>, now: Time) -> bool {
        let is_sip = match class {
            Some(PortClass::Sip | PortClass::SipOpaque | PortClass::Tripwire) => true,
            Some(PortClass::Ssh) | None => false,
        };
        let port = seen.ports.map_or(0, |(source, _)| source);
        let banned = self.bans.covering(seen.source).any(|ban| {
            let of_port = ban.port.is_none_or(|own| own == port && port != 0);
            let of_scope = match ban.scope {
                Scope::All => true,
                Scope::Sip => is_sip,
            };
            of_port && of_scope && ban.is_in_force(now)
        });
        let held = || {
            let prefix = Source::of(seen.source).prefix();
            self.holds.get(&prefix).is_some_and(|until| *until > now)
        };
        banned || is_sip && !self.holds.is_empty() && held()
    }

    /// Takes a token for a SIP packet, or names the bucket that has none left.
    fn over_sip_rate(&mut self, seen: &Seen<'_>, now: Time) -> Option<Reason> {
        let is_tcp = seen.protocol == ip::PROTOCOL_TCP;
        let is_within = is_tcp && !seen.tcp_flags.contains(TcpFlags::SYN);
        let is_bare = is_within && seen.fragment == Fragment::Whole && seen.payload.is_empty();
        let key = Source::of(seen.source);
        if let Some(due) = self.trusted.get_mut(&key) {
            // Acknowledgements without data are the transport's own.
            let is_over = !is_bare && self.trusted_rate.is_over(due, now);
            return is_over.then_some(Reason::Rate);
        }
        if seen.fragment == Fragment::First && seen.payload.len() < FIRST_FRAGMENT_MIN {
            return Some(Reason::TinyFragment);
        }
        let source = self.sources.touch(key);
        let answers = is_bare || !is_tcp && is_response_or_keep_alive(seen.payload);
        let is_over = if answers {
            self.responses.is_over(&mut source.responses_due, now)
        } else {
            self.sip.is_over(&mut source.requests_due, now)
        };
        if is_over {
            return Some(Reason::Rate);
        }
        let is_over = if is_within {
            self.others.is_over(&mut self.common.segments_due, now)
        } else if answers {
            self.others.is_over(&mut self.common.answers_due, now)
        } else {
            self.unknown.is_over(&mut self.common.requests_due, now)
        };
        if !is_over {
            return None;
        }
        let again = &mut self.common.retransmissions_due;
        let is_refused = !self.sources.is_retransmission(key, seen.payload, now)
            || self.others.is_over(again, now);
        is_refused.then_some(Reason::RateUnknown)
    }

    /// A later fragment, to whatever port, follows a first one that has passed.
    fn judge_later_fragment(&mut self, seen: &Seen<'_>, now: Time) -> Reason {
        let passed = self.first_fragments.get(seen.pair());
        let follows = passed.is_some_and(|at| clock(now).saturating_sub(*at) <= FRAGMENTS_WAIT);
        if follows || self.trusted.contains_key(&Source::of(seen.source)) {
            return Reason::LaterFragment;
        }
        match self.fragments.is_over(&mut self.common.fragments_due, now) {
            true => Reason::RateUnknown,
            false => Reason::LaterFragment,
        }
    }

    fn is_over_ssh_rate(&mut self, seen: &Seen<'_>, now: Time) -> bool {
        let flags = [TcpFlags::FIN, TcpFlags::RST, TcpFlags::ACK];
        let opens = seen.tcp_flags.contains(TcpFlags::SYN)
            && !flags.iter().any(|flag| seen.tcp_flags.contains(*flag));
        if !opens {
            return false;
        }
        let due = self.connections.touch(seen.pair());
        self.ssh.is_over(due, now)
    }

    /// The signature step.
    fn scan(&self, seen: &Seen<'_>) -> Verdict {
        let is_long = seen.payload.len() > SCAN_MAX;
        let stream = seen.protocol == ip::PROTOCOL_TCP;
        let mode = ScanMode {
            stream,
            complete: !stream && seen.fragment == Fragment::Whole && !is_long,
            trusted: self.trusted.contains_key(&Source::of(seen.source)),
        };
        let scanned = seen.payload.get(..SCAN_MAX).unwrap_or(seen.payload);
        if scanned.is_empty() {
            return Reason::Clean.into();
        }
        match self.tables.scan(scanned, mode) {
            Some(slot) => Verdict {
                reason: Reason::Signature,
                signature: Some(slot),
            },
            None if is_long => Reason::CleanLong.into(),
            None => Reason::Clean.into(),
        }
    }
}

impl Verdict {
    /// Whether the packet is dropped, where the mode is to protect.
    #[must_use]
    pub fn is_drop(self) -> bool {
        self.reason.is_drop()
    }
}

impl From<Reason> for Verdict {
    fn from(reason: Reason) -> Self {
        Self {
            reason,
            signature: None,
        }
    }
}

fn parse<'a>(packet: &Packet<'a>) -> Parsed<'a> {
    let Some(ip) = packet.ip else {
        return Parsed::Nothing(match packet.transport {
            Transport::NotUnderstood(NotUnderstood::NotIp | NotUnderstood::TooManyVlanTags) => {
                Reason::NotIp
            }
            Transport::NotUnderstood(_)
            | Transport::Udp(_)
            | Transport::Tcp(_)
            | Transport::Icmp(_)
            | Transport::Other
            | Transport::LaterFragment => Reason::NotUnderstood,
        });
    };
    if let IpAddr::V6(source) = ip.source
        && source.to_ipv4_mapped().is_some()
    {
        // Never on the wire; taken for the IPv4 address it spells, it would get that one banned.
        return Parsed::Nothing(Reason::NotUnderstood);
    }
    let is_fragment = ip.fragment.is_some_and(|fragment| !fragment.is_whole());
    let fragment = match packet.transport {
        Transport::LaterFragment => Fragment::Later,
        Transport::Udp(_)
        | Transport::Tcp(_)
        | Transport::Icmp(_)
        | Transport::Other
        | Transport::NotUnderstood(_)
            if is_fragment =>
        {
            Fragment::First
        }
        Transport::Udp(_)
        | Transport::Tcp(_)
        | Transport::Icmp(_)
        | Transport::Other
        | Transport::NotUnderstood(_) => Fragment::Whole,
    };
    let seen = Seen {
        source: ip.source,
        destination: ip.destination,
        ports: packet.ports(),
        protocol: ip.protocol,
        fragment,
        tcp_flags: TcpFlags(0),
        payload: packet.payload().unwrap_or_default(),
    };
    match packet.transport {
        Transport::Tcp(tcp) => Parsed::All(Seen {
            tcp_flags: tcp.flags,
            ..seen
        }),
        Transport::NotUnderstood(NotUnderstood::ShortTransport) => {
            short_transport(seen, ip.payload)
        }
        Transport::NotUnderstood(_) => Parsed::Addresses(seen),
        Transport::Udp(_) | Transport::Icmp(_) | Transport::Other | Transport::LaterFragment => {
            Parsed::All(seen)
        }
    }
}

/// A first fragment may end within the TCP header: it has ports then and no payload, so that it is
/// judged as too short. What is neither TCP nor UDP is not looked into at all.
fn short_transport<'a>(seen: Seen<'a>, payload: &[u8]) -> Parsed<'a> {
    match (seen.protocol, payload) {
        (ip::PROTOCOL_TCP, [a, b, c, d, ..]) if seen.fragment == Fragment::First => {
            Parsed::All(Seen {
                ports: Some((u16::from_be_bytes([*a, *b]), u16::from_be_bytes([*c, *d]))),
                ..seen
            })
        }
        (ip::PROTOCOL_TCP | ip::PROTOCOL_UDP, _) => Parsed::Addresses(seen),
        (_, _) => Parsed::All(seen),
    }
}

/// What answers or keeps a hole in a NAT open: `SIP/2.0 …`, CRLF, NUL, STUN.
fn is_response_or_keep_alive(payload: &[u8]) -> bool {
    let Some(head) = payload.first_chunk::<8>().filter(|_| payload.len() > 8) else {
        return true;
    };
    match *head {
        [s, i, p, b'/', ..] if [s, i, p].map(|byte| byte | 0x20) == *b"sip" => true,
        // RFC 8489 section 5: two zero bits, and the magic cookie.
        [kind, _, _, _, 0x21, 0x12, 0xa4, 0x42] => kind < 4,
        _ => false,
    }
}

/// The time as the kernel has it: a number that never is zero.
fn clock(now: Time) -> u64 {
    nanoseconds(now.since(Time(0))).max(1)
}
