//! Where a daemon under test lives: folders, socket and pins of its own.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use nix::sys::signal::Signal;
use serde_json::Value;
use sipward_testkit::{
    namespace::Namespace,
    process::{Process, wait_until},
};
use tempfile::TempDir;

/// Long enough for the loader on a machine that does other things, too.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub struct Place {
    folder: TempDir,
    pub pins: PathBuf,
}

/// What the program said when it had ended.
#[derive(Debug)]
pub struct Said {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Place {
    /// A place with a configuration of these lines, besides the folder of the pins.
    pub fn new(configuration: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let pins = PathBuf::from(format!(
            "/sys/fs/bpf/sipward-test-{}-{number}",
            std::process::id()
        ));
        let place = Self {
            folder: TempDir::new().unwrap(),
            pins,
        };
        place.configure(configuration);
        place
    }

    pub fn configure(&self, configuration: &str) {
        let pins = self.pins.display();
        fs::write(
            self.config(),
            format!("pin-dir = \"{pins}\"\n{configuration}\n"),
        )
        .unwrap();
    }

    pub fn config(&self) -> PathBuf {
        self.folder.path().join("sipward.toml")
    }

    pub fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("control.sock")
    }

    /// The command line of the daemon, after the words that start it.
    pub fn run_arguments(&self) -> Vec<String> {
        let text = |path: PathBuf| path.display().to_string();
        let mut arguments = vec!["run".to_owned()];
        for (option, value) in [
            ("--config", self.config()),
            ("--state-dir", self.state()),
            ("--socket", self.socket()),
        ] {
            arguments.extend([option.to_owned(), text(value)]);
        }
        arguments
    }

    /// Starts the daemon and waits until it is ready.
    pub fn start(&self, namespace: &Namespace) -> Process {
        self.start_by(namespace.command(program()))
    }

    /// The same, by this command, which has the program's name and environment.
    pub fn start_by(&self, mut command: Command) -> Process {
        let mut process = Process::spawn(command.args(self.run_arguments())).unwrap();
        process
            .wait_for("sipward", PATIENCE, |output| output.contains("ready: "))
            .unwrap();
        process
    }

    /// Runs the daemon where it is expected to refuse.
    pub fn refused(&self, namespace: &Namespace, more: &[&str]) -> Said {
        let mut command = namespace.command(program());
        said(command.args(self.run_arguments()).args(more))
    }

    /// Runs a command that talks to the daemon, split at blanks.
    pub fn sipward(&self, line: &str) -> Said {
        said(
            Command::new(program())
                .args(line.split_whitespace())
                .arg("--socket")
                .arg(self.socket())
                .env("TZ", "UTC"),
        )
    }

    /// The JSON document that a command prints.
    pub fn json(&self, line: &str) -> Value {
        let said = self.sipward(&format!("{line} --json"));
        serde_json::from_str(&said.stdout).unwrap_or_else(|error| panic!("{error}: {said:?}"))
    }

    /// The bans in force without their counters.
    pub fn bans(&self) -> Vec<Value> {
        let mut bans = self.json("bans").as_array().unwrap().clone();
        for ban in &mut bans {
            ban.as_object_mut().unwrap().remove("dropped_packets");
        }
        bans
    }

    pub fn wait_for_ban(&self, prefix: &str) {
        let banned = || self.bans().iter().any(|ban| ban["prefix"] == prefix);
        wait_until(&format!("the ban of {prefix}"), PATIENCE, banned).unwrap();
    }

    /// Nothing of a daemon is here: no state, no pins, no socket.
    pub fn assert_untouched(&self) {
        for path in [self.state(), self.pins.clone(), self.socket()] {
            assert!(!path.exists(), "{} is left", path.display());
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.pins);
    }
}

impl Said {
    /// Refused with this exit code and one line that has these parts.
    pub fn assert_one_line(&self, code: i32, parts: &[&str]) {
        assert_eq!(self.code, code, "{self:?}");
        assert_eq!(self.stdout, "", "{self:?}");
        assert_eq!(self.stderr.lines().count(), 1, "{}", self.stderr);
        for part in parts {
            assert!(
                self.stderr.contains(part),
                "{part:?} is not in {}",
                self.stderr
            );
        }
    }
}

impl Said {
    /// Answered no, and said why.
    pub fn assert_negative(&self, part: &str) {
        assert_eq!(self.code, 1, "{self:?}");
        assert!(
            self.stderr.contains(part),
            "{part:?} is not in {}",
            self.stderr
        );
    }
}

/// Kills as `kill -9` does and waits for the end.
pub fn kill(mut process: Process) {
    process.signal(Signal::SIGKILL);
    process.wait(PATIENCE).unwrap();
}

/// Stops as a service manager does; returns what was logged.
pub fn stop(mut process: Process) -> String {
    process.signal(Signal::SIGTERM);
    let status = process.wait(PATIENCE).unwrap();
    assert!(status.success(), "{status}: {}", process.output());
    process.output()
}

/// Whether an XDP program is on the interface.
pub fn has_xdp(namespace: &Namespace, interface: &str) -> bool {
    namespace
        .run(&format!("ip -details link show {interface}"))
        .unwrap()
        .contains("prog/xdp")
}

pub fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_sipward"))
}

pub fn said(command: &mut Command) -> Said {
    let Output {
        status,
        stdout,
        stderr,
    } = command
        .stdin(Stdio::null())
        .output()
        .expect("the program starts");
    let text = |bytes| String::from_utf8(bytes).expect("what the program says is UTF-8");
    Said {
        code: status.code().unwrap_or(-1),
        stdout: text(stdout),
        stderr: text(stderr),
    }
}
