//! The sets that hold bans, the allowlist, the trusted sources and those of SSH sessions.
//!
//! There is one set for each length of prefix, family and purpose, looked up with the source's
//! address cut to that length. Prefixes may so lie within each other, each with its own end and
//! counter, and an inner ban that lapses takes nothing from the outer one. A set of intervals
//! refuses prefixes that overlap, and takes 14 s for what these take 2 s for.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::IpAddr,
};

use ipnet::IpNet;

use super::{
    TABLE,
    netlink::{Attributes, Change, DUMPS, INET, Message, NFTABLES, Received, Socket},
};
use crate::{Ban, BootTime, EnforcedBan, Error, Scope, Target};

const NEW_ELEMENTS: u8 = 12;
const GET_ELEMENTS: u8 = 13;
const DELETE_ELEMENTS: u8 = 14;
const GET_SET: u8 = 10;

const LIST_TABLE: u16 = 1;
const LIST_SET: u16 = 2;
const LIST_ELEMENTS: u16 = 3;
const LIST_ELEMENT: u16 = 1;
const ELEMENT_KEY: u16 = 1;
const ELEMENT_TIMEOUT: u16 = 4;
const ELEMENT_EXPIRATION: u16 = 5;
const ELEMENT_EXPRESSION: u16 = 7;
const ELEMENT_EXPRESSIONS: u16 = 11;
const DATA_VALUE: u16 = 1;
const EXPRESSION_NAME: u16 = 1;
const EXPRESSION_DATA: u16 = 2;
const COUNTER_BYTES: u16 = 1;
pub const COUNTER_PACKETS: u16 = 2;
const SET_TABLE: u16 = 1;
const SET_NAME: u16 = 2;

/// Elements in one message: an attribute holds 64 kB, and one of these takes up to 120 bytes.
const ELEMENTS: usize = 400;
const MILLISECOND: u64 = 1_000_000;

/// What a set is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Purpose {
    /// The allowlist.
    Allowed,
    /// Bans of this scope.
    Banned(Scope),
    /// Who is free of the limit of new SSH connections.
    SshSessions,
}

impl Purpose {
    pub const ALL: [Self; 4] = [
        Self::Allowed,
        Self::Banned(Scope::All),
        Self::Banned(Scope::Sip),
        Self::SshSessions,
    ];

    /// Begins the names of its sets, and is the name of the chain that looks them up.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Banned(Scope::All) => "banned-all",
            Self::Banned(Scope::Sip) => "banned-sip",
            Self::SshSessions => "ssh-sessions",
        }
    }
}

/// A family of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    V4,
    V6,
}

impl Family {
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];

    pub const fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }

    /// As names of sets and chains have it.
    pub const fn digit(self) -> char {
        match self {
            Self::V4 => '4',
            Self::V6 => '6',
        }
    }

    pub const fn longest(self) -> u8 {
        match self {
            Self::V4 => 32,
            Self::V6 => 128,
        }
    }
}

/// What an element of a set is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Shape {
    /// An address cut to so many bits.
    Prefix(u8),
    /// An address and a source port.
    Port,
}

/// A set of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Set {
    pub purpose: Purpose,
    pub family: Family,
    pub shape: Shape,
}

impl Set {
    /// The set of a prefix.
    pub fn of_prefix(purpose: Purpose, prefix: &IpNet) -> Self {
        Self {
            purpose,
            family: Family::of(prefix.addr()),
            shape: Shape::Prefix(prefix.prefix_len()),
        }
    }

    /// The set of a ban.
    pub fn of_ban(target: &Target, scope: Scope) -> Result<Self, Error> {
        let prefix = target.prefix.trunc();
        let set = Self::of_prefix(Purpose::Banned(scope), &prefix);
        match target.port {
            None => Ok(set),
            Some(_) if prefix.prefix_len() < prefix.max_prefix_len() => {
                Err(Error::PortOfPrefix(prefix))
            }
            Some(_) => Ok(Self {
                shape: Shape::Port,
                ..set
            }),
        }
    }

    /// Its name in the table.
    pub fn name(&self) -> String {
        let (purpose, family) = (self.purpose.name(), self.family.digit());
        match self.shape {
            Shape::Prefix(length) => format!("{purpose}{family}-{length}"),
            Shape::Port => format!("{purpose}{family}-port"),
        }
    }

    /// The set of this name, if it is one of ours.
    fn from_name(name: &str) -> Option<Self> {
        let (rest, shape) = name.rsplit_once('-')?;
        let (purpose, family) = rest.split_at_checked(rest.len().checked_sub(1)?)?;
        let purpose = Purpose::ALL.into_iter().find(|one| one.name() == purpose)?;
        let family = Family::ALL
            .into_iter()
            .find(|one| family == one.digit().to_string())?;
        let shape = match shape {
            "port" => Shape::Port,
            length => Shape::Prefix(length.parse().ok().filter(|len| *len <= family.longest())?),
        };
        Some(Self {
            purpose,
            family,
            shape,
        })
    }

    /// The target that an element of it stands for.
    fn target(&self, key: &[u8]) -> Option<Target> {
        let width = usize::from(self.family.longest() / 8);
        let address = address(key.get(..width)?)?;
        Some(match self.shape {
            Shape::Prefix(length) => Target {
                prefix: IpNet::new(address, length).ok()?,
                port: None,
            },
            Shape::Port => Target {
                prefix: address.into(),
                port: Some(u16::from_be_bytes(
                    key.get(width..width + 2)?.try_into().ok()?,
                )),
            },
        })
    }
}

/// An element as it is written.
#[derive(Clone, Debug)]
pub struct Element {
    key: Vec<u8>,
    until: BootTime,
    packets: u64,
}

impl Element {
    /// Of a ban that has dropped so many packets.
    pub fn of_ban(ban: &Ban, packets: u64) -> Self {
        Self {
            key: key(&ban.target),
            until: ban.until,
            packets,
        }
    }

    /// Of a source, until then.
    pub fn of_source(address: IpAddr, until: BootTime) -> Self {
        Self {
            until,
            ..Self::of_address(address)
        }
    }

    /// Of an address that stays.
    pub fn of_address(address: IpAddr) -> Self {
        Self {
            key: octets(address),
            until: BootTime::NEVER,
            packets: 0,
        }
    }
}

/// An element as the kernel has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    pub target: Target,
    pub until: BootTime,
    pub packets: u64,
}

/// Without the bits of the host.
pub fn truncated(target: &Target) -> Target {
    Target {
        prefix: target.prefix.trunc(),
        ..*target
    }
}

impl Held {
    /// As a ban of this scope.
    pub fn ban(self, scope: Scope) -> EnforcedBan {
        EnforcedBan {
            ban: Ban {
                target: self.target,
                scope,
                until: self.until,
            },
            dropped_packets: self.packets,
        }
    }
}

/// Writes elements into a set; with `counted`, each with its counter.
pub fn create(
    set: &str,
    elements: &[Element],
    counted: bool,
    now: BootTime,
) -> Vec<(Change, Message)> {
    let message = |chunk: &[Element]| {
        let mut message = elements_of(NEW_ELEMENTS, set);
        message.nest(LIST_ELEMENTS, |list| {
            for element in chunk {
                list.nest(LIST_ELEMENT, |one| put_element(one, element, counted, now));
            }
        });
        (Change::Create, message)
    };
    elements.chunks(ELEMENTS).map(message).collect()
}

/// The same as text for `nft`, for the transaction that makes the table; each counts from 0.
pub fn text(set: &str, elements: &[(Target, BootTime)], now: BootTime) -> String {
    let element = |(target, until): &(Target, BootTime)| {
        let address = match target.prefix.trunc().addr() {
            IpAddr::V4(address) => address.to_string(),
            // With all its groups, for `nft` does not read each abbreviation.
            IpAddr::V6(address) => address.segments().map(|part| format!("{part:x}")).join(":"),
        };
        let port = target.port.map(|port| format!(" . {port}"));
        let lasts = (*until != BootTime::NEVER).then(|| {
            let left = milliseconds_until(*until, now);
            let (seconds, milliseconds) = (left / 1_000, left % 1_000);
            // A number has eight digits at most.
            let (days, seconds) = (seconds / 86_400, seconds % 86_400);
            format!(" timeout {days}d{seconds}s{milliseconds}ms")
        });
        address + &port.unwrap_or_default() + &lasts.unwrap_or_default()
    };
    let command = |chunk: &[(Target, BootTime)]| {
        let listed: Vec<String> = chunk.iter().map(element).collect();
        let listed = listed.join(", ");
        format!("add element inet {TABLE} {set} {{ {listed} }}\n")
    };
    elements.chunks(ELEMENTS).map(command).collect()
}

/// Takes the element of a target out of a set.
pub fn delete(set: &str, target: &Target) -> (Change, Message) {
    (Change::Delete, of_target(DELETE_ELEMENTS, set, target))
}

/// The element of a target.
pub fn get(socket: &mut Socket, set: &Set, target: &Target) -> io::Result<Option<Held>> {
    let now = BootTime::now();
    let question = of_target(GET_ELEMENTS, &set.name(), target);
    socket.get(question, |answer| held(answer, set, now).into_iter().next())
}

/// All elements of a set, in the order of their targets.
///
/// The kernel tells them in parts, and where it goes on it knows by their number only. If it takes
/// lapsed ones away in between, which it does once a second, as many others are left out, and nothing
/// says so; a change that is just being made may slip through, too (Linux 6.18). So a dump in parts is
/// believed when it tells nothing that those before have not told.
///
/// A hash set that the kernel is just enlarging, which it does behind what fills it, is read out
/// partly in its old order and partly in the new one: up to 1,400 of 12,289 elements were missing and
/// others told twice. So an answer that tells one twice is not whole either. Where none is whole, what
/// one has left out another one had.
pub fn all(socket: &mut Socket, set: &Set) -> io::Result<Vec<Held>> {
    let question = elements_of(GET_ELEMENTS, &set.name());
    let mut found = BTreeMap::new();
    for _ in 0..DUMPS {
        let now = BootTime::now();
        let (mut parts, mut told, mut listed) = (0, 0, BTreeMap::new());
        let is_whole = socket.dump_once(question.clone(), &mut |answer| {
            parts += 1;
            for element in held(answer, set, now) {
                told += 1;
                listed.insert(element.target, element);
            }
        })?;
        let is_whole = is_whole && told == listed.len();
        if is_whole && parts <= 1 {
            return Ok(listed.into_values().collect());
        }
        let known = found.len();
        found.extend(listed);
        if is_whole && found.len() == known {
            break;
        }
    }
    Ok(found.into_values().collect())
}

/// The bans in force in these sets, in the order of their targets.
pub fn bans(socket: &mut Socket, sets: &BTreeSet<Set>) -> io::Result<Vec<EnforcedBan>> {
    let mut bans = Vec::new();
    for set in sets {
        let Purpose::Banned(scope) = set.purpose else {
            continue;
        };
        bans.extend(all(socket, set)?.into_iter().map(|held| held.ban(scope)));
    }
    bans.sort_unstable_by_key(|held| (held.ban.target, held.ban.scope));
    Ok(bans)
}

/// The keys of a set of addresses.
pub fn addresses(socket: &mut Socket, set: &str) -> io::Result<Vec<IpAddr>> {
    let mut found = Vec::new();
    socket.dump(&elements_of(GET_ELEMENTS, set), &mut |answer| {
        found.extend(elements(answer).filter_map(|one| address(value(one)?)));
    })?;
    Ok(found)
}

/// Packets that the counter of an address in a set has seen; 0 where the address is not in it.
pub fn counted(socket: &mut Socket, set: &str, address: IpAddr) -> io::Result<u64> {
    let question = of_key(GET_ELEMENTS, set, &octets(address));
    let packets = socket.get(question, |answer| packets(elements(answer).next()?))?;
    Ok(packets.unwrap_or_default())
}

/// Our sets that the table has.
pub fn existing(socket: &mut Socket) -> io::Result<Vec<Set>> {
    let mut found = Vec::new();
    let mut question = Message::new(NFTABLES, GET_SET, INET, 0);
    question.put_name(SET_TABLE, TABLE);
    socket.dump(&question, &mut |answer| {
        found.extend(answer.attributes().name(SET_NAME).and_then(Set::from_name));
    })?;
    Ok(found)
}

fn of_target(kind: u8, set: &str, target: &Target) -> Message {
    of_key(kind, set, &key(target))
}

fn of_key(kind: u8, set: &str, key: &[u8]) -> Message {
    let mut message = elements_of(kind, set);
    message.nest(LIST_ELEMENTS, |list| {
        list.nest(LIST_ELEMENT, |one| {
            one.nest(ELEMENT_KEY, |data| data.put(DATA_VALUE, key));
        });
    });
    message
}

fn elements_of(kind: u8, set: &str) -> Message {
    let mut message = Message::new(NFTABLES, kind, INET, 0);
    message.put_name(LIST_TABLE, TABLE);
    message.put_name(LIST_SET, set);
    message
}

fn put_element(message: &mut Message, element: &Element, counted: bool, now: BootTime) {
    message.nest(ELEMENT_KEY, |data| data.put(DATA_VALUE, &element.key));
    if element.until != BootTime::NEVER {
        let left = milliseconds_until(element.until, now);
        message.put(ELEMENT_TIMEOUT, &left.to_be_bytes());
    }
    if counted {
        message.nest(ELEMENT_EXPRESSION, |expression| {
            expression.put_name(EXPRESSION_NAME, "counter");
            expression.nest(EXPRESSION_DATA, |counter| {
                counter.put(COUNTER_BYTES, &0_u64.to_be_bytes());
                counter.put(COUNTER_PACKETS, &element.packets.to_be_bytes());
            });
        });
    }
}

/// At least 1: an element without a timeout stays.
fn milliseconds_until(until: BootTime, now: BootTime) -> u64 {
    until.0.saturating_sub(now.0).div_ceil(MILLISECOND).max(1)
}

fn held(answer: &Received<'_>, set: &Set, now: BootTime) -> Vec<Held> {
    elements(answer)
        .filter_map(|one| {
            let left = one.number(ELEMENT_EXPIRATION);
            Some(Held {
                target: set.target(value(one)?)?,
                until: left.map_or(BootTime::NEVER, |left| {
                    BootTime(now.0.saturating_add(left.saturating_mul(MILLISECOND)))
                }),
                packets: packets(one).unwrap_or_default(),
            })
        })
        .collect()
}

fn elements<'a>(answer: &Received<'a>) -> impl Iterator<Item = Attributes<'a>> {
    let list = answer.attributes().within(LIST_ELEMENTS);
    list.into_iter().flatten().map(|(_, one)| Attributes(one))
}

fn value(element: Attributes<'_>) -> Option<&[u8]> {
    element.within(ELEMENT_KEY)?.of(DATA_VALUE)
}

/// What the element's counter says. An element with more expressions than one has them in a list.
fn packets(element: Attributes<'_>) -> Option<u64> {
    let single = element.within(ELEMENT_EXPRESSION);
    let listed = element.within(ELEMENT_EXPRESSIONS).into_iter().flatten();
    single
        .into_iter()
        .chain(listed.map(|(_, one)| Attributes(one)))
        .find(|one| one.name(EXPRESSION_NAME) == Some("counter"))?
        .within(EXPRESSION_DATA)?
        .number(COUNTER_PACKETS)
}

/// The bytes by which a target is looked up; a port takes up four.
fn key(target: &Target) -> Vec<u8> {
    let mut key = octets(target.prefix.trunc().addr());
    if let Some(port) = target.port {
        key.extend(port.to_be_bytes());
        key.extend([0, 0]);
    }
    key
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => Some(<[u8; 4]>::try_from(bytes).ok()?.into()),
        16 => Some(<[u8; 16]>::try_from(bytes).ok()?.into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_is_known_again_by_its_name() {
        for purpose in Purpose::ALL {
            for family in Family::ALL {
                let lengths = (0..=family.longest()).map(Shape::Prefix);
                for shape in lengths.chain([Shape::Port]) {
                    let set = Set {
                        purpose,
                        family,
                        shape,
                    };
                    assert_eq!(Set::from_name(&set.name()), Some(set));
                }
            }
        }
        for name in [
            "requests4",
            "banned-all4-33",
            "banned-all5-24",
            "",
            "-",
            "x-4",
        ] {
            assert_eq!(Set::from_name(name), None, "{name}");
        }
    }
}
