use std::{cmp::Reverse, fmt::Write};

use clap::Args;
use ipnet::IpNet;
use jiff::Timestamp;

use super::{Daemon, bans, table};
use crate::{
    address::{self, Address},
    clock,
    config::{BanScope, GuardMode},
    control::api::{AlertView, BanView, WhyView},
    exit::{Answer, Failure},
};

/// What an address did, what is in force against it, and how to undo it
///
/// Ends with 1 where the address is not banned.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sipward why 203.0.113.7
  sipward why 203.0.113.0/24 --json")]
pub struct Arguments {
    /// 203.0.113.7, 2001:db8::/48 or 203.0.113.7-203.0.113.20
    #[arg(value_name = "ADDRESS")]
    address: Address,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    daemon: Daemon,
}

impl Arguments {
    pub fn run(self) -> Result<Answer, Failure> {
        let client = self.daemon.client();
        let ask = |prefix: &IpNet| client.get::<WhyView>(&format!("/v1/why?prefix={prefix}"));
        let (first, rest) = self
            .address
            .prefixes()
            .split_first()
            .ok_or_else(|| Failure::input(format!("{} is no address", self.address)))?;
        let mut why = ask(first)?;
        for prefix in rest {
            why = both(why, ask(prefix)?, &self.address);
        }
        let answer = if self.json {
            Answer::json(&why)?
        } else {
            Answer::data(text(&why, Timestamp::now()))
        };
        Ok(if why.banned {
            answer
        } else {
            answer.negative()
        })
    }
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
        allowed: one.allowed && other.allowed,
        trusted: one.trusted || other.trusted,
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
    let _ = remedy(&mut out, why);
    out
}

fn state(out: &mut String, why: &WhyView, now: Timestamp) -> std::fmt::Result {
    let address = &why.address;
    if why.bans.is_empty() {
        writeln!(out, "{address} is not banned.")?;
    }
    for ban in &why.bans {
        in_force(out, why, ban, now)?;
    }
    if why.allowed && why.bans.is_empty() {
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
    if let Some(protected) = &why.protected {
        writeln!(out, "No detector bans it: {protected}.")?;
    }
    if why.alerts.is_empty() {
        writeln!(out, "Nothing that it did was noted.")?;
    }
    Ok(())
}

fn in_force(out: &mut String, why: &WhyView, ban: &BanView, now: Timestamp) -> std::fmt::Result {
    let address = &why.address;
    let who = bans::who(ban);
    if who == *address {
        write!(out, "{address} is banned")?;
    } else {
        write!(out, "{address}: {who} is banned")?;
    }
    match ban.until {
        None => write!(out, " for ever")?,
        Some(_) => write!(out, " until {}", table::until(ban.until, now))?,
    }
    let what = match ban.scope {
        BanScope::All => "every packet",
        BanScope::Sip => "every packet to the SIP ports",
    };
    let dropped = match why.mode {
        GuardMode::Protect => "is dropped",
        GuardMode::Observe => "would be dropped (observe mode)",
    };
    let count = table::count(ban.dropped_packets);
    if why.allowed {
        // The allowlist is looked at before the bans.
        writeln!(
            out,
            ", and it is allowed: allow wins, nothing of it is dropped ({count} were before)."
        )?;
    } else {
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

fn remedy(out: &mut String, why: &WhyView) -> std::fmt::Result {
    let address = &why.address;
    if !why.bans.is_empty() {
        writeln!(out, "\nto let it in again:  sipward unban {address}")?;
        writeln!(out, "never to drop it:    sipward allow {address}")?;
    }
    Ok(())
}
