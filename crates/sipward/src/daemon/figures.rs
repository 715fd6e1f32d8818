//! What the metrics show.

use std::collections::BTreeMap;

use jiff::Timestamp;
use sipward_engine::{Detector, Origin};
use sipward_shield::{Counters, Fill};

use super::Guard;
use crate::{
    clock::{self, Offset},
    control::api::Status,
    exit::Failure,
};

/// What the metrics show: nothing of it grows with the number of sources.
#[derive(Clone, Debug)]
pub struct Figures {
    /// When they were taken.
    pub taken: Timestamp,
    /// When the daemon started.
    pub started: Timestamp,
    /// As `status` tells it.
    pub status: Status,
    /// Packets by reason.
    pub counters: Counters,
    /// Bans in force by origin and detector; none where no detector asked for them.
    pub bans: BTreeMap<(&'static str, Option<&'static str>), usize>,
    /// What the signatures that are looked for have hit since the start, as far as the kernel told of
    /// it: those that are built in, and what else was ever hit.
    pub signatures: BTreeMap<String, u64>,
    /// How full the kernel's tables are.
    pub tables: Vec<Fill>,
    /// What was sent.
    pub sent: Sent,
}

/// Packets that the daemon has sent since its start.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sent {
    /// 503, to guessers.
    pub answers: u64,
    /// ICMP errors, to who is over its rate.
    pub rejections: u64,
}

impl Guard {
    /// What the metrics show now.
    ///
    /// # Errors
    /// The kernel cannot be asked.
    pub fn figures(&self) -> Result<Figures, Failure> {
        let offset = clock::kept().unwrap_or_else(Offset::now);
        let hits = self.tables().map(|tables| self.hits.since_start(tables));
        Ok(Figures {
            taken: clock::timestamp(clock::now()),
            started: clock::timestamp(offset.unix(self.started)),
            status: self.status()?,
            counters: self.shield.counters()?,
            bans: self.ban_counts(),
            signatures: hits.unwrap_or_default(),
            tables: self.shield.fill(),
            sent: self.sent,
        })
    }

    /// With zeros, so that a rise from none is seen to be one.
    fn ban_counts(&self) -> BTreeMap<(&'static str, Option<&'static str>), usize> {
        let by_detectors = Detector::ALL.iter().map(|it| (Origin::Local, Some(*it)));
        let by_others =
            [Origin::Manual, Origin::Feed, Origin::Fleet, Origin::Import].map(|it| (it, None));
        let now = clock::now();
        let in_force = self.engine.bans().filter(|ban| ban.is_in_force(now));
        let key = |(origin, detector): (Origin, Option<Detector>)| {
            (origin.name(), detector.map(Detector::name))
        };
        let mut counts: BTreeMap<_, _> = by_detectors
            .chain(by_others)
            .map(|kind| (key(kind), 0))
            .collect();
        for ban in in_force {
            *counts.entry(key((ban.origin, ban.detector))).or_default() += 1;
        }
        counts
    }
}
