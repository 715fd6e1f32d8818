//! A real Asterisk 16 in a namespace: both SIP drivers, its own directories, no DNS.
//!
//! The program comes from the cache that `tools/install-test-deps` fills. Any number can run side
//! by side: each has a mount namespace in which its own folder lies over the cached root's `/srv`.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::lab::{PBX, PBX_V6};
use crate::namespace::Namespace;
use crate::process::{Process, read_lossy, wait_until};
use crate::require::asterisk_root;
use crate::user_agent::Transport;

mod config;

pub use config::make_certificate;

/// Asterisk's console socket below its folder.
const CONSOLE: &str = "run/asterisk.ctl";

/// The extension whose password is a number that a guesser finds.
pub const WEAK_EXTENSION: u16 = 100;
/// Its password: after the fewest of SIPVicious's default numbers (100 to 999) that still tell
/// "tried some" from "found at once".
pub const WEAK_PASSWORD: &str = "145";
/// The extension that answers and plays back what it hears.
pub const ECHO_EXTENSION: &str = "600";
/// User name of the manager interface on 127.0.0.1:5038.
pub const MANAGER_USER: &str = "tester";
/// Its secret.
pub const MANAGER_SECRET: &str = "tester-secret";

/// Ports of Asterisk's HTTP server, plain and in TLS.
const WS_PORT: u16 = 8088;
const WSS_PORT: u16 = 8089;

/// The SIP drivers of Asterisk 16.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Driver {
    /// `chan_sip`, the driver of the guides until Asterisk 20.
    ChanSip,
    /// `chan_pjsip`.
    Pjsip,
}

impl Driver {
    /// Where it listens by default, in a [`Lab`](crate::lab::Lab).
    #[must_use]
    pub fn address(self) -> SocketAddr {
        let port = match self {
            Self::ChanSip => 5060,
            Self::Pjsip => 5062,
        };
        SocketAddr::new(PBX.parse().expect("an address"), port)
    }

    /// Where it listens for this transport, in an Asterisk that has it.
    #[must_use]
    pub fn address_over(self, transport: Transport) -> SocketAddr {
        let mut address = self.address();
        address.set_port(match transport {
            Transport::Udp | Transport::Tcp => address.port(),
            Transport::Tls => address.port() + 1,
            Transport::Ws => WS_PORT,
            Transport::Wss => WSS_PORT,
        });
        address
    }

    /// The same over IPv6.
    #[must_use]
    pub fn address_v6(self) -> SocketAddr {
        SocketAddr::new(PBX_V6.parse().expect("an address"), self.address().port())
    }
}

/// Who may call without a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guests {
    /// Nobody: every request without credentials is challenged.
    Refused,
    /// Everybody: the dialplan notes the headers of each INVITE as its driver read them
    /// ([`crate::headers`]) and hangs up.
    Noted,
}

/// What an Asterisk shall be.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Port of chan_sip, UDP and TCP, IPv4 and IPv6.
    pub chan_sip_port: u16,
    /// Ports of PJSIP, UDP and TCP, IPv4 and IPv6.
    pub pjsip_ports: Vec<u16>,
    /// Extensions with a password ([`Asterisk::password`]), the same in both drivers.
    pub extensions: Option<RangeInclusive<u16>>,
    /// Who may call without one.
    pub guests: Guests,
    /// TLS for both drivers, and for this one WebSocket with and without TLS. Only one can have
    /// it: both want the subprotocol `sip` of Asterisk's HTTP server.
    pub tls_and_web_socket: Option<Driver>,
    /// Text appended to configuration files, by file name; what is not there is made. A chan_sip
    /// option goes behind a `[general](+)` line.
    pub appended: BTreeMap<&'static str, String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            chan_sip_port: Driver::ChanSip.address().port(),
            pjsip_ports: vec![Driver::Pjsip.address().port()],
            extensions: Some(100..=199),
            guests: Guests::Refused,
            tls_and_web_socket: None,
            appended: BTreeMap::new(),
        }
    }
}

/// A running Asterisk, killed when dropped.
#[derive(Debug)]
pub struct Asterisk {
    process: Process,
    folder: TempDir,
}

impl Asterisk {
    /// Starts one and waits until it is ready.
    ///
    /// # Errors
    /// If it is not in the cache, or not ready after 60 s; with the end of its output.
    pub fn start(namespace: &Namespace, settings: &Settings) -> Result<Self> {
        let folder = TempDir::new()?;
        config::write(folder.path(), settings)?;
        let process = run(namespace, folder.path())?;
        Ok(Self { process, folder })
    }

    /// The password of an extension.
    #[must_use]
    pub fn password(extension: u16) -> String {
        if extension == WEAK_EXTENSION {
            WEAK_PASSWORD.to_owned()
        } else {
            format!("Strong-{extension}-Secret")
        }
    }

    /// Runs a command of its command line and returns what that prints.
    ///
    /// # Errors
    /// If Asterisk does not listen.
    pub fn cli(&self, command: &str) -> Result<String> {
        console(&self.folder.path().join(CONSOLE), command)
    }

    /// A log file as it is now: `messages`, `security`, `full`.
    #[must_use]
    pub fn log(&self, name: &str) -> String {
        read_lossy(&self.log_path(name))
    }

    /// What a log file has from this byte on.
    #[must_use]
    pub fn log_from(&self, name: &str, start: u64) -> String {
        let mut bytes = Vec::new();
        // Not there yet is empty.
        if let Ok(mut file) = File::open(self.log_path(name)) {
            let _ = file
                .seek(SeekFrom::Start(start))
                .and_then(|_| file.read_to_end(&mut bytes));
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Where a log file is, for programs that follow it.
    #[must_use]
    pub fn log_path(&self, name: &str) -> PathBuf {
        self.folder.path().join("log").join(name)
    }

    /// The certificate that it shows, in PEM.
    ///
    /// # Errors
    /// If it speaks no TLS.
    pub fn certificate(&self) -> Result<String> {
        let path = self.config_folder().join(config::CERTIFICATE);
        fs::read_to_string(path).context("the certificate of an Asterisk without TLS")
    }

    /// Its configuration folder (`sip.conf` and the others). After a change: `cli("reload")`.
    #[must_use]
    pub fn config_folder(&self) -> PathBuf {
        self.folder.path().join("etc")
    }

    /// Waits until a log file fulfils the condition.
    ///
    /// # Errors
    /// After `timeout`.
    pub fn wait_for_log(
        &self,
        name: &str,
        timeout: Duration,
        condition: impl Fn(&str) -> bool,
    ) -> Result<()> {
        wait_until(&format!("a line in {name}"), timeout, || {
            condition(&self.log(name))
        })
    }

    /// The extensions that are registered with this driver, with their addresses.
    ///
    /// # Errors
    /// If Asterisk does not answer.
    pub fn registered(&self, driver: Driver) -> Result<Vec<String>> {
        let (command, mark) = match driver {
            Driver::ChanSip => ("database show SIP/Registry", "/SIP/Registry/"),
            Driver::Pjsip => ("database show registrar/contact", "/registrar/contact/"),
        };
        let output = self.cli(command)?;
        Ok(output
            .lines()
            .filter_map(|line| Some(line.split_once(mark)?.1.to_owned()))
            .collect())
    }

    /// Ends it in an orderly way and returns the folder of its logs.
    ///
    /// # Errors
    /// If it has not ended after 20 s; then it is killed.
    pub fn stop(mut self) -> Result<TempDir> {
        self.process.signal(Signal::SIGTERM);
        self.process.wait(Duration::from_secs(20))?;
        Ok(self.folder)
    }

    /// Ends it in an orderly way and starts it anew with the same folder: its logs go on.
    ///
    /// # Errors
    /// If it has not ended after 20 s, or as [`Asterisk::start`].
    pub fn restart(&mut self, namespace: &Namespace) -> Result<()> {
        self.process.signal(Signal::SIGTERM);
        self.process.wait(Duration::from_secs(20))?;
        self.process = run(namespace, self.folder.path())?;
        Ok(())
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }
}

/// Runs the Asterisk of this folder and waits until it is ready.
fn run(namespace: &Namespace, folder: &Path) -> Result<Process> {
    // One mount namespace for all of it: nothing is left mounted whatever ends the process.
    let script = "set -e; cd \"$1\"; root=$2
        mount --bind . \"$root/srv\"
        mount --bind hosts \"$root/etc/hosts\"
        mount --bind resolv.conf \"$root/etc/resolv.conf\"
        hostname pbx
        exec chroot \"$root\" asterisk -f -C /srv/etc/asterisk.conf";
    let mut command = namespace.command("unshare");
    command.args(["--mount", "--uts", "sh", "-c", script, "sh"]);
    let mut process = Process::spawn(command.arg(folder).arg(asterisk_root()))?;
    let socket = folder.join(CONSOLE);
    process.wait_for("Asterisk Ready", Duration::from_secs(60), |_| {
        console(&socket, "core waitfullybooted").is_ok_and(|said| said.contains("booted"))
    })?;
    Ok(process)
}

/// Speaks with Asterisk as `asterisk -rx` does: it greets with one line, takes a command that
/// ends with a zero byte, answers and closes.
fn console(socket: &Path, command: &str) -> Result<String> {
    let mut socket = UnixStream::connect(socket).context("connecting to Asterisk's console")?;
    socket.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut byte = [0];
    while byte != *b"\n" {
        socket
            .read_exact(&mut byte)
            .context("reading Asterisk's greeting")?;
    }
    // In one piece: Asterisk takes each read for a whole command.
    socket.write_all(format!("cli quit after {command}\0").as_bytes())?;
    let mut output = Vec::new();
    socket
        .read_to_end(&mut output)
        .with_context(|| format!("the answer to '{command}'"))?;
    // Control bytes tell the remote console the level of a line.
    output.retain(|byte| *byte == b'\n' || *byte >= b' ');
    Ok(String::from_utf8_lossy(&output).into_owned())
}
