//! What stands before the message: time, level, thread and file, and before these what syslog, the
//! journal or a container runtime put there.

use super::{freeswitch, kamailio, number};

/// The program that wrote a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Program {
    /// Asterisk.
    Asterisk,
    /// FreeSWITCH.
    FreeSwitch,
    /// Kamailio.
    Kamailio,
}

impl Program {
    /// The program by the form of a line that it wrote.
    pub(super) fn of(line: &[u8]) -> Option<Self> {
        [Self::Asterisk, Self::FreeSwitch, Self::Kamailio]
            .into_iter()
            .find(|program| program.split(line).is_some())
    }

    /// Splits a line of this program, with or without its end, into prefix and message. `None`:
    /// another's, or the continuation of a line.
    pub(super) fn split(self, line: &[u8]) -> Option<(Prefix<'_>, &[u8])> {
        match self {
            Self::Asterisk => split(line),
            Self::FreeSwitch => freeswitch::split(line),
            Self::Kamailio => kamailio::split(line),
        }
    }
}

/// The level of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// NOTICE.
    Notice,
    /// WARNING.
    Warning,
    /// ERROR.
    Error,
    /// SECURITY.
    Security,
    /// VERBOSE, DEBUG, DTMF and levels of modules; nothing is read from them.
    Other,
}

/// What stands before a message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Prefix<'a> {
    pub program: Program,
    pub time: &'a [u8],
    pub level: Level,
    pub thread: u32,
    pub file: &'a [u8],
}

/// Longest time in brackets.
const TIME: usize = 48;
/// Longest file, function or name of a host, a container or a program.
const NAME: usize = 128;

/// Splits a line of Asterisk.
fn split(line: &[u8]) -> Option<(Prefix<'_>, &[u8])> {
    let line = trim_end(line);
    let line = skip_colours(line);
    if line.starts_with(b"[") {
        return own(line);
    }
    own(after_syslog(line).or_else(|| after_container(line))?)
}

/// Without what captures a console put in front: syslog, the journal or a container runtime.
pub(super) fn behind_capture(line: &[u8]) -> &[u8] {
    let line = skip_colours(line);
    after_syslog(line)
        .or_else(|| after_container(line))
        .unwrap_or(line)
}

/// `[time] LEVEL[thread][C-00000001] file: message`. Behind syslog and the like the time may be
/// missing; the console and syslog add a line number and a function to the file.
fn own(line: &[u8]) -> Option<(Prefix<'_>, &[u8])> {
    let mut rest = line;
    let mut time = &b""[..];
    if let Some(bracketed) = rest.strip_prefix(b"[") {
        let end = bracketed.iter().take(TIME + 1).position(|&b| b == b']')?;
        let (inside, after) = bracketed.split_at_checked(end)?;
        let after = after.strip_prefix(b"] ")?;
        if inside.contains(&b'[') {
            return None;
        }
        time = inside;
        rest = skip_colours(after);
    }

    let (name, after) = word(rest, |b| b.is_ascii_alphanumeric() || b == b'_')?;
    let level = level(name);
    let (thread, mut rest) = number(skip_colours(after).strip_prefix(b"[")?)?;
    rest = rest.strip_prefix(b"]")?;
    if let Some(call) = rest.strip_prefix(b"[C-") {
        let (_, after) = word(call, |b| b.is_ascii_hexdigit())?;
        rest = after.strip_prefix(b"]")?;
    }
    rest = rest.strip_prefix(b":").unwrap_or(rest);
    rest = skip_colours(rest.strip_prefix(b" ")?);

    let (file, after) = word(rest, |b| b != b':' && b != 0x1b)?;
    rest = skip_colours(skip_colours(after).strip_prefix(b":")?);
    if rest.first().is_some_and(u8::is_ascii_digit) {
        // The line number, then the function, maybe after "in".
        let (_, after) = number(rest)?;
        let function = skip_colours(skip_colours(after).strip_prefix(b" ")?);
        let (_, after) = word(function, |b| b != b':' && b != 0x1b)?;
        rest = skip_colours(after).strip_prefix(b":")?;
    }
    let prefix = Prefix {
        program: Program::Asterisk,
        time,
        level,
        thread,
        file,
    };
    if rest.is_empty() {
        return Some((prefix, rest));
    }
    Some((prefix, rest.strip_prefix(b" ")?))
}

fn level(name: &[u8]) -> Level {
    match name {
        b"NOTICE" => Level::Notice,
        b"WARNING" => Level::Warning,
        b"ERROR" => Level::Error,
        b"SECURITY" => Level::Security,
        _ => Level::Other,
    }
}

/// Behind `Nov 22 18:55:31 pbx asterisk[1]: `, also with an ISO time in front.
pub(super) fn after_syslog(line: &[u8]) -> Option<&[u8]> {
    let rest = match after_iso_time(line) {
        Some(rest) => rest,
        None => after_month_time(line)?,
    };
    let (_host, rest) = word(rest, |b| b.is_ascii_graphic())?;
    let (_program, rest) = word(rest.strip_prefix(b" ")?, |b| {
        b.is_ascii_graphic() && b != b'[' && b != b':'
    })?;
    let rest = match rest.strip_prefix(b"[") {
        Some(process) => number(process)?.1.strip_prefix(b"]")?,
        None => rest,
    };
    Some(skip_colours(rest.strip_prefix(b": ")?))
}

/// Behind Compose's `pbx-1  | `, Kubernetes' `2026-11-22T18:55:31.1Z stdout F ` or the time alone
/// of `docker logs --timestamps`.
fn after_container(line: &[u8]) -> Option<&[u8]> {
    let mut rest = line;
    if let Some((name, after)) = word(line, |b| b.is_ascii_graphic() && b != b'[')
        && let Some(after) = after.trim_ascii_start().strip_prefix(b"| ")
        && after_iso_time(name).is_none()
    {
        rest = skip_colours(after);
    }
    if let Some(after) = after_iso_time(rest) {
        rest = after;
        for stream in [&b"stdout F "[..], b"stderr F "] {
            rest = rest.strip_prefix(stream).unwrap_or(rest);
        }
    }
    (rest.len() < line.len()).then(|| skip_colours(rest))
}

/// Behind `2026-11-22T18:55:31.571+01:00 `.
fn after_iso_time(line: &[u8]) -> Option<&[u8]> {
    let (time, rest) = word(line, |b| {
        b.is_ascii_digit() || matches!(b, b'-' | b':' | b'.' | b',' | b'+' | b'T' | b'Z')
    })?;
    let shaped = time.len() >= 19
        && time.get(4) == Some(&b'-')
        && time.get(10) == Some(&b'T')
        && time.get(13) == Some(&b':');
    shaped.then(|| rest.strip_prefix(b" ")).flatten()
}

/// Behind `Nov 22 18:55:31 ` or `Nov  2 18:55:31 `.
fn after_month_time(line: &[u8]) -> Option<&[u8]> {
    let (time, rest) = line.split_at_checked(15)?;
    let shaped = time.iter().enumerate().all(|(at, b)| match at {
        0..=2 => b.is_ascii_alphabetic(),
        3 | 6 => *b == b' ',
        4 => b.is_ascii_digit() || *b == b' ',
        9 | 12 => *b == b':',
        _ => b.is_ascii_digit(),
    });
    shaped.then(|| rest.strip_prefix(b" ")).flatten()
}

/// The bytes at the start that fit, at least one and at most [`NAME`].
pub(super) fn word(text: &[u8], fits: impl Fn(u8) -> bool) -> Option<(&[u8], &[u8])> {
    let end = text
        .iter()
        .take(NAME + 1)
        .position(|&b| !fits(b))
        .unwrap_or_else(|| text.len().min(NAME + 1));
    if end == 0 || end > NAME {
        return None;
    }
    text.split_at_checked(end)
}

/// Behind any `ESC [ … m`: Asterisk colours the prefix and never the message.
pub(super) fn skip_colours(mut text: &[u8]) -> &[u8] {
    while let Some(inside) = text.strip_prefix(b"\x1b[") {
        let Some(end) = inside
            .iter()
            .position(|b| !b.is_ascii_digit() && *b != b';')
        else {
            return text;
        };
        let Some(after) = inside.get(end..).and_then(|rest| rest.strip_prefix(b"m")) else {
            return text;
        };
        text = after;
    }
    text
}

/// Without line end, blanks and a last colour.
pub(super) fn trim_end(line: &[u8]) -> &[u8] {
    let line = line.trim_ascii_end();
    line.strip_suffix(b"\x1b[0m")
        .or_else(|| line.strip_suffix(b"\x1b[0;37;40m"))
        .unwrap_or(line)
}
