//! Asterisk's manager interface, where the configuration uses it.

use std::{
    io::{self, Read, Write},
    net::{TcpStream, ToSocketAddrs},
    time::Duration,
};

use sipward_asterisk::ami;
use sipward_engine::escape_at_most;

use super::{Check, State};
use crate::config::Ami;

const PATIENCE: Duration = Duration::from_secs(3);
/// Bytes of an answer at most.
const LARGEST: usize = 16 << 10;
/// Bytes of an answer that are shown.
const SHOWN: usize = 80;

/// What became of a login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Facts {
    /// The configuration names no user.
    NotUsed,
    /// The secret cannot be read.
    NoSecret(String),
    /// Nobody answers there.
    Unreachable(String, String),
    /// Something else answers there.
    NoManager(String, String),
    /// A TLS server answers; the doctor does not log in over TLS.
    Tls(String),
    /// Asterisk refuses the login.
    Refused(String, String),
    /// The login works, and the interface's version.
    Works(String, String),
}

pub(super) fn look(ami: &Ami) -> Facts {
    let Some(user) = &ami.user else {
        return Facts::NotUsed;
    };
    let secret = match ami.secret() {
        Ok(secret) => secret,
        Err(failure) => return Facts::NoSecret(failure.text),
    };
    let at = format!("{}:{}", ami.host, ami.port());
    let stream = match connect(&ami.host, ami.port()) {
        Ok(stream) => stream,
        Err(error) => return Facts::Unreachable(at, error.to_string()),
    };
    if ami.tls {
        return Facts::Tls(at);
    }
    log_in(stream, at, user, &secret)
}

fn connect(host: &str, port: u16) -> io::Result<TcpStream> {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let mut last = io::Error::other("the name has no address");
    for address in (host, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(stream) => {
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.set_write_timeout(Some(PATIENCE))?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn log_in(mut stream: TcpStream, at: String, user: &str, secret: &str) -> Facts {
    let shown = |text: &str| escape_at_most(text.trim().as_bytes(), SHOWN).to_string();
    let greeting = read_until(&mut stream, "\n");
    let Some(version) = greeting.strip_prefix("Asterisk Call Manager/") else {
        return Facts::NoManager(at, shown(&greeting));
    };
    let fields = [("Username", user), ("Secret", secret), ("Events", "off")];
    let answer = ami::action("Login", &fields).ok().and_then(|login| {
        stream.write_all(&login).ok()?;
        Some(read_until(&mut stream, "\r\n\r\n"))
    });
    let answer = answer.unwrap_or_default();
    let field = |name: &str| {
        let value = answer.lines().find_map(|line| line.strip_prefix(name));
        value.map(shown)
    };
    if field("Response:").as_deref() == Some("Success") {
        // Asterisk notices by itself where this does not arrive.
        let _ = stream.write_all(b"Action: Logoff\r\n\r\n");
        return Facts::Works(at, shown(version));
    }
    let why = field("Message:").unwrap_or_else(|| "no answer to the login".to_owned());
    Facts::Refused(at, why)
}

/// Reads up to this end, to the end of the connection or of patience.
fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let mut bytes = Vec::new();
    let mut byte = [0];
    while bytes.len() < LARGEST && !bytes.ends_with(end.as_bytes()) {
        match stream.read(&mut byte) {
            Ok(1..) => bytes.extend(byte),
            Ok(0) | Err(_) => break,
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

pub(super) fn judge(facts: &Facts) -> Check {
    let failed = |found: String, advice: &str| Check::new("ami", State::Failed, found, advice);
    match facts {
        Facts::NotUsed => Check::ok("ami", "not used: [asterisk.ami] names no user"),
        Facts::NoSecret(why) => failed(why.clone(), "write the secret of manager.conf into it"),
        Facts::Unreachable(at, why) => failed(
            format!("nobody answers at {at}: {why}"),
            "manager.conf: [general] enabled = yes; then: asterisk -rx 'manager reload'",
        ),
        Facts::NoManager(at, said) => failed(
            format!("no manager interface at {at}: it says \"{said}\""),
            "[asterisk.ami] host and port, or tls = true",
        ),
        Facts::Tls(at) => Check::ok(
            "ami",
            format!("somebody answers at {at}; not asked over TLS"),
        ),
        Facts::Refused(at, why) => failed(
            format!("Asterisk at {at} refuses the login: {why}"),
            "[asterisk.ami] user, and the secret of that section in manager.conf",
        ),
        Facts::Works(at, version) => {
            Check::ok("ami", format!("the login at {at} works, version {version}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, net::TcpListener, os::unix::fs::PermissionsExt, thread};
    use test_case::test_case;

    /// A login at something that says so at first and then.
    fn login_at(greeting: &'static str, answer: &'static str) -> Facts {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(greeting.as_bytes()).unwrap();
            if !answer.is_empty() {
                let login = read_until(&mut stream, "\r\n\r\n");
                assert!(
                    login.contains("Username: u\r\nSecret: s3cret\r\n"),
                    "{login}"
                );
                stream.write_all(answer.as_bytes()).unwrap();
            }
        });
        let folder = tempfile::tempdir().unwrap();
        let secret = folder.path().join("secret");
        fs::write(&secret, "s3cret\n").unwrap();
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
        let facts = look(&Ami {
            port: Some(port),
            user: Some("u".to_owned()),
            secret_file: Some(secret),
            ..Ami::default()
        });
        server.join().unwrap();
        facts
    }

    const GREETING: &str = "Asterisk Call Manager/5.0.4\r\n";

    #[test_case(GREETING, "Response: Success\r\nMessage: Authentication accepted\r\n\r\n",
        State::Ok, "version 5.0.4"; "accepted")]
    #[test_case(GREETING, "Response: Error\r\nMessage: Authentication failed\r\n\r\n",
        State::Failed, "refuses the login: Authentication failed"; "refused")]
    #[test_case("SSH-2.0-x\x1b[2J\r\n", "", State::Failed, "it says \"SSH-2.0-x\\x1b[2J\""; "something else")]
    fn a_login_is(greeting: &'static str, answer: &'static str, state: State, part: &str) {
        let check = judge(&login_at(greeting, answer));
        assert_eq!(check.state, state, "{check:?}");
        assert!(check.found.contains(part), "{check:?}");
    }

    #[test]
    fn what_is_not_configured_is_not_asked() {
        assert_eq!(look(&Ami::default()), Facts::NotUsed);
        let ami = Ami {
            user: Some("u".to_owned()),
            ..Ami::default()
        };
        assert_eq!(judge(&look(&ami)).state, State::Failed);
    }
}
