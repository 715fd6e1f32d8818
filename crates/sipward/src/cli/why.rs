use std::fmt::Write;

use clap::Args;
use ipnet::IpNet;
use jiff::Timestamp;

use super::{Daemon, bans, table};
use crate::{
    address, clock,
    config::BanScope,
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
    /// An address or a prefix
    #[arg(value_name = "ADDRESS", value_parser = address::prefix)]
    address: IpNet,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    daemon: Daemon,
}

impl Arguments {
    pub fn run(self) -> Result<Answer, Failure> {
        let path = format!("/v1/why?prefix={}", self.address);
        let why: WhyView = self.daemon.client().get(&path)?;
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
        in_force(out, address, ban, now)?;
    }
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
    if let Some(protected) = &why.protected {
        writeln!(out, "No detector bans it: {protected}.")?;
    }
    if why.alerts.is_empty() {
        writeln!(out, "Nothing that it did was noted.")?;
    }
    Ok(())
}

fn in_force(out: &mut String, address: &str, ban: &BanView, now: Timestamp) -> std::fmt::Result {
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
    writeln!(
        out,
        ": {what} is dropped, {} so far.",
        table::count(ban.dropped_packets)
    )?;
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
