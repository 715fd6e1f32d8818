//! Asterisk's side: its configuration, what it logs, and whom it calls.

use std::{
    io,
    path::{Path, PathBuf},
};

use sipward_asterisk::{
    config::{Disk, Files, Kind, Place, Tree},
    logger::{self, Logging},
    peers::{self, Peers},
};
use sipward_engine::escape_at_most;

use super::{Check, State, logs};
use crate::config::{self, Config};

/// Peers that cannot be trusted, of which so many are named.
const SHOWN: usize = 3;
/// What makes Asterisk write a security log.
const SECURITY: &str = "logger.conf, [logfiles]: security => security; then: asterisk -rx 'logger \
                        reload'";

/// `runs`: whether an Asterisk is seen on this machine.
pub(super) fn examine(config: &Config, is_root: bool, runs: bool) -> Vec<Check> {
    let folder = std::path::absolute(&config.asterisk.config_dir)
        .unwrap_or_else(|_| config.asterisk.config_dir.clone());
    let is_default = config.asterisk == config::Asterisk::default();
    let mut checks = Vec::new();
    let mut paths = config.asterisk.logs.clone();
    match readable(&folder) {
        Ok(()) => {
            let mut tree = Tree::new(&Disk, &folder);
            let logging = logger::read(&mut tree);
            checks.push(security_log(&folder, logging.as_ref()));
            if paths.is_empty() {
                paths = logging.as_ref().map(followed).unwrap_or_default();
            }
            let peers = config.allow.asterisk_peers.then(|| peers::read(&mut tree));
            let place = |at: Place| {
                let file = tree.file(at).map(|file| file.shown.clone());
                format!("{}:{}", file.unwrap_or_default(), at.line)
            };
            checks.push(trunks(peers.as_ref(), &place));
        }
        Err(error) => checks.push(no_folder(&folder, &error, is_default && !runs, is_root)),
    }
    for path in paths {
        checks.extend(logs::judge(&logs::look(&path), is_root));
    }
    checks
}

/// Whether the folder can be listed.
fn readable(folder: &Path) -> io::Result<()> {
    std::fs::read_dir(folder)?;
    if Disk.kind(&folder.join("asterisk.conf")) == Kind::Missing
        && Disk.kind(&folder.join("logger.conf")) == Kind::Missing
    {
        return Err(io::Error::new(
            io::ErrorKind::NotFound,
            "neither asterisk.conf nor logger.conf in it",
        ));
    }
    Ok(())
}

/// `is_optional`: nobody has named it, and no Asterisk is seen.
fn no_folder(folder: &Path, error: &io::Error, is_optional: bool, is_root: bool) -> Check {
    let found = format!("{}: {error}", folder.display());
    if error.kind() == io::ErrorKind::PermissionDenied && !is_root {
        return Check::needs_root("asterisk", &found);
    }
    if error.kind() == io::ErrorKind::NotFound && is_optional {
        let found = format!("no Asterisk here, as it seems ({found})");
        return Check::ok("asterisk", found);
    }
    let found = format!("{found}: whom Asterisk calls, and where it logs, is not known");
    let advice = "name the folder of its asterisk.conf: [asterisk] config-dir";
    Check::new("asterisk", State::Failed, found, advice)
}

/// Files of which lines can be read: with failures in them, and not as JSON.
fn followed(logging: &Logging) -> Vec<PathBuf> {
    let levels = ["security", "notice", "warning"];
    let files = logging
        .files
        .iter()
        .filter(|file| !file.json && levels.iter().any(|level| file.has(level)));
    files.map(|file| file.path.clone()).collect()
}

fn security_log(folder: &Path, logging: Option<&Logging>) -> Check {
    let Some(logging) = logging else {
        let found = format!("no logger.conf in {}", folder.display());
        return Check::new("security-log", State::Warning, found, SECURITY);
    };
    let mut files = logging.files.iter().filter(|file| file.has("security"));
    match files.clone().find(|file| !file.json) {
        Some(file) => {
            let path = escape_at_most(file.path.as_os_str().as_encoded_bytes(), 200);
            Check::ok("security-log", format!("security is written to {path}"))
        }
        None if files.next().is_some() => {
            let found = "security is written as JSON only, which is not read";
            Check::new("security-log", State::Warning, found, SECURITY)
        }
        None => {
            let found = "no file has the level security: logins over TLS, WebSocket and IAX2 that \
                         fail are not seen";
            Check::new("security-log", State::Warning, found, SECURITY)
        }
    }
}

/// `peers`: `None` where the configuration does not want them.
fn trunks(peers: Option<&Peers>, place: &dyn Fn(Place) -> String) -> Check {
    let Some(peers) = peers else {
        return Check::ok(
            "peers",
            "[allow] asterisk-peers = false: none of them is trusted",
        );
    };
    let (addresses, names) = (peers.prefixes.len(), peers.names.len());
    let found = format!(
        "never banned: {addresses} addresses or prefixes and {names} names of Asterisk's configuration"
    );
    if peers.refused.is_empty() {
        return Check::ok("peers", found);
    }
    let shown: Vec<String> = peers
        .refused
        .iter()
        .take(SHOWN)
        .map(|refused| {
            let value = escape_at_most(refused.value.as_bytes(), 80);
            format!("{}={value} ({})", refused.at.option, place(refused.at.at))
        })
        .collect();
    let more = match peers.refused.len().saturating_sub(SHOWN) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let found = format!("{found}; not {}{more}", shown.join(", "));
    let why = peers.refused.first().map(|first| first.why.to_string());
    Check::new("peers", State::Warning, found, why.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use sipward_asterisk::config::Memory;
    use test_case::test_case;

    const ROOT: &str = Memory::ROOT;

    #[test_case("[logfiles]\nsecurity => security\n", State::Ok; "a file")]
    #[test_case("[logfiles]\nfull => *\n", State::Ok; "a file of all levels")]
    #[test_case("[logfiles]\nmessages => notice,warning\n", State::Warning; "off")]
    #[test_case("[logfiles]\nconsole => security\n", State::Warning; "on the console only")]
    #[test_case("[logfiles]\njson => [json]security\n", State::Warning; "as JSON")]
    fn the_security_log_is(logger: &str, expected: State) {
        let files = Memory::with([("logger.conf", logger)]);
        let logging = logger::read(&mut Tree::new(&files, Path::new(ROOT)));
        assert_eq!(
            security_log(Path::new(ROOT), logging.as_ref()).state,
            expected
        );
    }

    #[test]
    fn logs_with_failures_are_followed() {
        let logger = "[logfiles]\ndebug => debug\nmessages => notice\nsecurity => security\n\
                      machines => [json]security\n";
        let files = Memory::with([("logger.conf", logger)]);
        let logging = logger::read(&mut Tree::new(&files, Path::new(ROOT))).unwrap();
        let expected =
            ["messages", "security"].map(|it| PathBuf::from("/var/log/asterisk").join(it));
        assert_eq!(followed(&logging), expected);
    }

    #[test]
    fn peers_that_would_open_the_gate_are_told_with_their_place() {
        let sip = "[trunk]\nhost=198.51.100.77\n[all]\nhost=0.0.0.0/0\n";
        let files = Memory::with([("sip.conf", sip)]);
        let mut tree = Tree::new(&files, Path::new(ROOT));
        let peers = peers::read(&mut tree);
        let check = trunks(Some(&peers), &|at| {
            format!("{}:{}", tree.file(at).unwrap().shown, at.line)
        });
        assert_eq!(check.state, State::Warning);
        assert!(check.found.contains("1 addresses"), "{check:?}");
        assert!(
            check.found.ends_with("not host=0.0.0.0/0 (sip.conf:4)"),
            "{check:?}"
        );
    }

    #[test]
    fn a_missing_folder_fails_only_where_somebody_named_it_or_asterisk_runs() {
        let missing = io::Error::from(io::ErrorKind::NotFound);
        let state = |error: &io::Error, optional, root| {
            no_folder(Path::new("/x"), error, optional, root).state
        };
        assert_eq!(state(&missing, true, true), State::Ok);
        assert_eq!(state(&missing, false, true), State::Failed);
        let denied = io::Error::from(io::ErrorKind::PermissionDenied);
        assert_eq!(state(&denied, true, false), State::Unknown);
        assert_eq!(state(&denied, true, true), State::Failed);
    }
}
