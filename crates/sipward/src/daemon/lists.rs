//! Bans of lists of others. They hit nobody who is protected, allowed or trusted, nor much of the
//! Internet, and leave alone what an administrator has decided: a ban of the same target, and what was
//! lifted by hand, for as long as lists name it.

use std::{
    collections::{BTreeMap, BTreeSet},
    iter::successors,
    time::Duration,
};

use ipnet::IpNet;
use sipward_engine::{Ban, Lifted, Origin, Time, escape, without};
use sipward_feed::{Extent, guard};
use sipward_shield::BootTime;

use super::guard::Guard;
use crate::{
    clock::{self, Clocks},
    config::Feed,
    control::api::{FeedReply, FeedRequest},
    exit::Failure,
    feeds::TOO_MUCH,
    ledger::{Entry, Ledger, Target},
};

/// Prefixes that were lifted by hand, and until when no list bans them.
#[derive(Debug, Default)]
pub struct Spared(BTreeMap<IpNet, Time>);

impl Spared {
    /// What the ledger has of them.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read(ledger: &Ledger) -> Result<Self, Failure> {
        ledger.spared().map(Self)
    }

    /// What the ledger is told of them.
    pub fn entries(&self, now: Time) -> impl Iterator<Item = Entry> {
        let entry = move |(prefix, until): (&IpNet, &Time)| Entry::Spare(*prefix, now, *until);
        self.0.iter().map(entry)
    }

    /// A list's prefixes without what was lifted, of which it also says what there was.
    fn leave(&self, prefixes: Vec<IpNet>) -> (Vec<IpNet>, BTreeSet<IpNet>) {
        let (mut left, mut named) = (Vec::new(), BTreeSet::new());
        for prefix in prefixes {
            let mut around = successors(Some(prefix), IpNet::supernet);
            if let Some(lifted) = around.find(|wider| self.0.contains_key(wider)) {
                named.insert(lifted);
                continue;
            }
            let mut parts = vec![prefix];
            let last = IpNet::from(prefix.broadcast());
            for hole in self.0.range(prefix..=last).map(|(hole, _)| hole) {
                let split = |part: IpNet| match part.contains(hole) {
                    true => without(&part, hole),
                    false => vec![part],
                };
                named.insert(*hole);
                parts = parts.into_iter().flat_map(split).collect();
            }
            left.extend(parts);
        }
        (left, named)
    }
}

impl Guard {
    /// Bans the addresses of a list.
    ///
    /// # Errors
    /// As [`Self::ban`]; or the lists together would ban too much.
    pub fn take_feed(&mut self, request: &FeedRequest) -> Result<FeedReply, Failure> {
        self.carry_out();
        self.look_at_machine_lately();
        let now = clock::now();
        let until = now + Duration::from_secs(request.seconds);
        let guarded = guard(&request.prefixes, &self.never(now)?);
        let mut reply = FeedReply {
            banned: 0,
            spared: guarded.too_wide.len() + guarded.protected.len(),
        };
        let (wanted, named) = self.spared.leave(guarded.kept);
        reply.spared += named.len();
        self.spare(named, until, now);
        self.may_ban(&wanted)?;
        let scope = self.config.bans.scope.into();
        let booted = Clocks::now().unix(BootTime(0)).unwrap_or(now);
        for prefix in wanted {
            let mut ban = Ban {
                prefix,
                port: None,
                scope,
                since: now,
                until: Some(until),
                detector: None,
                reason: format!("on the list {}", escape(request.name.as_bytes())),
                proven: false,
                signature: None,
                account: None,
                origin: Origin::Feed,
            };
            self.engine.narrow(&mut ban);
            let target = Target::of(&ban);
            let before = self
                .engine
                .bans_of(prefix.addr())
                .find(|before| Target::of(before) == target && before.is_in_force(now))
                .map(|before| (before.origin, before.since));
            match before {
                // It goes on. One from before this boot begins anew: what the ledger makes of its end
                // when the clock is set depends on that.
                Some((Origin::Feed, since)) => ban.since = if since < booted { now } else { since },
                Some((Origin::Local | Origin::Manual | Origin::Fleet | Origin::Import, _)) => {
                    continue;
                }
                None => {}
            }
            match self.engine.impose(ban, false, now) {
                Ok(true) => reply.banned += 1,
                Ok(false) => {}
                Err(_) => reply.spared += 1,
            }
        }
        self.carry_out_order()?;
        Ok(reply)
    }

    /// Refuses what lists together may not ban. Their bans are added up, some of them twice; they are
    /// only counted where that comes to too much, for there may be a million.
    fn may_ban(&mut self, wanted: &[IpNet]) -> Result<(), Failure> {
        let is_new = |prefix: &&IpNet| {
            let mut around = self.engine.bans_of(prefix.addr());
            !around.any(|ban| ban.origin == Origin::Feed && ban.prefix.contains(*prefix))
        };
        let new = wanted.iter().filter(is_new).copied();
        let mut extent = self.listed + Extent::of(new);
        if extent.is_too_much() {
            extent = self.extent_of_lists(wanted);
        }
        if extent.is_too_much() {
            return Err(Failure::input(format!(
                "{extent} to be banned with those of other lists: {TOO_MUCH}"
            )));
        }
        self.listed = extent;
        Ok(())
    }

    /// What the bans of lists cover together with these prefixes.
    pub(super) fn extent_of_lists(&self, more: &[IpNet]) -> Extent {
        let listed = self.engine.bans().filter(|ban| ban.origin == Origin::Feed);
        let listed = listed.map(|ban| ban.prefix);
        Extent::of(listed.chain(more.iter().copied()))
    }

    /// What was lifted by hand just now is not banned again by a list; returns it where one had
    /// banned it.
    pub(super) fn spare_lifted(
        &mut self,
        prefix: &IpNet,
        lifted: &Lifted,
        now: Time,
    ) -> Option<IpNet> {
        let prefix = prefix.trunc();
        if lifted.is_empty() {
            return None;
        }
        // Long enough for every list that is asked for more often than its bans lapse.
        let until = now + Feed::ban_for().duration();
        let mut bans = lifted.bans.iter().chain(&lifted.holes_in);
        let ends = bans.clone().filter_map(|ban| ban.until);
        let until = ends.fold(until, Time::max);
        self.spare([prefix], until, now);
        bans.any(|ban| ban.origin == Origin::Feed).then_some(prefix)
    }

    /// What is banned by hand is no longer kept from lists.
    pub(super) fn spare_no_longer(&mut self, banned: &[IpNet]) {
        let is_banned = |spared: &IpNet| banned.iter().any(|prefix| prefix.contains(spared));
        let over: Vec<IpNet> = self.spared.0.keys().copied().filter(is_banned).collect();
        for prefix in over {
            self.spared.0.remove(&prefix);
            self.pending.push(Entry::SpareNoLonger(prefix));
        }
    }

    /// Keeps lists from banning these, at least until then.
    fn spare(&mut self, prefixes: impl IntoIterator<Item = IpNet>, until: Time, now: Time) {
        self.spared.0.retain(|_, until| *until > now);
        for prefix in prefixes {
            let end = self.spared.0.entry(prefix).or_default();
            *end = until.max(*end);
            let entry = Entry::Spare(prefix, now, *end);
            self.pending.push(entry);
        }
    }
}
