//! The lines of a log that say something, read in parts of a file of any length.

use std::{io::Read, path::Path};

use sipward_asterisk::log::{Program, Reader, Stamp};
use sipward_engine::Time;

use super::calendar::Calendar;
use crate::{exit::Failure, packed};

/// Bytes that are read of at a time.
const PART: usize = 1 << 20;
/// Bytes behind them that are looked at, as many as [`Reader::read_part`] asks for.
const FURTHER: usize = 128 << 10;

/// Bytes after which a line is looked at for its date, whether or not it says something.
const STEP: usize = 8 << 10;

/// A line that says something.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    /// Counted from 1.
    pub number: u64,
    /// When it was written, where it says so.
    pub at: Option<Time>,
    /// The whole line, with its end.
    pub text: &'a [u8],
    /// A stranger may have written it.
    pub is_doubtful: bool,
}

/// What a file came to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Summary {
    /// Lines, those included that say nothing.
    pub lines: u64,
    /// Unpacked bytes.
    pub bytes: u64,
    /// Whose log it is.
    pub program: Option<Program>,
}

/// What is told while a file is read.
#[derive(Clone, Copy, Debug)]
pub enum Seen<'a> {
    /// The next line that says something.
    Line(Line<'a>),
    /// So far the file was read.
    Part(Summary),
}

/// Calls `sink` with each line that says something.
///
/// # Errors
/// The file cannot be read or breaks off; lines before that were given. What `sink` says.
pub fn read(
    path: &Path,
    calendar: &mut Calendar,
    mut sink: impl FnMut(Seen<'_>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let failure = |what: String| Failure::input(format!("{}: {what}", path.display()));
    let mut file = packed::open(path).map_err(|error| failure(error.to_string()))?;
    let mut reader = Reader::new();
    let mut summary = Summary::default();
    let mut buffer = Vec::with_capacity(PART + FURTHER);
    let mut looked_at = 0;
    loop {
        let wanted = PART + FURTHER - buffer.len();
        let result = file.by_ref().take(wanted as u64).read_to_end(&mut buffer);
        let is_last = buffer.len() < PART + FURTHER;
        let part = if is_last { buffer.len() } else { PART };
        let mut lines = reader.read_part(&buffer, part);
        while let Some((number, says)) = lines.next() {
            let text = lines.line();
            let position = buffer.len() - lines.rest().len();
            keep_up(calendar, &buffer, &mut looked_at, position);
            let stamp = Stamp::of(text).filter(|_| !says.is_doubtful);
            let line = Line {
                number: summary.lines + number as u64 + 1,
                at: stamp.and_then(|stamp| calendar.time(stamp)),
                text,
                is_doubtful: says.is_doubtful,
            };
            sink(Seen::Line(line))?;
        }
        let rest = lines.rest().len();
        let end = buffer.len() - rest;
        keep_up(calendar, &buffer, &mut looked_at, end);
        looked_at -= end.min(looked_at);
        summary.lines += lines.lines_read() as u64;
        summary.bytes += end as u64;
        summary.program = reader.program();
        buffer.drain(..end);
        sink(Seen::Part(summary))?;
        if let Err(error) = result {
            let what = format!("breaks off after line {}: {error}", summary.lines);
            return Err(failure(format!("{what}: copy it once more")));
        }
        if is_last {
            return Ok(());
        }
    }
}

/// Shows the calendar a line now and then, so that it does not miss a year in which nothing was said.
fn keep_up(calendar: &mut Calendar, buffer: &[u8], looked_at: &mut usize, until: usize) {
    while *looked_at + STEP <= until {
        *looked_at += STEP;
        let rest = buffer.get(*looked_at..).unwrap_or_default();
        let mut lines = rest.splitn(3, |&b| b == b'\n').skip(1);
        let stamp = lines.next().and_then(Stamp::of);
        if let Some(stamp) = stamp.filter(|stamp| stamp.year.is_none()) {
            calendar.time(stamp);
        }
    }
}
