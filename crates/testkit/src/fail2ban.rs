//! The distribution's Fail2Ban with its stock `asterisk` jail in a namespace.
//!
//! Filter, actions and numbers are those of the package (10 failures in 10 minutes, `iptables`, a
//! ban of 10 minutes); only the jail is switched on and told where the log is.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::namespace::Namespace;
use crate::process::{Process, wait_until};
use crate::require::fail2ban;

const DATABASE: &str = "fail2ban.sqlite3";
const START: Duration = Duration::from_secs(60);

/// A running Fail2Ban, killed when dropped; its chains then stay in the namespace.
#[derive(Debug)]
pub struct Fail2Ban {
    process: Process,
    folder: TempDir,
}

impl Fail2Ban {
    /// Starts it on a log of Asterisk that exists and waits until its jail watches that.
    ///
    /// # Errors
    /// If it is not in the cache, or does not start; with what it said.
    pub fn start(namespace: &Namespace, messages: &Path) -> Result<Self> {
        let folder = TempDir::new()?;
        let config = folder.path().join("config");
        let mut copy = Command::new("cp");
        copy.arg("-r").arg(fail2ban().join("etc/fail2ban"));
        let copied = Process::run(copy.arg(&config), START)?;
        ensure!(copied.status.success(), "{}", copied.stderr);
        let jail = format!(
            "[sshd]\nenabled = false\n[asterisk]\nenabled = true\nlogpath = {}\n",
            messages.display()
        );
        fs::write(config.join("jail.local"), jail)?;
        // Nothing is written outside this folder.
        let database = folder.path().join(DATABASE);
        let local = format!("[DEFAULT]\ndbfile = {}\n", database.display());
        fs::write(config.join("fail2ban.local"), local)?;
        let mut this = Self {
            process: Process::spawn(
                namespace
                    .command("env")
                    .args(environment())
                    .arg(PYTHON)
                    .arg(program("fail2ban-server"))
                    // Not in the background.
                    .args(["-xf", "--logtarget"])
                    .arg(folder.path().join("log"))
                    .args(options(folder.path()))
                    .arg("start"),
            )?,
            folder,
        };
        let started = wait_until("Fail2Ban's jail", START, || {
            this.log().contains("Jail 'asterisk' started") || !this.process.is_running()
        });
        started.with_context(|| this.process.output())?;
        ensure!(this.process.is_running(), "{}", this.process.output());
        Ok(this)
    }

    /// Who was banned, and when the log says so, since 1970.
    ///
    /// # Errors
    /// If a line of the log cannot be read.
    pub fn bans(&self) -> Result<BTreeMap<IpAddr, Duration>> {
        let mut bans = BTreeMap::new();
        for line in self.log().lines() {
            let Some((before, address)) = line.split_once(" NOTICE  [asterisk] Ban ") else {
                continue;
            };
            let time = before.get(..23).context("a line without a time")?;
            let time = DateTime::strptime("%Y-%m-%d %H:%M:%S,%f", time)?;
            let time = time.to_zoned(TimeZone::UTC)?.timestamp();
            bans.entry(address.trim().parse()?)
                .or_insert(time.as_duration().try_into()?);
        }
        Ok(bans)
    }

    /// Its database.
    #[must_use]
    pub fn database(&self) -> PathBuf {
        self.folder.path().join(DATABASE)
    }

    /// Its log.
    #[must_use]
    pub fn log(&self) -> String {
        crate::process::read_lossy(&self.folder.path().join("log"))
    }

    /// A folder with a `fail2ban-client` that speaks with this server: for a PATH.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn client(&self) -> Result<PathBuf> {
        let folder = self.folder.path().join("bin");
        fs::create_dir_all(&folder)?;
        let client = folder.join("fail2ban-client");
        let words: Vec<OsString> = std::iter::once("exec env".into())
            .chain(environment())
            .chain([PYTHON.into(), program("fail2ban-client").into()])
            .chain(options(self.folder.path()))
            .collect();
        let words = words.join(" ".as_ref());
        let script = format!("#!/bin/sh\n{} \"$@\"\n", words.display());
        fs::write(&client, script)?;
        fs::set_permissions(&client, fs::Permissions::from_mode(0o755))?;
        Ok(folder)
    }

    /// Ends it in an orderly way, which removes its chains.
    ///
    /// # Errors
    /// If it has not ended after a minute; then it is killed.
    pub fn stop(mut self) -> Result<()> {
        self.process.signal(Signal::SIGTERM);
        self.process.wait(START)?;
        Ok(())
    }
}

/// The distribution's own: its modules are of that version.
const PYTHON: &str = "/usr/bin/python3";

fn program(name: &str) -> PathBuf {
    fail2ban().join("usr/bin").join(name)
}

fn environment() -> [OsString; 2] {
    let mut modules: OsString = "PYTHONPATH=".into();
    modules.push(fail2ban().join("usr/lib/python3/dist-packages"));
    ["TZ=UTC".into(), modules]
}

fn options(folder: &Path) -> [OsString; 6] {
    [
        "-c".into(),
        folder.join("config").into(),
        "-s".into(),
        folder.join("socket").into(),
        "-p".into(),
        folder.join("pid").into(),
    ]
}
