use std::{
    fmt::Write,
    io::{self, IsTerminal},
    net::IpAddr,
    path::PathBuf,
    time::Duration,
};

use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use jiff::tz::TimeZone;

use super::table;
use crate::{
    address, clock,
    config::{Config, Profile},
    exit::{Answer, Exit, Failure},
    packed,
    replay::{self, DropEntry, Report},
};

/// Bytes from which a recording is worth a progress bar: a second's work.
const LARGE: u64 = 100 << 20;
/// Rows of drops that people are shown.
const ROWS: usize = 20;

/// Judge a recording or a log as the live machine would have: who would be banned, and why
///
/// The same engine, behind the same policy; nothing is sent, and no privilege is needed. Several
/// files are one recording, in the order of their times: rotated logs, captures, and both together.
/// Files packed with gzip are read as they are. Timers run on for 10 s past the last packet or line.
///
/// Where a capture covers the time of a log line, the line is only evidence for what was seen there.
/// A log alone proves nobody's address, for whoever sends a packet writes into it: such a ban is
/// unproven, of scope sip and the first step of the ladder. Times without a zone are this machine's
/// (set TZ for another), and times without a year end in the year in which the file was changed last.
///
/// Without --server the guarded machines are found in the first 50,000 packets of each file: the
/// ends that answer SIP from a protected port. An end that answers only such a server (a phone, a
/// trunk) is none. Where nobody answers, they are the ends that are asked.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tcpdump -i eth0 -w night.pcap port 5060; sipward replay night.pcap
  sipward replay monday.pcap tuesday.pcap --profile strict
  sipward replay /var/log/asterisk/messages*
  sipward replay night.pcap --json | jq -r '.bans[] | [.source, .detector, .packet] | @tsv'")]
pub struct Arguments {
    /// Recordings (pcap, pcapng) and logs of Asterisk, FreeSWITCH or Kamailio
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    /// The configuration: ports, limits, detectors, signatures, allowlist
    #[arg(
        long,
        value_name = "FILE",
        long_help = "The configuration: ports, limits, detectors, signatures, allowlist [default: \
                     /etc/sipward/sipward.toml; absent: the defaults]"
    )]
    config: Option<PathBuf>,
    /// Which signatures drop, instead of what the configuration says
    #[arg(long, value_enum)]
    profile: Option<Profile>,
    /// A guarded machine; may be given more than once
    #[arg(long = "server", value_name = "ADDRESS")]
    servers: Vec<IpAddr>,
}

impl Arguments {
    pub fn run(self) -> Result<Answer, Failure> {
        let mut config = Config::load_or_default(self.config.as_deref())?;
        if let Some(profile) = self.profile {
            config.signatures.profile = profile;
        }
        let bar = progress_bar(&self.files);
        let result = replay::replay(
            &config,
            &self.files,
            &self.servers,
            &TimeZone::system(),
            &mut |bytes| {
                bar.set_position(bytes);
            },
        );
        bar.finish_and_clear();
        let outcome = result?;
        let answer = if self.json {
            Answer::json(&outcome.report)?
        } else {
            Answer::data(text(&outcome.report))
        };
        let complaints = outcome.complaints.into_iter();
        let notes: Vec<String> = complaints.map(|text| format!("error: {text}")).collect();
        Ok(Answer {
            exit: if notes.is_empty() {
                Exit::Done
            } else {
                Exit::Input
            },
            notes,
            ..answer
        })
    }
}

fn progress_bar(files: &[PathBuf]) -> ProgressBar {
    let bytes = files.iter().map(|file| packed::size(file)).sum();
    let target = if bytes >= LARGE && io::stderr().is_terminal() {
        ProgressDrawTarget::stderr_with_hz(5)
    } else {
        ProgressDrawTarget::hidden()
    };
    let bar = ProgressBar::with_draw_target(Some(bytes), target);
    let style = "{bar:40} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left";
    if let Ok(style) = ProgressStyle::with_template(style) {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(500));
    bar
}

pub(super) fn text(report: &Report) -> String {
    let mut out = String::new();
    // Writing to a string does not fail.
    let _ = summary(&mut out, report);
    if report.bans.is_empty() {
        out.push_str("\nNobody would have been banned.\n");
    } else {
        out.push('\n');
        out.push_str(&bans(report));
    }
    let spared = report.alerts.iter().filter(|alert| alert.spared.is_some());
    for alert in spared {
        let _ = writeln!(
            out,
            "\n{} {} {}: {} ({})",
            clock::local(alert.at),
            address::show(&alert.source),
            alert.detector,
            alert.summary,
            alert.spared.as_deref().unwrap_or_default(),
        );
    }
    if !report.drops.is_empty() {
        out.push('\n');
        out.push_str(&drops(&report.drops));
    }
    out
}

fn summary(out: &mut String, report: &Report) -> std::fmt::Result {
    if report.log_lines > 0 {
        writeln!(
            out,
            "{} lines of logs, {} of them events, {} security events that were not understood",
            table::count(report.log_lines),
            table::count(report.log_events),
            table::count(report.unmatched_security_lines),
        )?;
    }
    if report.unattributed_lines > 0 {
        writeln!(
            out,
            "{} calls that the server gave up waiting for, and no capture shows whose: give one of \
             the same time",
            table::count(report.unattributed_lines),
        )?;
    }
    if report.packets > 0 || report.log_lines == 0 {
        packets(out, report)?;
    }
    if let (Some(first), Some(last)) = (report.first, report.last) {
        writeln!(out, "{} to {}", clock::local(first), clock::local(last))?;
    }
    Ok(())
}

fn packets(out: &mut String, report: &Report) -> std::fmt::Result {
    let servers: Vec<String> = report.servers.iter().map(ToString::to_string).collect();
    writeln!(
        out,
        "{} packets, {} SIP messages ({} odd), {} sources; server {}",
        table::count(report.packets),
        table::count(report.sip_messages),
        table::count(report.anomalous_messages),
        table::count(report.sources as u64),
        if servers.is_empty() {
            "unknown".to_owned()
        } else {
            servers.join(", ")
        },
    )
}

fn bans(report: &Report) -> String {
    let mut out = String::new();
    for ban in &report.bans {
        let port = ban.port.map(|port| format!(" port {port}"));
        let length = ban.ban_seconds.map_or("for ever".to_owned(), |seconds| {
            format!("for {}", table::seconds(seconds))
        });
        let dropped = match report.packets {
            0 => String::new(),
            _ => format!(", would drop {} packets", table::count(ban.would_drop)),
        };
        let proof = if ban.proven { "proven" } else { "unproven" };
        // Writing to a string does not fail.
        let _ = writeln!(
            out,
            "{}{} would be banned {length} (scope {}) at {}{}{dropped}",
            address::show(&ban.prefix),
            port.unwrap_or_default(),
            ban.scope,
            clock::local(ban.at),
            place(&ban.place),
        );
        let detector = ban.detector.unwrap_or("by hand");
        let _ = writeln!(out, "  {detector}, {proof}: {}", ban.reason);
        for evidence in &ban.evidence {
            let at = evidence.at.strftime("%H:%M:%S%.3f");
            let _ = writeln!(
                out,
                "    {at}{}  {}",
                place(&evidence.place),
                evidence.summary
            );
        }
    }
    out
}

fn place(place: &replay::PlaceEntry) -> String {
    let number = match (place.packet, place.line) {
        (Some(packet), _) => format!(" packet {packet}"),
        (None, Some(line)) => format!(" line {line}"),
        (None, None) => return String::new(),
    };
    match &place.file {
        Some(file) => format!("{number} of {file}"),
        None => number,
    }
}

fn drops(drops: &[DropEntry]) -> String {
    let rows: Vec<_> = drops
        .iter()
        .take(ROWS)
        .map(|drop| {
            [
                drop.source
                    .map_or("others".to_owned(), |source| source.to_string()),
                table::count(drop.packets),
                drop.reason.to_owned(),
                drop.signature.clone().unwrap_or_default(),
            ]
        })
        .collect();
    let mut out = table::columns(["SOURCE", "WOULD DROP", "REASON", "SIGNATURE"], &rows);
    if let Some(more) = drops.len().checked_sub(ROWS + 1) {
        // As above.
        let _ = writeln!(
            out,
            "and {} more; --json has all",
            table::count(more as u64 + 1)
        );
    }
    out
}
