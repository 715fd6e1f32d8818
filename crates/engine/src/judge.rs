//! What follows when a detector fired: nothing, less trust, or a ban, and for how long.
//!
//! ```text
//! firing ─► a ban that does as much is in force ──────────► nothing
//!        ─► protected ────────────────────────────────────► alert
//!        ─► trusted, unproven ────────────────────────────► alert, the larger rate goes
//!        ─► trusted, proven ──────────────────────────────► alert, address and port banned;
//!        │   the third port in a day, or 50 refused in 1 h ► the whole address, trust ends
//!        ─► unproven, and this minute's are spent ────────► nothing, counted
//!        ─► unproven ─────────────────────────────────────► alert, ban of the SIP ports
//!        ─► proven ───────────────────────────────────────► alert, ban
//! ```
//!
//! A ban that would hit somebody who has just connected by SSH is of the SIP ports only.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use ipnet::IpNet;

use crate::{
    Detector, Source, Time,
    command::{Alert, Ban, Command, Origin, Scope, TrustedBy},
    detect::Firing,
    engine::Engine,
    protected::Protection,
    source::host,
    sources::SourceState,
    window::{DAY, Proof, Rolling},
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

/// What was done from behind a trusted address.
#[derive(Debug, Default)]
pub(crate) struct Strikes {
    /// Ports that were banned lately.
    ports: Vec<(Time, u16)>,
    /// Refused attempts.
    refused: Rolling,
}

impl Strikes {
    /// Ports after which the whole address is banned.
    const PORTS: usize = 3;
    /// Refused attempts in an hour after which it is.
    const REFUSED: u32 = 50;
    const HOUR: Duration = Duration::from_secs(3_600);

    /// A refused attempt came from there.
    pub fn refuse(&mut self, now: Time) {
        self.refused.add(Self::HOUR, now);
    }

    fn add(&mut self, port: u16, now: Time) -> usize {
        self.ports
            .retain(|(at, old)| now.since(*at) < DAY && *old != port);
        self.ports.push((now, port));
        self.ports.len()
    }

    fn is_too_much(&self, now: Time) -> bool {
        self.ports.len() >= Self::PORTS || self.refused.count(Self::HOUR, now) >= Self::REFUSED
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
        let trusted_by = self.trust.get(address, now).map(|trusted| trusted.by);
        if trusted_by == Some(TrustedBy::Peer) {
            let spared = format!(
                "{address} is {}, and never banned",
                Protection::Peer.words()
            );
            self.raise(offender, &firing, Some(spared), now);
            return Judgement::Raised;
        }
        if trusted_by.is_some() {
            self.judge_trusted(offender, &firing, now);
            return Judgement::Raised;
        }
        let source = Source::of(address);
        let answered = self
            .sources
            .get(source)
            .is_some_and(SourceState::was_answered);
        let sentence = if firing.proven {
            let length = self.ladder.proven(source, &self.config.ladder, now);
            Sentence {
                prefix: self.ban_prefix(address, now),
                port: None,
                scope: if firing.mild {
                    Scope::Sip
                } else {
                    self.config.scope
                },
                length: if firing.mild {
                    self.config.ladder.first()
                } else {
                    length
                },
            }
        } else {
            if !self
                .ladder
                .spend_unproven(answered, &self.config.ladder, now)
            {
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
            self.trust.tell_again(address);
            self.commands.push_back(Command::TakeRate(address));
            return;
        }
        self.raise(offender, firing, None, now);
        let strikes = self.strikes.touch(address);
        let ports = strikes.add(port, now);
        if !strikes.is_too_much(now) {
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
        *self.strikes.touch(address) = Strikes::default();
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

    /// Notes a source for its neighbourhood, and bans that where it holds too many such.
    pub(crate) fn note_campaign(&mut self, source: Source, proven: bool) {
        let now = self.now;
        let config = &self.config.prefix_campaign;
        let prefix = source.neighbourhood();
        let campaign = self.campaigns.touch(prefix);
        let Some(proof) = campaign.note(source, proven, config, now) else {
            return;
        };
        let evidence = campaign.evidence();
        let holds_success = self.trust.remembered_within(&prefix);
        if holds_success || self.protected.conflict(&prefix).is_some() {
            return;
        }
        let proven = proof == Proof::Proven;
        if !proven && !self.ladder.spend_unproven(true, &self.config.ladder, now) {
            self.statistics.unproven_bans_withheld += 1;
            return;
        }
        *self.campaigns.touch(prefix) = Default::default();
        let summary = format!("{} of its addresses attacked within a day", evidence.len());
        self.commands.push_back(Command::Alert(Alert {
            at: now,
            source: prefix,
            port: None,
            detector: Detector::PrefixCampaign,
            proven,
            summary: summary.clone(),
            account: None,
            evidence,
            spared: None,
        }));
        self.set_narrowed(Ban {
            prefix,
            port: None,
            scope: if proven {
                self.config.scope
            } else {
                Scope::Sip
            },
            since: now,
            until: Some(now + self.config.ladder.first()),
            detector: Some(Detector::PrefixCampaign),
            reason: summary,
            proven,
            signature: None,
            account: None,
            origin: Origin::Local,
        });
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
        self.set_narrowed(Ban {
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
