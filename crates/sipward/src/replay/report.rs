//! What a replay found: what `--json` prints.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    net::IpAddr,
};

use ipnet::IpNet;
use jiff::Timestamp;
use serde::Serialize;
use sipward_engine::{Alert, Ban, Command, Evidence, Place, Reason, Time};

use super::feed::Read;
use crate::{clock, config::BanScope};

/// Sources that are told apart at most, and rows of drops; a flood of forged sources has more.
const MOST: usize = 1 << 18;

/// The document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The files, in the order they were played.
    pub inputs: Vec<String>,
    /// Packets in them.
    pub packets: u64,
    /// SIP messages to and from the servers, dropped ones included.
    pub sip_messages: u64,
    /// Of these, what deviates from RFC 3261.
    pub anomalous_messages: u64,
    /// The guarded machines.
    pub servers: Vec<IpAddr>,
    /// Senders of SIP to a server and of what was dropped, IPv6 by /64; at most 262,144 are told
    /// apart.
    pub sources: usize,
    /// Lines of logs.
    pub log_lines: u64,
    /// Of these, what says who did something, or what a server gave up on.
    pub log_events: u64,
    /// Lines of a security log that nobody could read.
    pub unmatched_security_lines: u64,
    /// Lines about calls that the server gave up on and that no capture shows, so that nobody knows
    /// who called.
    pub unattributed_lines: u64,
    /// Time of the first packet or line that says something.
    pub first: Option<Timestamp>,
    /// Time of the last one.
    pub last: Option<Timestamp>,
    /// Who would have been banned, in the order of the decisions.
    pub bans: Vec<BanEntry>,
    /// Every time a detector fired, with or without a ban.
    pub alerts: Vec<AlertEntry>,
    /// Packets that would have been dropped, the most first.
    pub drops: Vec<DropEntry>,
}

/// A ban.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BanEntry {
    /// Who completed the evidence.
    pub source: IpAddr,
    /// What is banned.
    pub prefix: IpNet,
    /// The source port, where only one is banned.
    pub port: Option<u16>,
    /// What is dropped.
    pub scope: BanScope,
    /// When it was decided.
    pub at: Timestamp,
    /// Where the evidence was completed.
    #[serde(flatten)]
    pub place: PlaceEntry,
    /// The detector.
    pub detector: Option<&'static str>,
    /// The signature that hit.
    pub signature: Option<String>,
    /// Whether the source proved to own its address.
    pub proven: bool,
    /// How long; null: for ever.
    pub ban_seconds: Option<u64>,
    /// Why, in a sentence.
    pub reason: String,
    /// Packets of the recording that it would have dropped.
    pub would_drop: u64,
    /// What was seen, oldest first.
    pub evidence: Vec<EvidenceEntry>,
}

/// A packet of a recording or a line of a log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PlaceEntry {
    /// The file, where there are more than one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Counted from 1 in its file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub packet: Option<u64>,
    /// Counted from 1 in its file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
}

/// One thing that was seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EvidenceEntry {
    /// When.
    pub at: Timestamp,
    /// Where.
    #[serde(flatten)]
    pub place: PlaceEntry,
    /// What.
    pub summary: String,
}

/// A detector fired.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AlertEntry {
    /// When.
    pub at: Timestamp,
    /// Which.
    pub detector: &'static str,
    /// What happened, in a sentence.
    pub summary: String,
    /// About whom.
    pub source: IpNet,
    /// Whether the source proved to own its address.
    pub proven: bool,
    /// Why no ban followed, where none did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spared: Option<String>,
}

/// Packets of one source, dropped for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DropEntry {
    /// Their sender; null: of the senders that there was no room for.
    pub source: Option<IpAddr>,
    /// The reason, by the name of the kernel's counter.
    pub reason: &'static str,
    /// The signature that hit.
    pub signature: Option<String>,
    /// How many.
    pub packets: u64,
}

/// A sender, with its port where there is one.
#[derive(Clone, Copy, Debug)]
pub struct Source {
    /// The address.
    pub address: IpAddr,
    /// The port.
    pub port: Option<u16>,
}

/// Writes the report while the recording is played.
#[derive(Debug)]
pub struct Reporter {
    report: Report,
    /// What was found in each file.
    files: Vec<InFile>,
    /// The file that is being played.
    file: usize,
    range: Option<(Time, Time)>,
    sources: HashSet<sipward_engine::Source>,
    last_source: Option<IpAddr>,
    drops: HashMap<(Option<IpAddr>, Reason, Option<String>), u64>,
    /// Bans in force, to know which one drops a packet.
    in_force: HashMap<(IpNet, Option<u16>), InForce>,
    /// How many of them there are of each prefix length.
    lengths: BTreeMap<u8, usize>,
    /// The last alert: a ban follows from it.
    alert: Option<Alert>,
}

/// What was found in one file.
#[derive(Clone, Copy, Debug, Default)]
pub struct InFile {
    /// Packets.
    pub packets: u64,
    /// SIP messages to and from a server.
    pub sip_messages: u64,
    /// Lines.
    pub lines: u64,
    /// Some of these lines had the form of a server's.
    pub is_log: bool,
}

/// Bits of a place's number that count within a file; those above name the file.
const BITS: u32 = 40;

#[derive(Clone, Copy, Debug)]
struct InForce {
    index: usize,
    until: Option<Time>,
}

impl Reporter {
    /// An empty report.
    pub fn new(servers: &[IpAddr], inputs: Vec<String>) -> Self {
        Self {
            files: vec![InFile::default(); inputs.len()],
            file: 0,
            report: Report {
                inputs,
                packets: 0,
                sip_messages: 0,
                anomalous_messages: 0,
                servers: servers.to_vec(),
                sources: 0,
                log_lines: 0,
                log_events: 0,
                unmatched_security_lines: 0,
                unattributed_lines: 0,
                first: None,
                last: None,
                bans: Vec::new(),
                alerts: Vec::new(),
                drops: Vec::new(),
            },
            range: None,
            sources: HashSet::new(),
            last_source: None,
            drops: HashMap::new(),
            in_force: HashMap::new(),
            lengths: BTreeMap::new(),
            alert: None,
        }
    }

    /// What follows is of this file, of those that [`Self::new`] was given.
    pub fn play(&mut self, file: usize) {
        self.file = file;
    }

    /// A number that names a packet or line of the file being played, among those of all files.
    pub fn place_of(&self, number: u64) -> u64 {
        (self.file as u64) << BITS | number
    }

    /// Counts what was read of the file being played.
    pub fn read(&mut self, read: &Read) {
        self.report.packets += read.packets;
        self.report.log_lines += read.lines;
        if let Some(file) = self.files.get_mut(self.file) {
            file.packets += read.packets;
            file.lines += read.lines;
            file.is_log |= read.is_log;
        }
        if let Some((from, to)) = read.range {
            let (first, last) = self.range.get_or_insert((from, to));
            *first = from.min(*first);
            *last = to.max(*last);
        }
    }

    /// What was found in a file.
    pub fn in_file(&self, file: usize) -> InFile {
        self.files.get(file).copied().unwrap_or_default()
    }

    /// The latest packet or line.
    pub fn last(&self) -> Option<Time> {
        self.range.map(|(_, last)| last)
    }

    /// Counts a line that says something, and whoever it names.
    pub fn log_event(&mut self, source: Option<IpAddr>) {
        self.report.log_events += 1;
        if let Some(source) = source {
            self.source(source);
        }
    }

    /// How many lines were about calls that no capture shows.
    pub fn unattributed_lines(&mut self, lines: u64) {
        self.report.unattributed_lines = lines;
    }

    /// Counts a security event that could not be read.
    pub fn unmatched_security_line(&mut self) {
        self.report.unmatched_security_lines += 1;
    }

    /// Counts a message; its sender where it went to a server.
    pub fn message(&mut self, is_anomalous: bool, sender: Option<IpAddr>) {
        self.report.sip_messages += 1;
        if let Some(file) = self.files.get_mut(self.file) {
            file.sip_messages += 1;
        }
        self.report.anomalous_messages += u64::from(is_anomalous);
        if let Some(sender) = sender {
            self.source(sender);
        }
    }

    /// Counts a packet that was dropped.
    pub fn dropped(&mut self, source: Source, reason: Reason, signature: Option<&str>, now: Time) {
        self.source(source.address);
        if reason == Reason::Banned
            && let Some(index) = self.ban_of(source, now)
            && let Some(ban) = self.report.bans.get_mut(index)
        {
            ban.would_drop += 1;
        }
        let mut key = (
            Some(source.address),
            reason,
            signature.map(ToOwned::to_owned),
        );
        if self.drops.len() >= MOST && !self.drops.contains_key(&key) {
            key.0 = None;
        }
        *self.drops.entry(key).or_insert(0) += 1;
    }

    /// Notes what the engine decided.
    pub fn command(&mut self, command: Command) {
        match command {
            Command::Alert(alert) => {
                self.report.alerts.push(AlertEntry {
                    at: clock::timestamp(alert.at),
                    detector: alert.detector.name(),
                    summary: alert.summary.clone(),
                    source: alert.source,
                    proven: alert.proven,
                    spared: alert.spared.clone(),
                });
                self.alert = Some(alert);
            }
            Command::Ban(ban) => self.ban(ban),
            Command::Unban(unban) => self.end(&(unban.prefix, unban.port)),
            Command::Trust(_)
            | Command::Distrust(_)
            | Command::TakeRate(_)
            | Command::Hold(_)
            | Command::Release(_) => {}
        }
    }

    /// The document.
    pub fn finish(mut self) -> Report {
        self.report.sources = self.sources.len();
        self.report.first = self.range.map(|(first, _)| clock::timestamp(first));
        self.report.last = self.range.map(|(_, last)| clock::timestamp(last));
        let drops = self.drops.into_iter();
        self.report.drops = drops
            .map(|((source, reason, signature), packets)| DropEntry {
                source,
                reason: reason.name(),
                signature,
                packets,
            })
            .collect();
        self.report.drops.sort_by(|a, b| {
            let order = |entry: &DropEntry| (entry.source, entry.reason, entry.signature.clone());
            b.packets
                .cmp(&a.packets)
                .then_with(|| order(a).cmp(&order(b)))
        });
        self.report
    }

    fn source(&mut self, address: IpAddr) {
        if self.last_source == Some(address) {
            return;
        }
        self.last_source = Some(address);
        if self.sources.len() < MOST {
            self.sources.insert(sipward_engine::Source::of(address));
        }
    }

    fn ban(&mut self, ban: Ban) {
        let alert = self.alert.as_ref();
        let alert = alert.filter(|alert| Some(alert.detector) == ban.detector);
        let evidence: Vec<EvidenceEntry> = alert
            .into_iter()
            .flat_map(|alert| &alert.evidence)
            .map(|evidence| self.evidence(evidence))
            .collect();
        let place = evidence.last().map(|last| last.place.clone());
        let source = alert.map_or(ban.prefix.addr(), |alert| alert.source.addr());
        let key = (ban.prefix, ban.port);
        self.end(&key);
        self.in_force.insert(
            key,
            InForce {
                index: self.report.bans.len(),
                until: ban.until,
            },
        );
        *self.lengths.entry(ban.prefix.prefix_len()).or_insert(0) += 1;
        self.report.bans.push(BanEntry {
            source,
            prefix: ban.prefix,
            port: ban.port,
            scope: ban.scope.into(),
            at: clock::timestamp(ban.since),
            place: place.unwrap_or_default(),
            detector: ban.detector.map(|detector| detector.name()),
            signature: ban.signature,
            proven: ban.proven,
            ban_seconds: ban.until.map(|until| until.since(ban.since).as_secs()),
            reason: ban.reason,
            would_drop: 0,
            evidence,
        });
    }

    fn end(&mut self, key: &(IpNet, Option<u16>)) {
        if self.in_force.remove(key).is_none() {
            return;
        }
        let length = key.0.prefix_len();
        if let Some(count) = self.lengths.get_mut(&length) {
            *count -= 1;
            if *count == 0 {
                self.lengths.remove(&length);
            }
        }
    }

    /// The narrowest ban in force that hits a sender.
    fn ban_of(&self, source: Source, now: Time) -> Option<usize> {
        let host = IpNet::from(source.address);
        self.lengths.keys().rev().find_map(|length| {
            let prefix = IpNet::new(host.addr(), *length).ok()?.trunc();
            let ban = |port: Option<u16>| self.in_force.get(&(prefix, port));
            let ban = source.port.and_then(|port| ban(Some(port))).or(ban(None))?;
            let in_force = ban.until.is_none_or(|until| until > now);
            in_force.then_some(ban.index)
        })
    }

    fn evidence(&self, evidence: &Evidence) -> EvidenceEntry {
        EvidenceEntry {
            at: clock::timestamp(evidence.at),
            place: self.place(evidence.place),
            summary: evidence.summary.clone(),
        }
    }

    fn place(&self, place: Place) -> PlaceEntry {
        match place {
            Place::Packet(number) => PlaceEntry {
                packet: Some(in_file(number)),
                ..self.file_of(number)
            },
            Place::Line(number) => PlaceEntry {
                line: Some(in_file(number)),
                ..self.file_of(number)
            },
            Place::Kernel | Place::Ami => PlaceEntry::default(),
        }
    }

    /// The file is only told where there are more than one.
    fn file_of(&self, number: u64) -> PlaceEntry {
        let inputs = Some(&self.report.inputs).filter(|inputs| inputs.len() > 1);
        let file = usize::try_from(number >> BITS).ok();
        PlaceEntry {
            file: inputs
                .zip(file)
                .and_then(|(inputs, file)| inputs.get(file))
                .cloned(),
            ..PlaceEntry::default()
        }
    }
}

fn in_file(number: u64) -> u64 {
    number & ((1 << BITS) - 1)
}
