//! How long a ban lasts: longer each time, for those who are proven to come back.
//!
//! ```text
//! proven:    1st ──► rung 0 (10 min) ──► 2nd: rung 1 (1 h) ──► 3rd: 1 d ──► 4th and later: 10 d
//! unproven:  days 1, 2 ──► rung 0 ──► 3rd different day: rung 1 ──► 6th: rung 2, and no further
//! ```
//!
//! The two are counted apart, so forged packets never lengthen what a proven ban will be.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use crate::{
    Source, Time,
    command::{Ban, Origin},
};

/// Numbers of the ban ladder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LadderConfig {
    /// Length of a source's first, second, third … ban; the last repeats. Never empty.
    pub rungs: Vec<Duration>,
    /// How long a source's earlier bans are remembered, counted from the last one.
    pub memory: Duration,
    /// Sources remembered at most, the oldest out.
    pub sources: usize,
    /// Different days on which an unproven alert must fire for the next rung.
    pub unproven_days: usize,
    /// The longest unproven ban.
    pub unproven_longest: Duration,
    /// Unproven bans set in a minute at most.
    pub unproven_per_minute: usize,
    /// How many of those are kept for addresses that the PBX answered.
    pub reserved_for_answered: usize,
}

impl Default for LadderConfig {
    fn default() -> Self {
        const DAY: Duration = Duration::from_secs(86_400);
        Self {
            rungs: vec![
                Duration::from_secs(600),
                Duration::from_secs(3_600),
                DAY,
                DAY * 10,
            ],
            memory: DAY * 60,
            sources: 100_000,
            unproven_days: 3,
            unproven_longest: DAY,
            unproven_per_minute: 120,
            reserved_for_answered: 60,
        }
    }
}

impl LadderConfig {
    /// The first rung.
    pub(crate) fn first(&self) -> Duration {
        rung_length(self, 0)
    }
}

/// Remembers earlier bans by source, and how many unproven ones there were lately.
#[derive(Debug, Default)]
pub(crate) struct Ladder {
    records: BTreeMap<Source, Record>,
    by_age: BTreeSet<(Time, Source)>,
    unproven: Budget,
}

#[derive(Debug, Default)]
struct Record {
    proven: usize,
    unproven_days: usize,
    last_unproven_day: Option<u32>,
    last: Time,
}

/// Unproven bans of the last minute.
#[derive(Debug, Default)]
struct Budget {
    ordinary: VecDeque<Time>,
    answered: VecDeque<Time>,
}

impl Ladder {
    /// Notes a proven ban and says how long it lasts.
    pub fn proven(&mut self, source: Source, config: &LadderConfig, now: Time) -> Duration {
        let record = self.touch(source, config, now);
        let rung = record.proven;
        record.proven += 1;
        rung_length(config, rung)
    }

    /// Notes an unproven ban and says how long it lasts.
    pub fn unproven(&mut self, source: Source, config: &LadderConfig, now: Time) -> Duration {
        let record = self.touch(source, config, now);
        let day = now.day();
        if record.last_unproven_day != Some(day) {
            record.last_unproven_day = Some(day);
            record.unproven_days += 1;
        }
        let rung = record.unproven_days / config.unproven_days.max(1);
        rung_length(config, rung).min(config.unproven_longest)
    }

    /// Takes over a ban from before a restart; the bans must come in the order of their starts.
    pub fn remember(&mut self, ban: &Ban, config: &LadderConfig) {
        if ban.origin != Origin::Local || ban.port.is_some() {
            return;
        }
        let source = Source::of(ban.prefix.addr());
        if ban.prefix.prefix_len() < source.prefix().prefix_len() {
            return;
        }
        if ban.proven {
            self.proven(source, config, ban.since);
        } else {
            self.unproven(source, config, ban.since);
        }
    }

    /// Whether one more unproven ban fits into this minute; if so, it is counted.
    pub fn spend_unproven(&mut self, answered: bool, config: &LadderConfig, now: Time) -> bool {
        const MINUTE: Duration = Duration::from_secs(60);
        let Budget {
            ordinary,
            answered: reserved,
        } = &mut self.unproven;
        for bans in [&mut *ordinary, &mut *reserved] {
            while bans.front().is_some_and(|at| now.since(*at) >= MINUTE) {
                bans.pop_front();
            }
        }
        let open_to_all = config
            .unproven_per_minute
            .saturating_sub(config.reserved_for_answered);
        let (bans, fits) = if answered {
            let used = ordinary.len() + reserved.len();
            (reserved, used < config.unproven_per_minute)
        } else {
            let fits = ordinary.len() < open_to_all;
            (ordinary, fits)
        };
        if fits {
            bans.push_back(now);
        }
        fits
    }

    fn touch(&mut self, source: Source, config: &LadderConfig, now: Time) -> &mut Record {
        while let Some((last, oldest)) = self.by_age.first().copied() {
            let is_full =
                self.records.len() >= config.sources && !self.records.contains_key(&source);
            if !is_full && now.since(last) < config.memory {
                break;
            }
            self.by_age.pop_first();
            self.records.remove(&oldest);
        }
        let record = self.records.entry(source).or_default();
        self.by_age.remove(&(record.last, source));
        self.by_age.insert((now, source));
        record.last = now;
        record
    }
}

fn rung_length(config: &LadderConfig, rung: usize) -> Duration {
    let last = config.rungs.len().saturating_sub(1);
    config
        .rungs
        .get(rung.min(last))
        .copied()
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400;

    fn source(text: &str) -> Source {
        Source::of(text.parse().unwrap())
    }

    #[test]
    fn proven_bans_climb_to_ten_days_and_stay_there() {
        let (mut ladder, config) = (Ladder::default(), LadderConfig::default());
        let lengths: Vec<u64> = (1..=5)
            .map(|n| ladder.proven(source("192.0.2.1"), &config, Time::from_secs(n * DAY)))
            .map(|length| length.as_secs())
            .collect();
        assert_eq!(lengths, [600, 3_600, DAY, 10 * DAY, 10 * DAY]);
    }

    #[test]
    fn unproven_bans_climb_after_three_different_days_and_never_beyond_one_day() {
        let (mut ladder, config) = (Ladder::default(), LadderConfig::default());
        let lengths: Vec<u64> = (0..20)
            .map(|n| ladder.unproven(source("192.0.2.1"), &config, Time::from_secs(n * DAY / 2)))
            .map(|length| length.as_secs())
            .collect();
        assert_eq!(lengths[..4], [600; 4], "two days");
        assert_eq!(lengths[4..10], [3_600; 6], "three to five days");
        assert_eq!(lengths[10..], [DAY; 10], "six days and more");
    }

    #[test]
    fn unproven_bans_do_not_lengthen_a_proven_one() {
        let (mut ladder, config) = (Ladder::default(), LadderConfig::default());
        for day in 0..9 {
            ladder.unproven(source("192.0.2.1"), &config, Time::from_secs(day * DAY));
        }
        let length = ladder.proven(source("192.0.2.1"), &config, Time::from_secs(9 * DAY));
        assert_eq!(length.as_secs(), 600);
    }

    #[test]
    fn a_source_is_forgotten_after_the_memory_and_when_there_are_too_many() {
        let config = LadderConfig {
            sources: 2,
            ..LadderConfig::default()
        };
        let mut ladder = Ladder::default();
        ladder.proven(source("192.0.2.1"), &config, Time::from_secs(1));
        ladder.proven(source("192.0.2.2"), &config, Time::from_secs(2));
        ladder.proven(source("192.0.2.3"), &config, Time::from_secs(3));
        assert_eq!(ladder.records.len(), 2);
        let again = ladder.proven(source("192.0.2.1"), &config, Time::from_secs(4));
        assert_eq!(again.as_secs(), 600, "pushed out");
        let later = ladder.proven(source("192.0.2.1"), &config, Time::from_secs(61 * DAY));
        assert_eq!(later.as_secs(), 600, "forgotten");
    }

    #[test]
    fn half_of_the_unproven_bans_of_a_minute_are_kept_for_answered_addresses() {
        let (mut ladder, config) = (Ladder::default(), LadderConfig::default());
        let now = Time::from_secs(1_000);
        let mut spend = |answered, now, times| {
            (0..times)
                .filter(|_| ladder.spend_unproven(answered, &config, now))
                .count()
        };
        assert_eq!(spend(false, now, 200), 60);
        assert_eq!(spend(true, now, 200), 60);
        assert_eq!(spend(true, now + Duration::from_secs(59), 200), 0);
        assert_eq!(spend(true, now + Duration::from_secs(60), 200), 120);
        assert_eq!(spend(false, now + Duration::from_secs(60), 200), 60);
    }
}
