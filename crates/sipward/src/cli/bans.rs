use std::{
    io::{self, BufWriter, Write as _},
    ops::ControlFlow,
};

use clap::Args;
use jiff::Timestamp;
use serde::{Serializer as _, ser::SerializeSeq as _};

use super::{Daemon, table};
use crate::{
    address, clock,
    control::{api::BanView, client::Client},
    exit::{Answer, Failure},
};

/// Where the bans in force are to be had.
pub(super) const IN_FORCE: &str = "/v1/bans";

/// List the bans in force, with what each has dropped
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sipward bans
  sipward bans --history
  sipward bans --json | jq -r '.[] | select(.origin == \"manual\").prefix'")]
pub struct Arguments {
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    /// List the bans that are over, the latest first, instead
    #[arg(long)]
    history: bool,
    #[command(flatten)]
    daemon: Daemon,
}

impl Arguments {
    pub fn run(self) -> Result<Answer, Failure> {
        let path = if self.history {
            "/v1/bans?history=true"
        } else {
            IN_FORCE
        };
        let client = self.daemon.client();
        if self.json {
            return print_json(&client, path);
        }
        let bans: Vec<BanView> = client.list(path)?;
        if bans.is_empty() {
            let nobody = if self.history {
                "no ban has ended yet"
            } else {
                "nobody is banned"
            };
            return Ok(Answer::note(nobody));
        }
        Ok(Answer::data(text(&bans, Timestamp::now())))
    }
}

/// Prints bans as they come, as one JSON document: there may be a million.
pub(super) fn print_json(client: &Client, path: &str) -> Result<Answer, Failure> {
    let mut out = BufWriter::new(io::stdout().lock());
    let mut json = serde_json::Serializer::pretty(&mut out);
    let mut array = json
        .serialize_seq(None)
        .map_err(|error| unwritten(&error))?;
    let mut refused = None;
    let listed = client.each(path, |ban: BanView| {
        refused = array.serialize_element(&ban).err();
        match refused {
            None => ControlFlow::Continue(()),
            Some(_) => ControlFlow::Break(()),
        }
    });
    if let Err(failure) = listed {
        // What was not printed yet is no document.
        drop(out.into_parts());
        return Err(failure);
    }
    let ended = refused.map_or_else(|| array.end(), Err);
    let written = ended
        .map_err(io::Error::from)
        .and_then(|()| writeln!(out))
        .and_then(|()| out.flush());
    match written {
        // A reader such as `head` has seen enough.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(unwritten(&error)),
        Ok(()) | Err(_) => Ok(Answer::data("")),
    }
}

fn unwritten(error: &dyn std::error::Error) -> Failure {
    Failure::input(format!("cannot write the answer: {error}"))
}

pub(super) fn text(bans: &[BanView], now: Timestamp) -> String {
    let rows: Vec<_> = bans
        .iter()
        .map(|ban| {
            let end = match (ban.ended, &ban.ended_by) {
                (Some(ended), Some(by)) => format!("{by} {}", clock::local(ended)),
                (Some(_) | None, _) => table::until(ban.until, now),
            };
            let by = ban.detector.as_ref().unwrap_or(&ban.origin).clone();
            [
                who(ban),
                clock::local(ban.since),
                end,
                ban.scope.to_string(),
                by,
                table::count(ban.dropped_packets),
                if ban.allowed.is_empty() {
                    ban.reason.clone()
                } else {
                    format!("{} (allow wins: {})", ban.reason, passing(ban))
                },
            ]
        })
        .collect();
    table::columns(
        [
            "ADDRESS", "SINCE", "UNTIL", "SCOPE", "BY", "DROPPED", "REASON",
        ],
        &rows,
    )
}

/// What the allowlist lets through of a ban.
pub(super) fn passing(ban: &BanView) -> String {
    if ban.allowed.contains(&ban.prefix) {
        return "it is allowed as a whole, nothing of it is dropped".to_owned();
    }
    let parts: Vec<String> = ban.allowed.iter().map(address::show).collect();
    format!("{} passes all the same", parts.join(", "))
}

pub(super) fn who(ban: &BanView) -> String {
    let prefix = address::show(&ban.prefix);
    ban.port
        .map_or(prefix.clone(), |port| format!("{prefix} port {port}"))
}
