//! A log of Asterisk: that it is there, that it grows, and that its lines are read.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    net::IpAddr,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use sipward_asterisk::log::{Kind, Level, Reader, Stamp};

use super::{Check, State};
use crate::{
    daemon::{is_private, own_addresses},
    span::Span,
};

/// Bytes of the end of the file that are read.
const LARGEST: u64 = 1 << 20;
/// A log into which nothing is written for so long is probably not written any more.
const STALE: Duration = Duration::from_secs(86_400);
/// So many events say whose addresses Asterisk sees.
const ENOUGH: usize = 20;

/// A file as it was found.
pub(super) struct Facts {
    pub path: PathBuf,
    pub content: io::Result<Content>,
    /// This machine's own addresses.
    pub own: BTreeSet<IpAddr>,
}

/// The end of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Content {
    /// Bytes of the whole file.
    pub bytes: u64,
    /// How long nothing was written.
    pub quiet: Duration,
    pub lines: usize,
    /// Lines that said something.
    pub events: usize,
    /// SECURITY lines that were not understood.
    pub unread: usize,
    /// Lines of Asterisk's with a time before them that is not understood.
    pub untimed: usize,
    pub debugs_sip: bool,
    /// Where the events came from.
    pub sources: BTreeMap<IpAddr, usize>,
}

pub(super) fn look(path: &Path) -> Facts {
    Facts {
        path: path.to_owned(),
        content: read(path),
        own: own_addresses().into_iter().collect(),
    }
}

fn read(path: &Path) -> io::Result<Content> {
    let mut file = File::open(path)?;
    let about = file.metadata()?;
    if !about.is_file() {
        return Err(io::Error::other("not a file"));
    }
    let quiet = SystemTime::now().duration_since(about.modified()?);
    let skipped = about.len().saturating_sub(LARGEST);
    file.seek(SeekFrom::Start(skipped))?;
    let mut bytes = Vec::new();
    file.take(LARGEST).read_to_end(&mut bytes)?;
    Ok(Content {
        bytes: about.len(),
        quiet: quiet.unwrap_or_default(),
        ..content(whole_lines(&bytes, skipped > 0))
    })
}

/// Without a line that was cut in front, or is still being written.
fn whole_lines(bytes: &[u8], is_cut: bool) -> &[u8] {
    let is_end = |byte: &u8| *byte == b'\n';
    let begin = match bytes.iter().position(is_end) {
        Some(end) if is_cut => end + 1,
        Some(_) | None => 0,
    };
    let end = bytes.iter().rposition(is_end).map_or(0, |end| end + 1);
    bytes.get(begin..end).unwrap_or_default()
}

fn content(lines: &[u8]) -> Content {
    let mut content = Content::default();
    for line in lines.split(|byte| *byte == b'\n') {
        if line.is_empty() {
            continue;
        }
        content.lines += 1;
        if line.starts_with(b"[") && Stamp::of(line).is_none() {
            content.untimed += 1;
        }
    }
    let mut reader = Reader::new();
    for (_, line) in reader.read(lines) {
        if line.level == Level::Security && line.event.kind == Kind::Unread {
            content.unread += 1;
            continue;
        }
        content.events += 1;
        if let Some(remote) = line.event.remote {
            let address = remote.address.ip().to_canonical();
            *content.sources.entry(address).or_default() += 1;
        }
    }
    content.debugs_sip = reader.debugs_sip();
    content
}

pub(super) fn judge(facts: &Facts, is_root: bool) -> Vec<Check> {
    let path = facts.path.display();
    let content = match &facts.content {
        Ok(content) => content,
        Err(error) => {
            let found = format!("{path}: {error}");
            let denied = error.kind() == io::ErrorKind::PermissionDenied;
            return vec![if denied && !is_root {
                Check::needs_root("log", &found)
            } else {
                let advice = "asterisk -rx 'logger reload' makes it; [asterisk] logs names others";
                Check::new("log", State::Failed, found, advice)
            }];
        }
    };
    let mut checks = vec![growth(&path.to_string(), content)];
    checks.extend(lines(&path.to_string(), content));
    checks.extend(own_source(content, &facts.own).or_else(|| one_source(content)));
    checks
}

fn growth(path: &str, content: &Content) -> Check {
    if content.bytes == 0 {
        return Check::ok("log", format!("{path}: empty yet"));
    }
    let quiet = match content.quiet.as_secs() {
        0 => "less than 1s".to_owned(),
        seconds @ 1..60 => Span::of_seconds(seconds).to_string(),
        seconds => Span::of_seconds(seconds / 60 * 60).to_string(),
    };
    let found = format!("{path}: written to {quiet} ago");
    if content.quiet < STALE {
        return Check::ok("log", found);
    }
    let advice = "is Asterisk running? After a rotation: asterisk -rx 'logger reload'";
    Check::new("log", State::Warning, found, advice)
}

fn lines(path: &str, content: &Content) -> Vec<Check> {
    if content.lines == 0 {
        return Vec::new();
    }
    let mut checks = Vec::new();
    let Content {
        lines,
        events,
        unread,
        untimed,
        ..
    } = content;
    let found = format!("{path}: {lines} lines, {events} of them events, {unread} not understood");
    checks.push(if untimed * 2 > *lines {
        let found = format!("{found}; the times of {untimed} are in an unknown form");
        let advice = "logger.conf, [general]: dateformat = %F %T.%3q; then: asterisk -rx 'logger \
                      reload'";
        Check::new("log-lines", State::Failed, found, advice)
    } else if *unread > 0 && unread >= events {
        let advice = "compare a line with another Asterisk's: it was torn by a stranger's text, or \
                      written by a version that is not known";
        Check::new("log-lines", State::Warning, found, advice)
    } else {
        Check::ok("log-lines", found)
    });
    if content.debugs_sip {
        let found = format!("{path}: packets are written into it, so no line can be believed");
        let advice = "asterisk -rx 'sip set debug off'; sipward watch shows the same";
        checks.push(Check::new("log-debug", State::Failed, found, advice));
    }
    checks
}

/// What hands calls on to the PBX from an address of this machine makes all callers one.
fn own_source(content: &Content, own: &BTreeSet<IpAddr>) -> Option<Check> {
    let events: usize = content.sources.values().sum();
    // Programs of this machine ask by its loopback.
    let is_own = |address: &IpAddr| own.contains(address) && !address.is_loopback();
    let of_own = content
        .sources
        .iter()
        .filter(|(address, _)| is_own(address));
    let count: usize = of_own.clone().map(|(_, count)| count).sum();
    if events < ENOUGH || count * 10 < events * 9 {
        return None;
    }
    let addresses: Vec<String> = of_own.map(|(address, _)| address.to_string()).collect();
    let found = format!(
        "{count} of {events} events are of this machine's own {}: docker's userland-proxy or a rule of \
         source NAT puts it on every caller, so that every attacker wears it in this log; lines with \
         it are attributed to nobody, and it is never banned",
        addresses.join(" and ")
    );
    let advice = "\"userland-proxy\": false in /etc/docker/daemon.json, or network_mode: host; until \
                  then only packets tell: guard the interface by which callers come";
    Some(Check::new("one-source", State::Warning, found, advice))
}

/// A router that puts its own address on everything does so, too.
fn one_source(content: &Content) -> Option<Check> {
    let events: usize = content.sources.values().sum();
    let (address, count) = content.sources.iter().max_by_key(|(_, count)| **count)?;
    if events < ENOUGH || count * 10 < events * 9 || !is_private(*address) {
        return None;
    }
    let found = format!(
        "{count} of {events} events are of {address}: a router may put its own address on every \
         caller, and a ban would hit all"
    );
    let advice = "switch source NAT off for the forwarded SIP ports of that router";
    Some(Check::new("one-source", State::Warning, found, advice))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write;
    use test_case::test_case;

    fn failure(time: &str, address: &str) -> String {
        format!(
            "[{time}] SECURITY[28] res_security_log.c: SecurityEvent=\"InvalidPassword\",\
             EventTV=\"2026-11-22T18:55:31.000+0000\",Severity=\"Error\",Service=\"SIP\",\
             EventVersion=\"2\",AccountID=\"100\",SessionID=\"0x7f\",\
             LocalAddress=\"IPV4/UDP/192.0.2.1/5060\",RemoteAddress=\"IPV4/UDP/{address}/5070\",\
             Challenge=\"4f\",ReceivedChallenge=\"4f\",ReceivedHash=\"0a\"\n"
        )
    }

    const TIME: &str = "2026-11-22 18:55:31.000";

    fn states(content: Content) -> Vec<(&'static str, State)> {
        let facts = Facts {
            path: "/var/log/asterisk/security".into(),
            content: Ok(content),
            own: ["172.17.0.1", "fd00:17::1", "127.0.0.1"]
                .map(|own| own.parse().unwrap())
                .into(),
        };
        let checks = judge(&facts, true).into_iter();
        let states = checks.map(|check| (check.name, check.state));
        states.filter(|(_, state)| *state != State::Ok).collect()
    }

    fn of(text: &str) -> Content {
        Content {
            bytes: text.len() as u64,
            ..content(text.as_bytes())
        }
    }

    #[test]
    fn lines_that_match_are_counted() {
        let text = failure(TIME, "203.0.113.7") + "[2026-11-22 18:55:31.000] VERBOSE[9] pbx.c: x\n";
        let content = of(&text);
        assert_eq!((content.lines, content.events, content.unread), (2, 1, 0));
        assert_eq!(states(content), []);
    }

    #[test]
    fn a_dateformat_that_is_not_known_fails() {
        let text = failure("22nd of November", "203.0.113.7").repeat(3);
        assert_eq!(states(of(&text)), [("log-lines", State::Failed)]);
    }

    #[test]
    fn lines_that_are_not_understood_are_told() {
        let line = format!("[{TIME}] SECURITY[28] res_security_log.c: SecurityEvent=\"New\"\n");
        assert_eq!(states(of(&line)), [("log-lines", State::Warning)]);
    }

    #[test_case("172.17.0.1", &[("one-source", State::Warning)]; "a proxy of this machine")]
    #[test_case("127.0.0.1", &[]; "programs of this machine")]
    #[test_case("192.168.1.1", &[("one-source", State::Warning)]; "a router")]
    #[test_case("203.0.113.7", &[]; "one attacker")]
    fn all_events_of_one_address(address: &str, expected: &[(&'static str, State)]) {
        let text = failure(TIME, address).repeat(ENOUGH);
        assert_eq!(states(of(&text)), expected);
    }

    #[test]
    fn callers_of_many_addresses_are_no_router() {
        let mut text = String::new();
        for n in 0..30 {
            let _ = write!(text, "{}", failure(TIME, &format!("192.168.1.{n}")));
        }
        assert_eq!(states(of(&text)), []);
    }

    #[test]
    fn what_nobody_writes_to_is_stale() {
        let old = Content {
            quiet: STALE,
            ..of(&failure(TIME, "203.0.113.7"))
        };
        assert_eq!(states(old), [("log", State::Warning)]);
    }

    #[test]
    fn a_missing_log_fails_and_a_forbidden_one_needs_root() {
        let judged = |kind: io::ErrorKind, is_root| {
            let facts = Facts {
                path: "/x".into(),
                content: Err(kind.into()),
                own: BTreeSet::new(),
            };
            judge(&facts, is_root)[0].state
        };
        assert_eq!(judged(io::ErrorKind::NotFound, true), State::Failed);
        assert_eq!(judged(io::ErrorKind::PermissionDenied, true), State::Failed);
        assert_eq!(
            judged(io::ErrorKind::PermissionDenied, false),
            State::Unknown
        );
    }

    #[test_case(b"ne\ntwo\nthr", true, b"two\n"; "cut at both ends")]
    #[test_case(b"one\ntwo\n", false, b"one\ntwo\n"; "whole")]
    #[test_case(b"one", false, b""; "no end")]
    fn only_whole_lines_are_read(bytes: &[u8], is_cut: bool, expected: &[u8]) {
        assert_eq!(whole_lines(bytes, is_cut), expected);
    }
}
