//! A recording, judged as the live machine would have judged it: the same engine, behind the twin
//! of the kernel's policy. Nothing is read but the files, and no clock but theirs.
//!
//! ```text
//! capture ──► packet ──► to a server? ──► policy ── drop ──► counted ──► KernelDrop ──┐
//!                        from one? ────────────┴─── pass ──► sensor ──► Observation ──┤
//! log ──► line ──► who did what? ───────────────────────────────────► Observation ──┤
//!                               policy ◄── bans, trust ◄── Command ◄── engine ◄───────┘
//! ```
//!
//! The files are one recording, in the order of their times whatever order they are given in, and
//! time never runs backwards. Where captures cover the time of a line, what it says of UDP and
//! cleartext TCP was seen in them, and the line is evidence only. Where they do not, the line
//! counts, unproven: strangers may write whole lines into a log, and nothing but a packet proves
//! that somebody connected.

mod calendar;
mod cursor;
mod feed;
mod lines;
mod logs;
mod merge;
mod report;
mod servers;
mod survey;

use std::{
    hash::{BuildHasher, RandomState},
    net::IpAddr,
    panic::resume_unwind,
    path::PathBuf,
    thread::{self, ScopedJoinHandle},
    time::Duration,
};

use ipnet::IpNet;
use sipward_engine::{
    Direction, Engine, KernelDrop, Observation, Protection, Reason, SignatureHit, Time,
    Transport as SipTransport,
    policy::{Policy, Verdict},
};
use sipward_signature::{ScanMode, Tables};
use sipward_wire::{LinkType, Packet, Transport, sip};

use feed::{Entered, Filter, What};
use jiff::tz::TimeZone;
use logs::Logs;
use merge::{Merge, Turn};
pub use report::{AlertEntry, BanEntry, DropEntry, EvidenceEntry, PlaceEntry, Report};
use report::{Reporter, Source};
use survey::{Input, Kind};

use crate::{
    config::Config,
    exit::Failure,
    packed,
    sensors::{Connections, Frame, PacketSensor},
    signatures,
};

/// How long timers run on past the last packet or line, and a line may come after its packet.
const AFTERMATH: Duration = Duration::from_secs(10);
/// How much earlier than a packet a line about it may claim to be: most name the second only.
const EARLY: Duration = Duration::from_secs(1);
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

/// Plays the files. `servers` are the guarded machines; empty, they are found in the captures.
/// `zone` is the time zone of the machine that wrote the logs. `progress` is told how many bytes
/// were read of all files together.
///
/// # Errors
/// A file that is not there, before any is read; signatures that cannot be compiled.
pub fn replay(
    config: &Config,
    files: &[PathBuf],
    servers: &[IpAddr],
    zone: &TimeZone,
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
    let (mut inputs, mut refused, mut complaints) = (Vec::new(), Vec::new(), Vec::new());
    // Both take their time, and neither needs the other.
    let (servers, tables) = thread::scope(|scope| {
        let tables = scope.spawn(|| signatures::compile(&config.signatures));
        for file in files {
            match survey::survey(file, zone) {
                Ok(input) => inputs.push(input),
                Err(failure) => {
                    refused.push(file.display().to_string());
                    complaints.push(failure.text);
                }
            }
        }
        inputs.sort_by_key(|input| input.first);
        let servers = match servers {
            [] => servers::find(&inputs, config),
            servers => servers.to_vec(),
        };
        (servers, joined(tables))
    });
    let played = inputs.iter().map(|input| input.path.display().to_string());
    let names = played.chain(refused).collect();
    let (tables, _) = tables?;
    let mut replay = Replay::new(config, servers, names, tables);
    let failures = replay.play(&inputs, config, progress);
    for (file, (input, failure)) in inputs.iter().zip(failures).enumerate() {
        complaints.extend(match failure {
            Some(failure) => Some(failure.text),
            None => replay.nothing_in(file, input, config),
        });
    }
    Ok(Outcome {
        report: replay.finish(),
        complaints,
    })
}

fn joined<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| resume_unwind(panic))
}

struct Replay {
    engine: Engine,
    policy: Policy,
    sensor: PacketSensor,
    connections: Connections,
    logs: Logs,
    servers: Vec<IpAddr>,
    reporter: Reporter,
    /// What the engine is configured with: whether the wire is read changes with the captures.
    config: sipward_engine::Config,
    last_packet: Option<Time>,
    now: Time,
}

impl Replay {
    fn new(config: &Config, servers: Vec<IpAddr>, names: Vec<String>, tables: Tables) -> Self {
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
            connections: Connections::new(config.connection_ports()),
            logs: Logs::default(),
            reporter: Reporter::new(&servers, names),
            servers,
            config: config.engine(),
            last_packet: None,
            now: Time::default(),
        }
    }

    /// Plays the files. What is wrong with each comes back.
    fn play(
        &mut self,
        inputs: &[Input],
        config: &Config,
        progress: &mut dyn FnMut(u64),
    ) -> Vec<Option<Failure>> {
        let filter = Filter::new(config, self.servers.clone());
        let sizes: Vec<u64> = inputs
            .iter()
            .map(|input| packed::size(&input.path))
            .collect();
        let mut done: Vec<u64> = sizes.iter().map(|_| 0).collect();
        thread::scope(|scope| {
            let mut merge = Merge::new(scope, inputs, &filter);
            while let Some(turn) = merge.turn(|file, read| {
                self.reporter.play(file);
                self.reporter.read(read);
                if let (Some(done), Some(size)) = (done.get_mut(file), sizes.get(file)) {
                    *done = read.offset.min(*size).max(*done);
                }
                progress(done.iter().sum());
            }) {
                self.reporter.play(turn.file);
                if let Some(cursor) = merge.cursor(&turn) {
                    while let Some((entered, at)) = cursor.next(turn.until) {
                        self.take(&entered, at, &turn);
                    }
                }
            }
            merge.failures()
        })
    }

    fn take(&mut self, entered: &Entered<'_>, at: Time, turn: &Turn) {
        self.now = self.now.max(at);
        let number = self.reporter.place_of(entered.number);
        match entered.what {
            What::Packet { link, is_cut } => {
                self.last_packet = Some(at);
                self.take_packet(number, link, entered.bytes, is_cut);
            }
            What::Line { is_doubtful } => {
                let is_covered = turn.in_capture
                    || self.last_packet.is_some_and(|last| at <= last + AFTERMATH)
                    || turn.next_capture.is_some_and(|first| first <= at + EARLY);
                if is_covered != self.config.wire_is_read {
                    self.config.wire_is_read = is_covered;
                    self.engine.set_config(self.config.clone());
                }
                let line = logs::Line {
                    file: turn.file,
                    place: number,
                    text: entered.bytes,
                    is_doubtful,
                };
                let told = (&mut self.engine, &mut self.reporter);
                self.logs.judge(&line, self.now, &self.connections, told);
                self.carry_out();
            }
        }
    }

    fn take_packet(&mut self, number: u64, link: LinkType, bytes: &[u8], is_cut: bool) {
        let packet = Packet::parse(link, bytes);
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
        let direction = if self.servers.contains(&ip.destination) {
            Direction::Inbound
        } else {
            Direction::Outbound
        };
        self.connections.take(&packet, direction, self.now);
        let frame = Frame {
            number,
            at: self.now,
            link,
            bytes,
            is_cut,
            direction: None,
        };
        let (engine, reporter) = (&mut self.engine, &mut self.reporter);
        let connections = &mut self.connections;
        self.sensor
            .take_packet(&frame, &packet, &mut |observation, at| {
                if let Observation::Message(message) = observation {
                    let inbound = message.direction == Direction::Inbound;
                    let sender = inbound.then(|| message.source.ip());
                    if inbound && message.transport == SipTransport::Tcp {
                        connections.is_readable(message.source, message.destination.port());
                    }
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
        let mode = match transport(packet) {
            SipTransport::Tcp => ScanMode::SEGMENT,
            SipTransport::Udp => ScanMode::DATAGRAM,
        };
        let signature = verdict.signature.and_then(|hit| {
            let gravest = tables.gravest(hit, payload, mode);
            tables.signature(gravest)
        });
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

    /// What to say of a file in which nothing is.
    fn nothing_in(&self, file: usize, input: &Input, config: &Config) -> Option<String> {
        let found = self.reporter.in_file(file);
        let path = input.path.display();
        match input.kind {
            Kind::Capture if found.sip_messages == 0 => {
                let ports = &config.ports;
                Some(format!(
                    "{path}: none of its {} packets is SIP to or from a server (UDP {}; TCP {}): \
                     name other ports with --config, or the server with --server",
                    found.packets,
                    list(&ports.sip_udp),
                    list(&ports.sip_tcp),
                ))
            }
            Kind::Log(_) if !found.is_log => Some(format!(
                "{path}: none of its {} lines is Asterisk's, FreeSWITCH's or Kamailio's: for \
                 Asterisk name messages, full or security of /var/log/asterisk",
                found.lines,
            )),
            Kind::Capture | Kind::Log(_) => None,
        }
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
        let unattributed = self.engine.statistics().unattributed_lines;
        self.reporter.unattributed_lines(unattributed);
        self.reporter.finish()
    }
}

fn list(ports: &[u16]) -> String {
    let ports: Vec<String> = ports.iter().map(ToString::to_string).collect();
    ports.join(", ")
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
