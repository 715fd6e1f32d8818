use std::path::PathBuf;

use clap::Args;

use super::Daemon;
use crate::{
    config::Config,
    control::api::{AllowedView, BanView},
    exit::{Answer, Exit, Failure},
    explain::Explainer,
};

/// Run captured packets through the real kernel program and print verdict and reason
///
/// Ports, signatures and allowlist are those of the configuration; where a daemon runs, its bans
/// and allowlist count, too. Each packet is judged by itself: rates are not applied, for how fast
/// a file is read says nothing of its sender. Nothing is attached or sent. Needs root.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tcpdump -i eth0 -w calls.pcap port 5060 -c 100; sipward explain calls.pcap
  sipward explain calls.pcap --packet 17 --json")]
pub struct Arguments {
    /// A capture, pcap or pcapng
    #[arg(value_name = "FILE.pcap")]
    file: PathBuf,
    /// Only the packet of this number, counted from 1
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    packet: Option<u64>,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    daemon: Daemon,
}

/// Bans, allowlist, and what to remark of them.
type InForce = (Vec<BanView>, Vec<AllowedView>, Option<String>);

impl Arguments {
    pub fn run(self) -> Result<Answer, Failure> {
        let config = Config::load_or_default(self.daemon.config.as_deref())?;
        let (bans, allowed, note) = self.in_force()?;
        let mut explainer = Explainer::new(&config, &bans, &allowed)?;
        let explanations = explainer.file(&self.file, self.packet)?;
        let answer = if self.json {
            Answer::json(&explanations)?
        } else {
            Answer::data(
                explanations
                    .iter()
                    .map(ToString::to_string)
                    .collect::<String>(),
            )
        };
        Ok(Answer {
            notes: note.into_iter().collect(),
            ..answer
        })
    }

    fn in_force(&self) -> Result<InForce, Failure> {
        let client = self.daemon.client();
        let asked = client
            .list(super::bans::IN_FORCE)
            .and_then(|bans| Ok((bans, client.get("/v1/allowed")?)));
        match asked {
            Ok((bans, allowed)) => Ok((bans, allowed, None)),
            Err(failure) if failure.exit == Exit::Unreachable => Ok((
                Vec::new(),
                Vec::new(),
                Some("no daemon runs: judged without bans".to_owned()),
            )),
            Err(failure) => Err(failure),
        }
    }
}
