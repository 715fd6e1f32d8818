use std::{
    fmt::Write as _,
    io::{self, Write as _},
    ops::ControlFlow,
};

use clap::Args;

use super::Daemon;
use crate::{
    address::{self, Address},
    clock,
    control::{
        api::TrustedView,
        watch::{Direction, MessageLine, Verdict, WatchLine, WatchRequest},
    },
    exit::{Answer, Failure},
};

/// See what happens, live: a line for each SIP message, alert and ban
///
/// Goes on until Ctrl-C, or until the daemon stops. What the kernel drops is shown up to the rate
/// at which it tells of it; packets of banned sources are only counted (`sipward bans`). `DROP?` is
/// what observe mode lets through.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sipward watch
  sipward watch 203.0.113.7
  sipward watch --json | jq 'select(.event == \"ban\")'")]
pub struct Arguments {
    /// Only what concerns it: 203.0.113.7, 2001:db8::/48 or 203.0.113.7-203.0.113.20
    #[arg(value_name = "ADDRESS")]
    address: Option<Address>,
    /// Print one JSON document a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    daemon: Daemon,
}

impl Arguments {
    pub fn run(self) -> Result<Answer, Failure> {
        let prefixes = self.address.as_ref().map(Address::prefixes);
        let request = WatchRequest {
            prefixes: prefixes.unwrap_or_default().to_vec(),
        };
        let mut out = io::stdout().lock();
        let begun = || {
            // Nothing is left to do where the terminal is gone.
            let _ = writeln!(io::stderr(), "watching; Ctrl-C ends it");
        };
        let read = |line: &[u8]| {
            let text = if self.json {
                String::from_utf8_lossy(line).into_owned()
            } else {
                text_of(line)
            };
            match writeln!(out, "{text}").and_then(|()| out.flush()) {
                Ok(()) => ControlFlow::Continue(()),
                // A reader such as `head` has seen enough.
                Err(_) => ControlFlow::Break(()),
            }
        };
        let client = self.daemon.client();
        match client.stream("/v1/watch", &request, begun, read)? {
            ControlFlow::Continue(()) => Ok(Answer::note("the daemon has stopped")),
            ControlFlow::Break(()) => Ok(Answer::data("")),
        }
    }
}

fn text_of(line: &[u8]) -> String {
    serde_json::from_slice(line).map_or_else(
        |_| "something that this version does not know".to_owned(),
        |line| text(&line),
    )
}

pub(super) fn text(line: &WatchLine) -> String {
    match line {
        WatchLine::Message(line) => message(line),
        WatchLine::Unreachable {
            at,
            reporter,
            destination,
        } => format!(
            "{}  ICMP  {destination} is unreachable, says {reporter}",
            clock::time_of_day(*at)
        ),
        WatchLine::Log { at, source, text } => {
            let source = source.map_or_else(String::new, |source| format!("{source}  "));
            format!("{}  LOG   {source}{text}", clock::time_of_day(*at))
        }
        WatchLine::Alert(alert) => {
            let spared = alert.spared.as_ref();
            format!(
                "{}  ALERT {} {}: {}{}",
                clock::time_of_day(alert.at),
                address::show(&alert.source),
                alert.detector,
                alert.summary,
                spared.map_or_else(String::new, |why| format!("; not banned: {why}")),
            )
        }
        WatchLine::Ban(ban) => {
            let until = ban.until.map_or_else(
                || "for ever".to_owned(),
                |until| format!("until {}", clock::local(until)),
            );
            format!(
                "{}  BAN   {} {until}: {}",
                clock::time_of_day(ban.since),
                super::bans::who(ban),
                ban.reason
            )
        }
        WatchLine::Unban { at, prefix, port } => {
            let port = port.map_or_else(String::new, |port| format!(" port {port}"));
            format!(
                "{}  UNBAN {}{port}",
                clock::time_of_day(*at),
                address::show(prefix)
            )
        }
        WatchLine::Trust(trusted) => login(trusted),
        WatchLine::Lost { lines } => {
            format!("-- {lines} lines were left out here: more came than were read")
        }
    }
}

fn message(line: &MessageLine) -> String {
    let verdict = match (line.verdict, line.direction) {
        (Verdict::Pass, Direction::In) => "pass",
        (Verdict::Pass, Direction::Out) => "",
        (Verdict::Drop, Direction::In | Direction::Out) => "DROP",
        (Verdict::WouldDrop, Direction::In | Direction::Out) => "DROP?",
    };
    let direction = match line.direction {
        Direction::In => "in ",
        Direction::Out => "out",
    };
    let mut out = format!(
        "{}  {verdict:<5} {direction} {} > {} {}  {}",
        clock::time_of_day(line.at),
        line.source,
        line.destination,
        line.transport,
        line.summary
    );
    if let (Some(_), Some(method)) = (line.status, &line.method) {
        // Writing to a string does not fail.
        let _ = write!(out, " ({method})");
    }
    if let Some(agent) = &line.user_agent {
        let _ = write!(out, "  User-Agent: {agent}");
    }
    match (&line.signature, &line.reason) {
        (Some(signature), _) => {
            let _ = write!(out, "  signature: {signature}");
        }
        (None, Some(reason)) => {
            let _ = write!(out, "  reason: {reason}");
        }
        (None, None) => {}
    }
    out
}

fn login(trusted: &TrustedView) -> String {
    let mut out = format!(
        "{}  TRUST {} {}",
        clock::time_of_day(trusted.last),
        trusted.address,
        trusted.by
    );
    if let Some(username) = &trusted.username {
        // As in `message`.
        let _ = write!(out, " as {username}");
    }
    if let Some(agent) = &trusted.user_agent {
        let _ = write!(out, "  User-Agent: {agent}");
    }
    out
}
