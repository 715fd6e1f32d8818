//! What one legitimate REGISTER costs behind the guide's iptables list and behind sipward, side
//! by side on veth pairs.
//!
//! Each filter has a pair and a receiving namespace of its own. One thread, pinned to one core,
//! sends; the kernel receives each packet in the softirq that the send raised, so the time of a
//! send holds the whole way of the packet. That way ends in every lane alike: at a bound UDP
//! socket whose buffer is full, so that nobody has to be woken to read. Every packet must arrive
//! there; with sipward each must have been counted as clean, which is said only after the
//! signature step; and each filter must have stopped a scanner's packet.
//!
//! The clock reads bursts, of which a round takes the median: what else runs on the machine
//! hits single bursts. Rounds go over all lanes in turn.
//!
//! `cargo bench` measures. `--quick`, or no `--bench` (as `cargo test` runs it), only checks that
//! every lane works.
#![allow(clippy::print_stdout, reason = "the table is what it is for")]

use std::{
    env, fs,
    io::Write as _,
    net::{Ipv4Addr, UdpSocket},
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use aya::{
    Ebpf, EbpfLoader, include_bytes_aligned,
    programs::{TestRun as _, TestRunOptions, xdp},
};
use ipnet::IpNet;
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, CpuSet, sched_getaffinity, sched_setaffinity, unshare},
    sys::socket::{setsockopt, sockopt},
    unistd::Pid,
};
use sipward_shield::{
    Ban, BootTime, Limits, Mode, Policy, PortClass, Ports, Rate, Reason, Scope, Shield, Simulator,
    Target, XdpMode,
    xdp::{Interface, Options, Xdp},
};
use sipward_signature::{Profile, SignatureSet, Tables};
use sipward_testkit::{
    namespace::Namespace,
    packet::Packet,
    process::wait_until,
    require::{Need, require},
};

/// The bytes of the SIP message; 42 of headers stand before it.
const MESSAGE_LEN: usize = 715;
/// Packets between two looks at the clock.
const BURST: u32 = 64;
const INTERFACE: &str = "eth0";
const BPF_FS: &str = "/sys/fs/bpf";
/// Each `--string` of the guide once, as it is written there. Left out is `-`, which stops every
/// SIP message and so would spare the kernel the rules behind it.
const GUIDE_PATTERNS: &str = include_str!("guide-patterns.txt");
static BARE_OBJECT: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/bare.bpf.o"));

const LANES: &[(&str, Filter)] = &[
    ("no filter", Filter::None),
    ("the list, iptables-legacy", Filter::List("iptables-legacy")),
    ("the list, iptables-nft", Filter::List("iptables-nft")),
    ("XDP_PASS alone, native", Filter::Bare(XdpMode::Native)),
    ("XDP_PASS alone, generic", Filter::Bare(XdpMode::Generic)),
    ("sipward, native", Filter::Sipward(XdpMode::Native)),
    ("sipward, generic", Filter::Sipward(XdpMode::Generic)),
];

fn main() -> Result<()> {
    let needs = [
        Need::Root,
        Need::Program("iptables-legacy-restore"),
        Need::Program("iptables-nft-restore"),
    ];
    if !require(&needs) {
        return Ok(());
    }
    let asked = |flag: &str| env::args().any(|argument| argument == flag);
    let effort = if asked("--bench") && !asked("--quick") {
        Effort::FULL
    } else {
        Effort::QUICK
    };
    own_mounts()?;
    pin_to_one_core()?;

    print_setting(&effort)?;
    let phones = Namespace::new("phones")?;
    let mut lanes = Vec::new();
    for (number, (name, filter)) in LANES.iter().enumerate() {
        let lane = Lane::new(&phones, number, name, *filter);
        lanes.push(lane.with_context(|| (*name).to_owned())?);
    }
    for _ in 0..effort.rounds {
        for lane in &mut lanes {
            let round = lane.round(&effort);
            let name = lane.name;
            lane.rounds.push(round.with_context(|| name.to_owned())?);
        }
    }
    print_lanes(&lanes);
    print_programs(&programs_alone(&effort)?);
    print_many_signatures(&effort)?;
    print_ratios(&lanes);
    Ok(())
}

/// How long to measure.
struct Effort {
    rounds: usize,
    /// A lane's share of a round ends after so many bursts or so long, whichever is first.
    bursts: usize,
    share: Duration,
    test_runs: usize,
    repeat: u32,
}

impl Effort {
    const FULL: Self = Self {
        rounds: 15,
        bursts: 2000,
        share: Duration::from_millis(120),
        test_runs: 40,
        repeat: 20_000,
    };
    const QUICK: Self = Self {
        rounds: 1,
        bursts: 4,
        share: Duration::from_secs(1),
        test_runs: 1,
        repeat: 100,
    };

    fn is_quick(&self) -> bool {
        self.rounds == Self::QUICK.rounds
    }
}

/// What stands in the packets' way.
#[derive(Clone, Copy)]
enum Filter {
    None,
    List(&'static str),
    Bare(XdpMode),
    Sipward(XdpMode),
}

/// The same, in place.
enum Installed {
    None,
    List,
    Bare { _held: Ebpf },
    Sipward(Box<Xdp>),
}

/// One filter with a way of its own from a phone to a PBX.
struct Lane {
    name: &'static str,
    pbx: Namespace,
    phone: UdpSocket,
    /// Never read, so that its buffer stays full.
    _server: UdpSocket,
    installed: Installed,
    message: Vec<u8>,
    /// Nanoseconds per packet.
    rounds: Vec<f64>,
}

impl Lane {
    fn new(phones: &Namespace, number: usize, name: &'static str, filter: Filter) -> Result<Self> {
        let pbx = Namespace::new(&format!("pbx{number}"))?;
        let phone_interface = format!("phone{number}");
        // The addresses of RFC 2544, which are for benchmarks.
        let (phone_address, pbx_address) = (
            format!("198.18.{number}.1:5060"),
            format!("198.18.{number}.2:5060"),
        );
        phones.veth(&phone_interface, &pbx, INTERFACE)?;
        phones.address(&phone_interface, &format!("198.18.{number}.1/24"))?;
        pbx.address(INTERFACE, &format!("198.18.{number}.2/24"))?;
        let server = pbx.enter(|| UdpSocket::bind(&pbx_address))?;
        // The kernel takes its smallest size, a packet or two.
        setsockopt(&server, sockopt::RcvBuf, &1)?;
        let phone = phones.enter(|| UdpSocket::bind(&phone_address))?;
        phone.connect(&pbx_address)?;

        let lane = Self {
            name,
            installed: Installed::None,
            phone,
            _server: server,
            message: register("Yealink SIP-T46S 66.86.0.15"),
            pbx,
            rounds: Vec::new(),
        };
        // Fills the buffer, and has the neighbour's address found.
        lane.send(BURST)?;
        lane.with(filter)
    }

    fn with(mut self, filter: Filter) -> Result<Self> {
        self.installed = match filter {
            Filter::None => return Ok(self),
            Filter::List(iptables) => {
                install_list(&self.pbx, iptables)?;
                Installed::List
            }
            Filter::Bare(mode) => Installed::Bare {
                _held: self.pbx.enter(|| bare(mode))?,
            },
            Filter::Sipward(mode) => {
                let options = Options {
                    pin_dir: format!("{BPF_FS}/{}", self.pbx.name()).into(),
                    interfaces: vec![Interface {
                        name: INTERFACE.to_owned(),
                        mode: Some(mode),
                    }],
                };
                let shield = self.pbx.enter(|| {
                    let mut shield = Xdp::open(&options)?;
                    configure(&mut shield, Profile::Standard)?;
                    shield.attach()?;
                    anyhow::Ok(shield)
                })?;
                Installed::Sipward(Box::new(shield))
            }
        };
        self.stops_a_scanner()?;
        Ok(self)
    }

    /// Sends packets for a round's share and returns nanoseconds per packet.
    fn round(&self, effort: &Effort) -> Result<f64> {
        let (arrived, clean) = (self.arrived()?, self.count(Reason::Clean)?);
        // The caches were another lane's.
        self.send(BURST)?;
        let mut sent = u64::from(BURST);
        let mut bursts = Vec::new();
        let start = Instant::now();
        while bursts.len() < effort.bursts && start.elapsed() < effort.share {
            let took = self.send(BURST)?;
            bursts.push(took.as_nanos() as f64 / f64::from(BURST));
            sent += u64::from(BURST);
        }
        self.wait_for_arrival(arrived + sent)?;
        if let Installed::Sipward(_) = self.installed {
            let clean = self.count(Reason::Clean)? - clean;
            ensure!(
                clean == sent,
                "{sent} packets were sent and {clean} counted as clean"
            );
        }
        Ok(Spread::of(&bursts).median)
    }

    /// The whole time for so many packets.
    fn send(&self, packets: u32) -> Result<Duration> {
        let start = Instant::now();
        for _ in 0..packets {
            self.phone.send(&self.message)?;
        }
        Ok(start.elapsed())
    }

    /// Packets that reached the server's socket and found no room.
    fn arrived(&self) -> Result<u64> {
        let snmp = self
            .pbx
            .enter(|| fs::read_to_string("/proc/thread-self/net/snmp"))?;
        let mut udp = snmp.lines().filter_map(|line| line.strip_prefix("Udp:"));
        let (names, values) = (udp.next(), udp.next());
        let (names, values) = names.zip(values).context("no UDP in /proc/net/snmp")?;
        names
            .split_whitespace()
            .zip(values.split_whitespace())
            .find(|(name, _)| *name == "RcvbufErrors")
            .context("no RcvbufErrors in /proc/net/snmp")?
            .1
            .parse()
            .context("RcvbufErrors")
    }

    fn wait_for_arrival(&self, expected: u64) -> Result<()> {
        // The last packets may be left to ksoftirqd.
        let all = || self.arrived().is_ok_and(|arrived| arrived >= expected);
        wait_until("all packets to arrive", Duration::from_secs(2), all)?;
        let arrived = self.arrived()?;
        ensure!(
            arrived == expected,
            "{arrived} packets arrived, not {expected}"
        );
        Ok(())
    }

    fn count(&self, reason: Reason) -> Result<u64> {
        match &self.installed {
            Installed::Sipward(shield) => {
                let count = shield.counters()?.of(reason);
                Ok(count.passed + count.dropped)
            }
            Installed::None | Installed::List | Installed::Bare { .. } => Ok(0),
        }
    }

    /// Shows that the filter is in force: of a phone's packet and a scanner's one arrives.
    fn stops_a_scanner(&self) -> Result<()> {
        let scanner = match self.installed {
            Installed::None | Installed::Bare { .. } => return Ok(()),
            Installed::List | Installed::Sipward(_) => register("friendly-scanner"),
        };
        let (arrived, hits) = (self.arrived()?, self.count(Reason::Signature)?);
        self.phone.send(&scanner)?;
        self.phone.send(&self.message)?;
        self.wait_for_arrival(arrived + 1)?;
        if let Installed::Sipward(_) = self.installed {
            let hits = self.count(Reason::Signature)? - hits;
            ensure!(hits == 1, "a scanner's packet hit {hits} signatures");
        }
        Ok(())
    }
}

/// A phone's REGISTER of [`MESSAGE_LEN`] bytes: a longer User-Agent makes the device's id shorter.
fn register(user_agent: &str) -> Vec<u8> {
    let message = |id: &str| {
        format!(
            "REGISTER sip:pbx.example.org SIP/2.0\r\n\
             Via: SIP/2.0/UDP 203.0.113.7:5060;branch=z9hG4bK2839174650;rport\r\n\
             Max-Forwards: 70\r\n\
             From: \"Anna\" <sip:101@pbx.example.org>;tag=1709384562\r\n\
             To: \"Anna\" <sip:101@pbx.example.org>\r\n\
             Call-ID: 0_293847105638@203.0.113.7\r\n\
             CSeq: 2 REGISTER\r\n\
             Contact: <sip:101@203.0.113.7:5060>;reg-id=1;+sip.instance=\"<urn:uuid:{id}>\"\r\n\
             Authorization: Digest username=\"101\", realm=\"asterisk\", nonce=\"5a3c91f7\", \
             uri=\"sip:pbx.example.org\", response=\"6629fae49393a05397450978507c4ef1\", \
             algorithm=MD5\r\n\
             Allow: INVITE, ACK, BYE, CANCEL, OPTIONS, NOTIFY, REFER, INFO, MESSAGE, UPDATE\r\n\
             User-Agent: {user_agent}\r\n\
             Supported: path\r\n\
             Expires: 3600\r\n\
             Content-Length: 0\r\n\r\n"
        )
    };
    let room = MESSAGE_LEN - message("").len();
    let id: String = "7b1d0e52-93c4-4f1a-8a60-0004f2a1c935"
        .chars()
        .cycle()
        .take(room)
        .collect();
    message(&id).into_bytes()
}

/// Installs the guide's rules. It has them inserted at the top, so the last one is asked first.
fn install_list(pbx: &Namespace, iptables: &str) -> Result<()> {
    let mut rules = "*filter\n".to_owned();
    for pattern in GUIDE_PATTERNS.lines() {
        rules += "-I INPUT -p udp --dport 5060 -m string ";
        rules += &format!("--string \"{pattern}\" --algo bm -j DROP\n");
    }
    rules += "COMMIT\n";
    let mut restore = pbx
        .command(format!("{iptables}-restore"))
        .stdin(Stdio::piped())
        .spawn()?;
    let mut input = restore.stdin.take().context("no standard input")?;
    input.write_all(rules.as_bytes())?;
    drop(input);
    let status = restore.wait()?;
    ensure!(status.success(), "{iptables}-restore: {status}");
    Ok(())
}

/// Attaches a program of two instructions.
fn bare(mode: XdpMode) -> Result<Ebpf> {
    let mut ebpf = EbpfLoader::new().load(BARE_OBJECT)?;
    let program = bare_program(&mut ebpf, "pass")?;
    let mode = match mode {
        XdpMode::Native => xdp::XdpMode::Driver,
        XdpMode::Generic => xdp::XdpMode::Skb,
    };
    program.attach(INTERFACE, mode)?;
    Ok(ebpf)
}

fn bare_program<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut xdp::Xdp> {
    let program: &mut xdp::Xdp = ebpf
        .program_mut(name)
        .context("no such program")?
        .try_into()?;
    program.load()?;
    Ok(program)
}

/// The default policy but for the limits, which nothing here reaches.
fn configure(shield: &mut impl Shield, profile: Profile) -> Result<()> {
    let unlimited = Rate {
        packets: 1_000_000_000,
        per_seconds: 1,
        burst: u32::MAX,
    };
    shield.set_policy(&Policy {
        mode: Mode::Protect,
        ports: Ports {
            udp: vec![(5060, PortClass::Sip)],
            tcp: vec![(5060, PortClass::Sip)],
        },
        limits: Limits {
            sip: unlimited,
            responses: unlimited,
            unknown: unlimited,
            trusted: unlimited,
            ssh: unlimited,
        },
    })?;
    let tables: Tables = SignatureSet::builtin().compile(profile, &[])?;
    shield.set_signatures(&tables)?;
    Ok(())
}

/// Signatures of a list as feeds make it: the built-in ones and, to make up the number, names that
/// may stand anywhere in the User-Agent and share next to nothing with each other.
fn many_signatures(count: usize) -> Result<Tables> {
    let mut set = SignatureSet::builtin();
    let mut text = String::new();
    for number in set.iter().len()..count {
        let mut state = (number as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let letters = std::iter::repeat_with(|| {
            state ^= state >> 12;
            state ^= state << 25;
            state ^= state >> 27;
            let pick = state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33;
            char::from(b"abcdefghijklmnopqrstuvwxyz0123456789"[pick as usize % 36])
        });
        let pattern: String = letters.take(12).collect();
        text += &format!(
            "[[signature]]\nname = \"s{number}\"\nfield = \"user-agent\"\nmatch = \"contains\"\n\
             pattern = \"{pattern}\"\nconfidence = \"certain\"\nsource = \"bench\"\n"
        );
    }
    set.merge(SignatureSet::parse("bench.toml", &text)?);
    ensure!(set.iter().len() == count, "{count} signatures");
    Ok(set.compile(Profile::Strict, &[])?)
}

/// What a packet costs beside a list of 5,000 signatures, and beside the built-in one, in turn.
fn print_many_signatures(effort: &Effort) -> Result<()> {
    const MANY: usize = 5_000;
    // As strict as it gets, so that every signature is in the table, but sent by a device whose
    // name nobody drops.
    let frame = Packet::udp("203.0.113.7:5060", "192.0.2.1:5060")
        .payload(&register("snomD785/10.1.64.14"))
        .build();
    let few = SignatureSet::builtin().iter().len();
    let mut simulators = Vec::new();
    for count in [few, MANY] {
        let mut simulator = Simulator::new()?;
        configure(&mut simulator, Profile::Strict)?;
        simulator.set_signatures(&many_signatures(count)?)?;
        simulators.push((simulator, Vec::new()));
    }
    for _ in 0..effort.test_runs {
        for (simulator, runs) in &mut simulators {
            runs.push(simulator.time(&frame, effort.repeat)?.as_nanos() as f64);
        }
    }
    let mut medians = Vec::new();
    for (simulator, runs) in &simulators {
        let clean = simulator.counters()?.of(Reason::Clean).passed;
        let all = runs.len() as u64 * u64::from(effort.repeat);
        ensure!(clean == all, "{clean} of {all} runs were clean");
        medians.push(Spread::of(runs).median);
    }
    if let [few_ns, many_ns] = medians[..] {
        println!(
            "\n{few} signatures: {few_ns:.0} ns a run; {MANY}: {many_ns:.0} ns, {:+.1} %.",
            (many_ns / few_ns - 1.0) * 100.0
        );
    }
    Ok(())
}

/// Bans and allows addresses and networks that the phone is not in.
fn fill_lists(shield: &mut impl Shield, entries: u32) -> Result<()> {
    for number in 0..entries {
        let address = Ipv4Addr::from(0x0a00_0000 | number << 8 | 1);
        let network = IpNet::new(address.into(), if number % 10 == 0 { 24 } else { 32 })?;
        if number % 100 == 5 {
            shield.allow(network)?;
            continue;
        }
        shield.ban(&Ban {
            target: Target {
                prefix: network.trunc(),
                port: None,
            },
            scope: Scope::All,
            until: BootTime::NEVER,
        })?;
    }
    Ok(())
}

/// Times each program without any network around it: name, nanoseconds per run.
fn programs_alone(effort: &Effort) -> Result<Vec<(&'static str, Spread)>> {
    let frame = Packet::udp("203.0.113.7:5060", "192.0.2.1:5060")
        .payload(&register("Yealink SIP-T46S 66.86.0.15"))
        .build();
    let mut alone = Vec::new();
    for (name, program) in [("XDP_DROP alone", "drop"), ("XDP_PASS alone", "pass")] {
        let mut ebpf = EbpfLoader::new().load(BARE_OBJECT)?;
        let program = bare_program(&mut ebpf, program)?;
        let run = || {
            let options = TestRunOptions {
                data_in: Some(&frame),
                repeat: effort.repeat,
                ..TestRunOptions::new()
            };
            Ok(program.test_run(options)?.duration)
        };
        alone.push((name, timed(effort, run)?));
    }
    for (name, profile, listed) in [
        ("sipward", Profile::Standard, 0),
        ("sipward, profile strict", Profile::Strict, 0),
        ("sipward, 10,000 in lists", Profile::Standard, 10_000),
    ] {
        let mut simulator = Simulator::new()?;
        configure(&mut simulator, profile)?;
        fill_lists(&mut simulator, listed)?;
        let spread = timed(effort, || Ok(simulator.time(&frame, effort.repeat)?))?;
        let clean = simulator.counters()?.of(Reason::Clean).passed;
        let runs = effort.test_runs as u64 * u64::from(effort.repeat);
        ensure!(clean == runs, "{clean} of {runs} runs were clean");
        alone.push((name, spread));
    }
    Ok(alone)
}

fn timed(effort: &Effort, mut run: impl FnMut() -> Result<Duration>) -> Result<Spread> {
    let runs: Vec<f64> = (0..effort.test_runs)
        .map(|_| Ok(run()?.as_nanos() as f64))
        .collect::<Result<_>>()?;
    Ok(Spread::of(&runs))
}

/// Figures of the same thing, measured several times.
#[derive(Clone, Copy)]
struct Spread {
    min: f64,
    median: f64,
    max: f64,
}

impl Spread {
    fn of(figures: &[f64]) -> Self {
        let mut sorted = figures.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |place: usize| sorted.get(place).copied().unwrap_or(f64::NAN);
        Self {
            min: at(0),
            median: at(sorted.len() / 2),
            max: at(sorted.len().saturating_sub(1)),
        }
    }
}

/// What a lane costs beyond the lane without a filter, round by round.
fn added(lanes: &[Lane], lane: &Lane) -> Spread {
    let without = lanes
        .iter()
        .find(|lane| matches!(lane.installed, Installed::None));
    let without = without
        .map(|lane| lane.rounds.as_slice())
        .unwrap_or_default();
    let added: Vec<f64> = lane
        .rounds
        .iter()
        .zip(without)
        .map(|(with, without)| with - without)
        .collect();
    Spread::of(&added)
}

/// What the list adds, under that iptables of the two that is better at it.
fn list_added(lanes: &[Lane]) -> f64 {
    lanes
        .iter()
        .filter(|lane| matches!(lane.installed, Installed::List))
        .map(|lane| added(lanes, lane).median)
        .fold(f64::INFINITY, f64::min)
}

fn print_lanes(lanes: &[Lane]) {
    println!(
        "\n{:<28}{:>12}{:>12}{:>19}{:>14}",
        "nanoseconds", "a packet", "added", "min..max", "the list is"
    );
    let list = list_added(lanes);
    for lane in lanes {
        let whole = Spread::of(&lane.rounds).median;
        if let Installed::None = lane.installed {
            println!("{:<28}{whole:>12.0}", lane.name);
            continue;
        }
        let added = added(lanes, lane);
        println!(
            "{:<28}{whole:>12.0}{:>12.0}{:>19}{:>13.1}x",
            lane.name,
            added.median,
            format!("{:.0}..{:.0}", added.min, added.max),
            list / added.median,
        );
    }
}

fn print_programs(programs: &[(&str, Spread)]) {
    println!(
        "\n{:<28}{:>12}{:>31}",
        "the program alone", "a run", "min..max"
    );
    for (name, spread) in programs {
        let range = format!("{:.0}..{:.0}", spread.min, spread.max);
        println!("{name:<28}{:>12.0}{range:>31}", spread.median);
    }
}

fn print_ratios(lanes: &[Lane]) {
    let list = list_added(lanes);
    let ratios: Vec<String> = lanes
        .iter()
        .filter(|lane| matches!(lane.installed, Installed::Sipward(_)))
        .map(|lane| format!("{} {:.0}x", lane.name, list / added(lanes, lane).median))
        .collect();
    println!("\nCheaper than the list: {}.", ratios.join(", "));
}

fn print_setting(effort: &Effort) -> Result<()> {
    let first_line = |path: &str| -> Result<String> {
        let text = fs::read_to_string(path).with_context(|| path.to_owned())?;
        Ok(text.lines().next().unwrap_or_default().to_owned())
    };
    let cpuinfo = fs::read_to_string("/proc/cpuinfo")?;
    let processor = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or(env::consts::ARCH, |(_, model)| model);
    println!(
        "One REGISTER of {MESSAGE_LEN} bytes (the SIP message) from an unknown source, over veth, on one core.\n\
         The list: {} rules, the guide's without `-`. Medians of {} rounds.\n\
         Linux {}, {processor}",
        GUIDE_PATTERNS.lines().count(),
        effort.rounds,
        first_line("/proc/sys/kernel/osrelease")?,
    );
    // It makes every return in the kernel cost a misprediction, and so every call of a helper.
    let overflow = first_line("/sys/devices/system/cpu/vulnerabilities/spec_rstack_overflow");
    if let Ok(state) = overflow
        && state.contains("Safe RET")
    {
        println!("Return stack overflow: {state}");
    }
    if effort.is_quick() {
        println!("A check that it works: the figures mean nothing.");
    }
    Ok(())
}

/// Mounts nothing but this process sees: pins and the names of namespaces end with it, however
/// it ends.
fn own_mounts() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>)?;
    mount(
        Some("bpf"),
        BPF_FS,
        Some("bpf"),
        MsFlags::empty(),
        None::<&str>,
    )
    .with_context(|| format!("mounting {BPF_FS}"))
}

/// The last core that this process may use; the first one takes most interrupts.
fn pin_to_one_core() -> Result<()> {
    let this = Pid::from_raw(0);
    let allowed = sched_getaffinity(this)?;
    let last = (0..CpuSet::count())
        .rev()
        .find(|core| allowed.is_set(*core).unwrap_or(false))
        .context("no core to run on")?;
    let mut one = CpuSet::new();
    one.set(last)?;
    sched_setaffinity(this, &one)?;
    Ok(())
}
