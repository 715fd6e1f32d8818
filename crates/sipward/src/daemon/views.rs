//! What the daemon tells of itself and of what is in force.

use std::collections::{BTreeSet, HashMap};

use ipnet::IpNet;
use sipward_engine::{Ban, Detector};
use sipward_shield::{GuardedInterface, Reason, XdpMode};

use super::{guard::Guard, reconcile};
use crate::{
    clock::{self, timestamp},
    control::api::{
        BanView, BansQuery, Dropped, Interface, Packets, Sensor, SensorState, Sensors, Status,
        WouldDrop,
    },
    exit::Failure,
    feeds,
    ledger::{PastBan, Target},
};

/// Past bans that one answer tells of.
const MOST: u32 = 1_000;

/// Allowed parts of a ban that are named at most.
const SHOWN: usize = 10;

impl Guard {
    /// `status`
    ///
    /// # Errors
    /// The kernel cannot be asked.
    pub fn status(&self) -> Result<Status, Failure> {
        let interfaces = self.shield.interfaces()?.into_iter();
        let interfaces = interfaces
            .map(|interface| self.interface(interface))
            .collect();
        let counters = self.shield.counters()?;
        let dropped = |reason| counters.of(reason).dropped;
        let let_through = |reason| counters.of(reason).passed;
        let passed = Reason::ALL
            .iter()
            .map(|reason| counters.of(*reason).passed)
            .sum();
        let now = clock::now();
        let (events, unmatched) = self.packets.events();
        Ok(Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            mode: self.config.mode,
            backend: self.backend.name.to_owned(),
            backend_reason: self.backend.reason.clone(),
            uptime_seconds: self.started.elapsed().as_secs(),
            interfaces,
            enforcement: self.enforcement()?,
            packets: Packets {
                passed,
                dropped: Dropped {
                    banned: dropped(Reason::Banned),
                    rate: dropped(Reason::Rate) + dropped(Reason::RateUnknown),
                    signature: dropped(Reason::Signature),
                    tripwire: dropped(Reason::Tripwire),
                    tiny_fragment: dropped(Reason::TinyFragment),
                },
                would_drop: WouldDrop {
                    banned: let_through(Reason::Banned),
                    rate: let_through(Reason::Rate) + let_through(Reason::RateUnknown),
                    signature: let_through(Reason::Signature),
                    tripwire: let_through(Reason::Tripwire),
                },
            },
            bans: self
                .engine
                .bans()
                .filter(|ban| ban.is_in_force(now))
                .count(),
            allowed: self.shield.allowed()?.len(),
            trusted: self.engine.trusted(now).count(),
            signatures: self.hits.views(),
            feeds: feeds::views(&self.config.signatures),
            warnings: self.complaints.clone().lines(),
            ledger: self.ledger_view(),
            strangers_come_from: self.strangers.gateway(),
            sensors: Sensors {
                kernel: Sensor {
                    state: SensorState::On,
                    events: self.events.taken,
                    unmatched: self.events.unmatched,
                    lost: 0,
                    note: None,
                },
                packets: Sensor {
                    state: SensorState::On,
                    events,
                    unmatched,
                    lost: self.packets.lost,
                    note: None,
                },
                asterisk_log: self.asterisk_log.clone(),
                ami: self.ami.view(),
            },
        })
    }

    /// `bans`
    ///
    /// # Errors
    /// The kernel or the ledger cannot be asked.
    pub fn bans(&self, query: BansQuery) -> Result<Vec<BanView>, Failure> {
        let now = clock::now();
        if query.history {
            let past = self.ledger.history(now, MOST)?;
            return Ok(past.into_iter().map(past_view).collect());
        }
        let kernel = self.kernel()?;
        let in_force = self.engine.bans().filter(|ban| ban.is_in_force(now));
        Ok(in_force
            .map(|ban| BanView {
                signature_hits: ban.signature.as_deref().map(|name| self.hits.of(name)),
                ..kernel.view(ban)
            })
            .collect())
    }

    fn interface(&self, interface: GuardedInterface) -> Interface {
        let note = if !interface.is_present {
            Some("there is none of this name; it is guarded as soon as it appears".to_owned())
        } else if !interface.attached {
            let of_all = self.interfaces.refused().map(str::to_owned);
            let refused = interface.refused.or(of_all);
            refused.map(|refused| self.interfaces.why_bare(refused))
        } else if interface.name != interface.wanted {
            let wanted = interface.wanted;
            Some(format!(
                "was {wanted} when its guard began; an interface that is called {wanted} again takes its place"
            ))
        } else {
            None
        };
        Interface {
            name: interface.name,
            xdp_mode: interface.mode.map(|mode| xdp_mode(mode).to_owned()),
            attached: interface.attached,
            note,
        }
    }

    pub(super) fn kernel(&self) -> Result<Kernel, Failure> {
        let enforced = self.shield.bans()?.into_iter();
        Ok(Kernel {
            dropped: enforced
                .map(|held| (reconcile::target(&held), held.dropped_packets))
                .collect(),
            allowed: Allowlist(self.shield.allowed()?.into_iter().collect()),
        })
    }
}

/// What the kernel holds, to be looked up by a ban.
pub(super) struct Kernel {
    dropped: HashMap<Target, u64>,
    pub(super) allowed: Allowlist,
}

pub(super) struct Allowlist(BTreeSet<IpNet>);

impl Kernel {
    pub(super) fn view(&self, ban: &Ban) -> BanView {
        let around = self.allowed.around(&ban.prefix);
        let allowed = around.map_or_else(
            || self.allowed.within(&ban.prefix).take(SHOWN).collect(),
            |_| vec![ban.prefix],
        );
        let dropped = self.dropped.get(&Target::of(ban));
        BanView {
            dropped_packets: dropped.copied().unwrap_or_default(),
            allowed,
            ..plain_view(ban)
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
}

/// The mode's name on the command line.
#[must_use]
pub const fn xdp_mode(mode: XdpMode) -> &'static str {
    match mode {
        XdpMode::Native => "native",
        XdpMode::Generic => "generic",
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

/// A ban as it is shown, without what the kernel knows of it.
#[must_use]
pub fn plain_view(ban: &Ban) -> BanView {
    BanView {
        prefix: ban.prefix,
        port: ban.port,
        since: timestamp(ban.since),
        until: ban.until.map(timestamp),
        scope: ban.scope.into(),
        detector: ban.detector.map(Detector::name).map(str::to_owned),
        reason: ban.reason.clone(),
        proven: ban.proven,
        signature: ban.signature.clone(),
        signature_hits: None,
        origin: ban.origin.name().to_owned(),
        dropped_packets: 0,
        allowed: Vec::new(),
        ended: None,
        ended_by: None,
    }
}
