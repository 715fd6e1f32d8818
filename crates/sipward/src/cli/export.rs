use clap::{Args, ValueEnum};
use jiff::Timestamp;

use super::{
    Daemon,
    bans::{IN_FORCE, print_json},
};
use crate::{
    control::api::BanView,
    exit::{Answer, Failure},
    export,
};

/// Print the bans in force for other tools
///
/// Bans of one source port are in the JSON only: the other formats would widen them to the whole
/// address. Bans at the SIP ports only are not in the plain list, which would widen them too.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sipward export > banned.txt
  sipward export --format ipset | ipset -exist restore
  sipward export --format nftables > /etc/nftables.d/sipward-export.nft")]
pub struct Arguments {
    /// How to print them
    #[arg(long, value_name = "FORMAT", default_value = "plain")]
    format: Format,
    #[command(flatten)]
    daemon: Daemon,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// One address or prefix a line
    Plain,
    /// For `ipset restore`: sets for IPv4 and IPv6, all ports and SIP ports
    Ipset,
    /// For `nft -f`: the same sets in a table of their own
    Nftables,
    /// As `sipward bans --json`
    Json,
}

impl Arguments {
    pub fn run(self) -> Result<Answer, Failure> {
        let client = self.daemon.client();
        let write = match self.format {
            Format::Plain => |bans: &[BanView], _| export::plain(bans),
            Format::Ipset => export::ipset,
            Format::Nftables => export::nftables,
            Format::Json => return print_json(&client, IN_FORCE),
        };
        let bans: Vec<BanView> = client.list(IN_FORCE)?;
        let text = write(&bans, Timestamp::now());
        let left_out = |count: usize, what: &str, format: &str| {
            (count > 0)
                .then(|| format!("left out: {count} bans {what}; --format {format} has them"))
        };
        let of_ports = left_out(export::of_ports(&bans), "of one source port", "json");
        let of_sip = match self.format {
            Format::Plain => left_out(export::of_sip(&bans), "at the SIP ports only", "ipset"),
            Format::Ipset | Format::Nftables | Format::Json => None,
        };
        Ok(Answer {
            notes: of_ports.into_iter().chain(of_sip).collect(),
            ..Answer::data(text)
        })
    }
}
