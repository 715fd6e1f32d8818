//! Tells a log that was made of another one from a new one. Whoever takes lines out of a log by hand
//! puts a copy in its place; what was told of it must not be told again, as of now.
//!
//! A file is a copy where a line of its beginning was in the file before, at another time than that
//! one's last: in the second of a rotation two logs may say the same. What is behind the last line
//! that is known is new. A log whose lines have no times is never taken for a copy.

use std::{
    collections::HashSet,
    fs::File,
    os::unix::fs::FileExt as _,
    time::{Duration, Instant},
};

use sipward_asterisk::log::Stamp;

use super::{LONGEST_LINE, UNFINISHED};

/// Bytes of a file's beginning that are remembered.
const BEGINNING: usize = 16 << 10;
/// Bytes of its end that are remembered at least.
const ENDING: usize = 512 << 10;
/// A copy that has not grown for so long is whole.
pub(super) const SETTLED: Duration = Duration::from_secs(1);
/// Nobody waits longer than so for it.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is remembered of a file up to where it was taken.
#[derive(Clone, Debug, Default)]
pub(super) struct Memory {
    beginning: Vec<u8>,
    ending: Vec<u8>,
}

impl Memory {
    /// Of what is in a file before this place.
    pub fn of(file: &File, at: u64) -> Self {
        let part = |length: usize, at_end: bool| {
            let length = length.min(usize::try_from(at).unwrap_or(usize::MAX));
            let start = if at_end { at - length as u64 } else { 0 };
            read(file, start, length)
        };
        Self {
            beginning: part(BEGINNING, false),
            ending: part(ENDING, true),
        }
    }

    /// These bytes were taken as well.
    pub fn append(&mut self, bytes: &[u8]) {
        let room = BEGINNING.saturating_sub(self.beginning.len());
        self.beginning.extend(bytes.iter().take(room));
        self.ending.extend(bytes);
        // Now and then, and not with every line.
        if self.ending.len() > 2 * ENDING {
            let surplus = self.ending.len() - ENDING;
            self.ending.drain(..surplus);
        }
    }

    /// The last bytes, at most so many.
    pub fn last(&self, count: usize) -> &[u8] {
        let start = self.ending.len().saturating_sub(count);
        self.ending.get(start..).unwrap_or_default()
    }

    /// Whether this is how a copy begins.
    fn begins_copy(&self, text: &[u8]) -> bool {
        let last = whole_lines(&self.ending).filter_map(Stamp::of).last();
        let known: HashSet<_> = whole_lines(&self.beginning)
            .chain(whole_lines(&self.ending))
            .collect();
        whole_lines(text).any(|line| {
            known.contains(line) && Stamp::of(line).is_some_and(|stamp| Some(stamp) != last)
        })
    }

    /// How many bytes of a copy's end were told.
    fn told_of(&self, end: &[u8]) -> Option<usize> {
        let known: HashSet<_> = whole_lines(&self.ending).collect();
        let is_told = |line: &[u8]| known.contains(line) && Stamp::of(line).is_some();
        let mut read = 0;
        let mut told = None;
        for line in end.split_inclusive(|byte| *byte == b'\n') {
            read += line.len();
            if is_told(line) {
                told = Some(read);
            }
        }
        told
    }
}

/// A file that took the place of another one, and of which nothing was taken yet.
#[derive(Debug)]
pub(super) struct Successor {
    before: Memory,
    since: Instant,
    copy: Option<Copy>,
}

/// A copy that may still be written.
#[derive(Clone, Copy, Debug)]
struct Copy {
    length: u64,
    /// Since when it has this length.
    unchanged: Instant,
    found: Instant,
}

impl Successor {
    pub const fn of(before: Memory, now: Instant) -> Self {
        Self {
            before,
            since: now,
            copy: None,
        }
    }

    /// What is remembered of the file before.
    pub const fn before(&self) -> &Memory {
        &self.before
    }

    /// Where to begin to read it; none while that cannot be told yet.
    pub fn begin(&mut self, file: &File, now: Instant) -> Option<u64> {
        let length = file.metadata().map_or(0, |about| about.len());
        match &mut self.copy {
            None => {
                let text = read(file, 0, LONGEST_LINE.min(usize::try_from(length).ok()?));
                let is_long = text.len() == LONGEST_LINE || text.contains(&b'\n');
                if !is_long && now.duration_since(self.since) < UNFINISHED {
                    return None;
                }
                if !self.before.begins_copy(&text) {
                    return Some(0);
                }
                self.copy = Some(Copy {
                    length,
                    unchanged: now,
                    found: now,
                });
                None
            }
            Some(copy) if length < copy.length => {
                self.copy = None;
                None
            }
            Some(copy) if length > copy.length && now.duration_since(copy.found) < PATIENCE => {
                copy.length = length;
                copy.unchanged = now;
                None
            }
            Some(copy) if length == copy.length && now.duration_since(copy.unchanged) < SETTLED => {
                None
            }
            Some(_) => Some(self.told_until(file, length)),
        }
    }

    fn told_until(&self, file: &File, length: u64) -> u64 {
        let start = length.saturating_sub(ENDING as u64);
        let end = read(file, start, usize::try_from(length - start).unwrap_or(0));
        let told = self.before.told_of(&end);
        told.map_or(length, |told| start + told as u64)
    }
}

/// So many bytes of a file, as far as they are there.
fn read(file: &File, start: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    let there = file.read_at(&mut bytes, start).unwrap_or(0);
    bytes.truncate(there);
    bytes
}

/// Lines that have ended, with their ends.
fn whole_lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split_inclusive(|byte| *byte == b'\n')
        .filter(|line| line.ends_with(b"\n"))
}
