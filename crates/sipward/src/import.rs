//! Bans and signatures out of other tools' files. What a file is, its content says.
//!
//! ```text
//! file ─► read ─► bans ───► the daemon, in batches; each is one transaction of the ledger
//!                 strings ─► adopt (the lint) ─► a signature file
//!                 skipped, each with its line and why
//! ```

mod adopt;
mod fail2ban;
mod ipset;
mod iptables;
mod json;
mod list;

use std::{fmt, fs, path::Path, sync::Arc};

use ipnet::IpNet;
use jiff::Timestamp;
use sipward_engine::escape_at_most;

pub use adopt::{Adopted, Refused, adopt, text as signature_file};

use crate::{
    address::Address,
    config::{BanScope, PortLists},
    exit::Failure,
};

/// Bytes of a file at most: some ten million addresses.
const LARGEST: u64 = 256 << 20;

/// A prefix shorter than this is no ban of an attacker but of a part of the world: IPv4 and IPv6.
/// The widest that registries gave to one party are a /8 and a /16.
const SHORTEST: (u8, u8) = (8, 16);

/// Bytes of somebody else's text that a remark quotes at most.
const QUOTED: usize = 60;

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Fail2Ban's SQLite database.
    Fail2Ban,
    /// Output of `iptables-save`, or a script with lines of iptables.
    Iptables,
    /// Output of `ipset save`.
    Ipset,
    /// An answer of APIBAN, or `sipward export --format json`.
    Json,
    /// Addresses, prefixes and ranges, one a line.
    List,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fail2Ban => "a Fail2Ban database",
            Self::Iptables => "iptables rules",
            Self::Ipset => "ipsets",
            Self::Json => "a JSON list",
            Self::List => "a list of addresses",
        })
    }
}

/// A ban that another tool had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Whom.
    pub prefix: IpNet,
    /// Until when; `None`: for ever.
    pub until: Option<Timestamp>,
    /// What is dropped; `None`: what the configuration says.
    pub scope: Option<BanScope>,
    /// Why, safe to show.
    pub reason: Arc<str>,
}

/// Something in a file that is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// The line, counted from 1; `None` in a database.
    pub line: Option<usize>,
    /// What, safe to show.
    pub what: String,
    /// Why.
    pub why: Why,
}

/// Why something is not taken.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// It cannot be read; with what is wrong and how to mend it.
    Garbage(String),
    /// The prefix is shorter than [`SHORTEST`].
    TooShort,
    /// Its time is over.
    Expired,
    /// A rule that neither drops nor rejects.
    NoBan,
    /// A rule that asks for more than a source address and SIP: as a ban it would hit more.
    Narrower,
    /// A rule of Fail2Ban, which would take it away again.
    OfFail2Ban,
    /// Another rule of the file accepts some of it.
    Accepted,
    /// It is deleted further down, or an exception from a set.
    Withdrawn,
    /// A set of something else than addresses.
    OtherSet,
    /// A set that `--set` does not name.
    UnnamedSet,
}

impl Why {
    /// In words, without what is wrong with the single thing.
    #[must_use]
    pub const fn words(&self) -> &'static str {
        match self {
            Self::Garbage(_) => "not understood",
            Self::TooShort => "too short a prefix: /8 (IPv4) or /16 (IPv6) at least",
            Self::Expired => "expired",
            Self::NoBan => "a rule that does not drop or reject",
            Self::Narrower => "a rule with conditions that a ban has not",
            Self::OfFail2Ban => "a rule of Fail2Ban: its database has the end, import that",
            Self::Accepted => "let through by another rule of the file",
            Self::Withdrawn => "deleted again, or an exception of its set",
            Self::UnnamedSet => "an element of a set that --set does not name",
            Self::OtherSet => "an element of a set that is not of addresses alone",
        }
    }
}

/// A text that a rule looked for in packets.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Searched {
    /// What it looked for.
    pub text: String,
    /// Whether the line ended with it.
    pub to_line_end: bool,
}

/// What a file has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// What it is.
    pub kind: Kind,
    /// Its bans, in its order.
    pub bans: Vec<Entry>,
    /// The texts of its rules, each once.
    pub searched: Vec<Searched>,
    /// What is not taken.
    pub skipped: Vec<Skipped>,
}

/// What a reader goes by.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The time.
    pub now: Timestamp,
    /// How long a ban lasts whose file does not say; `None`: as long as such files mean.
    pub lasts: Option<std::time::Duration>,
    /// The ports that are SIP's.
    pub ports: &'a PortLists,
    /// The ipsets that are bans; empty: the only one of a file.
    pub sets: &'a [String],
}

/// Reads a file of any kind.
///
/// # Errors
/// Exit code 2: it cannot be read, or it is nothing of what is taken.
pub fn read(path: &Path, context: Context<'_>) -> Result<Found, Failure> {
    let name = path.display();
    let unreadable = |error: std::io::Error| Failure::input(format!("{name}: {error}"));
    let length = fs::metadata(path).map_err(unreadable)?.len();
    if length > LARGEST {
        return Err(Failure::input(format!(
            "{name}: {length} bytes, and {LARGEST} are read at most: split it"
        )));
    }
    let bytes = fs::read(path).map_err(unreadable)?;
    if bytes.starts_with(fail2ban::MAGIC) {
        return fail2ban::read(path, context);
    }
    let base = path.file_name().unwrap_or_default().as_encoded_bytes();
    let reason: Arc<str> = format!("imported from {}", quoted(base)).into();
    let text = String::from_utf8_lossy(&bytes);
    let text = text.trim_start_matches('\u{feff}');
    let mut reader = Reader::new(context, reason);
    let kind = if text.trim_start().starts_with(['{', '[']) {
        json::read(text, &mut reader).map_err(|what| Failure::input(format!("{name}{what}")))?
    } else if ipset::is(text) {
        ipset::read(text, &mut reader).map_err(|what| Failure::input(format!("{name}: {what}")))?
    } else if iptables::is(text) {
        iptables::read(text, &mut reader)
    } else if list::is(text) {
        list::read(text, &mut reader)
    } else {
        let first = text.lines().position(|line| !line.trim().is_empty());
        return Err(Failure::input(format!(
            "{name}:{}: this is nothing that can be imported; expected: a Fail2Ban database, \
             output of iptables-save or lines of iptables, output of ipset save, addresses one a \
             line, or APIBAN's JSON",
            first.unwrap_or(0) + 1
        )));
    };
    Ok(reader.found(kind))
}

/// Gathers what a file has.
struct Reader<'a> {
    context: Context<'a>,
    reason: Arc<str>,
    bans: Vec<Entry>,
    searched: Vec<Searched>,
    skipped: Vec<Skipped>,
}

impl<'a> Reader<'a> {
    fn new(context: Context<'a>, reason: Arc<str>) -> Self {
        Self {
            context,
            reason,
            bans: Vec::new(),
            searched: Vec::new(),
            skipped: Vec::new(),
        }
    }

    /// Takes the prefixes of an address as it is written.
    fn take(&mut self, line: usize, written: &str, until: Option<Timestamp>) {
        match written.parse::<Address>() {
            Ok(address) => self.take_all(line, address.prefixes(), until, None),
            Err(_) => self.garbage(line, written),
        }
    }

    fn take_all(
        &mut self,
        line: usize,
        prefixes: &[IpNet],
        until: Option<Timestamp>,
        scope: Option<BanScope>,
    ) {
        for prefix in prefixes {
            if is_too_short(prefix) {
                self.skip(Some(line), prefix.to_string(), Why::TooShort);
                continue;
            }
            self.bans.push(Entry {
                prefix: *prefix,
                until,
                scope,
                reason: Arc::clone(&self.reason),
            });
        }
    }

    fn garbage(&mut self, line: usize, written: &str) {
        let shown = quoted(written.as_bytes());
        // Said of the text as it is shown: the original could steer a terminal.
        let error = shown.parse::<Address>().err();
        let error = error.unwrap_or_else(|| "no address".to_owned());
        self.skip(Some(line), shown, Why::Garbage(error));
    }

    fn skip(&mut self, line: Option<usize>, what: String, why: Why) {
        self.skipped.push(Skipped { line, what, why });
    }

    /// When a ban ends of which the file does not say it.
    fn end(&self) -> Option<Timestamp> {
        let lasts = self.context.lasts?;
        self.context.now.checked_add(lasts).ok()
    }

    fn found(self, kind: Kind) -> Found {
        Found {
            kind,
            bans: self.bans,
            searched: self.searched,
            skipped: self.skipped,
        }
    }
}

fn is_too_short(prefix: &IpNet) -> bool {
    match prefix {
        IpNet::V4(net) => net.prefix_len() < SHORTEST.0,
        IpNet::V6(net) => net.prefix_len() < SHORTEST.1,
    }
}

/// Somebody else's text, safe to show.
fn quoted(text: &[u8]) -> String {
    escape_at_most(text, QUOTED).to_string()
}

#[cfg(test)]
mod tests;
