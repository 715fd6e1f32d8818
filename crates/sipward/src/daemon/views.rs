//! What the daemon tells of itself and of what is in force.

use sipward_engine::{Ban, Detector};
use sipward_shield::{BootTime, GuardedInterface, Reason, XdpMode};

use super::guard::Guard;
use crate::{
    clock::{self, timestamp},
    control::api::{
        BanView, Dropped, Interface, Packets, Sensor, SensorState, Sensors, Status, WouldDrop,
    },
    exit::Failure,
    feeds,
};

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
            uptime_seconds: (BootTime::now().0 - self.started.0) / 1_000_000_000,
            reloading_seconds: self.reloading_since.map(|since| since.elapsed().as_secs()),
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
            bans: self.engine.bans_in_force(now),
            allowed: self.shield.allowed_count(),
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

    fn interface(&self, interface: GuardedInterface) -> Interface {
        let note = if !interface.is_present {
            Some("there is none of this name; it is guarded as soon as it appears".to_owned())
        } else if !interface.attached {
            let of_all = self.interfaces.refused().map(str::to_owned);
            let refused = interface.refused.map(|it| self.interfaces.why_bare(it));
            refused.or(of_all)
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
}

/// The mode's name on the command line.
#[must_use]
pub const fn xdp_mode(mode: XdpMode) -> &'static str {
    match mode {
        XdpMode::Native => "native",
        XdpMode::Generic => "generic",
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
