//! What a file is, by its content, and when it begins.

use std::{
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
};

use jiff::{Timestamp, tz::TimeZone};
use sipward_asterisk::log::Stamp;
use sipward_engine::Time;

use super::calendar::{Calendar, Years};
use crate::{exit::Failure, packed, pcap};

/// Bytes that tell a text from anything else.
const HEAD: usize = 64 << 10;
/// Bytes of a line that are looked at for a time.
const LINE: usize = 256;

/// A file to be played.
#[derive(Clone, Debug)]
pub struct Input {
    /// Where it is.
    pub path: PathBuf,
    /// What it is.
    pub kind: Kind,
    /// When it begins, where it says so.
    pub first: Option<Time>,
}

/// What a file is.
#[derive(Clone, Debug)]
pub enum Kind {
    /// A capture, pcap or pcapng.
    Capture,
    /// A log.
    Log(Box<Calendar>),
}

/// Looks at a file. `zone` is the time zone of the machine that wrote it.
///
/// # Errors
/// It cannot be read, or is neither a capture nor a text with times in it.
pub fn survey(path: &Path, zone: &TimeZone) -> Result<Input, Failure> {
    let failure = |what: &str| Failure::input(format!("{}: {what}", path.display()));
    let unreadable = |error: std::io::Error| failure(&error.to_string());
    let mut head = Vec::new();
    let file = packed::open(path).map_err(unreadable)?;
    // What breaks off is told when it is played.
    let _ = file.take(HEAD as u64).read_to_end(&mut head);
    if is_capture(&head) {
        return Ok(Input {
            path: path.to_owned(),
            kind: Kind::Capture,
            first: first_packet(path),
        });
    }
    if let Some(program) = packer(&head) {
        return Err(failure(&format!(
            "this is compressed with {program}: unpack it first"
        )));
    }
    if !is_text(&head) {
        return Err(failure(
            "this is no capture and no log: at byte 0 it is neither pcap nor pcapng, and it is no text",
        ));
    }
    let (first, years) = times(path).map_err(unreadable)?.ok_or_else(|| {
        failure(
            "no line of this text has a time that is known (such as Nov 22 18:55:31 or \
             2026-11-22 18:55:31): it is neither pcap nor pcapng nor a log; for Asterisk set \
             dateformat in logger.conf",
        )
    })?;
    let changed = path.metadata().and_then(|data| data.modified());
    let changed = changed.ok().and_then(|at| Timestamp::try_from(at).ok());
    let changed = changed.unwrap_or(Timestamp::MAX);
    let calendar = Calendar::new(zone.clone(), changed, first, years);
    Ok(Input {
        path: path.to_owned(),
        first: calendar.clone().time(first),
        kind: Kind::Log(Box::new(calendar)),
    })
}

fn is_capture(head: &[u8]) -> bool {
    let magics: [&[u8]; 5] = [
        &[0xd4, 0xc3, 0xb2, 0xa1],
        &[0xa1, 0xb2, 0xc3, 0xd4],
        &[0x4d, 0x3c, 0xb2, 0xa1],
        &[0xa1, 0xb2, 0x3c, 0x4d],
        &[0x0a, 0x0d, 0x0d, 0x0a],
    ];
    magics.iter().any(|magic| head.starts_with(magic))
}

fn packer(head: &[u8]) -> Option<&'static str> {
    let packers: [(&[u8], &str); 3] = [
        (b"\xfd7zXZ\0", "xz"),
        (b"\x28\xb5\x2f\xfd", "zstd"),
        (b"BZh", "bzip2"),
    ];
    let found = packers.iter().find(|(magic, _)| head.starts_with(magic));
    found.map(|(_, name)| *name)
}

/// Hardly any control characters: a crash leaves some zeros in a log.
fn is_text(head: &[u8]) -> bool {
    let is_odd = |b: &u8| b.is_ascii_control() && !matches!(b, b'\n' | b'\r' | b'\t' | 0x1b);
    !head.is_empty() && head.iter().filter(|b| is_odd(b)).count() * 10 <= head.len()
}

fn first_packet(path: &Path) -> Option<Time> {
    let mut first = None;
    // What is wrong with it is told when it is played.
    let _ = pcap::read(path, |recorded| {
        first = recorded.at;
        match first {
            Some(_) => Err(Failure::input("that is enough")),
            None => Ok(()),
        }
    });
    first
}

/// The first time, and the days of lines without a year: such a log is read to its end.
fn times(path: &Path) -> std::io::Result<Option<(Stamp, Years)>> {
    let mut file = BufReader::with_capacity(1 << 20, packed::open(path)?);
    let mut first = None;
    let mut years = Years::default();
    let mut line = Vec::with_capacity(LINE);
    loop {
        line.clear();
        // A file that breaks off ends here; that is told when it is played.
        match next_line(&mut file, &mut line) {
            Ok(true) => {}
            Ok(false) | Err(_) => break,
        }
        let Some(stamp) = Stamp::of(&line) else {
            continue;
        };
        first.get_or_insert(stamp);
        if stamp.year.is_some() {
            break;
        }
        years.note(stamp);
    }
    Ok(first.map(|first| (first, years)))
}

/// The beginning of the next line; false at the end.
fn next_line(file: &mut impl BufRead, line: &mut Vec<u8>) -> std::io::Result<bool> {
    let mut is_some = false;
    loop {
        let buffer = file.fill_buf()?;
        if buffer.is_empty() {
            return Ok(is_some);
        }
        is_some = true;
        let end = memchr::memchr(b'\n', buffer);
        let text = buffer.get(..end.unwrap_or(buffer.len())).unwrap_or(buffer);
        let room = LINE.saturating_sub(line.len());
        line.extend_from_slice(text.get(..room.min(text.len())).unwrap_or(text));
        let length = text.len() + usize::from(end.is_some());
        file.consume(length);
        if end.is_some() {
            return Ok(true);
        }
    }
}
