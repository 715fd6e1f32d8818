//! Records that Asterisk wrote into more than one file.

use std::{
    collections::{HashMap, VecDeque},
    hash::{BuildHasher as _, Hash, RandomState},
    time::Duration,
};

use sipward_engine::Time;

/// Lines remembered at most, the oldest out.
const MOST: usize = 16_384;
/// How long the same in another file is the same record.
const LASTS: Duration = Duration::from_secs(60);

/// The records of late, by their hashes.
#[derive(Debug, Default)]
pub struct Duplicates {
    hasher: RandomState,
    lines: HashMap<u64, Line>,
    order: VecDeque<(Time, u64)>,
}

/// How often each file had a record. A file may have it more than once, and each of these counts.
#[derive(Debug, Default)]
struct Line {
    counts: Vec<(usize, u32)>,
    told: u32,
}

impl Duplicates {
    /// Whether no other file had this record of this file before.
    pub fn is_new(&mut self, file: usize, record: impl Hash, now: Time) -> bool {
        while let Some((at, oldest)) = self.order.front().copied()
            && (self.order.len() >= MOST || now.since(at) >= LASTS)
        {
            self.order.pop_front();
            self.lines.remove(&oldest);
        }
        let hash = self.hasher.hash_one(record);
        if !self.lines.contains_key(&hash) {
            self.order.push_back((now, hash));
        }
        let known = self.lines.entry(hash).or_default();
        let count = match known.counts.iter_mut().find(|(of, _)| *of == file) {
            Some((_, count)) => {
                *count += 1;
                *count
            }
            None => {
                known.counts.push((file, 1));
                1
            }
        };
        let is_new = count > known.told;
        known.told = known.told.max(count);
        is_new
    }
}

#[cfg(test)]
mod tests {
    use super::{Duplicates, LASTS, MOST};
    use sipward_asterisk::log;
    use sipward_engine::Time;

    #[test]
    fn the_same_record_in_another_file_is_no_new_one() {
        let mut duplicates = Duplicates::default();
        let now = Time::from_secs(1_000);
        let told = [
            (0, "a"),
            (1, "a"),
            (0, "a"),
            (2, "a"),
            (1, "a"),
            (1, "a"),
            (0, "b"),
        ]
        .map(|(file, line)| duplicates.is_new(file, line.as_bytes(), now));
        assert_eq!(told, [true, false, true, false, false, true, true]);
    }

    #[test]
    fn a_record_is_the_same_however_its_file_writes_the_time() {
        let mut duplicates = Duplicates::default();
        let now = Time::from_secs(1_000);
        let prefixes = [
            "[2026-11-22 18:55:40] NOTICE[77]",
            "[Nov 22 18:55:40] NOTICE[77][C-00000001]",
            "Nov 22 18:55:40 pbx asterisk[9]: NOTICE[77]",
            "[Nov 22 18:55:40] NOTICE[78]",
        ];
        let told = prefixes.iter().enumerate().map(|(file, prefix)| {
            let text = format!(
                "{prefix} chan_sip.c: Registration from '<sip:101@192.0.2.1>' failed for \
                 '203.0.113.9:5071' - Wrong password"
            );
            let line = log::parse(text.as_bytes()).unwrap();
            duplicates.is_new(file, line.record(), now)
        });
        assert_eq!(told.collect::<Vec<_>>(), [true, false, false, true]);
    }

    #[test]
    fn after_a_minute_it_is_new_and_memory_has_an_end() {
        let mut duplicates = Duplicates::default();
        let now = Time::from_secs(1_000);
        assert!(duplicates.is_new(0, b"a", now));
        assert!(duplicates.is_new(1, b"a", now + LASTS));
        for line in 0..2 * MOST {
            duplicates.is_new(0, line.to_le_bytes(), now + LASTS);
        }
        assert!(duplicates.lines.len() <= MOST && duplicates.order.len() <= MOST);
    }
}
