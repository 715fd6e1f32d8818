use clap::Args;

use super::{Daemon, table, unban};
use crate::{
    address::{self, Host},
    clock,
    control::api::{AllowReply, AllowRequest, AllowedView, DisallowReply},
    exit::{Answer, Failure},
};

/// Never drop anything from these addresses
///
/// Bans of them end; a wider ban gets a hole. A name stands for its A and AAAA records, is looked up
/// again every five minutes, and keeps its addresses where that fails; SRV records are not followed.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sipward allow 198.51.100.7
  sipward allow sip.example.org
  sipward allow 198.51.100.0/24 2001:db8:51::/48")]
pub struct AllowArguments {
    /// 203.0.113.7, 2001:db8::/48, 203.0.113.7-203.0.113.20 or a host name
    #[arg(required = true, value_name = "ADDRESS|NAME")]
    hosts: Vec<Host>,
    #[command(flatten)]
    daemon: Daemon,
}

/// Take addresses from the allowlist
///
/// Ends with 1 where something named is not on it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sipward disallow 198.51.100.7
  sipward disallow sip.example.org")]
pub struct DisallowArguments {
    /// 203.0.113.7, 2001:db8::/48, 203.0.113.7-203.0.113.20 or a host name
    #[arg(required = true, value_name = "ADDRESS|NAME")]
    hosts: Vec<Host>,
    #[command(flatten)]
    daemon: Daemon,
}

/// List the allowlist
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sipward allowed
  sipward allowed --json")]
pub struct AllowedArguments {
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    daemon: Daemon,
}

impl AllowArguments {
    pub fn run(self) -> Result<Answer, Failure> {
        let request = request(&self.hosts);
        let reply: AllowReply = self.daemon.client().post("/v1/allow", &request)?;
        let allowed = reply
            .allowed
            .iter()
            .map(|net| format!("{} is allowed", address::show(net)));
        let already = reply
            .already
            .iter()
            .map(|net| format!("{} is allowed already", address::show(net)));
        let names = reply.names.iter().map(|resolved| {
            let addresses: Vec<String> =
                resolved.addresses.iter().map(ToString::to_string).collect();
            format!("{} is allowed: {}", resolved.name, addresses.join(", "))
        });
        let notes = allowed
            .chain(already)
            .chain(names)
            .chain(unban::tell(&reply.lift))
            .collect();
        Ok(Answer {
            notes,
            ..Answer::data("")
        })
    }
}

impl DisallowArguments {
    pub fn run(self) -> Result<Answer, Failure> {
        let request = request(&self.hosts);
        let reply: DisallowReply = self.daemon.client().post("/v1/disallow", &request)?;
        let gone = reply
            .disallowed
            .iter()
            .map(|net| format!("{} is no longer allowed", address::show(net)));
        let names = reply
            .names
            .iter()
            .map(|name| format!("{name} is no longer allowed"));
        let notes = gone
            .chain(names)
            .chain(reply.refused.iter().cloned())
            .collect();
        let answer = Answer {
            notes,
            ..Answer::data("")
        };
        Ok(if reply.refused.is_empty() {
            answer
        } else {
            answer.negative()
        })
    }
}

impl AllowedArguments {
    pub fn run(self) -> Result<Answer, Failure> {
        let allowed: Vec<AllowedView> = self.daemon.client().get("/v1/allowed")?;
        if self.json {
            return Answer::json(&allowed);
        }
        if allowed.is_empty() {
            return Ok(Answer::note("nobody is allowed"));
        }
        Ok(Answer::data(text(&allowed)))
    }
}

pub(super) fn text(allowed: &[AllowedView]) -> String {
    let rows: Vec<_> = allowed
        .iter()
        .map(|allowed| {
            let since = allowed.since.map_or_else(|| "-".to_owned(), clock::local);
            [
                address::show(&allowed.prefix),
                since,
                allowed.origin.clone(),
                allowed.name.clone().unwrap_or_else(|| "-".to_owned()),
            ]
        })
        .collect();
    table::columns(["ADDRESS", "SINCE", "BY", "NAME"], &rows)
}

fn request(hosts: &[Host]) -> AllowRequest {
    let mut request = AllowRequest::default();
    for host in hosts {
        match host {
            Host::Address(address) => request.prefixes.extend(address.prefixes()),
            Host::Name(name) => request.names.push(name.clone()),
        }
    }
    request
}
