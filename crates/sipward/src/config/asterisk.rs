//! `[asterisk]`: where the Asterisk of this machine keeps its configuration and its logs, and how
//! its manager interface is reached.

use std::{
    fs,
    io::{self, Read as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use sipward_engine::escape_at_most;

use super::{Config, Problem};
use crate::{address::is_name, exit::Failure, sensors::ConnectionPorts};

/// Longest line of a secret file in bytes. Asterisk cuts its own lines at 8 KB; nobody's secret
/// comes near.
const LONGEST_SECRET: usize = 1_024;

/// Where Asterisk's manager interface is, without TLS and with it, by default.
const MANAGER: [u16; 2] = [5_038, 5_039];

/// `[asterisk]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Asterisk {
    /// The folder of `asterisk.conf`'s friends: `sip.conf`, `pjsip.conf`, `logger.conf`.
    pub config_dir: PathBuf,
    /// Logs to follow; empty means those that `logger.conf` names, and those that its samples name
    /// in `/var/log/asterisk`.
    pub logs: Vec<PathBuf>,
    /// The manager interface.
    pub ami: Ami,
}

/// `[asterisk.ami]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Ami {
    /// A name or an address.
    pub host: String,
    /// The port; where absent, Asterisk's own.
    pub port: Option<u16>,
    /// The user of `manager.conf`; none: the manager interface is not used.
    pub user: Option<String>,
    /// The file whose first line is the secret.
    pub secret_file: Option<PathBuf>,
    /// Over TLS.
    pub tls: bool,
    /// Certificates in PEM: Asterisk's own, or of whoever signed it.
    pub ca_file: Option<PathBuf>,
}

impl Default for Asterisk {
    fn default() -> Self {
        Self {
            config_dir: PathBuf::from("/etc/asterisk"),
            logs: Vec::new(),
            ami: Ami::default(),
        }
    }
}

impl Default for Ami {
    fn default() -> Self {
        Self {
            host: "127.0.0.1".to_owned(),
            port: None,
            user: None,
            secret_file: None,
            tls: false,
            ca_file: None,
        }
    }
}

impl Asterisk {
    /// Takes paths that do not begin with `/` from a folder.
    pub(super) fn resolve(&mut self, folder: &Path) {
        let ami = &mut self.ami;
        let paths = [&mut self.config_dir].into_iter().chain(&mut self.logs);
        for path in paths.chain(&mut ami.secret_file).chain(&mut ami.ca_file) {
            *path = folder.join(&*path);
        }
    }

    pub(super) fn check(&self, problems: &mut Vec<Problem>) {
        if self.config_dir.as_os_str().is_empty() {
            problems.push(Problem::new(
                "asterisk.config-dir",
                "empty: as \"/etc/asterisk\"",
            ));
        }
        if self.logs.iter().any(|log| log.as_os_str().is_empty()) {
            problems.push(Problem::new(
                "asterisk.logs",
                "a path is empty: as [\"/var/log/asterisk/security\"], or [] to have them found",
            ));
        }
        self.ami.check(problems);
    }
}

impl Ami {
    /// The port asked for, else Asterisk's own: 5039 over TLS, 5038 without.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port.unwrap_or(if self.tls { 5_039 } else { 5_038 })
    }

    /// The secret: the first line of its file.
    ///
    /// # Errors
    /// Exit code 78 where the file is missing, cannot be read, can be read by everybody, or has no
    /// secret in it.
    pub fn secret(&self) -> Result<String, Failure> {
        let path = self.secret_file.as_deref();
        let path = path.ok_or_else(|| {
            Failure::config(
                "asterisk.ami.secret-file is not set: it names the file with the secret",
            )
        })?;
        read_secret(path).map_err(|why| {
            Failure::config(format!(
                "asterisk.ami.secret-file: {}: {why}",
                path.display()
            ))
        })
    }

    fn check(&self, problems: &mut Vec<Problem>) {
        let mut problem = |key: &str, message: String| {
            problems.push(Problem::new(format!("asterisk.ami.{key}"), message));
        };
        let bare = self.host.trim_start_matches('[').trim_end_matches(']');
        if !is_name(&self.host) && bare.parse::<std::net::IpAddr>().is_err() {
            let host = escape_at_most(self.host.as_bytes(), 80);
            problem(
                "host",
                format!("\"{host}\" is neither a name nor an address: as \"127.0.0.1\""),
            );
        }
        if self.port == Some(0) {
            problem("port", "0 is no port: 1 to 65535".to_owned());
        }
        let Some(user) = &self.user else {
            if self.secret_file.is_some() {
                let text =
                    "without asterisk.ami.user nobody logs in: name the user of manager.conf";
                problem("secret-file", text.to_owned());
            }
            return;
        };
        if user.is_empty() || user.chars().any(char::is_control) {
            problem(
                "user",
                "the name of a section in manager.conf, on one line".to_owned(),
            );
        }
        if self.secret_file.is_none() {
            problem(
                "user",
                "asterisk.ami.secret-file is missing: the file whose first line is the secret"
                    .to_owned(),
            );
        }
        if self.tls && self.ca_file.is_none() {
            let text =
                "asterisk.ami.ca-file is missing: Asterisk's certificate, or that of its signer";
            problem("tls", text.to_owned());
        }
        if !self.tls && self.ca_file.is_some() {
            problem("ca-file", "only with asterisk.ami.tls = true".to_owned());
        }
    }
}

fn read_secret(path: &Path) -> Result<String, String> {
    let unreadable = |error: io::Error| format!("cannot read the secret: {error}");
    let mut file = fs::File::open(path).map_err(unreadable)?;
    let about = file.metadata().map_err(unreadable)?;
    if !about.is_file() {
        return Err("not a file with a secret".to_owned());
    }
    let mode = about.permissions().mode() & 0o7777;
    if mode & 0o007 != 0 {
        return Err(format!(
            "everybody may read or write it (mode {mode:04o}): chmod 600 {}",
            path.display()
        ));
    }
    let mut bytes = Vec::new();
    let most = LONGEST_SECRET as u64 + 2;
    file.by_ref()
        .take(most)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or(&bytes);
    let secret = line.strip_suffix(b"\r").unwrap_or(line);
    if secret.is_empty() {
        return Err("its first line is empty: it must be the secret of manager.conf".to_owned());
    }
    if secret.len() > LONGEST_SECRET {
        return Err(format!("the secret is longer than {LONGEST_SECRET} bytes"));
    }
    if secret.iter().any(u8::is_ascii_control) {
        return Err("control characters in the secret: it must be one line of text".to_owned());
    }
    String::from_utf8(secret.to_vec()).map_err(|_| "the secret is not UTF-8".to_owned())
}

impl Config {
    /// Where words cannot be read, so that what a log says of them needs a connection that was
    /// seen.
    #[must_use]
    pub fn connection_ports(&self) -> ConnectionPorts {
        ConnectionPorts {
            tls: self.ports.sip_tls.clone(),
            websocket: self.ports.sip_ws.clone(),
            manager: [&MANAGER[..], &[self.asterisk.ami.port()]].concat(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Ami;
    use std::{fs, os::unix::fs::PermissionsExt as _};
    use test_case::test_case;

    fn secret(content: &[u8], mode: u32) -> Result<String, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let ami = Ami {
            secret_file: Some(path),
            ..Ami::default()
        };
        ami.secret().map_err(|failure| failure.text)
    }

    #[test_case(b"topsecret\n", 0o600, "topsecret"; "one line")]
    #[test_case(b"topsecret", 0o640, "topsecret"; "no line end, and a group")]
    #[test_case(b"top secret \r\nand a remark\n", 0o400, "top secret "; "blanks are of the secret, a second line is not")]
    fn the_first_line_is_the_secret(content: &[u8], mode: u32, expected: &str) {
        assert_eq!(secret(content, mode).as_deref(), Ok(expected));
    }

    #[test_case(b"s\n", 0o604, "everybody may read or write it (mode 0604): chmod 600 "; "everybody reads")]
    #[test_case(b"s\n", 0o602, "everybody may read or write it (mode 0602)"; "everybody writes")]
    #[test_case(b"\nsecret\n", 0o600, "its first line is empty"; "an empty line")]
    #[test_case(b"", 0o600, "its first line is empty"; "an empty file")]
    #[test_case(b"a\tb\n", 0o600, "control characters"; "a tab")]
    #[test_case(b"\xff\n", 0o600, "not UTF-8"; "no text")]
    #[test_case(&[b'a'; 5_000], 0o600, "longer than 1024 bytes"; "another file")]
    fn what_is_no_secret_is_refused(content: &[u8], mode: u32, part: &str) {
        let error = secret(content, mode).unwrap_err();
        assert!(error.contains(part), "{error}");
        assert!(!error.contains('\n'));
    }

    #[test]
    fn a_missing_secret_is_named() {
        let ami = Ami {
            secret_file: Some("/nonexistent/secret".into()),
            ..Ami::default()
        };
        let error = ami.secret().unwrap_err().text;
        assert!(
            error.starts_with("asterisk.ami.secret-file: /nonexistent/secret: cannot read"),
            "{error}"
        );
    }

    #[test]
    fn the_port_follows_tls() {
        let ami = |tls, port| Ami {
            tls,
            port,
            ..Ami::default()
        };
        assert_eq!(ami(false, None).port(), 5038);
        assert_eq!(ami(true, None).port(), 5039);
        assert_eq!(ami(true, Some(7)).port(), 7);
    }
}
