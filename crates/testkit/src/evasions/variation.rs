//! Any number of evasions of one signature, made of independent mutations of a request.
//!
//! Which driver reads a mutation was asked of Asterisk 16.28; only such are put together as one
//! driver at least reads all of. The choices come from a seed, so each run has the same list.

use std::collections::HashSet;
use std::net::SocketAddr;

use super::delivery::Delivery;
use super::dice::Dice;
use super::draft::Draft;
use super::mutations::{GROUPS, Mutation};
use super::{Transport, Wire};
use crate::asterisk::Driver;
use crate::headers::Reading;

/// What gives a scanner away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mark {
    /// The value of `User-Agent`.
    UserAgent(String),
    /// A word in the display name or the user part of this header: `From` or `To`.
    Word(&'static str, String),
    /// The URI of this header: `From`, `To` or `Contact`.
    Uri(&'static str, String),
    /// The tag of this header: `From`.
    Tag(&'static str, String),
}

/// A signature and the marks that it finds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The signature's name.
    pub signature: String,
    /// A variation has one of them.
    pub marks: Vec<Mark>,
}

/// One request that carries a mark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variation {
    /// The signature that is to find it.
    pub signature: String,
    /// What was done to the request, in words.
    pub mutations: Vec<&'static str>,
    /// What carries it.
    pub transport: Transport,
    /// What stands around it.
    pub wire: Wire,
    /// The PBX's port if it is another than usual, which is then PJSIP's.
    pub port: Option<u16>,
    /// The drivers that read every single mutation.
    pub read_by: Vec<Driver>,
    mark: Mark,
    /// An innocent message before it in the same segment.
    follows: bool,
    template: Vec<u8>,
    /// Where a new segment begins, in thousandths of the message.
    cuts: Vec<usize>,
}

/// Bytes of a payload within which the mark is, unless it is in pieces: the kernel program reads
/// 2,048, and an innocent message and the addresses take their part.
const WITHIN: usize = 1_400;

const INNOCENT: &str = "OPTIONS sip:100@{destination} SIP/2.0\r\n\
    Via: SIP/2.0/{via} {source};branch=z9hG4bK-first-{call};rport\r\nMax-Forwards: 70\r\n\
    From: <sip:visitor@{source}>;tag=first\r\nTo: <sip:100@{destination}>\r\n\
    Call-ID: first-{call}\r\nCSeq: 1 OPTIONS\r\nUser-Agent: Yealink SIP-T46S 66.86.0.15\r\n\
    Content-Length: 0\r\n\r\n";

/// So many different variations, the same at each call.
///
/// # Panics
/// If there are not so many.
#[must_use]
pub fn variations(target: &Target, count: usize) -> Vec<Variation> {
    let seed = target.signature.bytes().fold(0, |seed: u64, byte| {
        seed.wrapping_mul(31).wrapping_add(byte.into())
    });
    let mut dice = Dice::new(seed);
    let mut seen = HashSet::new();
    let mut all = Vec::with_capacity(count);
    for _ in 0..100 * count {
        if all.len() == count {
            break;
        }
        let Some(variation) = Variation::cast(target, &mut dice) else {
            continue;
        };
        if seen.insert(variation.identity()) {
            all.push(variation);
        }
    }
    assert_eq!(all.len(), count, "variations of {}", target.signature);
    all
}

impl Variation {
    fn cast(target: &Target, dice: &mut Dice) -> Option<Self> {
        let mark = target.marks[dice.below(target.marks.len())].clone();
        let (transport, wire, name) = way(dice);
        let mut mutations = vec![name];
        let mut draft = Draft::new(transport, &mark);
        if let Wire::Fragments(WITHIN..) | Wire::Ipv6Fragments(WITHIN..) = wire {
            draft.body = vec![b'x'; 3000];
        }
        let mut readers = vec![Driver::ChanSip, Driver::Pjsip];
        for (percent, group) in GROUPS {
            if !dice.chance(*percent) {
                continue;
            }
            let fits = |mutation: &&Mutation| {
                (mutation.applies)(&draft) && readers.iter().any(|by| mutation.read_by.contains(by))
            };
            let fitting: Vec<&Mutation> = group.iter().filter(fits).collect();
            if fitting.is_empty() {
                continue;
            }
            let mutation = dice.pick(&fitting);
            (mutation.apply)(&mut draft, dice);
            readers.retain(|by| mutation.read_by.contains(by));
            mutations.push(mutation.name);
        }
        let (template, end_of_mark) = draft.bytes();
        if end_of_mark > WITHIN {
            return None;
        }
        let in_segments = name == IN_SEGMENTS;
        let mut cuts: Vec<usize> = (0..if in_segments { 1 + dice.below(4) } else { 0 })
            .map(|_| 1 + dice.below(998))
            .collect();
        cuts.sort_unstable();
        let only_pjsip = readers == [Driver::Pjsip] && transport == Transport::Udp;
        Some(Self {
            signature: target.signature.clone(),
            mutations,
            transport,
            wire,
            port: (only_pjsip && dice.chance(20)).then_some(5080),
            read_by: readers,
            mark,
            follows: name == BEHIND_ANOTHER,
            template,
            cuts,
        })
    }

    /// What was done, in one line.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}: {}", self.signature, self.mutations.join(", "))
    }

    /// True if it comes in pieces none of which need show the mark: then it is for whoever
    /// reassembles.
    #[must_use]
    pub fn is_in_pieces(&self) -> bool {
        let fragments = match self.wire {
            Wire::Fragments(size) | Wire::Ipv6Fragments(size) => size < WITHIN,
            Wire::Plain
            | Wire::Vlan(_)
            | Wire::Ipv4Options(_)
            | Wire::Ipv6
            | Wire::Ipv6HopByHop
            | Wire::Ipv6DestinationOptions => false,
        };
        fragments || !self.cuts.is_empty()
    }

    /// The request with this Call-ID on its way between these addresses, both IPv6 where
    /// [`Wire::is_ipv6`] says so. The destination's port is overridden by [`Variation::port`].
    #[must_use]
    pub fn delivery(
        &self,
        call_id: &str,
        source: SocketAddr,
        mut destination: SocketAddr,
    ) -> Delivery {
        if let Some(port) = self.port {
            destination.set_port(port);
        }
        let via = match self.transport {
            Transport::Udp => "UDP",
            Transport::Tcp => "TCP",
        };
        let fill = |template: &[u8]| {
            let mut bytes = template.to_vec();
            for (placeholder, text) in [
                ("{via}", via),
                ("{source}", &source.to_string()),
                ("{destination}", &destination.to_string()),
                ("{call}", call_id),
            ] {
                bytes = replaced(&bytes, placeholder.as_bytes(), text.as_bytes());
            }
            bytes
        };
        let message = fill(&self.template);
        let payloads = if self.follows {
            vec![[fill(INNOCENT.as_bytes()), message].concat()]
        } else {
            let mut payloads = Vec::new();
            let mut from = 0;
            for cut in self.cuts.iter().chain([&1000]) {
                let to = message.len() * cut / 1000;
                if to > from {
                    payloads.push(message[from..to].to_vec());
                    from = to;
                }
            }
            payloads
        };
        Delivery {
            transport: self.transport,
            wire: self.wire,
            source,
            destination,
            payloads,
        }
    }

    /// Whether a driver read the mark, letter case aside, in the request that this is a reading
    /// of.
    #[must_use]
    pub fn is_read_in(&self, reading: &Reading) -> bool {
        let lower = |header: &str| reading.header(header).trim().to_ascii_lowercase();
        match &self.mark {
            Mark::UserAgent(value) => lower("User-Agent") == value.to_ascii_lowercase(),
            Mark::Word(header, word) => {
                let word = word.to_ascii_lowercase();
                let of_caller = ["Caller", "CallerName"].into_iter();
                let mut places = of_caller.filter(|_| *header == "From").chain([*header]);
                places.any(|place| lower(place).contains(&word))
            }
            Mark::Uri(header, uri) => {
                let value = lower(header);
                let inner = value.split_once('<').map_or(&*value, |(_, inner)| inner);
                let end = inner.find(['>', ';', '?']).unwrap_or(inner.len());
                let mut found = inner[..end].trim().to_owned();
                // chan_sip hands out the header as it came, and the caller as it understood it.
                if *header == "From"
                    && let Some((_, host)) = found.split_once('@')
                {
                    found = format!("sip:{}@{host}", lower("Caller"));
                }
                found == *uri
            }
            Mark::Tag(header, tag) => {
                let value = lower(header).replace([' ', '\t'], "");
                value.contains(&format!(";tag={}", tag.to_ascii_lowercase()))
            }
        }
    }

    /// What tells it from another.
    fn identity(&self) -> (Vec<u8>, String) {
        let way = (
            self.transport,
            self.wire,
            self.port,
            self.follows,
            &self.cuts,
        );
        (self.template.clone(), format!("{way:?}"))
    }
}

impl Mark {
    /// The header that has it.
    pub(super) fn header(&self) -> &'static str {
        match self {
            Self::UserAgent(_) => "User-Agent",
            Self::Word(header, _) | Self::Uri(header, _) | Self::Tag(header, _) => header,
        }
    }

    /// What it is looked for.
    pub(super) fn text(&self) -> &str {
        match self {
            Self::UserAgent(text)
            | Self::Word(_, text)
            | Self::Uri(_, text)
            | Self::Tag(_, text) => text,
        }
    }

    /// The plainest value of the header with the mark written so.
    pub(super) fn value(&self, written: &str) -> String {
        match self {
            Self::UserAgent(_) => written.to_owned(),
            Self::Word(..) => self.tagged(&format!("\"{written}\" <sip:visitor@{{source}}>")),
            Self::Uri(..) => self.tagged(&format!("<{written}>")),
            Self::Tag(..) => format!("<sip:visitor@{{source}}>;tag={written}"),
        }
    }

    /// With a tag where the header wants one.
    pub(super) fn tagged(&self, address: &str) -> String {
        match self.header() {
            "From" => format!("{address};tag={{call}}"),
            _ => address.to_owned(),
        }
    }
}

const IN_SEGMENTS: &str = "several TCP segments";
const BEHIND_ANOTHER: &str = "behind another message in one TCP segment";

/// What carries the request, and its name.
fn way(dice: &mut Dice) -> (Transport, Wire, &'static str) {
    use Transport::{Tcp, Udp};
    // Linux takes VLAN 0, a mere priority, on any interface.
    match dice.below(100) {
        0..40 => (Udp, Wire::Plain, "UDP"),
        40..45 => (Udp, Wire::Vlan(&[(0x8100, 0xa000)]), "a VLAN tag"),
        45..50 => {
            let tags = &[(0x88a8, 0xa000), (0x8100, 0)];
            (Udp, Wire::Vlan(tags), "two VLAN tags")
        }
        50..53 => (Udp, Wire::Ipv4Options(&[1; 40]), "40 bytes of IPv4 options"),
        53..56 => (Udp, Wire::Ipv4Options(&[1; 4]), "4 bytes of IPv4 options"),
        56..66 => (Udp, Wire::Ipv6, "IPv6"),
        66..70 => (Udp, Wire::Ipv6HopByHop, "a hop-by-hop header"),
        70..74 => {
            let wire = Wire::Ipv6DestinationOptions;
            (Udp, wire, "IPv6 destination options")
        }
        74..78 => (Udp, Wire::Fragments(1480), "IPv4 fragments"),
        78..82 => (Udp, Wire::Ipv6Fragments(1440), "IPv6 fragments"),
        82..85 => {
            let size = 8 * (1 + dice.below(80));
            (Udp, Wire::Fragments(size), "small IPv4 fragments")
        }
        85..87 => {
            let size = 8 * (1 + dice.below(80));
            (Udp, Wire::Ipv6Fragments(size), "small IPv6 fragments")
        }
        87..93 => (Tcp, Wire::Plain, "a TCP segment"),
        93..96 => (Tcp, Wire::Plain, BEHIND_ANOTHER),
        _ => (Tcp, Wire::Plain, IN_SEGMENTS),
    }
}

fn replaced(bytes: &[u8], placeholder: &[u8], text: &[u8]) -> Vec<u8> {
    let mut result = Vec::with_capacity(bytes.len() + 64);
    let mut rest = bytes;
    while let Some((first, after)) = rest.split_first() {
        match rest.strip_prefix(placeholder) {
            Some(behind) => {
                result.extend(text);
                rest = behind;
            }
            None => {
                result.push(*first);
                rest = after;
            }
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_call_makes_the_same_list_and_nothing_twice() {
        let target = Target {
            signature: "sipvicious-from".to_owned(),
            marks: vec![Mark::Word("From", "sipvicious".to_owned())],
        };
        let list = variations(&target, 500);
        assert_eq!(variations(&target, 500), list);
        let [source, destination] =
            ["203.0.113.7:5060", "192.0.2.1:5060"].map(|address| address.parse().unwrap());
        let frames = |variation: &Variation| {
            if variation.wire.is_ipv6() {
                return None;
            }
            Some(variation.delivery("call", source, destination).frames())
        };
        let frames: Vec<_> = list.iter().filter_map(frames).collect();
        assert!(frames.len() > 250);
        let different: HashSet<_> = frames.iter().collect();
        assert_eq!(different.len(), frames.len());
    }
}
