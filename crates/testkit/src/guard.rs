//! A sipward as an administrator runs it, with a configuration and folders of its own.

use std::{
    collections::BTreeSet,
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use ipnet::IpNet;
use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::bpf;
use crate::namespace::Namespace;
use crate::process::{Finished, Process, wait_until};
use crate::prometheus;

const START: Duration = Duration::from_secs(60);
const ANSWER: Duration = Duration::from_secs(30);

/// The daemon on a namespace's `eth0`, or on what its configuration names, and the folders that
/// outlive it, as on a machine.
#[derive(Debug)]
pub struct Guard<'a> {
    program: PathBuf,
    namespace: &'a Namespace,
    folder: TempDir,
    pin_dir: PathBuf,
    /// Whether its configuration names them.
    has_interfaces: bool,
    /// Whether its configuration has nftables guard, and not XDP.
    is_nftables: bool,
    process: Option<Process>,
}

impl<'a> Guard<'a> {
    /// Starts it with the default configuration, but for the folder of the pins, which all
    /// network namespaces share, and waits until it is ready.
    ///
    /// # Errors
    /// If it is not ready after 60 s; with what it said.
    pub fn start(program: &Path, namespace: &'a Namespace) -> Result<Self> {
        Self::start_with(program, namespace, "")
    }

    /// As [`Guard::start`], with more lines of configuration: tables, or keys of the first one,
    /// `interfaces` among them.
    ///
    /// # Errors
    /// As [`Guard::start`].
    pub fn start_with(program: &Path, namespace: &'a Namespace, more: &str) -> Result<Self> {
        let mut guard = Self {
            program: program.canonicalize()?,
            namespace,
            folder: TempDir::new()?,
            pin_dir: Path::new("/sys/fs/bpf").join(namespace.name()),
            has_interfaces: more.contains("interfaces = "),
            is_nftables: more.contains("backend = \"nftables\""),
            process: None,
        };
        guard.configure(more)?;
        guard.run()?;
        Ok(guard)
    }

    /// Puts other lines of configuration in force in the running daemon, as `systemctl reload`
    /// does, and waits until they are.
    ///
    /// # Errors
    /// If the daemon refuses them or does not run; with what it said.
    pub fn reload(&mut self, more: &str) -> Result<()> {
        self.configure(more)?;
        let process = self.process.as_mut().context("sipward is not running")?;
        let count = |said: &str, what| said.matches(what).count();
        let before = process.output();
        process.signal(Signal::SIGHUP);
        let grew = |said: &str, what| count(said, what) > count(&before, what);
        let in_force = "the configuration was read again and is in force";
        let refused = "the configuration in force stays";
        process.wait_for("the reload", START, |said| {
            grew(said, in_force) || grew(said, refused)
        })?;
        let said = process.output();
        ensure!(grew(&said, in_force), "{said}");
        Ok(())
    }

    /// Runs the daemon again after it died.
    ///
    /// # Errors
    /// As [`Guard::start`].
    pub fn run(&mut self) -> Result<()> {
        self.launch()?;
        let process = self.process.as_mut().context("launched")?;
        process.wait_for("sipward to be ready", START, |said| {
            said.contains("ready: sipward")
        })
    }

    /// As [`Guard::run`], without waiting until it is ready.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn launch(&mut self) -> Result<()> {
        let mut command = self.command("run");
        if !self.has_interfaces {
            command.args(["--interface", "eth0"]);
        }
        command.arg("--state-dir").arg(self.state()).arg("--config");
        command.arg(self.config());
        self.process = Some(Process::spawn(&mut command)?);
        Ok(())
    }

    /// The folder of its ledger.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    /// Its configuration.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.folder.path().join("sipward.toml")
    }

    /// Its control socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("control.sock")
    }

    /// The prefixes that the kernel drops packets of: by its maps, the ends of the bans aside, or
    /// as `nft` lists them.
    ///
    /// # Errors
    /// If a pin is missing, or what the kernel or `nft` says.
    pub fn enforced(&self) -> Result<BTreeSet<IpNet>> {
        if self.is_nftables {
            return banned_in(&self.namespace.run("nft -j list table inet sipward")?);
        }
        let mut banned = BTreeSet::new();
        for key in bpf::keys::<24>(&self.pin("bans")?)? {
            let address = Ipv6Addr::from_bits(u128::from_be_bytes(*head(&key)));
            let prefix = match address.to_ipv4_mapped() {
                Some(v4) => IpNet::from(IpAddr::V4(v4)),
                // Behind the address and the port.
                None => IpNet::new(address.into(), key[18])?,
            };
            banned.insert(prefix);
        }
        for key in bpf::keys::<8>(&self.pin("prefix_bans4")?)? {
            let address = Ipv4Addr::from(*tail::<8, 4>(&key));
            banned.insert(prefix_of(address.into(), *head(&key))?);
        }
        for key in bpf::keys::<20>(&self.pin("prefix_bans6")?)? {
            let address = Ipv6Addr::from(*tail::<20, 16>(&key));
            banned.insert(prefix_of(address.into(), *head(&key))?);
        }
        Ok(banned)
    }

    /// Its death by SIGKILL; maps and links stay pinned.
    pub fn kill(&mut self) {
        drop(self.process.take());
    }

    /// The pinned map or link whose name begins so.
    ///
    /// # Errors
    /// If there is none.
    pub fn pin(&self, name: &str) -> Result<PathBuf> {
        let folders = fs::read_dir(&self.pin_dir)?.flatten();
        let pins = folders.flat_map(|folder| fs::read_dir(folder.path()).into_iter().flatten());
        let begins = |pin: &PathBuf| {
            pin.file_name()
                .is_some_and(|file| file.to_string_lossy().starts_with(name))
        };
        pins.flatten()
            .map(|pin| pin.path())
            .find(begins)
            .with_context(|| format!("no pin {name} in {}", self.pin_dir.display()))
    }

    /// What a reboot leaves: no pin, and so no link. The kernel lets a link go some time after its
    /// pin, and drops packets until then: that is waited for.
    ///
    /// # Errors
    /// If there was none, or the link stays.
    pub fn lose_pins(&self) -> Result<()> {
        fs::remove_dir_all(&self.pin_dir).context("removing the pins")?;
        wait_until("the link to go with its pin", START, || {
            let link = self.namespace.run("ip link show eth0");
            link.is_ok_and(|link| !link.contains("xdp"))
        })
    }

    /// Ends it as a service manager does.
    ///
    /// # Errors
    /// If it is not running, or does not end.
    pub fn stop(&mut self) -> Result<Finished> {
        let process = self.process.as_mut().context("sipward is not running")?;
        process.signal(Signal::SIGTERM);
        self.wait()
    }

    /// Waits for an end that somebody else has prepared for it.
    ///
    /// # Errors
    /// If it is not running, or does not end.
    pub fn wait(&mut self) -> Result<Finished> {
        let process = self.process.take().context("sipward is not running")?;
        process.finish(START)
    }

    /// The daemon's process id, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::pid)
    }

    /// What the running daemon has logged.
    #[must_use]
    pub fn log(&self) -> String {
        self.process
            .as_ref()
            .map(Process::output)
            .unwrap_or_default()
    }

    /// Gives the daemon a command, `ban 192.0.2.7` for example.
    ///
    /// # Errors
    /// If the command does not come to an end.
    pub fn ask(&self, arguments: &[&str]) -> Result<Finished> {
        let (name, rest) = arguments.split_first().context("an empty command line")?;
        Process::run(self.command(name).args(rest), ANSWER)
    }

    /// Starts a command that goes on by itself, `watch` for example.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn spawn(&self, arguments: &[&str]) -> Result<Process> {
        let (name, rest) = arguments.split_first().context("an empty command line")?;
        Process::spawn(self.command(name).args(rest))
    }

    /// What a command prints with `--json`.
    ///
    /// # Errors
    /// If that is no JSON; with what it said.
    pub fn json(&self, arguments: &[&str]) -> Result<Value> {
        let finished = self.ask(&[arguments, &["--json"]].concat())?;
        serde_json::from_str(&finished.stdout)
            .with_context(|| format!("{arguments:?}: {}{}", finished.stdout, finished.stderr))
    }

    /// What it shows to Prometheus, as text: the figures of this second; of the last 15 where they cost
    /// it much.
    ///
    /// # Errors
    /// If it does not.
    pub fn metrics(&self) -> Result<String> {
        let at = prometheus::DEFAULT.parse()?;
        let answer = prometheus::get(self.namespace, at, "/metrics", prometheus::Format::Text)?;
        ensure!(answer.status == 200, "{}{}", answer.head, answer.body);
        Ok(answer.body)
    }

    /// Whether exactly this prefix is banned.
    ///
    /// # Errors
    /// As [`Guard::json`].
    pub fn bans(&self, prefix: &str) -> Result<bool> {
        let bans = self.json(&["bans"])?;
        let bans = bans.as_array().context("bans are an array")?;
        Ok(bans.iter().any(|ban| ban["prefix"] == prefix))
    }

    /// Writes the configuration with these lines.
    fn configure(&self, more: &str) -> Result<()> {
        let config = format!("pin-dir = \"{}\"\n{more}", self.pin_dir.display());
        fs::write(self.config(), config)?;
        Ok(())
    }

    fn command(&self, name: &str) -> Command {
        let mut command = self.namespace.command(&self.program);
        command.arg(name).arg("--socket").arg(self.socket());
        command
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        self.kill();
        // Gone already after a clean stop.
        let _ = fs::remove_dir_all(&self.pin_dir);
    }
}

/// The elements of the sets of bans; each set's name ends with the length of its prefixes, or with
/// `port`.
fn banned_in(listing: &str) -> Result<BTreeSet<IpNet>> {
    let listing: Value = serde_json::from_str(listing)?;
    let objects = listing["nftables"]
        .as_array()
        .context("a list of objects")?;
    let mut banned = BTreeSet::new();
    for set in objects.iter().filter_map(|object| object.get("set")) {
        let name = set["name"].as_str().context("a set has a name")?;
        let Some((_, shape)) = name
            .strip_prefix("banned-")
            .and_then(|rest| rest.rsplit_once('-'))
        else {
            continue;
        };
        for element in set["elem"].as_array().into_iter().flatten() {
            let value = element["elem"].get("val").unwrap_or(element);
            let address = value["concat"].get(0).unwrap_or(value);
            let address: IpAddr = address.as_str().context("an address")?.parse()?;
            banned.insert(match shape {
                "port" => address.into(),
                length => IpNet::new(address, length.parse()?)?,
            });
        }
    }
    Ok(banned)
}

/// The prefix of a trie's key, which begins with the length.
fn prefix_of(address: IpAddr, length: [u8; 4]) -> Result<IpNet> {
    let length = u8::try_from(u32::from_ne_bytes(length))?;
    Ok(IpNet::new(address, length)?)
}

fn head<const LEN: usize, const HEAD: usize>(key: &[u8; LEN]) -> &[u8; HEAD] {
    key.first_chunk().expect("a key is longer than its head")
}

fn tail<const LEN: usize, const TAIL: usize>(key: &[u8; LEN]) -> &[u8; TAIL] {
    key.last_chunk().expect("a key is longer than its tail")
}
