//! How long sshd lets a connection be on which nobody logs in. Who stays for longer than `login-grace` of
//! `[limits.ssh]` is taken for logged in: no limit for his connections, and never banned. That holds for
//! connections to its `ports`, so those are to be sshd's.

use std::{collections::BTreeSet, fs, io, net::IpAddr, path::Path};

use sipward_asterisk::config::{Disk, expand};

use super::{Check, State, programs, programs::Trouble};
use crate::config::SshLimit;

const NAME: &str = "ssh";
/// By its whole name, without which it does not start.
const SSHD: &str = "/usr/sbin/sshd";
const FOLDER: &str = "/etc/ssh";
/// LoginGraceTime where nothing says another, in seconds (sshd_config(5)).
const DEFAULT: u64 = 120;
/// Files that include each other, at most, as in sshd.
const DEEPEST: usize = 16;
/// From here on a `login-grace` is meant for servers that wait for ever.
const DAY: u64 = 86_400;

/// LoginGraceTime.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Grace {
    /// In seconds; 0 has no end.
    Seconds(u64),
    /// Neither sshd nor its configuration is there.
    NoSshd,
    /// Why it is not known.
    Unread(String),
}

/// What is told of sshd.
#[derive(Debug)]
pub(super) struct Facts {
    grace: Grace,
    /// Where strangers reach it, as far as it says so itself.
    ports: BTreeSet<u16>,
}

impl Facts {
    /// What sshd says, which takes root, else what its configuration does.
    pub(super) fn look() -> Self {
        let said = programs::run(SSHD, &["-T"]);
        let dump = said.as_deref().unwrap_or_default();
        let grace = in_dump(dump).map_or_else(
            || Grace::configured(said == Err(Trouble::Missing)),
            Grace::Seconds,
        );
        Self {
            grace,
            ports: ports_in_dump(dump),
        }
    }
}

impl Grace {
    fn configured(is_missing: bool) -> Self {
        let folder = Path::new(FOLDER);
        match configured(&folder.join("sshd_config"), folder, 0) {
            Ok(found) => Self::Seconds(found.unwrap_or(DEFAULT)),
            Err(_) if is_missing => Self::NoSshd,
            Err(error) => Self::Unread(error.to_string()),
        }
    }
}

/// Of what `sshd -T` prints: `logingracetime 120`.
fn in_dump(said: &str) -> Option<u64> {
    let grace = |line: &str| seconds(line.strip_prefix("logingracetime ")?);
    said.lines().find_map(grace)
}

/// Of the same: `listenaddress 0.0.0.0:22`, `listenaddress [::]:22 rdomain red`. Its `port 22` is there
/// also where every address has another one.
fn ports_in_dump(said: &str) -> BTreeSet<u16> {
    let port = |line: &str| {
        let end = line
            .strip_prefix("listenaddress ")?
            .split_whitespace()
            .next()?;
        let (address, port) = end.rsplit_once(':')?;
        let address = address.trim_matches(['[', ']']).parse::<IpAddr>();
        let is_loopback = address.is_ok_and(|address| address.is_loopback());
        port.parse().ok().filter(|_| !is_loopback)
    };
    said.lines().filter_map(port).collect()
}

/// What this file and those that it includes say first: that counts.
fn configured(file: &Path, folder: &Path, depth: usize) -> io::Result<Option<u64>> {
    let unread = |error: io::Error| {
        let text = format!("{} cannot be read: {error}", file.display());
        io::Error::new(error.kind(), text)
    };
    let text = fs::read_to_string(file).map_err(unread)?;
    for line in text.lines() {
        let (keyword, value) = keyword(line);
        match keyword.to_ascii_lowercase().as_str() {
            "logingracetime" => {
                if let Some(found) = value.split_whitespace().next().and_then(seconds) {
                    return Ok(Some(found));
                }
            }
            "include" if depth < DEEPEST => {
                for pattern in value.split_whitespace() {
                    let pattern = folder.join(pattern.trim_matches('"'));
                    for included in expand(&Disk, &pattern.to_string_lossy()) {
                        match configured(&included, folder, depth + 1) {
                            Ok(None) => {}
                            // sshd passes over it.
                            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                            ended => return ended,
                        }
                    }
                }
            }
            // What follows is for some connections only, and may not be a LoginGraceTime.
            "match" => break,
            _ => {}
        }
    }
    Ok(None)
}

/// `Keyword value`, `Keyword=value`, `Keyword = value`; a comment is no keyword.
fn keyword(line: &str) -> (&str, &str) {
    let line = line.trim();
    let end = line.find(|c: char| c.is_whitespace() || c == '=');
    let (keyword, rest) = line.split_at(end.unwrap_or(line.len()));
    let rest = rest.trim_start();
    (keyword, rest.strip_prefix('=').unwrap_or(rest))
}

/// `120`, `2m`, `1h30m` (sshd_config(5), TIME FORMATS).
fn seconds(text: &str) -> Option<u64> {
    let mut rest = text.trim().trim_matches('"');
    let mut all = 0_u64;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit());
        let (number, unit) = rest.split_at(digits.unwrap_or(rest.len()));
        let mut unit = unit.chars();
        let length = match unit.next().map(|unit| unit.to_ascii_lowercase()) {
            None | Some('s') => 1,
            Some('m') => 60,
            Some('h') => 3_600,
            Some('d') => DAY,
            Some('w') => 7 * DAY,
            Some(_) => return None,
        };
        let part = number.parse::<u64>().ok()?.checked_mul(length)?;
        all = all.checked_add(part)?;
        rest = unit.as_str();
    }
    Some(all)
}

/// `listens`: strangers reach somebody at one of the ports of `limit`.
pub(super) fn judge(facts: &Facts, limit: &SshLimit, listens: bool, is_root: bool) -> Vec<Check> {
    let grace = judge_grace(&facts.grace, limit, listens, is_root);
    [grace]
        .into_iter()
        .chain(judge_ports(&facts.ports, limit))
        .collect()
}

/// Where sshd listens and nobody looks who is logged in.
fn judge_ports(listens: &BTreeSet<u16>, limit: &SshLimit) -> Option<Check> {
    let named: BTreeSet<u16> = limit.ports.iter().copied().collect();
    let unnamed: Vec<u16> = listens.difference(&named).copied().collect();
    if unnamed.is_empty() {
        return None;
    }
    let all: Vec<u16> = listens.union(&named).copied().collect();
    Some(Check::new(
        NAME,
        State::Warning,
        format!(
            "sshd listens at {}, where connections are not limited, and who is logged in may be banned",
            port_list(&unnamed)
        ),
        format!("[limits.ssh] ports = {all:?}"),
    ))
}

/// `port 22`, `port 22, 2222`, `no port`.
fn port_list(ports: &[u16]) -> String {
    if ports.is_empty() {
        return "no port".to_owned();
    }
    let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
    format!("port {}", ports.join(", "))
}

fn judge_grace(grace: &Grace, limit: &SshLimit, listens: bool, is_root: bool) -> Check {
    let counts = format!(
        "who stays connected to {} for {} counts as logged in, and is neither limited nor banned",
        port_list(&limit.ports),
        limit.login_grace
    );
    let believed = limit.login_grace.duration().as_secs();
    let warning = |found: String, advice: String| Check::new(NAME, State::Warning, found, advice);
    match grace {
        Grace::Seconds(0) if believed < DAY => warning(
            format!("sshd waits for a login for ever (LoginGraceTime 0), but {counts}"),
            "LoginGraceTime 2m in sshd_config; or [limits.ssh] login-grace = \"10d\"".to_owned(),
        ),
        Grace::Seconds(waits) if *waits > believed => warning(
            format!("sshd waits for a login for {waits} s (LoginGraceTime), but {counts}"),
            format!("[limits.ssh] login-grace = \"{waits}s\""),
        ),
        Grace::Seconds(0) => Check::ok(
            NAME,
            format!("sshd waits for a login for ever (LoginGraceTime 0); {counts}"),
        ),
        Grace::Seconds(waits) => Check::ok(
            NAME,
            format!("sshd waits for a login for {waits} s; {counts}"),
        ),
        Grace::NoSshd if listens => Check::new(
            NAME,
            State::Unknown,
            format!("another server than sshd listens at a port of SSH, and {counts}"),
            "[limits.ssh] login-grace: as long as it waits for a login; \"10d\" where for ever",
        ),
        Grace::NoSshd => Check::ok(NAME, "no SSH server"),
        Grace::Unread(why) if is_root => Check::new(
            NAME,
            State::Unknown,
            format!("how long sshd waits for a login is not known: {why}"),
            "sshd -T",
        ),
        Grace::Unread(why) => Check::needs_root(NAME, why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::span::Span;
    use tempfile::TempDir;
    use test_case::test_case;

    #[test_case("120", Some(120))]
    #[test_case("0", Some(0))]
    #[test_case("2m", Some(120))]
    #[test_case("\"1H30m\"", Some(5_400))]
    #[test_case("1w", Some(604_800))]
    #[test_case("", None; "nothing")]
    #[test_case("never", None; "a word")]
    #[test_case("2x", None; "no unit")]
    fn a_time_of_sshd_is_read(text: &str, expected: Option<u64>) {
        assert_eq!(seconds(text), expected);
    }

    #[test]
    fn what_sshd_prints_is_read() {
        let said = "port 22\nlogingracetime 90\nx11displayoffset 10\n";
        assert_eq!(in_dump(said), Some(90));
        assert_eq!(in_dump("port 22\n"), None);
    }

    #[test_case("port 22\nlistenaddress [::]:22\nlistenaddress 0.0.0.0:22\n", &[]; "the usual one")]
    #[test_case("port 2222\nlistenaddress [::]:2222\nlistenaddress 0.0.0.0:2222\n", &[2222]; "another one")]
    #[test_case("port 22\nlistenaddress 192.0.2.1:2222\n", &[2222]; "another one of an address")]
    #[test_case("port 22\nport 2222\nport 443\nlistenaddress [::]:22\nlistenaddress [::]:2222\n\
        listenaddress 0.0.0.0:443\n", &[443, 2222]; "several")]
    #[test_case("listenaddress [2001:db8::1]:2222 rdomain red\n", &[2222]; "a routing domain")]
    #[test_case("listenaddress [fe80::1%eth0]:2222\n", &[2222]; "a link")]
    #[test_case("listenaddress 127.0.0.1:2222\nlistenaddress [::1]:2222\n", &[]; "loopback")]
    #[test_case("", &[]; "nothing said")]
    fn a_port_of_sshd_that_is_not_watched_is_told(said: &str, unwatched: &[u16]) {
        let facts = Facts {
            grace: Grace::Seconds(120),
            ports: ports_in_dump(said),
        };
        let limit = SshLimit::default();
        let checks = judge(&facts, &limit, true, true);
        assert_eq!(checks[0].state, State::Ok);
        assert!(checks[0].found.contains("connected to port 22 for 2m"));
        let Some(told) = checks.get(1) else {
            assert!(unwatched.is_empty());
            return;
        };
        assert_eq!((checks.len(), told.state), (2, State::Warning));
        let part = format!("at {}, where", port_list(unwatched));
        assert!(told.found.contains(&part), "{told:?}");
        let mut all = unwatched.to_vec();
        all.push(22);
        all.sort_unstable();
        let advice = format!("[limits.ssh] ports = {all:?}");
        assert_eq!(told.advice.as_ref(), Some(&advice));
        let mended = SshLimit {
            ports: all,
            ..limit
        };
        assert_eq!(judge(&facts, &mended, true, true).len(), 1);
    }

    /// The configuration, and files in a folder that it may include.
    fn read(main: &str, included: &[(&str, &str)]) -> io::Result<Option<u64>> {
        let folder = TempDir::new().unwrap();
        fs::create_dir(folder.path().join("d")).unwrap();
        for (name, text) in included {
            fs::write(folder.path().join("d").join(name), text).unwrap();
        }
        let file = folder.path().join("sshd_config");
        fs::write(
            &file,
            main.replace("HERE", &folder.path().display().to_string()),
        )
        .unwrap();
        configured(&file, folder.path(), 0)
    }

    #[test_case("Port 22\n", None; "nothing")]
    #[test_case("#LoginGraceTime 1m\nLoginGraceTime 2m\n", Some(120); "a comment")]
    #[test_case("  logingracetime=30\n", Some(30); "another case and an equals sign")]
    #[test_case("LoginGraceTime = 30\nLoginGraceTime 60", Some(30); "the first counts")]
    #[test_case("Include d/*.conf\nLoginGraceTime 60\n", Some(0); "included first")]
    #[test_case("LoginGraceTime 60\nInclude d/*.conf\n", Some(60); "included too late")]
    #[test_case("Include HERE/d/z.conf HERE/d/a.conf\n", Some(600); "by their whole names")]
    #[test_case("Include d/none*\nLoginGraceTime 60\n", Some(60); "nothing to include")]
    #[test_case("Include d/none\nLoginGraceTime 60\n", Some(60); "a file that is not there")]
    #[test_case("Match User git\nInclude d/*.conf\n", None; "for some connections only")]
    #[test_case("Include d/match\nLoginGraceTime 60\n", Some(60); "an included file has its own Match")]
    #[test_case("Include d/loop\nLoginGraceTime 60\n", Some(60); "that includes itself")]
    fn a_configuration_says(main: &str, expected: Option<u64>) {
        let included = [
            ("a.conf", "LoginGraceTime 0\n"),
            ("z.conf", "LoginGraceTime 10m\n"),
            ("match", "Match all\nLoginGraceTime 1\n"),
            ("loop", "Include d/loop\n"),
        ];
        assert_eq!(read(main, &included).unwrap(), expected);
    }

    #[test]
    fn what_cannot_be_read_is_told_by_its_name() {
        let error = read("Include d\n", &[]).unwrap_err().to_string();
        assert!(error.contains("/d cannot be read: "), "{error}");
    }

    #[test_case(Grace::Seconds(120), 120, State::Ok, "120 s")]
    #[test_case(Grace::Seconds(121), 120, State::Warning, "login-grace = \"121s\""; "longer")]
    #[test_case(Grace::Seconds(0), 120, State::Warning, "login-grace = \"10d\""; "for ever")]
    #[test_case(Grace::Seconds(0), 864_000, State::Ok, "for ever"; "for ever and provided for")]
    #[test_case(Grace::NoSshd, 120, State::Unknown, "another server"; "another server")]
    #[test_case(Grace::Unread("x cannot be read".to_owned()), 120, State::Unknown, "x cannot"; "unread")]
    fn a_grace_is(grace: Grace, believed: u64, state: State, part: &str) {
        let limit = SshLimit {
            login_grace: Span::of_seconds(believed),
            ..SshLimit::default()
        };
        let check = judge_grace(&grace, &limit, true, true);
        assert_eq!(check.state, state, "{check:?}");
        let said = format!("{} {}", check.found, check.advice.unwrap_or_default());
        assert!(said.contains(part), "{said}");
    }

    #[test]
    fn where_nobody_listens_nothing_is_to_do() {
        let limit = SshLimit::default();
        let check = judge_grace(&Grace::NoSshd, &limit, false, true);
        assert_eq!(check.state, State::Ok);
    }
}
