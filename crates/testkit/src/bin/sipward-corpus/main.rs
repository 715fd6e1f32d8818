//! Makes the corpus under `crates/testkit/corpus` anew: programs that people use against a real
//! Asterisk 16 in network namespaces, seen at the PBX's interface with nothing that protects it.
//! `tools/install-corpus-programs` installs the programs. What the lint of signatures takes from the
//! corpus, `crates/signature/src/corpus.txt`, is written, too.
//!
//! usage: sipward-corpus [PART-OF-A-NAME]...
#![expect(clippy::print_stdout, reason = "a command that says what it did")]

mod programs;
mod servers;

use std::collections::HashSet;
use std::fs::{self, File};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use flate2::Compression;
use flate2::write::GzEncoder;
use sipward_testkit::asterisk::{Asterisk, Driver};
use sipward_testkit::corpus::{self, Kind, Label, folder};
use sipward_testkit::count::Capture;
use sipward_testkit::lab::{Lab, PBX};
use sipward_testkit::pcap::{Frame, PcapWriter};
use sipward_testkit::process::{Process, wait_until};
use sipward_testkit::recording::Datagram;
use sipward_testkit::require::{Need, require};

use programs::{Party, Program};

/// When each capture begins: the first second of 2026.
const BEGIN: Duration = Duration::from_secs(1_767_225_600);

/// Large enough that no message is sent in fragments, of which the later ones show no header.
const MTU: u16 = 9000;

/// How often the PBX calls each of its phones.
const ROUNDS: u32 = 4;

fn main() -> Result<()> {
    let needs = [
        Need::Root,
        Need::Asterisk,
        Need::Kamailio,
        Need::CorpusPrograms,
        Need::Program("baresip"),
        Need::Program("ethtool"),
        Need::Program("linphonec"),
        Need::Program("sip-options"),
        Need::Program("tcpdump"),
        Need::Program("twinkle-console"),
    ];
    if !require(&needs) {
        bail!("not everything is there that makes the corpus (tools/install-corpus-programs)");
    }
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let mut failures = Vec::new();
    for program in programs::all() {
        let is_wanted = |part: &String| program.name.contains(part.as_str());
        if !wanted.is_empty() && !wanted.iter().any(is_wanted) {
            continue;
        }
        match record(&program) {
            Ok(said) => println!("{said}"),
            Err(error) => {
                println!("{}: {error:#}", program.name);
                failures.push(program.name);
            }
        }
    }
    let values = corpus::values(&corpus::all()?);
    let lines: String = values.iter().map(|value| format!("{value}\n")).collect();
    fs::write(corpus::values_file(), lines)?;
    ensure!(failures.is_empty(), "not recorded: {}", failures.join(", "));
    Ok(())
}

/// Lets the program speak with both drivers of an Asterisk and writes what it and they said.
fn record(program: &Program) -> Result<String> {
    let lab = Lab::new()?;
    for namespace in [&lab.pbx, &lab.phones] {
        // The checksums of what is sent are to be those of the wire.
        namespace.offload("eth0", "tx", false)?;
        namespace.mtu("eth0", MTU)?;
    }
    for interface in ["pbx", "phones"] {
        lab.router.mtu(interface, MTU)?;
    }
    let asterisk = Asterisk::start(&lab.pbx, &servers::pbx())?;
    let filter = format!("host {PBX} and (udp or tcp) and (port 5060 or port 5062)");
    let capture = Capture::start(&lab.pbx, "eth0", &filter)?;
    match &program.party {
        Party::Driver(driver) => {
            for server in [Driver::ChanSip, Driver::Pjsip] {
                let mut commands = driver.commands(&lab.phones, server);
                let runs: Result<Vec<_>> = commands.iter_mut().map(Process::spawn).collect();
                let mut runs = runs?;
                let mut rounds = 0;
                while runs.iter_mut().any(Process::is_running) {
                    if rounds < ROUNDS {
                        servers::call_phones(&asterisk)?;
                    }
                    rounds += 1;
                    linger(Duration::from_secs(1))?;
                }
                for run in runs {
                    let finished = run.finish(Duration::from_secs(1))?;
                    ensure!(
                        finished.status.success(),
                        "{} {}",
                        finished.stdout,
                        finished.stderr
                    );
                }
            }
        }
        Party::Asterisk(settings) => {
            let client = Asterisk::start(&lab.phones, settings)?;
            servers::trunks(&asterisk, &client)?;
        }
        Party::Kamailio => servers::edge(&lab, &asterisk)?,
    }
    let frames = capture.stop()?;
    write(program, &said_once(frames))
}

/// Those with a payload; what was sent again because no answer came is there once, and each
/// keep-alive as often as it was sent.
fn said_once(frames: Vec<Frame>) -> Vec<Frame> {
    let mut said = HashSet::new();
    let is_new = |frame: &Frame| {
        let Some(datagram) = Datagram::read(&frame.bytes) else {
            return false;
        };
        match Kind::of(datagram.payload) {
            Kind::LineEnds | Kind::Zeros | Kind::Stun => !datagram.payload.is_empty(),
            Kind::Request(_) | Kind::Response | Kind::Rest => {
                said.insert((datagram.source, datagram.payload.to_vec()))
            }
        }
    };
    let mut frames = frames;
    // What two processors saw may be in the capture in either order.
    frames.sort_by_key(|frame| frame.at);
    frames.retain(is_new);
    frames
}

fn write(program: &Program, frames: &[Frame]) -> Result<String> {
    let first = frames.first().context("nothing was said")?.at;
    let label = Label {
        program: program.software.to_owned(),
        version: program.version()?,
        configured_user_agents: program.configured_user_agents(),
    };
    let path = folder().join(program.name);
    fs::create_dir_all(folder())?;
    fs::write(path.with_extension("toml"), toml::to_string(&label)?)?;
    let file = File::create(path.with_extension("pcap.gz"))?;
    let mut pcap = PcapWriter::new(GzEncoder::new(file, Compression::best()))?;
    for frame in frames {
        pcap.write(BEGIN + (frame.at - first), &frame.bytes)?;
    }
    pcap.finish()?.finish()?;
    let mut requests = Vec::new();
    let mut others = 0;
    for datagram in frames
        .iter()
        .filter_map(|frame| Datagram::read(&frame.bytes))
    {
        match Kind::of(datagram.payload) {
            Kind::Request(method) => requests.push(method),
            Kind::Response | Kind::LineEnds | Kind::Zeros | Kind::Stun | Kind::Rest => others += 1,
        }
    }
    requests.sort_unstable();
    requests.dedup();
    Ok(format!(
        "{} {}: {} payloads, {others} of them no requests; {}",
        label.program,
        label.version,
        frames.len(),
        requests.join(" ")
    ))
}

/// Waits for what takes its time by itself: registrations that are refreshed, pings.
fn linger(time: Duration) -> Result<()> {
    let end = std::time::Instant::now() + time;
    wait_until("the time to pass", time * 2, || {
        std::time::Instant::now() >= end
    })
}
