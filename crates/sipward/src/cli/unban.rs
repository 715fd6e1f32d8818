use clap::Args;

use super::Daemon;
use crate::{
    address::{self, Address},
    control::api::{LiftReply, UnbanRequest},
    exit::{Answer, Failure},
};

/// End bans
///
/// An address inside a banned range gets a hole: the rest of the range stays banned. A list does not ban
/// it again for as long as it names it. Ends with 1 where something named was not banned.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sipward unban 203.0.113.7
  sipward unban 203.0.113.0/24 2001:db8::1
  sipward unban --all")]
pub struct Arguments {
    /// 203.0.113.7, 2001:db8::/48 or 203.0.113.7-203.0.113.20
    #[arg(required_unless_present_any = ["all", "account"], value_name = "ADDRESS")]
    addresses: Vec<Address>,
    /// End every ban that concerns this account
    #[arg(long, value_name = "NAME", conflicts_with = "addresses")]
    account: Option<String>,
    /// End every ban
    #[arg(long, conflicts_with_all = ["addresses", "account"])]
    all: bool,
    #[command(flatten)]
    daemon: Daemon,
}

impl Arguments {
    pub fn run(self) -> Result<Answer, Failure> {
        let request = match self.account {
            Some(account) => UnbanRequest::Account(account),
            None if self.all => UnbanRequest::All,
            None => UnbanRequest::Prefixes(address::prefixes(&self.addresses)),
        };
        let reply: LiftReply = self.daemon.client().post("/v1/unban", &request)?;
        let mut notes = tell(&reply);
        let nothing = notes.is_empty();
        if nothing {
            notes.push("nothing was banned".to_owned());
        }
        let answer = Answer {
            notes,
            ..Answer::data("")
        };
        Ok(if nothing && !self.all || !reply.not_banned.is_empty() {
            answer.negative()
        } else {
            answer
        })
    }
}

pub(super) fn tell(reply: &LiftReply) -> Vec<String> {
    let lifted = reply
        .lifted
        .iter()
        .map(|net| format!("{} is no longer banned", address::show(net)));
    let holes = reply.holes.iter().map(|hole| {
        format!(
            "{} is no longer banned: a hole in {}, of which the rest stays banned",
            address::show(&hole.hole),
            hole.around
        )
    });
    let not_banned = reply
        .not_banned
        .iter()
        .map(|net| format!("{} was not banned", address::show(net)));
    let spared = reply.spared.iter().map(|net| {
        format!(
            "{} is on a list, which does not ban it again; `sipward ban` does",
            address::show(net)
        )
    });
    let listed = (reply.listed > 0).then(|| {
        format!(
            "{} of the bans were of lists, which ban again whom they name: `sipward unban ADDRESS` \
             keeps an address from them",
            reply.listed
        )
    });
    let lists = spared.chain(listed);
    lifted.chain(holes).chain(not_banned).chain(lists).collect()
}
