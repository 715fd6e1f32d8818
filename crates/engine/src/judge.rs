//! What follows when a detector fired: nothing, less trust, or a ban, and for how long.
//!
//! ```text
//! firing ─► a ban that does as much is in force ──────────► nothing
//!        ─► protected ────────────────────────────────────► alert
//!        ─► trusted, unproven ────────────────────────────► alert, the larger rate goes
//!        ─► trusted, proven ──────────────────────────────► alert, address and port banned;
//!        │                        the third port in a day ► the whole address, trust ends
//!        ─► unproven, and this minute's are spent ────────► nothing, counted
//!        ─► unproven ─────────────────────────────────────► alert, ban of the SIP ports
//!        ─► proven ───────────────────────────────────────► alert, ban
//! ```

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use ipnet::IpNet;

use crate::{
    Source, Time,
    command::{Alert, Ban, Command, Origin, Scope},
    detect::Firing,
    engine::Engine,
    source::host,
};

/// What came of a firing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Judgement {
    /// An alert was raised, with or without a ban.
    Raised,
    /// A ban that does as much is in force.
    AlreadyBanned,
    /// There were too many unproven bans this minute: the detector keeps what it has counted.
    Withheld,
}

/// Ports behind a trusted address that were banned lately.
#[derive(Debug, Default)]
pub(crate) struct Strikes(Vec<(Time, u16)>);

impl Strikes {
    const REMEMBERED: Duration = Duration::from_secs(86_400);
    /// Ports after which the whole address is banned.
    const PORTS: usize = 3;

    fn add(&mut self, port: u16, now: Time) -> usize {
        self.0
            .retain(|(at, old)| now.since(*at) < Self::REMEMBERED && *old != port);
        self.0.push((now, port));
        self.0.len()
    }
}

struct Sentence {
    prefix: IpNet,
    port: Option<u16>,
    scope: Scope,
    length: Duration,
}

impl Engine {
    /// Decides what follows from a firing against this address and port.
    pub(crate) fn judge(&mut self, offender: SocketAddr, firing: Firing, now: Time) -> Judgement {
        let address = offender.ip().to_canonical();
        let offender = SocketAddr::new(address, offender.port());
        if self.is_banned_enough(offender, firing.proven, now) {
            return Judgement::AlreadyBanned;
        }
        if let Some(protected) = self.protected.address(address) {
            let spared = format!("{protected}, and never banned");
            self.raise(offender, &firing, Some(spared), now);
            return Judgement::Raised;
        }
        if self.trust.get(address, now).is_some() {
            self.judge_trusted(offender, &firing, now);
            return Judgement::Raised;
        }
        let source = Source::of(address);
        let sentence = if firing.proven {
            Sentence {
                prefix: self.ban_prefix(address, now),
                port: None,
                scope: self.config.scope,
                length: self.ladder.proven(source, &self.config.ladder, now),
            }
        } else {
            if !self.ladder.spend_unproven(false, &self.config.ladder, now) {
                self.statistics.unproven_bans_withheld += 1;
                return Judgement::Withheld;
            }
            Sentence {
                prefix: self.ban_prefix(address, now),
                port: None,
                scope: Scope::Sip,
                length: self.ladder.unproven(source, &self.config.ladder, now),
            }
        };
        self.raise(offender, &firing, None, now);
        self.ban_for(&firing, &sentence, now);
        Judgement::Raised
    }

    fn judge_trusted(&mut self, offender: SocketAddr, firing: &Firing, now: Time) {
        let (address, port) = (offender.ip(), offender.port());
        if !firing.proven {
            let spared = "trusted, and nothing proves that it sent this: only the larger rate goes";
            self.raise(offender, firing, Some(spared.to_owned()), now);
            self.commands.push_back(Command::TakeRate(address));
            return;
        }
        self.raise(offender, firing, None, now);
        let ports = self.strikes.entry(address).or_default().add(port, now);
        if ports < Strikes::PORTS {
            let rung = self.config.ladder.rungs.get(ports.saturating_sub(1));
            let sentence = Sentence {
                prefix: host(address),
                port: Some(port),
                scope: Scope::Sip,
                length: rung.copied().unwrap_or_default(),
            };
            self.ban_for(firing, &sentence, now);
            return;
        }
        self.strikes.remove(&address);
        self.trust.end(address, now);
        self.commands.push_back(Command::Distrust(address));
        let sentence = Sentence {
            prefix: self.ban_prefix(address, now),
            port: None,
            scope: self.config.scope,
            length: self
                .ladder
                .proven(Source::of(address), &self.config.ladder, now),
        };
        self.ban_for(firing, &sentence, now);
    }

    /// Whether a ban in force drops what this offender sends, as surely as a new one would.
    fn is_banned_enough(&self, offender: SocketAddr, proven: bool, now: Time) -> bool {
        self.bans.covering(offender.ip()).any(|ban| {
            ban.is_in_force(now)
                && ban.hits(offender.ip(), offender.port())
                && (ban.proven || !proven || ban.scope == Scope::All)
        })
    }

    /// The addresses that a ban of this one hits: itself, or its /64 where nobody else in there
    /// is trusted or protected.
    fn ban_prefix(&self, address: IpAddr, now: Time) -> IpNet {
        let prefix = Source::of(address).prefix();
        let narrow =
            self.trust.has_neighbour(address, now) || self.protected.conflict(&prefix).is_some();
        if narrow { host(address) } else { prefix }
    }

    fn raise(&mut self, offender: SocketAddr, firing: &Firing, spared: Option<String>, now: Time) {
        self.commands.push_back(Command::Alert(Alert {
            at: now,
            source: host(offender.ip()),
            port: Some(offender.port()),
            detector: firing.detector,
            proven: firing.proven,
            summary: firing.summary.clone(),
            account: firing.account.clone(),
            evidence: firing.evidence.clone(),
            spared,
        }));
    }

    fn ban_for(&mut self, firing: &Firing, sentence: &Sentence, now: Time) {
        self.set_ban(Ban {
            prefix: sentence.prefix,
            port: sentence.port,
            scope: sentence.scope,
            since: now,
            until: Some(now + sentence.length),
            detector: Some(firing.detector),
            reason: firing.summary.clone(),
            proven: firing.proven,
            signature: firing.signature.clone(),
            account: firing.account.clone(),
            origin: Origin::Local,
        });
    }
}
