//! What a file is, by its content, and when it begins.

use std::{
    io::Read,
    path::{Path, PathBuf},
};

use jiff::{Timestamp, tz::TimeZone};
use sipward_asterisk::log::Stamp;
use sipward_engine::Time;

use super::calendar::{Calendar, Years};
use crate::{exit::Failure, packed, pcap};

/// Bytes that tell a text from anything else.
const HEAD: usize = 64 << 10;
/// Bytes that are looked at for times at once.
const LOOK: usize = 8 << 10;
/// Bytes between two looks at a large file: a thousand lines.
const BETWEEN: u32 = 120 << 10;
/// Bytes from which a file is large.
const LARGE: u64 = 4 << 20;

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

/// The first time, and the days of lines without a year. Such a log is looked at to its end, a large
/// one here and there: between two looks no year passes.
fn times(path: &Path) -> std::io::Result<Option<(Stamp, Years)>> {
    let mut file = packed::open(path)?;
    let is_large = packed::size(path) >= LARGE;
    let (mut first, mut years) = (None, Years::default());
    let mut is_first = true;
    let mut block = Vec::with_capacity(LOOK);
    loop {
        block.clear();
        // A file that breaks off ends here; that is told when it is played.
        let result = file.by_ref().take(LOOK as u64).read_to_end(&mut block);
        // Later ones begin within a line: with whatever a stranger wrote there.
        let within = usize::from(!std::mem::take(&mut is_first));
        let lines = block.split(|&b| b == b'\n').skip(within);
        for stamp in lines.filter_map(Stamp::of) {
            first.get_or_insert(stamp);
            if stamp.year.is_some() {
                return Ok(first.map(|first| (first, years)));
            }
            years.note(stamp);
        }
        let is_last = result.is_err() || block.len() < LOOK;
        if is_last || (is_large && first.is_some() && file.skip(BETWEEN).is_err()) {
            return Ok(first.map(|first| (first, years)));
        }
    }
}
