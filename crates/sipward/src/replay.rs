//! A recording, judged as the live machine would have judged it: the same engine, behind the twin
//! of the kernel's policy. Nothing is read but the files, and no clock but theirs.
//!
//! ```text
//! file ──► packet ──► to a server? ──► policy ── drop ──► counted ──► KernelDrop ──┐
//!                     from one? ────────────┴─── pass ──► sensor ──► Observation ──┤
//!                            policy ◄── bans, trust ◄── Command ◄── engine ◄───────┘
//! ```
//!
//! The files are one recording in the order they are given; time never runs backwards.

mod report;
mod servers;

use std::{
    hash::{BuildHasher, RandomState},
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use ipnet::IpNet;
use sipward_engine::{
    Direction, Engine, KernelDrop, Observation, Protection, Reason, SignatureHit, Time,
    Transport as SipTransport,
    policy::{Policy, Verdict},
};
use sipward_wire::{Packet, Transport, sip};

pub use report::{AlertEntry, BanEntry, DropEntry, EvidenceEntry, PlaceEntry, Report};
use report::{Reporter, Source};

use crate::{
    config::Config,
    exit::Failure,
    pcap::{self, Recorded},
    sensors::{Frame, PacketSensor},
    signatures,
};

/// How long timers run on past the last packet.
const AFTERMATH: Duration = Duration::from_secs(10);
/// Bytes of a dropped payload that the engine is shown, as many as the kernel's event has.
const SAMPLE: usize = 512;

/// What a replay came to.
#[derive(Debug)]
pub struct Outcome {
    /// What was found, as far as the files could be read.
    pub report: Report,
    /// What is wrong with the files, a line each.
    pub complaints: Vec<String>,
}

/// Plays the files. `servers` are the guarded machines; empty, they are found in the recording.
/// `progress` is told how many bytes were read of all files together.
///
/// # Errors
/// A file that is not there, before any is read; signatures that cannot be compiled.
pub fn replay(
    config: &Config,
    files: &[PathBuf],
    servers: &[IpAddr],
    progress: &mut dyn FnMut(u64),
) -> Result<Outcome, Failure> {
    for file in files {
        std::fs::File::open(file)
            .and_then(|file| file.metadata())
            .map_err(|error| error.to_string())
            .and_then(|data| match data.is_dir() {
                true => Err("this is a directory: name the recordings in it".to_owned()),
                false => Ok(()),
            })
            .map_err(|error| Failure::input(format!("{}: {error}", file.display())))?;
    }
    let servers = match servers {
        [] => servers::find(files, config),
        servers => servers.to_vec(),
    };
    let mut replay = Replay::new(config, servers)?;
    let mut complaints = Vec::new();
    let mut read = 0;
    for file in files {
        replay.reporter.begin_file(&file.display().to_string());
        let before = replay.reporter.sip_messages();
        let mut offset = 0;
        let result = pcap::read(file, |recorded| {
            offset = recorded.offset;
            replay.take(&recorded);
            if recorded.number.is_multiple_of(4_096) {
                progress(read + offset);
            }
            Ok(())
        });
        let size = std::fs::metadata(file).map_or(offset, |data| data.len());
        read += size;
        progress(read);
        match result {
            Err(failure) => complaints.push(failure.text),
            Ok(()) if replay.reporter.sip_messages() == before => {
                complaints.push(no_sip(file, &replay, config));
            }
            Ok(()) => {}
        }
    }
    Ok(Outcome {
        report: replay.finish(),
        complaints,
    })
}

fn no_sip(file: &Path, replay: &Replay, config: &Config) -> String {
    let ports = &config.ports;
    let list = |ports: &[u16]| {
        let ports: Vec<String> = ports.iter().map(ToString::to_string).collect();
        ports.join(", ")
    };
    format!(
        "{}: none of its {} packets is SIP to or from a server (UDP {}; TCP {}): name other ports \
         with --config, or the server with --server",
        file.display(),
        replay.reporter.packets_of_file(),
        list(&ports.sip_udp),
        list(&ports.sip_tcp),
    )
}

struct Replay {
    engine: Engine,
    policy: Policy,
    sensor: PacketSensor,
    servers: Vec<IpAddr>,
    reporter: Reporter,
    now: Time,
}

impl Replay {
    fn new(config: &Config, servers: Vec<IpAddr>) -> Result<Self, Failure> {
        // Changes no decision; a recording may not know it all the same.
        let seed = RandomState::new().hash_one(());
        let tables = signatures::compile(&config.signatures)?;
        let mut engine = Engine::new(config.engine(), seed);
        let mut sensor = PacketSensor::new(config.ports.sip(), servers.clone());
        sensor.set_signatures(tables.clone());
        let mut policy = Policy::new(&config.policy_twin(), tables, seed);
        let protected = engine.protected_mut();
        protected.set(Protection::Own, servers.iter().map(|own| IpNet::from(*own)));
        protected.set(Protection::Allowlist, config.allowed());
        for prefix in config.allowed() {
            policy.allow(prefix);
        }
        Ok(Self {
            engine,
            policy,
            sensor,
            reporter: Reporter::new(&servers),
            servers,
            now: Time::default(),
        })
    }

    fn take(&mut self, recorded: &Recorded<'_>) {
        let number = self.reporter.packet(recorded.at);
        self.now = self.now.max(recorded.at.unwrap_or(self.now));
        let Some(link) = recorded.link_type else {
            return;
        };
        let packet = Packet::parse(link, recorded.bytes);
        let Some(ip) = packet.ip else {
            return;
        };
        let to_server = self.servers.contains(&ip.destination);
        if !to_server && !self.servers.contains(&ip.source) {
            return;
        }
        if to_server {
            self.pass_time(self.now);
            let verdict = self.policy.judge(&packet, self.now);
            if verdict.is_drop() {
                self.dropped(number, &packet, ip.source, verdict);
                return;
            }
        }
        let frame = Frame {
            number,
            at: self.now,
            link,
            bytes: recorded.bytes,
            is_cut: recorded.is_cut,
            direction: None,
        };
        let (engine, reporter) = (&mut self.engine, &mut self.reporter);
        self.sensor
            .take_packet(&frame, &packet, &mut |observation, at| {
                if let Observation::Message(message) = observation {
                    let inbound = message.direction == Direction::Inbound;
                    let sender = inbound.then(|| message.source.ip());
                    reporter.message(!message.sip.anomalies().is_empty(), sender);
                }
                engine.observe(observation, at);
            });
        self.carry_out();
    }

    /// The engine hears of what the kernel's program tells of: everything but what a ban drops.
    fn dropped(&mut self, number: u64, packet: &Packet<'_>, source: IpAddr, verdict: Verdict) {
        let payload = packet.payload().unwrap_or_default();
        if sip::is_sip(payload) {
            let anomalies = sip::Message::parse(payload).anomalies();
            self.reporter.message(!anomalies.is_empty(), Some(source));
        }
        let ports = packet.ports();
        let tables = self.policy.tables();
        let signature = verdict.signature.and_then(|slot| tables.signature(slot));
        self.reporter.dropped(
            Source {
                address: source,
                port: ports.map(|(source, _)| source),
            },
            verdict.reason,
            signature.map(|signature| signature.name.as_str()),
            self.now,
        );
        if verdict.reason == Reason::Banned {
            return;
        }
        let (Some(source), Some(destination)) =
            (packet.source_socket(), packet.destination_socket())
        else {
            return;
        };
        let transport = transport(packet);
        let drop = KernelDrop {
            source,
            destination,
            transport,
            established: transport == SipTransport::Tcp
                && self.sensor.is_established(source, destination),
            reason: verdict.reason,
            signature: signature.map(|signature| SignatureHit {
                name: &signature.name,
                confidence: signature.confidence,
            }),
            packet: Some(number),
            sample: payload.get(..SAMPLE).unwrap_or(payload),
        };
        self.engine
            .observe(&Observation::KernelDrop(drop), self.now);
        self.carry_out();
    }

    fn pass_time(&mut self, now: Time) {
        if self.engine.poll_timeout().is_some_and(|due| due <= now) {
            self.engine.handle_timeout(now);
            self.carry_out();
        }
    }

    fn carry_out(&mut self) {
        while let Some(command) = self.engine.next_command() {
            self.policy.apply(&command);
            self.reporter.command(command);
        }
    }

    fn finish(mut self) -> Report {
        self.pass_time(self.now + AFTERMATH);
        self.reporter.finish()
    }
}

fn transport(packet: &Packet<'_>) -> SipTransport {
    match packet.transport {
        Transport::Tcp(_) => SipTransport::Tcp,
        Transport::Udp(_)
        | Transport::Icmp(_)
        | Transport::Other
        | Transport::LaterFragment
        | Transport::NotUnderstood(_) => SipTransport::Udp,
    }
}
