//! A million banned prefixes: how long the kernel takes them, what they take of its memory, and what
//! a packet pays that is not banned; beside `ipset` and an interval set of nftables.
//!
//! All three get the same text file, in which no prefix is within another: nftables would join such.
//! The time is that of the whole way from the file into the kernel, by `Shield::ban_all`, by `ipset
//! restore` and by `nft -f`. What the ledger takes is not in it. Memory is what the tool says of
//! itself and by how much the kernel's slab grew.
//!
//! A packet's cost is measured in the way of the bench `packet`, over two roads for each tool, one
//! with an empty set, in turn; and that of sipward's program alone besides. Its source stands in one
//! /24 with a banned address and a banned prefix, so that no lookup is spared.
//!
//! `cargo bench` measures. `--quick`, or no `--bench` (as `cargo test` runs it), only checks that
//! everything works, with some thousands.
#![allow(clippy::print_stdout, reason = "the table is what it is for")]

mod common;

use std::{
    env,
    fmt::Write as _,
    fs::{self, File},
    net::{Ipv4Addr, UdpSocket},
    os::fd::{AsFd as _, AsRawFd as _},
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use aya::maps::MapData;
use ipnet::Ipv4Net;
use sipward_shield::{
    Ban, BootTime, Reason, Scope, Shield, Simulator, Target, XdpMode,
    xdp::{Interface, Options, Xdp},
};
use sipward_signature::Profile;
use sipward_testkit::{
    cores,
    namespace::Namespace,
    packet::Packet,
    prefixes,
    require::{Need, require},
};
use tempfile::TempDir;

use common::{BPF_FS, INTERFACE, Road, Spread, configure, own_mounts, register};

/// Packets between two looks at the clock.
const BURST: u32 = 64;
const PHONE_SIGNS_ON: &str = "Yealink SIP-T46S 66.86.0.15";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tool {
    Sipward,
    Ipset,
    Nft,
}

const TOOLS: &[(Tool, &str)] = &[
    (Tool::Sipward, "sipward"),
    (Tool::Ipset, "ipset hash:net"),
    (Tool::Nft, "nft interval set"),
];

struct Effort {
    prefixes: usize,
    rounds: usize,
    bursts: usize,
    test_runs: usize,
    repeat: u32,
}

impl Effort {
    const FULL: Self = Self {
        prefixes: 1_000_000,
        rounds: 15,
        bursts: 400,
        test_runs: 30,
        repeat: 10_000,
    };
    const QUICK: Self = Self {
        prefixes: 3_000,
        rounds: 1,
        bursts: 4,
        test_runs: 1,
        repeat: 100,
    };
}

fn main() -> Result<()> {
    let needs = [
        Need::Root,
        Need::Program("ipset"),
        Need::Program("iptables"),
        Need::Program("nft"),
    ];
    if !require(&needs) {
        return Ok(());
    }
    let asked = |flag: &str| env::args().any(|argument| argument == flag);
    let quick = !asked("--bench") || asked("--quick");
    let effort = if quick { Effort::QUICK } else { Effort::FULL };
    own_mounts()?;
    cores::pin_to_last()?;

    let folder = TempDir::new()?;
    let mut prefixes = prefixes::list(effort.prefixes);
    let roads = TOOLS.len() * 2;
    for number in 0..roads {
        prefixes.extend(beside_phone(number)?);
    }
    prefixes.sort_unstable();
    write_lists(folder.path(), &prefixes)?;
    println!(
        "{} prefixes, /16 to /32, from a file into the kernel.",
        prefixes.len()
    );

    let phones = Namespace::new("phones")?;
    let mut lanes = Vec::new();
    for (number, (tool, name)) in TOOLS.iter().enumerate() {
        for full in [false, true] {
            let number = number * 2 + usize::from(full);
            let lane = Lane::new(&phones, number, *tool, full, folder.path());
            lanes.push(lane.with_context(|| (*name).to_owned())?);
        }
    }
    for _ in 0..effort.rounds {
        for lane in &mut lanes {
            let median = lane.round(&effort)?;
            lane.rounds.push(median);
        }
    }
    print_lanes(&lanes);
    print_alone(&prefixes, &effort)?;
    if quick {
        println!("A check that it works: the figures mean nothing.");
    }
    Ok(())
}

/// An address and a prefix in the /24 of a road's phone.
fn beside_phone(road: usize) -> Result<[Ipv4Net; 2]> {
    Ok([
        format!("198.18.{road}.{}/32", banned_host()).parse()?,
        format!("198.18.{road}.64/26").parse()?,
    ])
}

const fn banned_host() -> u8 {
    200
}

/// The same prefixes as each tool reads them.
fn write_lists(folder: &Path, prefixes: &[Ipv4Net]) -> Result<()> {
    // The size of the table is given so that it need not grow meanwhile.
    let mut ipset = "create bans hash:net maxelem 1100000 hashsize 524288\n".to_owned();
    let mut plain = String::new();
    for prefix in prefixes {
        writeln!(plain, "{prefix}")?;
        writeln!(ipset, "add bans {prefix}")?;
    }
    fs::write(folder.join("sipward"), &plain)?;
    fs::write(folder.join("ipset"), ipset)?;
    let elements = plain.trim_end().replace('\n', ",\n");
    fs::write(
        folder.join("nft"),
        format!("add element ip bench bans {{ {elements} }}\n"),
    )?;
    Ok(())
}

/// One tool with a road of its own, and an empty set or a full one.
struct Lane {
    name: &'static str,
    full: bool,
    road: Road,
    shield: Option<Xdp>,
    load: Duration,
    /// Bytes, as the tool says it.
    memory: u64,
    /// Bytes that the kernel's slab grew by.
    slab: u64,
    /// Nanoseconds per packet.
    rounds: Vec<f64>,
}

impl Lane {
    fn new(
        phones: &Namespace,
        number: usize,
        tool: Tool,
        full: bool,
        folder: &Path,
    ) -> Result<Self> {
        let named = TOOLS.iter().find(|(named, _)| *named == tool);
        let mut lane = Self {
            name: named.context("in the list")?.1,
            full,
            road: Road::new(phones, number, register(PHONE_SIGNS_ON))?,
            shield: None,
            load: Duration::ZERO,
            memory: 0,
            slab: 0,
            rounds: Vec::new(),
        };
        // Has the neighbour's address found.
        lane.road.send(BURST)?;
        lane.set_up(tool)?;
        if full {
            let before = slab()?;
            let start = Instant::now();
            lane.load(tool, folder)?;
            lane.load = start.elapsed();
            lane.slab = slab()?.saturating_sub(before);
            lane.memory = lane.memory(tool)?;
        }
        lane.drops_whom_it_should(phones, number)?;
        Ok(lane)
    }

    /// Everything but the bans.
    fn set_up(&mut self, tool: Tool) -> Result<()> {
        let pbx = &self.road.pbx;
        match tool {
            Tool::Sipward => {
                let options = Options {
                    pin_dir: self.pins().into(),
                    interfaces: vec![Interface {
                        name: INTERFACE.to_owned(),
                        mode: Some(XdpMode::Generic),
                    }],
                };
                self.shield = Some(pbx.enter(|| {
                    let mut shield = Xdp::open(&options)?;
                    configure(&mut shield, Profile::Standard)?;
                    shield.attach()?;
                    anyhow::Ok(shield)
                })?);
            }
            Tool::Ipset => {
                if !self.full {
                    pbx.run("ipset create bans hash:net")?;
                    self.use_ipset()?;
                }
            }
            Tool::Nft => {
                for line in [
                    "nft add table ip bench",
                    "nft add set ip bench bans { type ipv4_addr; flags interval; }",
                    "nft add chain ip bench in { type filter hook prerouting priority raw; }",
                    "nft add rule ip bench in ip saddr @bans drop",
                ] {
                    pbx.run(line)?;
                }
            }
        }
        Ok(())
    }

    fn load(&mut self, tool: Tool, folder: &Path) -> Result<()> {
        match tool {
            Tool::Sipward => {
                let text = fs::read_to_string(folder.join("sipward"))?;
                let bans = text.lines().map(ban).collect::<Result<Vec<_>>>()?;
                let shield = self.shield.as_mut().context("set up")?;
                shield.ban_all(&bans)?;
            }
            Tool::Ipset => {
                let file = File::open(folder.join("ipset"))?;
                ran(self.road.pbx.command("ipset").arg("restore").stdin(file))?;
                self.use_ipset()?;
            }
            Tool::Nft => ran(self
                .road
                .pbx
                .command("nft")
                .arg("-f")
                .arg(folder.join("nft")))?,
        }
        Ok(())
    }

    fn use_ipset(&self) -> Result<()> {
        let rule = "iptables -t raw -A PREROUTING -m set --match-set bans src -j DROP";
        self.road.pbx.run(rule).map(drop)
    }

    fn pins(&self) -> String {
        format!("{BPF_FS}/{}", self.road.pbx.name())
    }

    /// What the kernel says the bans take; nftables does not say it.
    fn memory(&self, tool: Tool) -> Result<u64> {
        match tool {
            Tool::Sipward => {
                let mut bytes = 0;
                for folder in fs::read_dir(self.pins())? {
                    for map in ["bans", "prefix_bans4", "listed"] {
                        let map = MapData::from_pin(
                            folder
                                .as_ref()
                                .map_or_else(|_| map.into(), |folder| folder.path().join(map)),
                        )?;
                        let fd = map.fd().as_fd().as_raw_fd();
                        let info = fs::read_to_string(format!("/proc/self/fdinfo/{fd}"))?;
                        bytes += number_after(&info, "memlock:")?;
                    }
                }
                Ok(bytes)
            }
            Tool::Ipset => {
                let header = self.road.pbx.run("ipset list bans -t")?;
                number_after(&header, "Size in memory:")
            }
            Tool::Nft => Ok(0),
        }
    }

    /// Of a phone's packet and, where the set is full, a banned one's the phone's arrives.
    fn drops_whom_it_should(&self, phones: &Namespace, number: usize) -> Result<()> {
        let banned = format!("198.18.{number}.{}", banned_host());
        phones.address(&format!("phone{number}"), &format!("{banned}/32"))?;
        let socket = phones.enter(|| UdpSocket::bind((banned.as_str(), 5060)))?;
        let arrived = self.road.arrived()?;
        socket.send_to(&self.road.message, format!("198.18.{number}.2:5060"))?;
        self.road.phone.send(&self.road.message)?;
        self.road
            .wait_for_arrival(arrived + if self.full { 1 } else { 2 })
    }

    /// Sends a round's packets and returns nanoseconds per packet.
    fn round(&self, effort: &Effort) -> Result<f64> {
        let arrived = self.road.arrived()?;
        // The caches were another lane's.
        self.road.send(BURST)?;
        let mut bursts = Vec::with_capacity(effort.bursts);
        for _ in 0..effort.bursts {
            let took = self.road.send(BURST)?;
            bursts.push(took.as_nanos() as f64 / f64::from(BURST));
        }
        let sent = (effort.bursts as u64 + 1) * u64::from(BURST);
        self.road.wait_for_arrival(arrived + sent)?;
        Ok(Spread::of(&bursts).median)
    }
}

fn ban(text: &str) -> Result<Ban> {
    Ok(Ban {
        target: Target {
            prefix: text.parse::<Ipv4Net>()?.into(),
            port: None,
        },
        scope: Scope::All,
        until: BootTime::NEVER,
    })
}

fn ran(command: &mut Command) -> Result<()> {
    let status = command.status()?;
    ensure!(status.success(), "{command:?}: {status}");
    Ok(())
}

/// Bytes of the kernel's own memory that it cannot give back.
fn slab() -> Result<u64> {
    let meminfo = fs::read_to_string("/proc/meminfo")?;
    Ok(number_after(&meminfo, "SUnreclaim:")? * 1024)
}

fn number_after(text: &str, word: &str) -> Result<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(word));
    let number = line.and_then(|rest| rest.split_whitespace().next());
    number
        .with_context(|| format!("no {word}"))?
        .parse()
        .context("a number")
}

fn print_lanes(lanes: &[Lane]) {
    println!(
        "\n{:<20}{:>10}{:>12}{:>12}{:>14}{:>14}{:>20}",
        "", "load", "says", "slab", "packet, empty", "packet, full", "full - empty, ns"
    );
    let mut loads = Vec::new();
    for pair in lanes.chunks(2) {
        let [empty, full] = pair else { continue };
        let added: Vec<f64> = full
            .rounds
            .iter()
            .zip(&empty.rounds)
            .map(|(f, e)| f - e)
            .collect();
        let added = Spread::of(&added);
        let mebibytes = |bytes: u64| format!("{:.0} MiB", bytes as f64 / f64::from(1 << 20));
        println!(
            "{:<20}{:>8.2} s{:>12}{:>12}{:>14.0}{:>14.0}{:>20}",
            full.name,
            full.load.as_secs_f64(),
            if full.memory == 0 {
                "-".to_owned()
            } else {
                mebibytes(full.memory)
            },
            mebibytes(full.slab),
            Spread::of(&empty.rounds).median,
            Spread::of(&full.rounds).median,
            format!("{:.0} ({:.0}..{:.0})", added.median, added.min, added.max),
        );
        loads.push(full.load.as_secs_f64());
    }
    if let [own, others @ ..] = loads.as_slice() {
        let faster = others.iter().copied().fold(f64::INFINITY, f64::min);
        println!(
            "\nThe faster of the other two takes {:.1} times as long.",
            faster / own
        );
    }
}

/// The program alone, with an empty set and a full one in turn, for sources here and there, each
/// right behind a banned prefix.
fn print_alone(prefixes: &[Ipv4Net], effort: &Effort) -> Result<()> {
    let mut simulators = Vec::new();
    for full in [false, true] {
        let mut simulator = Simulator::new()?;
        configure(&mut simulator, Profile::Standard)?;
        if full {
            let bans = prefixes.iter().map(|net| ban(&net.to_string()));
            simulator.ban_all(&bans.collect::<Result<Vec<_>>>()?)?;
        }
        simulators.push((simulator, Vec::new()));
    }
    let behind = |net: &Ipv4Net| Ipv4Addr::from_bits(net.broadcast().to_bits() + 1);
    let every = (prefixes.len() / effort.test_runs.max(1)).max(1);
    let mut runs = 0;
    for net in prefixes.iter().step_by(every).take(effort.test_runs) {
        let frame = Packet::udp(format!("{}:5060", behind(net)), "192.0.2.1:5060")
            .payload(&register(PHONE_SIGNS_ON))
            .build();
        for (simulator, times) in &mut simulators {
            times.push(simulator.time(&frame, effort.repeat)?.as_nanos() as f64);
        }
        runs += u64::from(effort.repeat);
    }
    let mut medians = Vec::new();
    for (simulator, times) in &simulators {
        let clean = simulator.counters()?.of(Reason::Clean).passed;
        ensure!(clean == runs, "{clean} of {runs} runs were clean");
        medians.push(Spread::of(times).median);
    }
    if let ([empty, full], [(_, before), (_, after)]) = (&medians[..], &simulators[..]) {
        let added: Vec<f64> = after
            .iter()
            .zip(before)
            .map(|(full, empty)| full - empty)
            .collect();
        let added = Spread::of(&added);
        println!(
            "\nsipward's program alone, ns a run: {empty:.0} with none banned, {full:.0} with all; \
             {:+.0} ({:+.0}..{:+.0}) for a source right behind a banned prefix.",
            added.median, added.min, added.max
        );
    }
    Ok(())
}
