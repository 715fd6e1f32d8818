use clap::Args;

use super::Daemon;
use crate::{
    address::{self, Address},
    config::BanScope,
    control::api::{BanReply, BanRequest},
    exit::{Answer, Failure},
    span::Span,
};

/// Ban addresses, prefixes or ranges
///
/// A range is stored as the fewest prefixes that cover exactly it. Without --for the ban lasts
/// until `sipward unban`. The addresses of this machine and what it lives on (gateways, name and
/// time servers, who is logged in by SSH, the allowlist) are refused unless --force is given. Who has
/// just connected by SSH, and may be you, loses SIP only, unless it is.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sipward ban 203.0.113.7
  sipward ban 203.0.113.0/24 2001:db8::/48 --for 10d --reason 'scans every night'
  sipward ban 87.119.220.200-87.119.220.203 --scope sip")]
pub struct Arguments {
    /// 203.0.113.7, 2001:db8::/48 or 203.0.113.7-203.0.113.20
    #[arg(required = true, value_name = "ADDRESS")]
    addresses: Vec<Address>,
    /// How long: 30s, 10m, 1h, 10d
    #[arg(long = "for", value_name = "DURATION", conflicts_with = "forever")]
    span: Option<Span>,
    /// Until `sipward unban`; the default
    #[arg(long)]
    forever: bool,
    /// Drop everything, or only what goes to the SIP ports [default: what the configuration says]
    #[arg(long)]
    scope: Option<BanScope>,
    /// Why, for `sipward bans` and `sipward why`
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Ban protected addresses, too
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    daemon: Daemon,
}

impl Arguments {
    pub fn run(self) -> Result<Answer, Failure> {
        let reply: BanReply = self.daemon.client().post(
            "/v1/ban",
            &BanRequest {
                prefixes: address::prefixes(&self.addresses),
                seconds: self.span.map(|span| span.duration().as_secs()),
                scope: self.scope,
                reason: self.reason,
                force: self.force,
            },
        )?;
        let how_long = match self.span {
            Some(span) => format!("for {span}"),
            None => "until `sipward unban`".to_owned(),
        };
        let banned = reply
            .banned
            .iter()
            .map(|net| format!("{} is banned {how_long}", address::show(net)));
        let already = reply.already.iter().map(|net| {
            format!(
                "{} is banned already, at least as long: unban it first to shorten that",
                address::show(net)
            )
        });
        let sip_only = reply.sip_only.iter().map(|net| {
            format!(
                "{} loses only what goes to the SIP ports, for somebody there has just connected by \
                 SSH and may be logging in: --force bans every packet",
                address::show(net)
            )
        });
        let allowed = reply.allowed.iter().map(|net| {
            format!(
                "{} is on the allowlist and passes all the same: `sipward disallow` it",
                address::show(net)
            )
        });
        Ok(Answer {
            notes: banned
                .chain(already)
                .chain(sip_only)
                .chain(allowed)
                .collect(),
            ..Answer::data("")
        })
    }
}
