//! Datagrams from their fragments (RFC 791, RFC 8200 section 4.5), as the Linux kernel puts them
//! together (`net/ipv4/inet_fragment.c`), so that what is read here is what a server there reads.
//!
//! ```text
//! fragment ──► within what is there: dropped, the datagram goes on
//!           └─ overlaps what is there in part, ends beyond the last one, has no bytes:
//!           │  the whole datagram is dropped (RFC 5722)
//!           └─ kept ── nothing is missing ──► the datagram
//! ```
//!
//! What is there grows in runs: a fragment is joined to the last run only, as in the kernel, so a
//! duplicate that spans two runs counts as an overlap there and here.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    net::IpAddr,
    time::Duration,
};

use sipward_engine::Time;
use sipward_wire::ip::{Fragment, Ip};

/// Datagrams that wait for fragments at most, the oldest out.
const MOST: usize = 4_096;
/// Of one source.
const MOST_OF_SOURCE: usize = 64;
/// Bytes of all of them, what it takes to keep them included; twice what the kernel's own
/// reassembly takes (`ipfrag_high_thresh`, 4 MiB).
const MOST_BYTES: usize = 8 << 20;
/// What a run costs besides its bytes.
const RUN_COST: usize = 64;
/// What a datagram costs besides its runs.
const DATAGRAM_COST: usize = 256;
/// Bytes of the longest datagram.
const LONGEST: usize = 65_535;
/// How long the kernel waits for the rest: `IP_FRAG_TIME` and `IPV6_FRAG_TIMEOUT`.
const PATIENCE_IPV4: Duration = Duration::from_secs(30);
const PATIENCE_IPV6: Duration = Duration::from_secs(60);

/// What became of fragments, in datagrams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FragmentCounters {
    /// Put together.
    pub reassembled: u64,
    /// Dropped, as the kernel drops them: overlapping fragments, or contradictory ones.
    pub contradictory: u64,
    /// Given up: fragments are missing.
    pub incomplete: u64,
    /// Given up for want of room.
    pub evicted: u64,
}

/// The datagrams of which fragments are missing.
#[derive(Debug, Default)]
pub struct Fragments {
    datagrams: BTreeMap<Key, Datagram>,
    of_source: HashMap<IpAddr, usize>,
    /// In the order of their first fragments; those that are gone stay in for a while.
    order: VecDeque<(u64, Key)>,
    bytes: usize,
    serial: u64,
    counters: FragmentCounters,
}

/// Source first, so that the datagrams of one source stand together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    source: IpAddr,
    destination: IpAddr,
    id: u32,
    /// IPv4 tells datagrams apart by it, IPv6 does not: 0.
    protocol: u8,
}

#[derive(Debug)]
struct Datagram {
    serial: u64,
    since: Time,
    /// In order, apart from one another.
    runs: Vec<Run>,
    /// Bytes in all of them.
    held: usize,
    /// Where the furthest fragment ends.
    end: usize,
    has_last: bool,
    /// What the fragment at the start says is in the datagram.
    protocol: Option<u8>,
    hop_limit: u8,
}

#[derive(Debug)]
struct Run {
    start: usize,
    bytes: Vec<u8>,
}

/// What a fragment does to its datagram.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fit {
    Kept,
    Duplicate,
    /// Only this fragment is of no use.
    Unusable,
    /// The whole datagram is dropped.
    Contradiction,
}

/// A datagram that is whole again.
#[derive(Debug)]
pub struct Reassembled {
    /// What [`Packet::of_reassembled`](sipward_wire::Packet::of_reassembled) asks for.
    pub first: Ip<'static>,
    /// Everything behind the IP header.
    pub payload: Vec<u8>,
}

impl Fragments {
    /// What became of them so far.
    pub fn counters(&self) -> FragmentCounters {
        self.counters
    }

    /// Bytes that are kept, overhead included.
    #[cfg(test)]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes a fragment; gives the datagram that it completes.
    pub fn take(&mut self, ip: &Ip<'_>, fragment: &Fragment<'_>, now: Time) -> Option<Reassembled> {
        self.give_up(now);
        let key = Key {
            source: ip.source,
            destination: ip.destination,
            id: fragment.id,
            protocol: match ip.source {
                IpAddr::V4(_) => fragment.protocol,
                IpAddr::V6(_) => 0,
            },
        };
        if !self.datagrams.contains_key(&key) {
            self.open(key, ip, now);
        }
        let datagram = self.datagrams.get_mut(&key)?;
        let before = datagram.cost();
        let fit = datagram.add(fragment, ip.source.is_ipv6());
        self.bytes = self.bytes - before + datagram.cost();
        match fit {
            Fit::Contradiction => {
                self.counters.contradictory += 1;
                self.remove(&key);
                return None;
            }
            Fit::Kept if datagram.is_whole() => {}
            Fit::Kept | Fit::Duplicate | Fit::Unusable => {
                self.make_room(&key);
                return None;
            }
        }
        self.counters.reassembled += 1;
        self.remove(&key)?.into_whole(&key)
    }

    /// Forgets the datagrams whose time is over.
    fn give_up(&mut self, now: Time) {
        while let Some((serial, key)) = self.order.front().copied() {
            if let Some(datagram) = self.datagrams.get(&key)
                && datagram.serial == serial
            {
                let patience = match key.source {
                    IpAddr::V4(_) => PATIENCE_IPV4,
                    IpAddr::V6(_) => PATIENCE_IPV6,
                };
                if now.since(datagram.since) < patience {
                    return;
                }
                self.counters.incomplete += 1;
                self.remove(&key);
            }
            self.order.pop_front();
        }
    }

    fn open(&mut self, key: Key, ip: &Ip<'_>, now: Time) {
        if self.of_source.get(&key.source).copied().unwrap_or(0) >= MOST_OF_SOURCE {
            let first = Key {
                destination: lowest(key.source),
                id: 0,
                protocol: 0,
                ..key
            };
            let own = self.datagrams.range(first..);
            let oldest = own
                .take_while(|(other, _)| other.source == key.source)
                .min_by_key(|(_, datagram)| datagram.serial)
                .map(|(other, _)| *other);
            self.evict(oldest);
        }
        if self.datagrams.len() >= MOST {
            let oldest = self.oldest();
            self.evict(oldest);
        }
        self.serial += 1;
        let datagram = Datagram {
            serial: self.serial,
            since: now,
            runs: Vec::new(),
            held: 0,
            end: 0,
            has_last: false,
            protocol: None,
            hop_limit: ip.hop_limit,
        };
        self.bytes += datagram.cost();
        self.datagrams.insert(key, datagram);
        *self.of_source.entry(key.source).or_insert(0) += 1;
        self.order.push_back((self.serial, key));
        if self.order.len() > 2 * MOST {
            let datagrams = &self.datagrams;
            self.order.retain(|(serial, key)| {
                datagrams
                    .get(key)
                    .is_some_and(|known| known.serial == *serial)
            });
        }
    }

    /// Drops the oldest until all fit, but not the one that grew just now unless it is alone.
    fn make_room(&mut self, grown: &Key) {
        while self.bytes > MOST_BYTES {
            let oldest = self.oldest();
            let next = oldest.filter(|oldest| oldest != grown);
            self.evict(next.or(oldest));
        }
    }

    fn oldest(&mut self) -> Option<Key> {
        loop {
            let (serial, key) = self.order.front().copied()?;
            let is_there = |datagram: &Datagram| datagram.serial == serial;
            if self.datagrams.get(&key).is_some_and(is_there) {
                return Some(key);
            }
            self.order.pop_front();
        }
    }

    fn evict(&mut self, key: Option<Key>) {
        if let Some(key) = key {
            self.counters.evicted += 1;
            self.remove(&key);
        }
    }

    fn remove(&mut self, key: &Key) -> Option<Datagram> {
        let datagram = self.datagrams.remove(key)?;
        self.bytes -= datagram.cost();
        if let Some(count) = self.of_source.get_mut(&key.source) {
            *count -= 1;
            if *count == 0 {
                self.of_source.remove(&key.source);
            }
        }
        Some(datagram)
    }
}

impl Datagram {
    fn cost(&self) -> usize {
        self.held + self.runs.len() * RUN_COST + DATAGRAM_COST
    }

    fn add(&mut self, fragment: &Fragment<'_>, ipv6: bool) -> Fit {
        let start = usize::from(fragment.offset);
        let mut data = fragment.data;
        if fragment.more && !data.len().is_multiple_of(8) {
            if ipv6 {
                return Fit::Unusable;
            }
            // The kernel cuts what a fragment in the middle must not have.
            data = data.get(..data.len() & !7).unwrap_or(data);
        }
        let end = start + data.len();
        if end > LONGEST {
            return Fit::Unusable;
        }
        if !fragment.more {
            if end < self.end || self.has_last && end != self.end {
                return Fit::Contradiction;
            }
            self.has_last = true;
            self.end = end;
        } else if end > self.end {
            if self.has_last {
                return Fit::Contradiction;
            }
            self.end = end;
        }
        if data.is_empty() {
            return Fit::Contradiction;
        }
        let fit = self.insert(start, data);
        if fit == Fit::Kept {
            self.held += data.len();
            if start == 0 {
                self.protocol = Some(fragment.protocol);
            }
        }
        fit
    }

    fn insert(&mut self, start: usize, data: &[u8]) -> Fit {
        let end = start + data.len();
        if let Some(last) = self.runs.last_mut()
            && last.end() == start
        {
            last.bytes.extend_from_slice(data);
            return Fit::Kept;
        }
        let at = self.runs.partition_point(|run| run.end() <= start);
        match self.runs.get(at) {
            Some(run) if start >= run.start && end <= run.end() => return Fit::Duplicate,
            Some(run) if end > run.start => return Fit::Contradiction,
            Some(_) | None => {}
        }
        let bytes = data.to_vec();
        self.runs.insert(at, Run { start, bytes });
        Fit::Kept
    }

    fn is_whole(&self) -> bool {
        self.has_last && self.held == self.end
    }

    fn into_whole(self, key: &Key) -> Option<Reassembled> {
        Some(Reassembled {
            first: Ip {
                source: key.source,
                destination: key.destination,
                hop_limit: self.hop_limit,
                protocol: self.protocol?,
                fragment: None,
                payload: &[],
                truncated: false,
            },
            payload: self.runs.into_iter().flat_map(|run| run.bytes).collect(),
        })
    }
}

impl Run {
    fn end(&self) -> usize {
        self.start + self.bytes.len()
    }
}

fn lowest(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => IpAddr::from([0; 4]),
        IpAddr::V6(_) => IpAddr::from([0; 16]),
    }
}
