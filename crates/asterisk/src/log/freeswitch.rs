//! FreeSWITCH's log: what `sofia_reg.c` and `sofia.c` say of who may not register or call.
//!
//! `2026-11-22 18:55:31.571234 99.30% [WARNING] sofia_reg.c:1792 SIP auth failure (REGISTER) on sofia
//! profile 'internal' for [1000@pbx.example] from ip 203.0.113.7`. The file must be switched on with
//! `log-auth-failures` in the profile. The account is the remote end's own text and stands before the
//! address, which ends the line.
//!
//! At level DEBUG, the default, FreeSWITCH also writes the SDP of a call into its log as it came:
//! its caller writes whole lines there. [`Reader`](super::Reader) believes none of the 65,536 bytes
//! behind one.

use super::address::maybe_with_port;
use super::prefix::{Level, Prefix, Program, after_syslog, skip_colours, trim_end, word};
use super::{Kind, Remote, SecurityEvent, Service, contains, number, rsplit_once, split_once};

/// Length of the session's name before each line of a call, where `mod_logfile` writes it.
const UUID: usize = 36;

/// Splits a line of FreeSWITCH.
pub(super) fn split(line: &[u8]) -> Option<(Prefix<'_>, &[u8])> {
    let line = skip_colours(trim_end(line));
    let line = without_session(after_syslog(line).unwrap_or(line));
    let (time, rest) = time(line).unwrap_or((b"", line));
    let rest = match percentage(rest) {
        Some(rest) => rest,
        None => rest,
    };
    let (name, rest) = word(rest.strip_prefix(b"[")?, |b| b.is_ascii_uppercase())?;
    let level = match name {
        b"NOTICE" => Level::Notice,
        b"WARN" | b"WARNING" => Level::Warning,
        b"ERR" | b"CRIT" | b"ALERT" => Level::Error,
        b"DEBUG" | b"INFO" | b"CONSOLE" => Level::Other,
        _ => return None,
    };
    let rest = rest.strip_prefix(b"] ")?;
    let rest = rest.strip_prefix(b"[SOFIA] ").unwrap_or(rest);
    // The older form has the place in brackets.
    let (place, text) = match rest.strip_prefix(b"[") {
        Some(inside) => split_once(inside, b"] ")?,
        None => split_once(rest, b" ").unwrap_or((rest, b"")),
    };
    let (file, at) = word(place, |b| b.is_ascii_graphic() && b != b':')?;
    number(at.strip_prefix(b":")?).filter(|(_, rest)| rest.is_empty())?;
    let prefix = Prefix {
        program: Program::FreeSwitch,
        time,
        level,
        thread: 0,
        file,
    };
    Some((prefix, text))
}

/// A message of the source file `file`. `None`: it says nothing about a remote end.
pub(super) fn read<'a>(file: &[u8], text: &'a [u8]) -> Option<SecurityEvent<'a>> {
    if !matches!(file, b"sofia_reg.c" | b"sofia.c") {
        return None;
    }
    let (kind, account, address) = if let Some(rest) = text.strip_prefix(b"SIP auth ") {
        let (what, rest) = split_once(rest, b" ")?;
        let kind = match what {
            b"failure" => Kind::WrongPassword,
            b"challenge" => Kind::ChallengeSent,
            _ => return None,
        };
        let (_, rest) = split_once(rest, b" for [")?;
        let (account, address) = rsplit_once(rest, b"] from ip ")?;
        (kind, Some(account), address)
    } else if let Some(rest) = text.strip_prefix(b"Can't find user [") {
        let (account, address) = rsplit_once(rest, b"] from ")?;
        (Kind::UnknownAccount, Some(account), address)
    } else {
        let (address, rest) = split_once(text.strip_prefix(b"IP ")?, b" Rejected by ")?;
        let refused = (rest.starts_with(b"acl \"") || rest.starts_with(b"register acl \""))
            && !contains(rest, b"Falling back to Digest auth");
        if !refused {
            return None;
        }
        (Kind::RefusedByAcl, None, address)
    };
    Some(SecurityEvent {
        kind,
        service: Service::FreeSwitch,
        account: account.map(user),
        remote: maybe_with_port(address).map(|address| Remote {
            address,
            transport: None,
        }),
        call_id: None,
    })
}

/// What FreeSWITCH writes a packet or its body behind, as it came.
pub(super) fn announces_a_packet(file: &[u8], text: &[u8]) -> bool {
    text.ends_with(b"SDP:")
        || text.ends_with(b"SDP")
        || file == b"tport.c" && (text.starts_with(b"recv ") || text.starts_with(b"send "))
}

/// The rest of a record, after a line feed that was in its account.
pub(super) fn is_rest(line: &[u8]) -> bool {
    contains(line, b"] from ")
        && split(line).is_none()
        && !contains(line, b"You must define a domain called '")
}

fn user(account: &[u8]) -> &[u8] {
    rsplit_once(account, b"@").map_or(account, |(user, _)| user)
}

fn without_session(line: &[u8]) -> &[u8] {
    let Some((session, rest)) = line.split_at_checked(UUID) else {
        return line;
    };
    let is_session = session.iter().enumerate().all(|(at, b)| match at {
        8 | 13 | 18 | 23 => *b == b'-',
        _ => b.is_ascii_hexdigit(),
    });
    is_session
        .then(|| rest.strip_prefix(b" "))
        .flatten()
        .unwrap_or(line)
}

/// `2026-11-22 18:55:31.571234 `, in an older form without the year.
fn time(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = line
        .iter()
        .position(|b| b.is_ascii_alphabetic() || *b == b'[')?;
    let (time, _) = line.split_at_checked(end)?;
    let mut words = time.split(|&b| b == b' ');
    let (date, clock) = (words.next()?, words.next()?);
    let shaped = matches!(date.len(), 5 | 10)
        && date.iter().all(|b| b.is_ascii_digit() || *b == b'-')
        && clock.get(2) == Some(&b':')
        && clock
            .iter()
            .all(|b| b.is_ascii_digit() || matches!(b, b':' | b'.'));
    let length = date.len() + 1 + clock.len();
    let rest = line.get(length..)?.strip_prefix(b" ")?;
    shaped.then_some((line.get(..length)?, rest))
}

/// `99.30% `, how idle the machine is, since 1.10.6.
fn percentage(text: &[u8]) -> Option<&[u8]> {
    let (_, rest) = word(text, |b| b.is_ascii_digit() || b == b'.')?;
    rest.strip_prefix(b"% ")
}
