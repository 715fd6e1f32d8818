//! Counting over time.

use std::time::Duration;

use crate::{Time, time::nanoseconds};

/// A day.
pub(crate) const DAY: Duration = Duration::from_secs(86_400);

/// A limit in a short window and one in a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The short window.
    pub window: Duration,
    /// Fires at this count within the window.
    pub in_window: u32,
    /// Fires at this count within a day.
    pub in_day: u32,
}

impl Limits {
    /// Both limits raised by as many.
    #[must_use]
    pub(crate) const fn raised(self, by: u32) -> Self {
        Self {
            window: self.window,
            in_window: self.in_window.saturating_add(by),
            in_day: self.in_day.saturating_add(by),
        }
    }

    /// Both limits lowered by as many, but to no less than half.
    #[must_use]
    pub(crate) fn lowered(self, by: u32) -> Self {
        let lowered = |limit: u32| limit.saturating_sub(by).max(limit.div_ceil(2));
        Self {
            window: self.window,
            in_window: lowered(self.in_window),
            in_day: lowered(self.in_day),
        }
    }
}

/// How far a count is from firing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    pub count: u32,
    pub fires_at: u32,
}

impl Progress {
    pub fn is_half_way(self) -> bool {
        self.count.saturating_mul(2) >= self.fires_at && self.count > 0
    }

    /// The one that is nearer to firing.
    pub fn nearer(self, other: Self) -> Self {
        let own = u64::from(self.count) * u64::from(other.fires_at);
        let others = u64::from(other.count) * u64::from(self.fires_at);
        if own >= others { self } else { other }
    }
}

/// A leaky bucket, kept as the time at which it will be empty (GCRA).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bucket {
    empty_at: Time,
}

impl Bucket {
    /// One more drop; each takes `leak` to drain.
    pub fn fill(&mut self, leak: Duration, now: Time) {
        self.empty_at = self.empty_at.max(now) + leak;
    }

    /// One drop less.
    pub fn take_back(&mut self, leak: Duration) {
        self.empty_at = self.empty_at - leak;
    }

    /// The drops in it, a part of one counted as one.
    pub fn level(&self, leak: Duration, now: Time) -> u32 {
        let drops = nanoseconds(self.empty_at.since(now)).div_ceil(nanoseconds(leak).max(1));
        u32::try_from(drops).unwrap_or(u32::MAX)
    }
}

/// Different things seen within a window that ends now, and within a day.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Distinct {
    entries: Vec<Entry>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    key: u64,
    last: Time,
    last_proven: Option<Time>,
}

/// Things remembered by one [`Distinct`]; every limit lies far below.
const MOST: usize = 256;

impl Distinct {
    /// Notes one thing, named by a hash.
    pub fn note(&mut self, key: u64, proven: bool, now: Time) {
        self.entries.retain(|entry| now.since(entry.last) < DAY);
        if let Some(entry) = self.entries.iter_mut().find(|entry| entry.key == key) {
            entry.last = now;
            if proven {
                entry.last_proven = Some(now);
            }
            return;
        }
        if self.entries.len() >= MOST {
            self.entries.remove(0);
        }
        self.entries.push(Entry {
            key,
            last: now,
            last_proven: proven.then_some(now),
        });
    }

    /// Different things within `window`.
    pub fn count(&self, window: Duration, now: Time) -> u32 {
        count(
            self.entries.iter().map(|entry| Some(entry.last)),
            window,
            now,
        )
    }

    /// Different things within `window` whose source was proven.
    pub fn count_proven(&self, window: Duration, now: Time) -> u32 {
        count(
            self.entries.iter().map(|entry| entry.last_proven),
            window,
            now,
        )
    }

    /// Whether a limit is reached: by proven things alone, by all, or not.
    pub fn reaches(&self, limits: Limits, now: Time) -> Option<Proof> {
        let proven = self.count_proven(limits.window, now) >= limits.in_window
            || self.count_proven(DAY, now) >= limits.in_day;
        if proven {
            return Some(Proof::Proven);
        }
        let all = self.count(limits.window, now) >= limits.in_window
            || self.count(DAY, now) >= limits.in_day;
        all.then_some(Proof::Unproven)
    }

    pub fn progress(&self, limits: Limits, now: Time) -> Progress {
        let in_window = Progress {
            count: self.count(limits.window, now),
            fires_at: limits.in_window,
        };
        let in_day = Progress {
            count: self.count(DAY, now),
            fires_at: limits.in_day,
        };
        in_window.nearer(in_day)
    }
}

fn count(times: impl Iterator<Item = Option<Time>>, window: Duration, now: Time) -> u32 {
    let within = times.flatten().filter(|at| now.since(*at) < window).count();
    u32::try_from(within).unwrap_or(u32::MAX)
}

/// Whether what was counted could only have come from the real owner of the address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proof {
    Proven,
    Unproven,
}

impl Proof {
    pub fn is_proven(self) -> bool {
        match self {
            Self::Proven => true,
            Self::Unproven => false,
        }
    }
}

/// How often within a span that ends now, to a 24th of the span: takes little memory for large
/// counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rolling {
    bins: [u16; BINS],
    /// Number of the newest bin since the epoch.
    newest: u64,
}

const BINS: usize = 24;

impl Rolling {
    pub fn add(&mut self, span: Duration, now: Time) {
        self.add_many(1, span, now);
    }

    /// Of more than 65,535 in one 24th of the span the rest is not counted.
    pub fn add_many(&mut self, many: u32, span: Duration, now: Time) {
        let bin = bin_number(span, now);
        self.forget(bin);
        if let Some(count) = self.bins.get_mut((bin % BINS as u64) as usize) {
            *count = count.saturating_add(u16::try_from(many).unwrap_or(u16::MAX));
        }
    }

    pub fn take_back(&mut self, span: Duration, now: Time) {
        let bin = bin_number(span, now);
        self.forget(bin);
        if let Some(count) = self.bins.get_mut((bin % BINS as u64) as usize) {
            *count = count.saturating_sub(1);
        }
    }

    /// Counts at least what happened in the last 23 24ths, at most what did in the whole span.
    pub fn count(&self, span: Duration, now: Time) -> u32 {
        let mut current = self.clone();
        current.forget(bin_number(span, now));
        current.bins.iter().map(|count| u32::from(*count)).sum()
    }

    fn forget(&mut self, bin: u64) {
        let passed = bin.saturating_sub(self.newest).min(BINS as u64);
        for step in 0..passed {
            if let Some(count) = self.bins.get_mut(((bin - step) % BINS as u64) as usize) {
                *count = 0;
            }
        }
        self.newest = self.newest.max(bin);
    }
}

fn bin_number(span: Duration, now: Time) -> u64 {
    now.0 / (nanoseconds(span) / BINS as u64).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Steps of time between events: bursts, seconds, minutes, hours.
    fn steps() -> impl Strategy<Value = Vec<u64>> {
        let step = prop_oneof![
            Just(0u64),
            1u64..1_000_000,
            1_000_000_000u64..90_000_000_000,
            60_000_000_000u64..8_000_000_000_000,
        ];
        prop::collection::vec(step, 1..120)
    }

    proptest! {
        #[test]
        fn bucket_leaks_like_one_that_is_drained_step_by_step(steps in steps()) {
            let leak = Duration::from_secs(60);
            let mut bucket = Bucket::default();
            let (mut now, mut nanoseconds_in_it) = (Time::from_secs(1_800_000_000), 0u64);
            for step in steps {
                now = Time(now.0 + step);
                nanoseconds_in_it = nanoseconds_in_it.saturating_sub(step);
                prop_assert_eq!(u64::from(bucket.level(leak, now)), nanoseconds_in_it.div_ceil(60_000_000_000));
                bucket.fill(leak, now);
                nanoseconds_in_it += 60_000_000_000;
                prop_assert_eq!(u64::from(bucket.level(leak, now)), nanoseconds_in_it.div_ceil(60_000_000_000));
            }
        }

        #[test]
        fn distinct_counts_like_a_list_of_everything(
            steps in steps(), keys in prop::collection::vec((0u64..40, any::<bool>()), 120),
        ) {
            let window = Duration::from_secs(600);
            let mut distinct = Distinct::default();
            let mut all: Vec<(Time, u64, bool)> = Vec::new();
            let mut now = Time::from_secs(1_800_000_000);
            for (step, (key, proven)) in steps.into_iter().zip(keys) {
                now = Time(now.0 + step);
                distinct.note(key, proven, now);
                all.push((now, key, proven));
                for span in [window, DAY] {
                    let naive = |wanted: &dyn Fn(bool) -> bool| {
                        let mut seen: Vec<u64> = all
                            .iter()
                            .filter(|(at, _, proven)| now.since(*at) < span && wanted(*proven))
                            .map(|(_, key, _)| *key)
                            .collect();
                        seen.sort_unstable();
                        seen.dedup();
                        seen.len() as u32
                    };
                    prop_assert_eq!(distinct.count(span, now), naive(&|_| true));
                    prop_assert_eq!(distinct.count_proven(span, now), naive(&|proven| proven));
                }
            }
        }

        #[test]
        fn rolling_counts_between_23_and_24_parts_of_the_span(steps in steps()) {
            let mut rolling = Rolling::default();
            let mut all: Vec<Time> = Vec::new();
            let mut now = Time::from_secs(1_800_000_000);
            for step in steps {
                now = Time(now.0 + step);
                rolling.add(DAY, now);
                all.push(now);
                let within = |span: Duration| all.iter().filter(|at| now.since(**at) < span).count() as u32;
                let count = rolling.count(DAY, now);
                prop_assert!(count >= within(DAY / 24 * 23), "{count}");
                prop_assert!(count <= within(DAY), "{count}");
            }
        }
    }

    #[test]
    fn five_within_a_minute_reach_five_but_one_a_minute_never_does() {
        let leak = Duration::from_secs(60);
        let mut bucket = Bucket::default();
        let mut now = Time::from_secs(1_800_000_000);
        for _ in 0..5 {
            bucket.fill(leak, now);
            now = now + Duration::from_secs(14);
        }
        assert_eq!(bucket.level(leak, now - Duration::from_secs(14)), 5);
        let mut slow = Bucket::default();
        for _ in 0..1_000 {
            slow.fill(leak, now);
            assert_eq!(slow.level(leak, now), 1);
            now = now + leak;
        }
    }
}
