//! Follows one log file by its path: what is written at its end, and what comes after it was
//! renamed, cut short, deleted or made anew.
//!
//! ```text
//! path ──► none ──────────────► looked for again
//!      ├─ the file that is read ─► what is new in it; shorter than before, or other bytes at the
//!      │                          end of what was read: from its beginning
//!      └─ another file ──────────► that one from its beginning; the one before is read on for a
//!                                 minute, for its writer may not know yet
//! ```
//!
//! A file from its beginning is, where it is a copy of what was read before, the file from where
//! that ended ([`copies`]).

mod copies;

use std::{
    fs::{File, OpenOptions},
    io, mem,
    os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use nix::fcntl::OFlag;
use sipward_asterisk::log::{LogLine, Reader};

use self::copies::{Memory, Successor};

/// Bytes taken from a file in one turn at most.
const TURN: usize = 512 << 10;
/// So many bytes behind a line are looked at to judge it, where they are there
/// ([`Reader::read_part`]).
const FURTHER: usize = 128 << 10;
/// Bytes of the longest line; the rest of a longer one is skipped.
const LONGEST_LINE: usize = 64 << 10;
/// A line that nobody has ended for so long has ended.
const UNFINISHED: Duration = Duration::from_secs(60);
/// A file is read on for so long after its name went to another one.
const LEFT: Duration = Duration::from_secs(60);
/// Files that are read on so at a time.
const MOST_LEFT: usize = 4;
/// Bytes that a file is known by.
const KNOWN_BY: usize = 64;

/// Receives a line's number since it was first followed, its event, and the line.
pub type Sink<'s> = dyn FnMut(u64, &LogLine<'_>, &[u8]) + 's;

/// A file that is followed.
#[derive(Debug)]
pub struct Follower {
    path: PathBuf,
    current: Option<Opened>,
    /// Files that had the name before.
    left: Vec<(Opened, Instant)>,
    lines: u64,
    /// The last thing that was wrong with it, said once.
    trouble: Option<String>,
}

/// An open file, and how far it was read.
#[derive(Debug)]
struct Opened {
    file: File,
    /// Device and inode.
    id: (u64, u64),
    /// Bytes taken so far.
    at: u64,
    /// What is remembered of these.
    memory: Memory,
    /// It took another file's place, and where to begin is not known yet.
    successor: Option<Successor>,
    /// Bytes that were taken and not yet read: the beginning of a line, or lines whose next ones
    /// are to be looked at.
    waiting: Vec<u8>,
    /// Since when nothing came behind them.
    grown: Instant,
    /// In a line that is too long.
    skips: bool,
    reader: Reader,
}

/// What a turn left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Turn {
    /// More may be there already.
    pub more: bool,
    /// Lines that were longer than 64 kB.
    pub too_long: u64,
}

impl Follower {
    /// Follows what has this name now from its end on, and what gets it later from its beginning:
    /// what is there already happened before.
    pub fn new(path: PathBuf) -> Self {
        let mut follower = Self {
            path,
            current: None,
            left: Vec::new(),
            lines: 0,
            trouble: None,
        };
        follower.current = follower.open();
        if let Some(opened) = &mut follower.current {
            opened.go_to(opened.length());
        }
        follower
    }

    /// Its name.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether there is a file of this name, or was one that is still read.
    pub fn is_open(&self) -> bool {
        self.current.is_some()
    }

    /// Takes what is new, at most 512 kB of each file.
    pub fn take(&mut self, now: Instant, sink: &mut Sink<'_>) -> Turn {
        let mut turn = Turn::default();
        let lines = &mut self.lines;
        self.left.retain_mut(|(opened, since)| {
            let part = opened.take(now, lines, sink);
            turn.more |= part.more;
            turn.too_long += part.too_long;
            let is_over = !part.more && now.duration_since(opened.grown.max(*since)) >= LEFT;
            if is_over {
                opened.finish(lines, sink);
            }
            !is_over
        });
        let mut is_read = true;
        if let Some(opened) = &mut self.current {
            let part = opened.take(now, lines, sink);
            is_read = !part.more;
            turn.more |= part.more;
            turn.too_long += part.too_long;
        }
        if is_read {
            turn.more |= self.look(now, sink);
        }
        turn
    }

    /// Looks whether the name stands for another file. Tells whether it does.
    fn look(&mut self, now: Instant, sink: &mut Sink<'_>) -> bool {
        let id = std::fs::metadata(&self.path).ok().map(|about| id(&about));
        let known = self.current.as_ref().map(|opened| opened.id);
        if id == known && id.is_some() {
            return false;
        }
        let Some(mut opened) = self.open() else {
            return false;
        };
        // It may have changed its name again meanwhile.
        if Some(opened.id) == known {
            return false;
        }
        if let Some(mut before) = self.current.take() {
            // A copy has what was written until it was made.
            before.take(now, &mut self.lines, sink);
            opened.successor = Some(Successor::of(before.remembered().clone(), now));
            self.left.push((before, now));
        }
        self.current = Some(opened);
        if self.left.len() > MOST_LEFT {
            let (mut oldest, _) = self.left.remove(0);
            oldest.finish(&mut self.lines, sink);
        }
        true
    }

    fn open(&mut self) -> Option<Opened> {
        match Opened::open(&self.path) {
            Ok(opened) => {
                if self.trouble.take().is_some() {
                    tracing::info!("{} is followed", self.path.display());
                }
                opened
            }
            Err(error) => {
                let trouble = format!("{}: {error}", self.path.display());
                if self.trouble.as_ref() != Some(&trouble) {
                    tracing::warn!("{trouble}");
                    self.trouble = Some(trouble);
                }
                None
            }
        }
    }
}

impl Opened {
    /// `None` where there is nothing of this name.
    fn open(path: &Path) -> Result<Option<Self>, String> {
        // A pipe would keep whoever opens it waiting for its writer.
        let opened = OpenOptions::new()
            .read(true)
            .custom_flags(OFlag::O_NONBLOCK.bits())
            .open(path);
        let file = match opened {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                return Err(format!(
                    "cannot follow this log: {error}; sipward must be allowed to read it"
                ));
            }
        };
        let about = file
            .metadata()
            .map_err(|error| format!("cannot follow this log: {error}"))?;
        if !about.is_file() {
            return Err(
                "this is no regular file and cannot be followed: name the log itself in \
                        asterisk.logs"
                    .to_owned(),
            );
        }
        Ok(Some(Self {
            file,
            id: id(&about),
            at: 0,
            memory: Memory::default(),
            successor: None,
            waiting: Vec::new(),
            grown: Instant::now(),
            skips: false,
            reader: Reader::new(),
        }))
    }

    fn length(&self) -> u64 {
        self.file.metadata().map_or(0, |about| about.len())
    }

    /// Reads on from this place.
    fn go_to(&mut self, at: u64) {
        self.at = at;
        self.memory = Memory::of(&self.file, at);
        // The rest of a line that has begun is not a line.
        self.skips = self
            .memory
            .last(1)
            .first()
            .is_some_and(|byte| *byte != b'\n');
    }

    /// What is remembered of it, or while it was not read of the file before.
    fn remembered(&self) -> &Memory {
        let before = self.successor.as_ref().map(Successor::before);
        before.unwrap_or(&self.memory)
    }

    /// Takes what is new.
    fn take(&mut self, now: Instant, lines: &mut u64, sink: &mut Sink<'_>) -> Turn {
        let mut turn = Turn::default();
        if self.is_another() {
            // What was not taken is gone.
            self.finish(lines, sink);
            self.at = 0;
            self.successor = Some(Successor::of(mem::take(&mut self.memory), now));
            self.reader = Reader::new();
            self.skips = false;
        }
        if let Some(successor) = &mut self.successor {
            let Some(at) = successor.begin(&self.file, now) else {
                return turn;
            };
            self.successor = None;
            self.grown = now;
            self.go_to(at);
        }
        let held = self.waiting.len();
        self.waiting.resize(held + TURN, 0);
        let room = self.waiting.get_mut(held..).unwrap_or_default();
        let taken = self.file.read_at(room, self.at).unwrap_or(0);
        self.waiting.truncate(held + taken);
        if taken > 0 {
            self.at += taken as u64;
            self.grown = now;
            let taken = self.waiting.get(held..).unwrap_or_default();
            self.memory.append(taken);
        } else if self.waiting.is_empty() {
            return turn;
        }
        turn.more = taken == TURN;
        self.skip_rest_of_line(held);
        let whole = self.waiting.iter().rposition(|byte| *byte == b'\n');
        let whole = whole.map_or(0, |at| at + 1);
        let first = if turn.more {
            whole.saturating_sub(FURTHER)
        } else {
            whole
        };
        let read = self.read(whole, first, lines, sink);
        self.waiting.drain(..read);
        let whole = whole - read;
        if self.waiting.len() - whole > LONGEST_LINE {
            turn.too_long += 1;
            self.waiting.truncate(whole);
            self.skips = true;
        }
        if !turn.more && !self.waiting.is_empty() && now.duration_since(self.grown) >= UNFINISHED {
            self.finish(lines, sink);
        }
        turn
    }

    /// Reads those of the first `whole` bytes' lines that begin in the first `first` bytes; tells
    /// how many bytes these are.
    fn read(&mut self, whole: usize, first: usize, lines: &mut u64, sink: &mut Sink<'_>) -> usize {
        let bytes = self.waiting.get(..whole).unwrap_or_default();
        let mut part = self.reader.read_part(bytes, first);
        let mut text = Lines::of(bytes);
        for (number, line) in part.by_ref() {
            sink(*lines + number as u64 + 1, &line, text.line(number));
        }
        *lines += part.lines_read() as u64;
        whole - part.rest().len()
    }

    /// Nothing more will come: what waits is read as it is.
    fn finish(&mut self, lines: &mut u64, sink: &mut Sink<'_>) {
        if self.waiting.is_empty() {
            return;
        }
        self.skips = !self.waiting.ends_with(b"\n");
        if self.skips {
            self.waiting.push(b'\n');
        }
        let all = self.waiting.len();
        self.read(all, all, lines, sink);
        self.waiting.clear();
    }

    /// Of the bytes from this place on; whole lines may wait before it.
    fn skip_rest_of_line(&mut self, from: usize) {
        if !self.skips {
            return;
        }
        let mut taken = self.waiting.iter().skip(from);
        match taken.position(|byte| *byte == b'\n') {
            Some(end) => {
                self.waiting.drain(from..=from + end);
                self.skips = false;
            }
            None => self.waiting.truncate(from),
        }
    }

    /// Whether the file was cut short, or written anew.
    fn is_another(&self) -> bool {
        if self.length() < self.at {
            return true;
        }
        let known_by = self.memory.last(KNOWN_BY);
        let start = self.at.saturating_sub(known_by.len() as u64);
        let mut there = [0; KNOWN_BY];
        let there = there.get_mut(..known_by.len()).unwrap_or_default();
        self.file.read_exact_at(there, start).is_err() || there != known_by
    }
}

/// Finds lines by ascending numbers.
struct Lines<'a> {
    rest: &'a [u8],
    next: usize,
}

impl<'a> Lines<'a> {
    fn of(bytes: &'a [u8]) -> Self {
        Self {
            rest: bytes,
            next: 0,
        }
    }

    fn line(&mut self, number: usize) -> &'a [u8] {
        let mut line = &b""[..];
        while self.next <= number {
            let end = self.rest.iter().position(|byte| *byte == b'\n');
            let end = end.map_or(self.rest.len(), |at| at + 1);
            let (first, rest) = self.rest.split_at(end);
            (line, self.rest) = (first, rest);
            self.next += 1;
        }
        line.trim_ascii_end()
    }
}

fn id(about: &std::fs::Metadata) -> (u64, u64) {
    (about.dev(), about.ino())
}

#[cfg(test)]
mod tests;
