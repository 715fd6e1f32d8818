use clap::Args;

use super::{Daemon, table};
use crate::{
    clock,
    control::api::SuspectView,
    exit::{Answer, Failure},
};

/// Who is on the way to a ban, and how far
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sipward suspects
  sipward suspects --json | jq '.[] | select(.count * 2 > .fires_at)'")]
pub struct Arguments {
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    daemon: Daemon,
}

impl Arguments {
    pub fn run(self) -> Result<Answer, Failure> {
        let suspects: Vec<SuspectView> = self.daemon.client().get("/v1/suspects")?;
        if self.json {
            return Answer::json(&suspects);
        }
        if suspects.is_empty() {
            return Ok(Answer::note("nobody is suspected of anything"));
        }
        Ok(Answer::data(text(&suspects)))
    }
}

pub(super) fn text(suspects: &[SuspectView]) -> String {
    let rows: Vec<_> = suspects
        .iter()
        .map(|suspect| {
            let evidence = suspect.evidence.last();
            [
                suspect.address.to_string(),
                suspect.detector.clone(),
                progress(suspect),
                clock::local(suspect.last),
                evidence.map_or_else(|| "-".to_owned(), |evidence| evidence.summary.clone()),
            ]
        })
        .collect();
    table::columns(["ADDRESS", "DETECTOR", "COUNT", "LAST", "SEEN LAST"], &rows)
}

/// How far a detector is.
pub(super) fn progress(suspect: &SuspectView) -> String {
    format!("{} of {}", suspect.count, suspect.fires_at)
}
