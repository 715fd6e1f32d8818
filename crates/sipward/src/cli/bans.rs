use clap::Args;
use jiff::Timestamp;

use super::{Daemon, table};
use crate::{
    address, clock,
    control::api::BanView,
    exit::{Answer, Failure},
};

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
            "/v1/bans"
        };
        let bans: Vec<BanView> = self.daemon.client().get(path)?;
        if self.json {
            return Answer::json(&bans);
        }
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
