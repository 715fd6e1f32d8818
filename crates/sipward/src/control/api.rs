//! What is said over the control socket, which is also what `--json` prints.

use std::net::IpAddr;

use ipnet::IpNet;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::config::{BanScope, GuardMode};

/// Bytes of a request's body at most.
pub const LARGEST_REQUEST: usize = 1 << 20;

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

/// An element of `bans`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BanView {
    /// The banned addresses.
    pub prefix: IpNet,
    /// The source port, where only one is banned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Its beginning.
    pub since: Timestamp,
    /// Its end; null: for ever.
    pub until: Option<Timestamp>,
    /// What is dropped.
    pub scope: BanScope,
    /// The detector; null where none asked for it.
    pub detector: Option<String>,
    /// Why.
    pub reason: String,
    /// Whether the source proved to own its address.
    pub proven: bool,
    /// The signature that hit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
    /// Packets that this signature has hit ever, from whomever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature_hits: Option<u64>,
    /// Who decided it.
    pub origin: String,
    /// Packets it has dropped since the kernel's maps were made.
    pub dropped_packets: u64,
    /// Of its addresses, what the allowlist lets through all the same.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowed: Vec<IpNet>,
    /// In the history: when it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Timestamp>,
    /// In the history: how it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_by: Option<String>,
}

/// `why`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WhyView {
    /// What was asked for.
    pub address: String,
    /// Whether a ban is in force that drops packets of it.
    pub banned: bool,
    /// Those bans.
    pub bans: Vec<BanView>,
    /// Whether bans drop, or are only counted.
    pub mode: GuardMode,
    /// Whether it is on the allowlist, as a whole.
    pub allowed: bool,
    /// Whether it has logged in lately.
    pub trusted: bool,
    /// Its logins, each address with its last one.
    #[serde(default)]
    pub logins: Vec<TrustedView>,
    /// What it is suspected of.
    #[serde(default)]
    pub suspicions: Vec<SuspectView>,
    /// Why it is never banned by itself, where it is not.
    pub protected: Option<String>,
    /// What it did, the latest first.
    pub alerts: Vec<AlertView>,
}

/// `why` of an account
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountView {
    /// What was asked for.
    pub account: String,
    /// Whether a ban is in force that concerns it.
    pub banned: bool,
    /// Those bans.
    pub bans: Vec<BanView>,
    /// Whether bans drop, or are only counted.
    pub mode: GuardMode,
    /// Who logged in with it last, in the order of the addresses.
    pub logins: Vec<TrustedView>,
    /// What was done to it or with it, the latest first.
    pub alerts: Vec<AlertView>,
}

/// An element of `suspects`: what one detector has counted against one source, short of firing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SuspectView {
    /// The address; of IPv6, the last one of its /64 that was counted.
    pub address: IpAddr,
    /// The detector.
    pub detector: String,
    /// What it has counted.
    pub count: u32,
    /// At which count it fires.
    pub fires_at: u32,
    /// When it counted last.
    pub last: Timestamp,
    /// The latest things it saw, oldest first.
    pub evidence: Vec<EvidenceView>,
}

/// An element of `trusted`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrustedView {
    /// The address.
    pub address: IpAddr,
    /// How it proved itself last: `registration`, `login`, `call` or `peer`.
    pub by: String,
    /// The account of the last success.
    pub username: Option<String>,
    /// The User-Agent of the last success.
    pub user_agent: Option<String>,
    /// The first success.
    pub since: Timestamp,
    /// The last success.
    pub last: Timestamp,
    /// When the trust ends unless renewed.
    pub until: Timestamp,
}

/// A detector fired.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertView {
    /// When.
    pub at: Timestamp,
    /// About whom.
    pub source: IpNet,
    /// Which detector.
    pub detector: String,
    /// Whether the source proved to own its address.
    pub proven: bool,
    /// What happened, in a sentence.
    pub summary: String,
    /// Why no ban followed, where none did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spared: Option<String>,
    /// What was seen, oldest first.
    pub evidence: Vec<EvidenceView>,
}

/// One thing that was seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EvidenceView {
    /// When.
    pub at: Timestamp,
    /// What.
    pub summary: String,
}

/// An element of `allowed`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AllowedView {
    /// The addresses.
    pub prefix: IpNet,
    /// `configuration`, `asterisk` (its configuration, or the running one) or `manual`.
    pub origin: String,
    /// The name that stands for them, where one was allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Since when; null for what the configuration says.
    pub since: Option<Timestamp>,
}

/// Asks for bans.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BanRequest {
    /// Whom.
    pub prefixes: Vec<IpNet>,
    /// How long; absent: for ever.
    pub seconds: Option<u64>,
    /// What is dropped; absent: what the configuration says.
    pub scope: Option<BanScope>,
    /// Why.
    pub reason: Option<String>,
    /// Ban protected addresses, too.
    pub force: bool,
}

/// What became of a [`BanRequest`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BanReply {
    /// Banned now.
    pub banned: Vec<IpNet>,
    /// Banned already, at least as long.
    pub already: Vec<IpNet>,
    /// Of those banned, what the allowlist lets through all the same.
    pub allowed: Vec<IpNet>,
}

/// Asks for bans that another tool had.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImportRequest {
    /// Whom, until when and why.
    pub bans: Vec<ImportedBan>,
}

/// A ban that another tool had.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImportedBan {
    /// Whom.
    pub prefix: IpNet,
    /// Until when; null: for ever.
    pub until: Option<Timestamp>,
    /// What is dropped; absent: what the configuration says.
    pub scope: Option<BanScope>,
    /// Why.
    pub reason: String,
}

/// What became of an [`ImportRequest`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportReply {
    /// How many are banned now.
    pub banned: usize,
    /// How many are banned already, at least as long.
    pub already: usize,
    /// Whom nobody may ban.
    pub skipped: Vec<SkippedBan>,
    /// Microseconds until the kernel had the bans.
    #[serde(default)]
    pub kernel_us: u64,
    /// Microseconds until the ledger had them on disk.
    #[serde(default)]
    pub ledger_us: u64,
}

/// Whom an import may not ban.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SkippedBan {
    /// Whom.
    pub prefix: IpNet,
    /// Why not.
    pub why: String,
}

/// Asks for the end of bans.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UnbanRequest {
    /// Of these addresses, and of them only.
    Prefixes(Vec<IpNet>),
    /// Of all that concern this account.
    Account(String),
    /// Of everybody.
    All,
}

/// What became of an [`UnbanRequest`] or of an allowance.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiftReply {
    /// Bans that are gone.
    pub lifted: Vec<IpNet>,
    /// Holes, each with the wider ban that goes on around it.
    pub holes: Vec<Hole>,
    /// What was not banned.
    pub not_banned: Vec<IpNet>,
    /// What lists had banned, and do not ban again for as long as they name it.
    #[serde(default)]
    pub spared: Vec<IpNet>,
    /// How many bans were of lists, which ban again whom they name.
    #[serde(default)]
    pub listed: usize,
}

/// An address let out of a wider ban.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hole {
    /// What is free now.
    pub hole: IpNet,
    /// What was banned as one.
    pub around: IpNet,
}

/// Asks for a change of the allowlist.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AllowRequest {
    /// Whom.
    pub prefixes: Vec<IpNet>,
    /// Whom, by name.
    #[serde(default)]
    pub names: Vec<String>,
}

/// A name and what it stands for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resolved {
    /// The name.
    pub name: String,
    /// Its addresses, in order.
    pub addresses: Vec<IpAddr>,
}

/// What became of an [`AllowRequest`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AllowReply {
    /// Allowed now.
    pub allowed: Vec<IpNet>,
    /// Allowed already.
    pub already: Vec<IpNet>,
    /// Names that are allowed now.
    #[serde(default)]
    pub names: Vec<Resolved>,
    /// Bans that ended with it.
    pub lift: LiftReply,
}

/// What became of a request to take prefixes from the allowlist.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DisallowReply {
    /// No longer allowed.
    pub disallowed: Vec<IpNet>,
    /// Names that are no longer allowed.
    #[serde(default)]
    pub names: Vec<String>,
    /// Not on the list by themselves, each with why that is, or what holds it.
    pub refused: Vec<String>,
}

/// A request that was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The exit code of the command.
    pub exit: u8,
    /// One line.
    pub error: String,
}

/// A list was taken in: its signatures are in the state folder, its addresses here, at most some
/// thousands in one request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeedRequest {
    /// The list's name.
    pub name: String,
    /// Whom to ban.
    pub prefixes: Vec<IpNet>,
    /// How long.
    pub seconds: u64,
    /// Read the signatures again.
    pub signatures: bool,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeedReply {
    /// Prefixes banned.
    pub banned: usize,
    /// Prefixes that a list does not ban: too wide, of somebody protected, or lifted by hand.
    pub spared: usize,
}

/// Query of `bans`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BansQuery {
    /// Those that are over, instead of those in force.
    #[serde(default)]
    pub history: bool,
}

/// Query of `why`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WhyQuery {
    /// The address or prefix.
    pub prefix: IpNet,
}

/// Query of `why` of an account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountQuery {
    /// Its name as it is shown.
    pub account: String,
}
