//! Network namespaces that end with the test that made them.
//!
//! Commands enter the network namespace only, not a mount namespace of their own as
//! `ip netns exec` gives them: what is pinned under `/sys/fs/bpf` stays visible.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, ErrorKind};
use std::net::UdpSocket;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::process::{read_lossy, wait_until};

const FOLDER: &str = "/run/netns";
const PREFIX: &str = "sipward-";
/// Begins each line with a group that somebody listens to, in the namespace of who reads it.
const LOG_GROUPS: &str = "/proc/thread-self/net/netfilter/nfnetlink_log";

/// How long what a test has closed may be held by others.
const FREED: Duration = Duration::from_secs(10);

/// A network namespace, deleted when dropped together with every process left in it.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// Makes a namespace for this role in the running test, with the loopback up. Its name holds
    /// the process id and a hash of the test's name, so tests run side by side; what a killed
    /// test process left behind is removed first.
    ///
    /// # Errors
    /// Without root, or if this test already has a namespace of that role.
    pub fn new(role: &str) -> Result<Self> {
        remove_stale();
        let mut hasher = DefaultHasher::new();
        std::thread::current().name().hash(&mut hasher);
        let test = hasher.finish() & 0xff_ffff;
        let name = format!("{PREFIX}{}-{test:06x}-{role}", std::process::id());
        run(Command::new("ip").args(["netns", "add", &name]))?;
        let namespace = Self { name };
        // Tests send from any address they like; Linux would refuse to receive some of them.
        for interface in ["all", "default"] {
            namespace.set(&format!("net/ipv4/conf/{interface}/rp_filter"), "0")?;
        }
        namespace.run("ip link set lo up")?;
        Ok(namespace)
    }

    /// The name, as `ip netns` lists it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file that stands for it.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        Path::new(FOLDER).join(&self.name)
    }

    /// A command that will run inside.
    #[must_use]
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net={}", self.path().display()))
            .arg("--")
            .arg(program);
        command
    }

    /// Runs a command line (split at blanks) inside and returns its standard output.
    ///
    /// # Errors
    /// If it does not end with status 0; with what it said.
    pub fn run(&self, line: &str) -> Result<String> {
        let mut words = line.split_whitespace();
        let program = words.next().context("an empty command line")?;
        run(self.command(program).args(words))
    }

    /// Runs the function in a thread inside: the sockets it makes belong to the namespace.
    ///
    /// # Panics
    /// If the namespace cannot be entered, or with the function's own panic.
    pub fn enter<T: Send>(&self, function: impl FnOnce() -> T + Send) -> T {
        enter(&self.path(), function)
    }

    /// A UDP socket inside, at this address. What a test has closed, a child that another test is
    /// just starting holds until it has become its program: so this waits for the address.
    ///
    /// # Errors
    /// Somebody keeps the address, or it is none of this namespace.
    pub fn udp_socket(&self, address: &str) -> Result<UdpSocket> {
        let mut bound = Err(io::Error::from(ErrorKind::AddrInUse));
        let is_taken = |bound: &io::Result<UdpSocket>| matches!(bound, Err(error) if error.kind() == ErrorKind::AddrInUse);
        wait_until("the address to be free", FREED, || {
            bound = self.enter(|| UdpSocket::bind(address));
            !is_taken(&bound)
        })?;
        bound.with_context(|| format!("cannot bind {address}"))
    }

    /// Waits until nobody inside listens to this log group of netfilter any more: one that a test has
    /// closed may be held for a moment, as the addresses of [`Self::udp_socket`] may.
    ///
    /// # Errors
    /// Somebody goes on listening.
    pub fn await_log_group(&self, group: u16) -> Result<()> {
        let number = |line: &str| line.split_whitespace().next()?.parse().ok();
        wait_until("the log group to be free", FREED, || {
            let listeners = self.enter(|| read_lossy(Path::new(LOG_GROUPS)));
            !listeners.lines().any(|line| number(line) == Some(group))
        })
    }

    /// Joins two namespaces by a veth pair; both ends are up.
    ///
    /// # Errors
    /// If a name is taken or longer than 15 characters.
    pub fn veth(&self, interface: &str, peer: &Self, peer_interface: &str) -> Result<()> {
        run(Command::new("ip")
            .args(["-n", &self.name, "link", "add", interface, "type", "veth"])
            .args(["peer", "name", peer_interface, "netns", &peer.name]))?;
        self.run(&format!("ip link set {interface} up"))?;
        peer.run(&format!("ip link set {peer_interface} up"))?;
        Ok(())
    }

    /// Adds an address with its prefix length, v4 or v6, usable at once.
    ///
    /// # Errors
    /// What `ip` says.
    pub fn address(&self, interface: &str, address: &str) -> Result<()> {
        // Duplicate address detection would hold an IPv6 address back for a second.
        let nodad = if address.contains(':') { "nodad" } else { "" };
        self.run(&format!("ip address add {address} dev {interface} {nodad}"))?;
        Ok(())
    }

    /// Adds a route, `default` included.
    ///
    /// # Errors
    /// What `ip` says.
    pub fn route(&self, prefix: &str, via: &str) -> Result<()> {
        self.run(&format!("ip route add {prefix} via {via}"))?;
        Ok(())
    }

    /// Every address of the prefix becomes the namespace's own: programs may bind to any.
    ///
    /// # Errors
    /// What `ip` says.
    pub fn own_all(&self, prefix: &str) -> Result<()> {
        self.run(&format!("ip route add local {prefix} dev lo"))?;
        // IPv4 takes the route for an address, IPv6 does not.
        self.set("net/ipv6/ip_nonlocal_bind", "1")
    }

    /// Sets the maximum transmission unit, in bytes.
    ///
    /// # Errors
    /// What `ip` says.
    pub fn mtu(&self, interface: &str, bytes: u16) -> Result<()> {
        self.run(&format!("ip link set {interface} mtu {bytes}"))?;
        Ok(())
    }

    /// Switches an offload (`gro`, `tso`, `tx-udp-segmentation`, `rx`, `tx` …) on or off.
    ///
    /// # Errors
    /// What `ethtool` says.
    pub fn offload(&self, interface: &str, feature: &str, on: bool) -> Result<()> {
        let state = if on { "on" } else { "off" };
        self.run(&format!("ethtool -K {interface} {feature} {state}"))?;
        Ok(())
    }

    /// Writes a kernel parameter of the namespace, for example `net/ipv4/ip_forward`.
    ///
    /// # Errors
    /// If there is none of that name.
    pub fn set(&self, parameter: &str, value: &str) -> Result<()> {
        // What /proc/sys/net shows is decided by who opens it.
        self.enter(|| fs::write(Path::new("/proc/sys").join(parameter), value))
            .with_context(|| format!("setting {parameter} to {value}"))
    }

    /// The Ethernet address of an interface.
    ///
    /// # Errors
    /// If there is none of that name.
    pub fn mac(&self, interface: &str) -> Result<[u8; 6]> {
        let line = self.run(&format!("ip -brief link show dev {interface}"))?;
        let text = line
            .split_whitespace()
            .nth(2)
            .context("ip shows no Ethernet address")?;
        let bytes: Vec<u8> = text
            .split(':')
            .map(|byte| u8::from_str_radix(byte, 16))
            .collect::<Result<_, _>>()
            .with_context(|| format!("not an Ethernet address: {text}"))?;
        bytes
            .try_into()
            .map_err(|_| anyhow::anyhow!("not an Ethernet address: {text}"))
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        remove(&self.name);
    }
}

/// As [`Namespace::enter`], a network namespace that somebody else has made, by the file that stands
/// for it.
///
/// # Panics
/// If there is none, or with the function's own panic.
pub fn enter<T: Send>(network: &Path, function: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let inside = scope.spawn(|| {
            let file = File::open(network).expect("a network namespace");
            setns(file, CloneFlags::CLONE_NEWNET).expect("root may enter any");
            function()
        });
        inside
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Runs a command and returns its standard output.
fn run(command: &mut Command) -> Result<String> {
    let output = command
        .output()
        .with_context(|| format!("starting {command:?}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{command:?}: {}, {}", output.status, said.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn remove_stale() {
    let Ok(entries) = fs::read_dir(FOLDER) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner = name
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.split('-').next());
        let Some(owner) = owner.and_then(|pid| pid.parse::<u32>().ok()) else {
            continue;
        };
        if !Path::new(&format!("/proc/{owner}")).exists() {
            remove(&name);
        }
    }
}

fn remove(name: &str) {
    for pid in processes_in(name) {
        let _ = kill(pid, Signal::SIGKILL);
    }
    // Already gone is as good; an error here has nobody to go to.
    let _ = Command::new("ip").args(["netns", "del", name]).output();
}

/// Whoever still runs inside: only the owner starts anything there. The test process itself is
/// left out, of which a thread may be inside.
fn processes_in(name: &str) -> Vec<Pid> {
    let Ok(namespace) = fs::metadata(Path::new(FOLDER).join(name)) else {
        return Vec::new();
    };
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let pids = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid: &u32| *pid != std::process::id())
        .filter(|pid| {
            fs::metadata(format!("/proc/{pid}/ns/net"))
                .is_ok_and(|own| (own.dev(), own.ino()) == (namespace.dev(), namespace.ino()))
        })
        .map(|pid| Pid::from_raw(pid.cast_signed()))
        .collect()
}
