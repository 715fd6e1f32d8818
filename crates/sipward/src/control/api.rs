//! What is said over the control socket, which is also what `--json` prints.

mod status;

use std::net::IpAddr;

use ipnet::IpNet;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use status::{
    Dropped, Enforcement, EnforcementState, FeedView, Interface, LedgerState, LedgerView, Packets,
    Sensor, SensorState, Sensors, SignatureView, Status, WouldDrop,
};

use crate::config::{BanScope, GuardMode};

/// Bytes of a request's body at most.
pub const LARGEST_REQUEST: usize = 1 << 20;

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
    /// Those bans, and those within it; 1,000 of them at most.
    pub bans: Vec<BanView>,
    /// Whether there are more.
    #[serde(default)]
    pub more_bans: bool,
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
    /// Those bans, 1,000 of them at most.
    pub bans: Vec<BanView>,
    /// Whether there are more.
    #[serde(default)]
    pub more_bans: bool,
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
    /// Of both, what was to lose every packet and loses SIP only: somebody in there has just connected
    /// by SSH, and `force` was not asked for.
    #[serde(default)]
    pub sip_only: Vec<IpNet>,
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
    /// Of those banned now, what was to lose every packet and loses SIP only, as in [`BanReply`].
    #[serde(default)]
    pub sip_only: Vec<IpNet>,
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
