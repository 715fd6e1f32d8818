//! A sipward as an administrator runs it, with a configuration and folders of its own.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use serde_json::Value;
use sipward_testkit::{
    namespace::Namespace,
    process::{Finished, Process},
};
use tempfile::TempDir;

const SIPWARD: &str = env!("CARGO_BIN_EXE_sipward");
const START: Duration = Duration::from_secs(60);

/// Folders that outlive the process, as on a machine.
pub struct Guard<'a> {
    namespace: &'a Namespace,
    folder: TempDir,
    pin_dir: PathBuf,
    process: Option<Process>,
}

impl<'a> Guard<'a> {
    /// Starts it on the namespace's `eth0` with the default configuration, but for the folder of
    /// the pins, which all network namespaces share.
    pub fn start(namespace: &'a Namespace) -> Self {
        let pin_dir = Path::new("/sys/fs/bpf").join(namespace.name());
        let folder = TempDir::new().unwrap();
        let config = format!("pin-dir = \"{}\"\n", pin_dir.display());
        fs::write(folder.path().join("sipward.toml"), config).unwrap();
        let mut guard = Self {
            namespace,
            folder,
            pin_dir,
            process: None,
        };
        guard.run();
        guard
    }

    /// Runs the daemon, again after it died.
    pub fn run(&mut self) {
        let mut command = self.command("run");
        command
            .args(["--interface", "eth0"])
            .arg("--state-dir")
            .arg(self.state_dir());
        command
            .arg("--config")
            .arg(self.folder.path().join("sipward.toml"));
        let mut process = Process::spawn(&mut command).unwrap();
        process
            .wait_for("ready", START, |output| output.contains("ready: sipward"))
            .unwrap();
        self.process = Some(process);
    }

    /// Its death by SIGKILL; maps and links stay pinned.
    pub fn kill(&mut self) {
        drop(self.process.take());
    }

    /// What a reboot leaves: no pin, and so no link.
    pub fn lose_pins(&self) {
        fs::remove_dir_all(&self.pin_dir).unwrap();
    }

    /// Ends it as a service manager does.
    pub fn stop(&mut self) -> Finished {
        let mut process = self.process.take().unwrap();
        process.signal(nix::sys::signal::Signal::SIGTERM);
        process.finish(START).unwrap()
    }

    pub fn log(&self) -> String {
        self.process
            .as_ref()
            .map(Process::output)
            .unwrap_or_default()
    }

    /// A command to the daemon.
    pub fn ask(&self, arguments: &[&str]) -> Finished {
        let (first, rest) = arguments.split_first().unwrap();
        Process::run(self.command(first).args(rest), Duration::from_secs(30)).unwrap()
    }

    /// What a command prints with `--json`.
    pub fn json(&self, arguments: &[&str]) -> Value {
        let finished = self.ask(&[arguments, &["--json"]].concat());
        serde_json::from_str(&finished.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}{}", finished.stdout, finished.stderr))
    }

    /// The bans without what counts on.
    pub fn bans(&self) -> Value {
        let mut bans = self.json(&["bans"]);
        for ban in bans.as_array_mut().unwrap() {
            ban.as_object_mut()
                .unwrap()
                .remove("dropped_packets")
                .unwrap();
        }
        bans
    }

    pub fn banned(&self, prefix: &str) -> bool {
        self.bans()
            .as_array()
            .unwrap()
            .iter()
            .any(|ban| ban["prefix"] == prefix)
    }

    fn command(&self, name: &str) -> Command {
        let mut command = self.namespace.command(SIPWARD);
        command
            .arg(name)
            .arg("--socket")
            .arg(self.folder.path().join("control.sock"));
        command
    }

    fn state_dir(&self) -> PathBuf {
        self.folder.path().join("state")
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        drop(self.process.take());
        let _ = fs::remove_dir_all(&self.pin_dir);
    }
}
