use clap::Args;
use sipward_engine::escape;
use std::fmt::Write;

use super::{Daemon, table};
use crate::{
    clock,
    control::api::{
        EnforcementState, FeedView, LedgerState, LedgerView, Sensor, SensorState, SignatureView,
        Status,
    },
    exit::{Answer, Exit, Failure},
};

/// Is it guarding, where, and what has it dropped?
///
/// Ends with 1 where an interface is not guarded although it should be.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sipward status
  sipward status --json | jq .packets.dropped")]
pub struct Arguments {
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    daemon: Daemon,
}

impl Arguments {
    pub fn run(self) -> Result<Answer, Failure> {
        let status: Status = self.daemon.client().get("/v1/status")?;
        let answer = if self.json {
            Answer::json(&status)?
        } else {
            Answer::data(text(&status))
        };
        let exit = match status.enforcement.state {
            EnforcementState::Ok => Exit::Done,
            EnforcementState::Leaking | EnforcementState::Detached => Exit::Negative,
        };
        Ok(Answer { exit, ..answer })
    }
}

pub(super) fn text(status: &Status) -> String {
    let mut out = String::new();
    let mut line = |name: &str, value: String| {
        // Writing to a string does not fail.
        let _ = writeln!(out, "{name:<13}{value}");
    };
    line(
        "version",
        format!(
            "{}, up {}",
            status.version,
            table::seconds(status.uptime_seconds)
        ),
    );
    if let Some(seconds) = status.reloading_seconds {
        let under_way = format!(
            "under way for {}; until its files are read the configuration before is in force",
            table::seconds(seconds)
        );
        line("reload", under_way);
    }
    line("mode", status.mode.to_string());
    line(
        "backend",
        format!("{}: {}", status.backend, status.backend_reason),
    );
    for interface in &status.interfaces {
        let gone = if interface.attached {
            ""
        } else {
            ", NOT ATTACHED"
        };
        let note = interface.note.as_deref();
        let note = note.map_or_else(String::new, |note| format!(": {note}"));
        line(
            "interface",
            format!("{} ({}{gone}){note}", interface.name, interface.how()),
        );
    }
    let leaked = table::count(status.enforcement.leaked_packets);
    let missing = if status.backend == "nftables" {
        "rules are missing"
    } else {
        "the program is missing on an interface"
    };
    line(
        "enforcement",
        match status.enforcement.state {
            EnforcementState::Ok if status.enforcement.leaked_packets == 0 => "ok".to_owned(),
            EnforcementState::Ok => {
                format!("ok; {leaked} packets of banned sources once came through")
            }
            EnforcementState::Leaking => format!(
                "LEAKING within the last minute, see the log: {leaked} packets of banned sources \
                 came through"
            ),
            EnforcementState::Detached => format!(
                "DETACHED: {missing}, see the log: {leaked} packets of banned sources came through"
            ),
        },
    );
    let would = &status.packets.would_drop;
    let would_total = would.banned + would.rate + would.signature + would.tripwire;
    let passed = status.packets.passed.saturating_sub(would_total);
    line("passed", format!("{} packets", table::count(passed)));
    if would_total > 0 {
        line(
            "would drop",
            format!(
                "{} packets: {} banned, {} rate, {} signature, {} tripwire (observe mode)",
                table::count(would_total),
                table::count(would.banned),
                table::count(would.rate),
                table::count(would.signature),
                table::count(would.tripwire),
            ),
        );
    }
    let dropped = &status.packets.dropped;
    let total = dropped.banned
        + dropped.rate
        + dropped.signature
        + dropped.tripwire
        + dropped.tiny_fragment;
    line(
        "dropped",
        format!(
            "{} packets: {} banned, {} rate, {} signature, {} tripwire, {} tiny fragment",
            table::count(total),
            table::count(dropped.banned),
            table::count(dropped.rate),
            table::count(dropped.signature),
            table::count(dropped.tripwire),
            table::count(dropped.tiny_fragment),
        ),
    );
    line("bans", table::count(status.bans as u64));
    line("allowed", table::count(status.allowed as u64));
    line("trusted", table::count(status.trusted as u64));
    if let Some(busiest) = busiest(&status.signatures) {
        line("signatures", busiest);
    }
    let sensors = &status.sensors;
    for (name, sensor) in [
        ("kernel", &sensors.kernel),
        ("packets", &sensors.packets),
        ("asterisk log", &sensors.asterisk_log),
        ("ami", &sensors.ami),
    ] {
        line("sensor", format!("{name}: {}", state(sensor)));
    }
    for feed in &status.feeds {
        line("feed", feed_line(feed));
    }
    if let Some(ledger) = ledger(&status.ledger) {
        line("ledger", ledger);
    }
    if let Some(gateway) = status.strangers_come_from {
        let warning = format!(
            "all strangers come from {gateway}, the default gateway, which is never banned: see \
             `sipward doctor`"
        );
        line("WARNING", warning);
    }
    for warning in &status.warnings {
        line("WARNING", warning.clone());
    }
    out
}

/// What is to be known of the ledger, if it is more than that it is written.
fn ledger(ledger: &LedgerView) -> Option<String> {
    let note = ledger.note.as_deref();
    match ledger.state {
        LedgerState::Ok => note.map(str::to_owned),
        LedgerState::Unwritable => Some(format!(
            "NOT WRITTEN, {} entries wait: {}; bans are enforced, but a reboot would forget the \
             latest",
            table::count(ledger.waiting as u64),
            note.unwrap_or("nobody knows why"),
        )),
    }
}

/// The signatures that hit most, in a line.
fn busiest(signatures: &[SignatureView]) -> Option<String> {
    const SHOWN: usize = 3;
    let shown: Vec<String> = signatures
        .iter()
        .take(SHOWN)
        .map(|signature| format!("{} {}", signature.name, table::count(signature.packets)))
        .collect();
    let more = match signatures.len().saturating_sub(SHOWN) {
        0 => String::new(),
        more => format!(", and {more} more"),
    };
    (!shown.is_empty()).then(|| format!("{}{more}", shown.join(", ")))
}

fn feed_line(feed: &FeedView) -> String {
    let had = match feed.last_success {
        Some(at) => format!(
            "{} entries of {}",
            table::count(feed.entries as u64),
            clock::local(at)
        ),
        None => "nothing yet".to_owned(),
    };
    let next = feed
        .next
        .map_or_else(String::new, |at| format!(", next {}", clock::local(at)));
    let until = feed.lapses.map_or_else(String::new, |at| {
        format!(", in force until {}", clock::local(at))
    });
    match &feed.error {
        None => format!("{}: {had}{until}{next}", feed.name),
        Some(why) => {
            let why = escape(why.as_bytes());
            format!("{}: FAILS: {why}; {had}{until}{next}", feed.name)
        }
    }
}

fn state(sensor: &Sensor) -> String {
    let because = sensor.note.as_deref().unwrap_or("nobody knows why");
    match sensor.state {
        SensorState::Off => "off".to_owned(),
        SensorState::Waiting => format!("waiting: {because}"),
        SensorState::Refused => format!("refused: {because}"),
        SensorState::On => {
            let (events, unmatched) = (table::count(sensor.events), table::count(sensor.unmatched));
            let lost = match sensor.lost {
                0 => String::new(),
                lost => format!(", {} LOST", table::count(lost)),
            };
            format!("on, {events} events, {unmatched} unmatched{lost}")
        }
    }
}
