//! Token buckets in one word each (GCRA), and what is remembered of a source.

use std::hash::BuildHasher as _;

use super::{Rate, clock};
use crate::{Source, Time, hash::HashKey, lru::Lru};

/// Unknown sources remembered, as many as in the kernel.
const MOST_SOURCES: usize = 131_072;
/// Refused packets are remembered in as many places as in the kernel, 2 to the power of this; a
/// later packet may take an earlier one's.
const REFUSALS_BITS: u32 = 20;
const MILLISECOND: u64 = 1_000_000;
/// A retransmission comes after half a second at the earliest (T1, RFC 3261 section 17.1.1.2)…
const RETRANSMISSION_MIN: u64 = 400 * MILLISECOND;
/// … and until timer F ends it (section 17.1.2.2).
const RETRANSMISSION_MAX: u64 = 32_000 * MILLISECOND;
/// All that retransmit get so many times the rate of all unknown sources: forgers may send the
/// same bytes over and over, too.
pub(super) const RETRANSMITTERS: u64 = 10;
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
    refusals: Vec<Refusal>,
    key: HashKey,
}

/// Which packet, and when, in milliseconds of [`clock`].
#[derive(Clone, Copy, Debug, Default)]
struct Refusal {
    which: u32,
    at: u32,
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
        let milliseconds = (now / MILLISECOND) as u32;
        let Some(refusal) = self.refusal(hash) else {
            return false;
        };
        let age = milliseconds.wrapping_sub(refusal.at);
        if refusal.which != hash as u32 || u64::from(age) > RETRANSMISSION_MAX / MILLISECOND {
            *refusal = Refusal {
                which: hash as u32,
                at: milliseconds,
            };
            return false;
        }
        // Both times were rounded down, so an age of 400 may be 399.1.
        if u64::from(age) <= RETRANSMISSION_MIN / MILLISECOND {
            return false;
        }
        self.touch(source).retransmitted_at = now;
        true
    }

    /// The place of a refused packet: every hash has one.
    fn refusal(&mut self, hash: u64) -> Option<&mut Refusal> {
        if self.refusals.is_empty() {
            self.refusals.resize(1 << REFUSALS_BITS, Refusal::default());
        }
        let slot = hash >> (u64::BITS - REFUSALS_BITS);
        self.refusals.get_mut(slot as usize)
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
