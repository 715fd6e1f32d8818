//! What people may ask the engine: why, who is on the way to a ban, who is trusted.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::{
    Detector, Engine, Source, Time,
    bans::Key,
    command::{Ban, Evidence, Scope, Trusted},
    protected::ProtectedPrefix,
    sources::SourceState,
};

/// Everything that the engine knows of one address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Why {
    /// The bans in force that hit it.
    pub bans: Vec<Ban>,
    /// Why it is never banned, where it is not.
    pub protected: Option<ProtectedPrefix>,
    /// Its trust.
    pub trusted: Option<Trusted>,
    /// What it is suspected of.
    pub suspicions: Vec<Suspicion>,
}

/// One detector's count against one source, short of firing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suspicion {
    /// The address that was counted last; where nothing counts, that a log told of.
    pub address: IpAddr,
    /// The detector.
    pub detector: Detector,
    /// What it has counted.
    pub count: u32,
    /// At which count it fires.
    pub fires_at: u32,
    /// When that was.
    pub last: Time,
    /// The latest things it saw, oldest first.
    pub evidence: Vec<Evidence>,
}

impl Engine {
    /// The bans in force, in the order of their prefixes.
    pub fn bans(&self) -> impl Iterator<Item = &Ban> {
        self.bans.iter()
    }

    /// How many bans are in force at `now`.
    #[must_use]
    pub fn bans_in_force(&self, now: Time) -> usize {
        self.bans.in_force(now)
    }

    /// The ban of exactly this prefix, port and scope.
    #[must_use]
    pub fn ban(&self, prefix: IpNet, port: Option<u16>, scope: Scope) -> Option<&Ban> {
        self.bans.get(&Key {
            prefix,
            port,
            scope,
        })
    }

    /// The bans behind the one of this prefix, port and scope, in the same order.
    pub fn bans_after(
        &self,
        prefix: IpNet,
        port: Option<u16>,
        scope: Scope,
    ) -> impl Iterator<Item = &Ban> {
        self.bans.after(Key {
            prefix,
            port,
            scope,
        })
    }

    /// The bans that drop packets of any address of this prefix, in the order of [`Self::bans`]: those
    /// around it come first. However many there are, it costs no more than these.
    pub fn bans_touching(&self, prefix: IpNet) -> impl Iterator<Item = &Ban> {
        self.bans.touching(prefix.trunc())
    }

    /// The bans that drop packets of this address, of whatever port.
    pub fn bans_of(&self, address: IpAddr) -> impl Iterator<Item = &Ban> {
        self.bans.covering(address)
    }

    /// Everything that is known of one address at `now`.
    #[must_use]
    pub fn why(&self, address: IpAddr, now: Time) -> Why {
        Why {
            bans: self
                .bans
                .covering(address)
                .filter(|ban| ban.is_in_force(now))
                .cloned()
                .collect(),
            protected: self.protected.address(address),
            trusted: self.trust.get(address, now).cloned(),
            suspicions: self
                .sources
                .get(Source::of(address))
                .map(|state| self.suspicions(state, now))
                .unwrap_or_default(),
        }
    }

    /// Who is on the way to a ban, and how far; and where nothing counts, of whom only a log told.
    #[must_use]
    pub fn suspects(&self, now: Time) -> Vec<Suspicion> {
        let mut suspicions: Vec<Suspicion> = self
            .sources
            .iter()
            .flat_map(|(_, state)| self.suspicions(state, now))
            .collect();
        suspicions.sort_by_key(|suspicion| (suspicion.address, suspicion.detector));
        suspicions
    }

    /// Who is trusted at `now`, in the order of the addresses.
    pub fn trusted(&self, now: Time) -> impl Iterator<Item = &Trusted> {
        self.trust.iter(now)
    }

    fn suspicions(&self, state: &SourceState, now: Time) -> Vec<Suspicion> {
        let (Some(suspect), Some((client, last))) = (&state.suspect, state.last) else {
            return Vec::new();
        };
        suspect
            .progress(&self.config, now)
            .into_iter()
            .map(|(detector, progress)| Suspicion {
                address: client.ip(),
                detector,
                count: progress.count,
                fires_at: progress.fires_at,
                last,
                evidence: suspect.evidence(detector),
            })
            .filter(|suspicion| suspicion.count > 0 || !suspicion.evidence.is_empty())
            .collect()
    }
}
