//! The bans, as they are listed: some at a time, for there may be a million, and nobody is kept waiting
//! for them.
//!
//! ```text
//! loop ── what reads the kernel ──► thread: reads what each ban has dropped
//! loop ◄── the next, please ─────── thread ── as JSON ──► socket, as fast as it is read
//!      ── 2,000 of them ──────────►
//! ```
//!
//! So a list is no picture of one moment: a ban that is set or lifted meanwhile may be in it or not.
//! Every other one is in it, once.

use std::collections::BTreeSet;

use ipnet::IpNet;
use sipward_engine::Ban;
use sipward_shield::{EnforcedBan, ReadBans};

use super::{
    guard::{Guard, scope},
    reconcile,
    views::plain_view,
};
use crate::{
    clock::{self, timestamp},
    control::api::BanView,
    exit::Failure,
    ledger::{PastBan, Target},
};

/// Past bans that one answer tells of.
const MOST_PAST: u32 = 1_000;
/// Bans that the loop gives away in one turn.
const AT_ONCE: usize = 2_000;
/// Allowed parts of a ban that are named at most.
const SHOWN: usize = 10;

/// A list whose kernel's part is still to be read.
pub struct UnreadList {
    read: ReadBans,
    allowed: Vec<IpNet>,
}

/// How far a list has come, and what the kernel knows of its bans.
pub struct BanList {
    /// In the order of their targets.
    enforced: Vec<EnforcedBan>,
    allowlist: Allowlist,
    last: Option<Target>,
}

/// A ban of a list, and what its signature has hit.
pub struct ListedBan {
    ban: Ban,
    signature_hits: Option<u64>,
}

/// What is allowed in the kernel.
pub struct Allowlist(BTreeSet<IpNet>);

impl Guard {
    /// Begins a list of the bans in force.
    ///
    /// # Errors
    /// The kernel cannot be asked.
    pub fn list_bans(&self) -> Result<UnreadList, Failure> {
        Ok(UnreadList {
            read: self.shield.read_bans()?,
            allowed: self.shield.allowed()?,
        })
    }

    /// The next bans in force of a list that has come so far; none where there are no more.
    #[must_use]
    pub fn bans_behind(&self, last: Option<Target>) -> Vec<ListedBan> {
        let now = clock::now();
        let listed = |ban: &Ban| ListedBan {
            ban: ban.clone(),
            signature_hits: ban.signature.as_deref().map(|name| self.hits.of(name)),
        };
        let bans: Box<dyn Iterator<Item = &Ban>> = match last {
            None => Box::new(self.engine.bans()),
            Some(last) => {
                let (port, scope) = (last.port, last.scope);
                Box::new(self.engine.bans_after(last.prefix, port, scope))
            }
        };
        let in_force = bans.filter(|ban| ban.is_in_force(now));
        in_force.take(AT_ONCE).map(listed).collect()
    }

    /// The bans that are over, the latest first, at most 1,000.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub fn past_bans(&self) -> Result<Vec<BanView>, Failure> {
        let past = self.ledger.history(clock::now(), MOST_PAST)?;
        Ok(past.into_iter().map(past_view).collect())
    }

    /// A single ban, with what the kernel knows of it.
    pub(super) fn view(&self, ban: &Ban, allowlist: &Allowlist) -> Result<BanView, Failure> {
        let target = sipward_shield::Target {
            prefix: ban.prefix,
            port: ban.port,
        };
        let held = self.shield.held(&target, scope(ban.scope))?;
        let dropped = held.map_or(0, |held| held.dropped_packets);
        Ok(enforced_view(ban, dropped, allowlist))
    }

    pub(super) fn allowlist(&self) -> Result<Allowlist, Failure> {
        Ok(Allowlist(self.shield.allowed()?.into_iter().collect()))
    }
}

impl UnreadList {
    /// Reads what the kernel knows of all bans. To be called where nobody waits.
    ///
    /// # Errors
    /// The kernel cannot be asked.
    pub fn read(self) -> Result<BanList, Failure> {
        Ok(BanList {
            enforced: (self.read)()?,
            allowlist: Allowlist(self.allowed.into_iter().collect()),
            last: None,
        })
    }
}

impl BanList {
    /// How far it has come.
    #[must_use]
    pub const fn last(&self) -> Option<Target> {
        self.last
    }

    /// Goes on with these.
    pub fn views(&mut self, bans: Vec<ListedBan>) -> Vec<BanView> {
        let last = bans.last().map(|listed| Target::of(&listed.ban));
        self.last = last.or(self.last);
        bans.iter().map(|listed| self.view(listed)).collect()
    }

    fn view(&self, listed: &ListedBan) -> BanView {
        let dropped = dropped(&self.enforced, &Target::of(&listed.ban));
        BanView {
            signature_hits: listed.signature_hits,
            ..enforced_view(&listed.ban, dropped, &self.allowlist)
        }
    }
}

impl Allowlist {
    /// What allows all of a prefix.
    pub(super) fn around(&self, prefix: &IpNet) -> Option<IpNet> {
        let wider = std::iter::successors(Some(*prefix), IpNet::supernet);
        wider.into_iter().find(|wider| self.0.contains(wider))
    }

    /// What allows a part of a prefix.
    fn within(&self, prefix: &IpNet) -> impl Iterator<Item = IpNet> {
        let (first, last) = (prefix.network(), IpNet::from(prefix.broadcast()));
        let first = IpNet::new(first, 0).unwrap_or(*prefix);
        self.0
            .range(first..=last)
            .copied()
            .filter(|part| prefix.contains(part))
    }

    /// What is allowed of a ban.
    fn of(&self, banned: &IpNet) -> Vec<IpNet> {
        if self.0.is_empty() {
            return Vec::new();
        }
        self.around(banned).map_or_else(
            || self.within(banned).take(SHOWN).collect(),
            |_| vec![*banned],
        )
    }
}

/// What a ban has dropped, by what the kernel knows of all, in the order of their targets.
pub(super) fn dropped(enforced: &[EnforcedBan], target: &Target) -> u64 {
    let found = enforced.binary_search_by_key(target, reconcile::target);
    let held = found.ok().and_then(|at| enforced.get(at));
    held.map_or(0, |held| held.dropped_packets)
}

pub(super) fn enforced_view(ban: &Ban, dropped_packets: u64, allowlist: &Allowlist) -> BanView {
    BanView {
        dropped_packets,
        allowed: allowlist.of(&ban.prefix),
        ..plain_view(ban)
    }
}

fn past_view(past: PastBan) -> BanView {
    BanView {
        ended: Some(timestamp(past.ended)),
        ended_by: Some(past.by.name().to_owned()),
        dropped_packets: past.dropped,
        ..plain_view(&past.ban)
    }
}
