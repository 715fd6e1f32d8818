//! A real systemd, process 1 of its own namespaces, on the files of this machine: what it and its
//! services write below `/etc`, `/usr/local`, `/var` and `/run`, and what they pin, nobody else sees.

use std::{ffi::OsStr, fs, path::PathBuf, process::Command, time::Duration};

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::{
    cgroup::Group,
    namespace::Namespace,
    process::{Finished, Process, wait_until},
};

const SCRIPT: &str = include_str!("systemd.sh");
/// What services order themselves by, and nothing that does anything.
const UNITS: [&str; 12] = [
    "basic.target",
    "local-fs.target",
    "multi-user.target",
    "network-online.target",
    "network-pre.target",
    "network.target",
    "paths.target",
    "shutdown.target",
    "slices.target",
    "sockets.target",
    "sysinit.target",
    "timers.target",
];
const BOOT: Duration = Duration::from_secs(60);
const ANSWER: Duration = Duration::from_secs(120);

/// A running systemd. It and all of its services are killed when it is dropped.
#[derive(Debug)]
pub struct Systemd {
    /// Its process id, seen from outside.
    init: u32,
    // Removed in this order: the processes, their group, the folder of their files.
    _process: Process,
    _group: Group,
    _folder: TempDir,
}

impl Systemd {
    /// Boots it in a network namespace, without any service.
    ///
    /// # Errors
    /// This machine has no systemd, no overlay file system or no control groups of version 2; or it
    /// is not up after 60 s.
    pub fn boot(namespace: &Namespace) -> Result<Self> {
        let (group, folder) = (Group::new()?, TempDir::new()?);
        let mut command = namespace.command("unshare");
        command.args(["--mount", "sh", "-c", SCRIPT, "systemd.sh"]);
        command.arg(folder.path()).arg(group.folder()).args(UNITS);
        let mut process = Process::spawn(&mut command)?;
        let parent = process.pid();
        let children = format!("/proc/{parent}/task/{parent}/children");
        let mut init = None;
        let up = wait_until("systemd to be up", BOOT, || {
            let child = fs::read_to_string(&children).unwrap_or_default();
            init = child.trim().parse().ok();
            let is_up = |init| {
                let mut systemctl = inside(init, "systemctl");
                systemctl.args(["is-active", "--quiet", "multi-user.target"]);
                systemctl.output().is_ok_and(|said| said.status.success())
            };
            !process.is_running() || init.is_some_and(is_up)
        });
        up.with_context(|| process.output())?;
        let init = init.with_context(|| process.output())?;
        Ok(Self {
            init,
            _process: process,
            _group: group,
            _folder: folder,
        })
    }

    /// A command that will run as its services do.
    #[must_use]
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        inside(self.init, program)
    }

    /// Runs a shell's command line in a folder of this machine.
    ///
    /// # Errors
    /// If it does not come to an end within two minutes.
    pub fn shell(&self, folder: &std::path::Path, line: &str) -> Result<Finished> {
        let mut command = self.command("sh");
        // nsenter goes to the root of the mount namespace.
        command.args(["-ec", "cd \"$0\"; eval \"$1\""]);
        Process::run(command.arg(folder).arg(line), ANSWER)
    }

    /// What it has at an absolute path.
    #[must_use]
    pub fn path(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{path}", self.init))
    }
}

fn inside(init: u32, program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("nsenter");
    command
        .arg(format!("--target={init}"))
        .args(["--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup"])
        .arg("--")
        .arg(program);
    command
}
