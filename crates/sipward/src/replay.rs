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

mod feed;
mod report;
mod servers;

use std::{
    hash::{BuildHasher, RandomState},
    net::IpAddr,
    panic::resume_unwind,
    path::{Path, PathBuf},
    sync::mpsc,
    thread::{self, ScopedJoinHandle},
    time::Duration,
};

use ipnet::IpNet;
use sipward_engine::{
    Direction, Engine, KernelDrop, Observation, Protection, Reason, SignatureHit, Time,
    Transport as SipTransport,
    policy::{Policy, Verdict},
};
use sipward_signature::Tables;
use sipward_wire::{Packet, Transport, sip};

use feed::{Batch, Entered};
pub use report::{AlertEntry, BanEntry, DropEntry, EvidenceEntry, PlaceEntry, Report};
use report::{Reporter, Source};

use crate::{
    config::Config,
    exit::Failure,
    sensors::{Frame, PacketSensor, SipPorts},
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
    // Both take their time, and neither needs the other.
    let (servers, tables) = thread::scope(|scope| {
        let tables = scope.spawn(|| signatures::compile(&config.signatures));
        let servers = match servers {
            [] => servers::find(files, config),
            servers => servers.to_vec(),
        };
        (servers, joined(tables))
    });
    let mut replay = Replay::new(config, servers, tables?);
    let mut complaints = Vec::new();
    let mut done = 0;
    for file in files {
        replay.reporter.begin_file(&file.display().to_string());
        let before = replay.reporter.sip_messages();
        let result = replay.play(file, &config.ports.sip(), &mut |offset| {
            progress(done + offset);
        });
        done += std::fs::metadata(file).map_or(0, |data| data.len());
        progress(done);
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

fn joined<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| resume_unwind(panic))
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
    fn new(config: &Config, servers: Vec<IpAddr>, tables: Tables) -> Self {
        // Changes no decision; a recording may not know it all the same.
        let seed = RandomState::new().hash_one(());
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
        Self {
            engine,
            policy,
            sensor,
            reporter: Reporter::new(&servers),
            servers,
            now: Time::default(),
        }
    }

    /// Plays a file, which another thread reads.
    fn play(
        &mut self,
        file: &Path,
        ports: &SipPorts,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), Failure> {
        let servers = self.servers.clone();
        let (batches, full) = mpsc::sync_channel::<Batch>(feed::BATCHES);
        let (back, empty) = mpsc::channel();
        thread::scope(|scope| {
            let reader = scope.spawn(move || feed::read(file, &servers, ports, &batches, &empty));
            for mut batch in full {
                let start = self.reporter.start_of_file();
                for packet in batch.packets() {
                    self.take(start + packet.number, &packet);
                }
                self.reporter.read(&batch.read);
                progress(batch.read.offset);
                batch.clear();
                // At the end of the file nobody wants it any more.
                let _ = back.send(batch);
            }
            joined(reader)
        })
    }

    fn take(&mut self, number: u64, recorded: &Entered<'_>) {
        self.now = self.now.max(recorded.at.unwrap_or(self.now));
        let packet = Packet::parse(recorded.link, recorded.bytes);
        let Some(ip) = packet.ip else {
            return;
        };
        if self.servers.contains(&ip.destination) {
            self.pass_time(self.now);
            let verdict = self.policy.judge(&packet, self.now);
            if verdict.is_drop() {
                let comes_again = self.comes_again(&packet, verdict);
                self.dropped(number, &packet, ip.source, verdict, comes_again);
                if !comes_again {
                    return;
                }
            }
        }
        let frame = Frame {
            number,
            at: self.now,
            link: recorded.link,
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

    /// Whether the sender would send it once more until it passes, which the recording of an
    /// unguarded machine does not have: a segment that only came too fast.
    fn comes_again(&self, packet: &Packet<'_>, verdict: Verdict) -> bool {
        let ends = packet.source_socket().zip(packet.destination_socket());
        transport(packet) == SipTransport::Tcp
            && matches!(verdict.reason, Reason::Rate | Reason::RateUnknown)
            && ends.is_some_and(|(remote, local)| self.sensor.is_established(remote, local))
    }

    /// The engine hears of what the kernel's program tells of: everything but what a ban drops.
    fn dropped(
        &mut self,
        number: u64,
        packet: &Packet<'_>,
        source: IpAddr,
        verdict: Verdict,
        comes_again: bool,
    ) {
        let payload = packet.payload().unwrap_or_default();
        if !comes_again && sip::is_sip(payload) {
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
        let drop = KernelDrop {
            source,
            destination,
            transport: transport(packet),
            // As live: a segment alone proves nothing, whatever connection it claims to be of.
            established: false,
            reason: verdict.reason,
            count: 1,
            // Each is observed as a message.
            passed: 0,
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
        let last = self.reporter.last().unwrap_or(self.now).max(self.now);
        self.pass_time(last + AFTERMATH);
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
