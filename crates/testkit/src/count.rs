//! What reached the PBX, counted by two parties that know nothing of sipward: the kernel's packet
//! filter and tcpdump.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;

use crate::namespace::Namespace;
use crate::pcap;
use crate::process::Process;

/// A counter of a namespace's IP stack by its name in `nstat`, `UdpInDatagrams` for example.
///
/// # Errors
/// If there is none of this name.
pub fn kernel_counter(namespace: &Namespace, name: &str) -> Result<u64> {
    let said = namespace.run(&format!("nstat --zeros --ignore {name}"))?;
    let mut lines = said.lines().map(str::split_whitespace);
    let number = lines.find_map(|mut words| (words.next()? == name).then(|| words.next())?);
    let number = number.with_context(|| format!("nstat has no {name}"))?;
    Ok(number.parse()?)
}

/// An iptables rule of the namespace's own that counts packets and does nothing else.
#[derive(Debug)]
pub struct PacketCounter<'a> {
    namespace: &'a Namespace,
    program: &'static str,
    chain: String,
}

impl<'a> PacketCounter<'a> {
    /// Counts UDP and TCP packets from `source` (an address or prefix) to `port` from now on, as
    /// they are handed to the namespace's programs. One counter for each pair.
    ///
    /// # Errors
    /// What iptables says.
    pub fn new(namespace: &'a Namespace, source: &str, port: u16) -> Result<Self> {
        let program = if source.contains(':') {
            "ip6tables"
        } else {
            "iptables"
        };
        // At most 28 characters, so not the address itself.
        let number = namespace
            .run(&format!("{program} --wait --list INPUT --numeric"))?
            .lines()
            .count();
        let chain = format!("count-{number}");
        let counter = Self {
            namespace,
            program,
            chain,
        };
        counter.run(&format!("--new-chain {}", counter.chain))?;
        for protocol in ["udp", "tcp"] {
            counter.run(&format!(
                "--insert INPUT --source {source} --protocol {protocol} --dport {port} --jump {}",
                counter.chain
            ))?;
        }
        counter.run(&format!("--append {} --jump RETURN", counter.chain))?;
        Ok(counter)
    }

    /// Packets so far.
    ///
    /// # Errors
    /// If iptables no longer has the rule.
    pub fn packets(&self) -> Result<u64> {
        let listed = self.run(&format!(
            "--list {} --verbose --exact --numeric",
            self.chain
        ))?;
        let rule = listed.lines().nth(2).context("the counting rule is gone")?;
        let packets = rule
            .split_whitespace()
            .next()
            .context("a rule without a counter")?;
        packets
            .parse()
            .with_context(|| format!("not a counter: {rule}"))
    }

    fn run(&self, arguments: &str) -> Result<String> {
        self.namespace
            .run(&format!("{} --wait {arguments}", self.program))
    }
}

/// A tcpdump that writes what it sees.
#[derive(Debug)]
pub struct Capture {
    process: Process,
    file: PathBuf,
}

impl Capture {
    /// Starts it on an interface with a filter in tcpdump's language, and waits until it
    /// listens.
    ///
    /// # Errors
    /// If tcpdump does not take the filter.
    pub fn start(namespace: &Namespace, interface: &str, filter: &str) -> Result<Self> {
        let mut command = namespace.command("sh");
        // In its own folder, which is known only once it runs. Immediate, because what waits in
        // a block of the ring is lost at the end; the ring then has one slot a frame, so slots of
        // 10 kB and 64 MB of them.
        let script = "cd \"$HOME\" && exec tcpdump --immediate-mode --buffer-size 65536 -s 10000 \
                      -U -Z root -n -w packets -i \"$@\"";
        command.args(["-c", script, "sh", interface, filter]);
        let mut process = Process::spawn(&mut command)?;
        let listens = |output: &str| output.contains("listening on");
        process.wait_for("tcpdump to listen", Duration::from_secs(10), listens)?;
        let file = process.folder().join("packets");
        Ok(Self { process, file })
    }

    /// Frames written so far.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn frames(&self) -> Result<Vec<pcap::Frame>> {
        pcap::read(&self.file)
    }

    /// Ends tcpdump and returns all it saw.
    ///
    /// # Errors
    /// If it missed packets itself: then a count would be no proof.
    pub fn stop(mut self) -> Result<Vec<pcap::Frame>> {
        self.process.signal(Signal::SIGINT);
        self.process.wait(Duration::from_secs(10))?;
        let said = self.process.stderr();
        anyhow::ensure!(
            said.contains("\n0 packets dropped by kernel"),
            "tcpdump said: {said}"
        );
        self.frames()
    }
}
