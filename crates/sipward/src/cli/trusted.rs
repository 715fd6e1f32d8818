use clap::Args;

use super::{Daemon, table};
use crate::{
    clock,
    control::api::TrustedView,
    exit::{Answer, Failure},
};

/// Who logged in, when, and with which User-Agent
///
/// These have the larger rate, and no forged packet gets them banned.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sipward trusted
  sipward trusted --json | jq -r '.[].user_agent' | sort | uniq -c")]
pub struct Arguments {
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    daemon: Daemon,
}

impl Arguments {
    pub fn run(self) -> Result<Answer, Failure> {
        let trusted: Vec<TrustedView> = self.daemon.client().get("/v1/trusted")?;
        if self.json {
            return Answer::json(&trusted);
        }
        if trusted.is_empty() {
            return Ok(Answer::note("nobody has logged in lately"));
        }
        Ok(Answer::data(text(&trusted)))
    }
}

pub(super) fn text(trusted: &[TrustedView]) -> String {
    let dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let rows: Vec<_> = trusted
        .iter()
        .map(|trusted| {
            [
                trusted.address.to_string(),
                dash(&trusted.username),
                trusted.by.clone(),
                clock::local(trusted.since),
                clock::local(trusted.last),
                clock::local(trusted.until),
                dash(&trusted.user_agent),
            ]
        })
        .collect();
    table::columns(
        [
            "ADDRESS",
            "ACCOUNT",
            "BY",
            "SINCE",
            "LAST",
            "UNTIL",
            "USER-AGENT",
        ],
        &rows,
    )
}
