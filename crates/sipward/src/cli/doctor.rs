use std::fmt::Write;

use clap::Args;

use super::Daemon;
use crate::{
    config::Config,
    doctor::{self, Report, State},
    exit::{Answer, Failure},
};

/// Is everything as it should be: kernel, interface, Asterisk's logging, and is anything in the way?
///
/// Ends with 1 where there is something to do. Nothing is changed.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sipward doctor
  sipward doctor --json | jq '.checks[] | select(.state != \"ok\")'

It works without the daemon, and without root as far as that goes.")]
pub struct Arguments {
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    daemon: Daemon,
}

impl Arguments {
    pub fn run(self) -> Result<Answer, Failure> {
        let config = Config::load_or_default(self.daemon.config.as_deref());
        let report = doctor::examine(config, &self.daemon.client());
        let answer = if self.json {
            Answer::json(&report)?
        } else {
            Answer::data(text(&report))
        };
        Ok(if report.has_findings() {
            answer.negative()
        } else {
            answer
        })
    }
}

/// A line for each check, and below it what to do.
pub(super) fn text(report: &Report) -> String {
    let mut out = String::new();
    for check in &report.checks {
        let state = match check.state {
            State::Ok => "ok",
            State::Warning => "WARNING",
            State::Failed => "FAILED",
            State::Unknown => "unknown",
        };
        // Writing to a string does not fail.
        let _ = writeln!(out, "{state:<8} {:<17} {}", check.name, check.found);
        if let Some(advice) = &check.advice {
            let _ = writeln!(out, "{:<26} -> {advice}", "");
        }
    }
    let summary = &report.summary;
    let _ = writeln!(
        out,
        "\n{} ok, {} warning, {} failed, {} unknown",
        summary.ok, summary.warning, summary.failed, summary.unknown
    );
    out
}
