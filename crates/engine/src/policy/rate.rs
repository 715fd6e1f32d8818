//! Token buckets in one word each (GCRA), and what is remembered of a source.

use std::hash::BuildHasher as _;

use super::{Rate, clock};
use crate::{Source, Time, hash::HashKey, lru::Lru};

/// Unknown sources remembered, as many as in the kernel.
const MOST_SOURCES: usize = 131_072;
/// Refused packets are remembered in as many places as in the kernel, 2 to the power of this…
const REFUSALS_BITS: u32 = 19;
/// … each of which has the last so many of those that share it.
const REFUSALS_HELD: usize = 4;
/// The upper bits of a refusal say which packet it was, the lower ones when, in ticks of so many
/// bits of a nanosecond, 33.6 ms.
const TICK_SHIFT: u32 = 25;
const TICK_MASK: u32 = 0x3ff;
/// A retransmission comes after half a second at the earliest (T1, RFC 3261 section 17.1.1.2): so
/// many ticks are 403 to 436 ms…
const RETRANSMISSION_MIN_TICKS: u32 = 13;
/// … and until timer F ends it (section 17.1.2.2).
const RETRANSMISSION_MAX: u64 = 32_000_000_000;
/// What is not a first request gets so many times the rate of all unknown sources, each kind of it
/// and what is sent again: forgers may send the same bytes over and over, too.
pub(super) const OTHERS: u64 = 10;
/// Bytes of a payload that tell it from others.
const HASHED: usize = 256;

/// A rate as the kernel has it: one token each interval, and so much ahead of time at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gcra {
    interval: u64,
    tolerance: u64,
}

impl Gcra {
    pub fn new(rate: Rate) -> Self {
        let interval =
            u64::from(rate.per_seconds.max(1)) * 1_000_000_000 / u64::from(rate.packets.max(1));
        let tolerance = interval
            .saturating_mul(u64::from(rate.burst.max(1) - 1))
            .min(u64::MAX / 4);
        Self {
            interval,
            tolerance,
        }
    }

    /// So many times this rate, and its burst.
    pub fn times(self, factor: u64) -> Self {
        let interval = self.interval / factor;
        Self {
            interval,
            tolerance: self.tolerance + self.interval - interval,
        }
    }

    /// Takes a token; true where there is none left. `due` is the time at which the next token
    /// would be due if every packet so far had come on time.
    pub fn is_over(self, due: &mut u64, now: Time) -> bool {
        let now = clock(now);
        let mut next = (*due).max(now);
        // A debt beyond what this rate allows was made under another one.
        if next - now > self.tolerance + self.interval {
            next = now + self.tolerance;
        }
        if next - now > self.tolerance {
            return true;
        }
        *due = next.wrapping_add(self.interval);
        false
    }
}

/// The buckets that all unknown sources share, one for each kind of packet: when the next token of
/// each is due.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Common {
    /// Requests, and what opens a TCP connection.
    pub requests_due: u64,
    /// Responses and keep-alives.
    pub answers_due: u64,
    /// Segments within TCP connections.
    pub segments_due: u64,
    /// Later fragments that follow no first one.
    pub fragments_due: u64,
    /// What was refused, and is sent again.
    pub retransmissions_due: u64,
}

/// What is remembered of an unknown source.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SourceRate {
    pub requests_due: u64,
    pub responses_due: u64,
    retransmitted_at: u64,
}

/// The unknown sources, and the packets of theirs that the common bucket refused.
#[derive(Debug)]
pub(super) struct Sources {
    sources: Lru<Source, SourceRate>,
    /// Empty until the first refusal.
    refusals: Vec<[u32; REFUSALS_HELD]>,
    key: HashKey,
}

impl Sources {
    pub fn new(key: HashKey) -> Self {
        Self {
            sources: Lru::new(MOST_SOURCES, key),
            refusals: Vec::new(),
            key,
        }
    }

    pub fn touch(&mut self, source: Source) -> &mut SourceRate {
        self.sources.touch(source)
    }

    /// All unknown sources together are over their share. Few forgers retransmit, and phones do:
    /// a packet is refused and remembered, the same bytes half a second later pass, and so does
    /// what the source sends within 32 s.
    pub fn is_retransmission(&mut self, source: Source, payload: &[u8], now: Time) -> bool {
        let now = clock(now);
        let retransmitted_at = self.touch(source).retransmitted_at;
        let age = now.wrapping_sub(retransmitted_at);
        if retransmitted_at != 0 && age <= RETRANSMISSION_MAX {
            return true;
        }
        let hash = self.key.hash_one((source, payload_hash(payload)));
        if !self.was_refused(hash, now) {
            return false;
        }
        self.touch(source).retransmitted_at = now;
        true
    }

    /// Whether this packet was refused before and comes again in time; a new one is remembered.
    fn was_refused(&mut self, hash: u64, now: u64) -> bool {
        if self.refusals.is_empty() {
            self.refusals.resize(1 << REFUSALS_BITS, Default::default());
        }
        let slot = hash >> (u64::BITS - REFUSALS_BITS);
        let which = hash as u32 & !TICK_MASK;
        let tick = (now >> TICK_SHIFT) as u32 & TICK_MASK;
        // Every hash has a place.
        let Some(held) = self.refusals.get_mut(slot as usize) else {
            return false;
        };
        let age = |refusal: u32| tick.wrapping_sub(refusal) & TICK_MASK;
        let in_time = |refusal: u32| u64::from(age(refusal)) <= RETRANSMISSION_MAX >> TICK_SHIFT;
        let mut known = held.iter().filter(|refusal| *refusal & !TICK_MASK == which);
        if let Some(refusal) = known.find(|refusal| in_time(**refusal)) {
            return age(*refusal) >= RETRANSMISSION_MIN_TICKS;
        }
        held.rotate_right(1);
        held[0] = which | tick;
        false
    }
}

/// Length and first bytes of a payload; of a short one only the length. Not meant to resist an
/// attacker: he may retransmit, too.
fn payload_hash(payload: &[u8]) -> u64 {
    let length = payload.len() as u64 + 1;
    let Some(hashed) = payload.get(..HASHED) else {
        return length;
    };
    let (words, _) = hashed.as_chunks::<8>();
    words.iter().fold(length, |hash, word| {
        (hash ^ u64::from_le_bytes(*word)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    })
}
