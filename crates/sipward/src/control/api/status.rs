//! What `status` says.

use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::config::GuardMode;

/// `status`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The daemon's version.
    pub version: String,
    /// Enforce or only watch.
    pub mode: GuardMode,
    /// What enforces: `xdp`.
    pub backend: String,
    /// Why that one.
    pub backend_reason: String,
    /// Seconds since the daemon started.
    pub uptime_seconds: u64,
    /// Seconds since a configuration is being read again; null where none is.
    #[serde(default)]
    pub reloading_seconds: Option<u64>,
    /// The guarded interfaces.
    pub interfaces: Vec<Interface>,
    /// Whether what is decided is carried out.
    pub enforcement: Enforcement,
    /// Packets since the maps were made.
    pub packets: Packets,
    /// Bans in force.
    pub bans: usize,
    /// Allowed prefixes.
    pub allowed: usize,
    /// Trusted addresses.
    pub trusted: usize,
    /// Where observations come from.
    pub sensors: Sensors,
    /// The signatures that ever hit, the busiest first.
    #[serde(default)]
    pub signatures: Vec<SignatureView>,
    /// Lists of others: those that the configuration names, and those taken by hand.
    #[serde(default)]
    pub feeds: Vec<FeedView>,
    /// What of the signatures is not in force, and why, and which lists anybody on the way could write;
    /// a line each.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// Whether what happens is written down.
    #[serde(default)]
    pub ledger: LedgerView,
    /// The default gateway, where everybody who speaks SIP comes from its address: it is never
    /// banned, and so nobody is.
    #[serde(default)]
    pub strangers_come_from: Option<IpAddr>,
}

/// Whether what happens is written down.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerView {
    /// In a word.
    pub state: LedgerState,
    /// What waits until it can be written.
    pub waiting: usize,
    /// Why it cannot be written, or where a damaged one was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// Whether the ledger can be written, in a word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LedgerState {
    /// It is written.
    #[default]
    Ok,
    /// It cannot be written at present: bans are enforced, but a reboot would forget the latest.
    Unwritable,
}

/// A list of others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeedView {
    /// Its name.
    pub name: String,
    /// Its entries, good and bad.
    pub entries: usize,
    /// Signatures taken from it.
    pub signatures: usize,
    /// When its server last sent it, or said that it has not changed.
    pub last_success: Option<Timestamp>,
    /// When what it says ends, unless it is confirmed.
    pub lapses: Option<Timestamp>,
    /// When it is asked for next; null where nobody does, or at once.
    pub next: Option<Timestamp>,
    /// What was wrong with the last try; null where nothing was.
    pub error: Option<String>,
}

/// What a signature has hit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignatureView {
    /// Its name.
    pub name: String,
    /// Packets, ever; what the ban that followed has dropped is not among them.
    pub packets: u64,
    /// The last one.
    pub last: Timestamp,
}

/// A guarded interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// `native` or `generic`; null where nftables guards, or nothing does.
    pub xdp_mode: Option<String>,
    /// False where the program, a rule, or the interface itself is not there.
    pub attached: bool,
    /// What is unusual about it: it is not there, it was renamed, another program keeps us away.
    #[serde(default)]
    pub note: Option<String>,
}

impl Interface {
    /// How it is guarded, for people.
    #[must_use]
    pub fn how(&self) -> String {
        match &self.xdp_mode {
            Some(mode) => format!("{mode} XDP"),
            None if self.attached => "nftables".to_owned(),
            None => "not guarded".to_owned(),
        }
    }
}

/// Whether what is decided is carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enforcement {
    /// In a word.
    pub state: EnforcementState,
    /// Packets of banned sources that were seen behind the shield since the start.
    pub leaked_packets: u64,
}

/// Whether what is decided is carried out, in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EnforcementState {
    /// It is.
    Ok,
    /// Within the last minute packets of banned sources came through, or could have.
    Leaking,
    /// The program is missing on an interface.
    Detached,
}

/// Packets by what became of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Packets {
    /// Let through.
    pub passed: u64,
    /// Dropped.
    pub dropped: Dropped,
    /// Of those let through, what was to be dropped and was only counted, in observe mode.
    #[serde(default)]
    pub would_drop: WouldDrop,
}

/// Packets that observe mode let through, by the reason to drop them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WouldDrop {
    /// The source is banned.
    pub banned: u64,
    /// The source, or all unknown ones together, sent more than their share.
    pub rate: u64,
    /// A scanner's signature.
    pub signature: u64,
    /// To a port that nobody uses.
    pub tripwire: u64,
}

/// Dropped packets by reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dropped {
    /// The source is banned.
    pub banned: u64,
    /// The source, or all unknown ones together, sent more than their share.
    pub rate: u64,
    /// A scanner's signature.
    pub signature: u64,
    /// To a port that nobody uses.
    pub tripwire: u64,
    /// A first fragment too short to be judged, from an unknown source.
    pub tiny_fragment: u64,
}

/// Where observations come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sensors {
    /// Events of the kernel's program.
    pub kernel: Sensor,
    /// The tap behind the shield.
    pub packets: Sensor,
    /// Asterisk's log.
    pub asterisk_log: Sensor,
    /// Asterisk's manager interface.
    pub ami: Sensor,
}

/// One source of observations.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sensor {
    /// In a word.
    pub state: SensorState,
    /// What it reported.
    pub events: u64,
    /// Of these, what said nothing to sipward.
    pub unmatched: u64,
    /// What came faster than it was read, and is lost.
    #[serde(default)]
    pub lost: u64,
    /// Why it does not report, where it should.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// State of a sensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SensorState {
    /// It is not used.
    Off,
    /// It reports.
    On,
    /// What it reads is not there; it goes on trying.
    Waiting,
    /// The login was refused; it is tried again now and then.
    Refused,
}

impl Sensor {
    /// One that is not used.
    pub const OFF: Self = Self {
        state: SensorState::Off,
        events: 0,
        unmatched: 0,
        lost: 0,
        note: None,
    };
}
