use std::{cmp::Reverse, fmt::Write, str::FromStr};

use clap::Args;
use ipnet::IpNet;
use jiff::Timestamp;

use super::{Daemon, bans, suspects, table};
use crate::{
    address::{self, Address},
    clock,
    config::{BanScope, GuardMode},
    control::{
        api::{AccountView, AlertView, BanView, TrustedView, WhyView},
        client::{Client, in_query},
    },
    exit::{Answer, Failure},
};

/// What an address did or what befell an account, what is in force, and how to undo it
///
/// Ends with 1 where no ban is in force.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sipward why 203.0.113.7
  sipward why 203.0.113.0/24 --json
  sipward why alice")]
pub struct Arguments {
    /// 203.0.113.7, 2001:db8::/48, 203.0.113.7-203.0.113.20, or the name of an account
    #[arg(value_name = "ADDRESS|ACCOUNT")]
    subject: Subject,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    daemon: Daemon,
}

/// Whom a question is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    Address(Address),
    Account(String),
}

impl FromStr for Subject {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_name = |byte: u8| !byte.is_ascii_hexdigit() && !b".:/-".contains(&byte);
        let marked = text.contains([':', '/'])
            || text.contains('.') && text.starts_with(|c: char| c.is_ascii_digit());
        if text.is_empty() || marked && !text.bytes().any(is_name) {
            // What can only be meant as an address is told what is wrong with it.
            return text.parse().map(Self::Address);
        }
        Ok(text
            .parse()
            .map_or_else(|_| Self::Account(text.to_owned()), Self::Address))
    }
}

impl Arguments {
    pub fn run(self) -> Result<Answer, Failure> {
        let client = self.daemon.client();
        match &self.subject {
            Subject::Address(address) => {
                let why = of_address(&client, address)?;
                self.answer(&why, why.banned, text)
            }
            Subject::Account(name) => {
                let path = format!("/v1/why/account?account={}", in_query(name));
                let why: AccountView = client.get(&path)?;
                self.answer(&why, why.banned, account_text)
            }
        }
    }

    fn answer<T: serde::Serialize>(
        &self,
        why: &T,
        banned: bool,
        text: fn(&T, Timestamp) -> String,
    ) -> Result<Answer, Failure> {
        let answer = if self.json {
            Answer::json(why)?
        } else {
            Answer::data(text(why, Timestamp::now()))
        };
        Ok(if banned { answer } else { answer.negative() })
    }
}

fn of_address(client: &Client, address: &Address) -> Result<WhyView, Failure> {
    let ask = |prefix: &IpNet| client.get::<WhyView>(&format!("/v1/why?prefix={prefix}"));
    let (first, rest) = address
        .prefixes()
        .split_first()
        .ok_or_else(|| Failure::input(format!("{address} is no address")))?;
    let mut why = ask(first)?;
    for prefix in rest {
        why = both(why, ask(prefix)?, address);
    }
    Ok(why)
}

/// What is known of two parts of a range, as of one.
pub(super) fn both(one: WhyView, other: WhyView, range: &Address) -> WhyView {
    fn union<T>(mut all: Vec<T>, more: Vec<T>, same: impl Fn(&T, &T) -> bool) -> Vec<T> {
        for element in more {
            if !all.iter().any(|known| same(known, &element)) {
                all.push(element);
            }
        }
        all
    }
    let mut alerts = union(one.alerts, other.alerts, PartialEq::eq);
    // Between two questions a ban goes on to drop.
    let target = |ban: &BanView| (ban.prefix, ban.port, ban.scope);
    alerts.sort_by_key(|alert| Reverse(alert.at));
    WhyView {
        address: range.to_string(),
        banned: one.banned && other.banned,
        mode: one.mode,
        bans: union(one.bans, other.bans, |a, b| target(a) == target(b)),
        more_bans: one.more_bans || other.more_bans,
        allowed: one.allowed && other.allowed,
        trusted: one.trusted || other.trusted,
        logins: union(one.logins, other.logins, PartialEq::eq),
        suspicions: union(one.suspicions, other.suspicions, PartialEq::eq),
        protected: one.protected.or(other.protected),
        alerts,
    }
}

pub(super) fn text(why: &WhyView, now: Timestamp) -> String {
    let mut out = String::new();
    // Writing to a string does not fail.
    let _ = state(&mut out, why, now);
    for alert in &why.alerts {
        let _ = event(&mut out, alert);
    }
    if !why.bans.is_empty() {
        let address = &why.address;
        let _ = writeln!(out, "\nto let it in again:  sipward unban {address}");
        let _ = writeln!(out, "never to drop it:    sipward allow {address}");
    }
    out
}

pub(super) fn account_text(why: &AccountView, now: Timestamp) -> String {
    let mut out = String::new();
    let account = &why.account;
    // As in `text`.
    let _ = account_state(&mut out, why, now);
    for alert in &why.alerts {
        let _ = event(&mut out, alert);
    }
    if why.banned {
        let _ = writeln!(
            out,
            "\nto end these bans:  sipward unban --account {account}"
        );
    }
    out
}

fn state(out: &mut String, why: &WhyView, now: Timestamp) -> std::fmt::Result {
    let address = &why.address;
    if why.bans.is_empty() {
        writeln!(out, "{address} is not banned.")?;
    }
    for ban in &why.bans {
        in_force(out, address, ban, why.mode, now)?;
    }
    more(out, why.more_bans)?;
    if why.allowed {
        writeln!(
            out,
            "{address} is on the allowlist: nothing of it is dropped."
        )?;
    }
    if why.trusted {
        writeln!(
            out,
            "{address} has logged in lately: it has the larger rate."
        )?;
    }
    logins(out, &why.logins)?;
    if let Some(protected) = &why.protected {
        writeln!(out, "No detector bans it: {protected}.")?;
    }
    for suspicion in &why.suspicions {
        writeln!(
            out,
            "{} is suspected by the detector {}, {}, last {}:",
            suspicion.address,
            suspicion.detector,
            suspects::progress(suspicion),
            clock::local(suspicion.last)
        )?;
        for evidence in &suspicion.evidence {
            writeln!(out, "  {}  {}", clock::local(evidence.at), evidence.summary)?;
        }
    }
    if why.alerts.is_empty() && why.suspicions.is_empty() {
        writeln!(out, "Nothing that it did was noted.")?;
    }
    Ok(())
}

fn account_state(out: &mut String, why: &AccountView, now: Timestamp) -> std::fmt::Result {
    let account = &why.account;
    if why.bans.is_empty() {
        writeln!(out, "No ban in force concerns the account {account}.")?;
    }
    for ban in &why.bans {
        in_force(out, account, ban, why.mode, now)?;
    }
    more(out, why.more_bans)?;
    logins(out, &why.logins)?;
    if why.logins.is_empty() {
        writeln!(out, "Nobody who is trusted now logged in with it last.")?;
    }
    if why.alerts.is_empty() {
        writeln!(out, "Nothing that was done to it was noted.")?;
    }
    Ok(())
}

fn logins(out: &mut String, logins: &[TrustedView]) -> std::fmt::Result {
    for login in logins {
        let (address, by, last) = (login.address, &login.by, clock::local(login.last));
        write!(out, "  {address}: {by}, last {last}")?;
        if let Some(username) = &login.username {
            write!(out, ", as {username}")?;
        }
        if let Some(agent) = &login.user_agent {
            write!(out, ", User-Agent: {agent}")?;
        }
        writeln!(out)?;
    }
    Ok(())
}

fn more(out: &mut String, is_more: bool) -> std::fmt::Result {
    if is_more {
        writeln!(
            out,
            "More bans are in force than are told here: `sipward bans` lists all."
        )?;
    }
    Ok(())
}

fn in_force(
    out: &mut String,
    subject: &str,
    ban: &BanView,
    mode: GuardMode,
    now: Timestamp,
) -> std::fmt::Result {
    let who = bans::who(ban);
    if who == subject {
        write!(out, "{who} is banned")?;
    } else {
        write!(out, "{subject}: {who} is banned")?;
    }
    match ban.until {
        None => write!(out, " for ever")?,
        Some(_) => write!(out, " until {}", table::until(ban.until, now))?,
    }
    let count = table::count(ban.dropped_packets);
    if ban.allowed.contains(&ban.prefix) {
        // The allowlist is looked at before the bans.
        writeln!(
            out,
            ", and it is allowed: allow wins, nothing of it is dropped ({count} were before)."
        )?;
    } else {
        let what = match ban.scope {
            BanScope::All => "every packet",
            BanScope::Sip => "every packet to the SIP ports",
        };
        let dropped = match mode {
            GuardMode::Protect => "is dropped",
            GuardMode::Observe => "would be dropped (observe mode)",
        };
        writeln!(out, ": {what} {dropped}, {count} so far.")?;
        if !ban.allowed.is_empty() {
            writeln!(out, "  but allow wins: {}", bans::passing(ban))?;
        }
    }
    let by = match &ban.detector {
        Some(detector) => format!("by the detector {detector}"),
        None if ban.origin == "manual" => "by hand".to_owned(),
        None => format!("from {}", ban.origin),
    };
    writeln!(
        out,
        "  since {}, {by}: {}",
        clock::local(ban.since),
        ban.reason
    )?;
    if let Some(signature) = &ban.signature {
        writeln!(out, "  signature {signature}")?;
    }
    Ok(())
}

fn event(out: &mut String, alert: &AlertView) -> std::fmt::Result {
    let proven = if alert.proven {
        ""
    } else {
        " (the address may be forged)"
    };
    writeln!(
        out,
        "\n{}  {}{proven}",
        clock::local(alert.at),
        alert.detector
    )?;
    writeln!(out, "  {} {}", address::show(&alert.source), alert.summary)?;
    for evidence in &alert.evidence {
        writeln!(out, "  {}  {}", clock::local(evidence.at), evidence.summary)?;
    }
    if let Some(spared) = &alert.spared {
        writeln!(out, "  not banned for it: {spared}")?;
    }
    Ok(())
}
