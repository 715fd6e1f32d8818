//! What is remembered of each sender.

use std::{collections::VecDeque, net::SocketAddr, time::Duration};

use crate::{
    Config, Detector, Time,
    command::Evidence,
    detect::{
        extension_enumeration, malformed_flood, password_guessing, rate_exceeded, server_probing,
        toll_fraud_probe, unanswered_invite,
    },
    window::Progress,
};

/// Things kept for the evidence of one source, of all detectors together.
const EVIDENCE: usize = 40;
/// Things shown as evidence of one alert.
pub(crate) const SHOWN: usize = 12;
/// Challenges of one source that are looked after at a time.
const OUTSTANDING: usize = 256;

/// Streams of one source that are known to be read.
const STREAMS: usize = 64;
/// A log tells of a message within this time.
const READABLE: Duration = Duration::from_secs(10);

/// One sender.
#[derive(Debug, Default)]
pub(crate) struct SourceState {
    /// Who of the source was counted last, and when; before that, of whom a log told first.
    pub last: Option<(SocketAddr, Time)>,
    pub answered: Option<Answered>,
    pub last_rate_drop: Option<Time>,
    /// The last report that a packet to this source did not arrive, and its port.
    pub unreachable: Option<(u16, Time)>,
    pub held_until: Option<Time>,
    /// The first hold of some that followed each other.
    pub first_hold: Option<Time>,
    /// Which port the server told last that somebody does not exist, and when.
    pub told: Option<(u16, Time)>,
    pub outstanding: Vec<Outstanding>,
    /// Port and number of challenges that only a log told of and that no credentials followed yet.
    logged: Vec<(u16, u64)>,
    /// Ports of its encrypted streams, and when a message was last read there.
    streams: Vec<(u16, Time)>,
    pub rate: rate_exceeded::State,
    /// What it is suspected of; most sources never are.
    pub suspect: Option<Box<Suspect>>,
}

/// When the PBX answered a source.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answered {
    pub first: Time,
    pub last: Time,
}

/// A challenge that no credentials followed yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outstanding {
    /// The challenged request.
    pub request: u64,
    pub call: u64,
    pub cseq: u32,
    pub identity: u64,
    pub port: u16,
    pub at: Time,
}

/// The detectors' counts.
#[derive(Debug, Default)]
pub(crate) struct Suspect {
    pub guessing: password_guessing::State,
    pub enumeration: extension_enumeration::State,
    pub invites: unanswered_invite::State,
    pub toll_fraud: toll_fraud_probe::State,
    pub probing: server_probing::State,
    pub malformed: malformed_flood::State,
    /// Detector, source port and what was seen.
    evidence: VecDeque<(Detector, Option<u16>, Evidence)>,
}

impl SourceState {
    pub fn suspect(&mut self) -> &mut Suspect {
        self.suspect.get_or_insert_default()
    }

    /// The PBX sent a response to this source.
    pub fn answer(&mut self, now: Time) {
        let answered = self.answered.get_or_insert(Answered {
            first: now,
            last: now,
        });
        answered.last = now;
    }

    /// Whether the PBX answered at least twice over five seconds.
    pub fn was_answered(&self) -> bool {
        self.answered
            .is_some_and(|answered| answered.last.since(answered.first) >= Duration::from_secs(5))
    }

    pub fn challenge(&mut self, outstanding: Outstanding) {
        if self.outstanding.len() >= OUTSTANDING {
            self.outstanding.remove(0);
        }
        self.outstanding.push(outstanding);
    }

    /// Credentials came: the challenges that they answer are followed.
    pub fn follow(&mut self, identity: u64, call: u64, cseq: u32) {
        self.outstanding.retain(|challenge| {
            let same_dialog = challenge.call == call && challenge.cseq < cseq;
            challenge.identity != identity && !same_dialog
        });
    }

    /// A message was read that came over an encrypted stream from this port.
    pub fn read_stream(&mut self, port: u16, now: Time) {
        self.streams
            .retain(|(of, at)| *of != port && now.since(*at) <= READABLE);
        if self.streams.len() >= STREAMS {
            self.streams.remove(0);
        }
        self.streams.push((port, now));
    }

    /// Whether what comes over the encrypted stream from this port is read.
    pub fn reads_stream(&self, port: u16, now: Time) -> bool {
        self.streams
            .iter()
            .any(|(of, at)| *of == port && now.since(*at) <= READABLE)
    }

    /// A log told of a challenge.
    pub fn challenge_logged(&mut self, port: u16, id: u64) {
        if self.logged.len() >= OUTSTANDING {
            self.logged.remove(0);
        }
        self.logged.push((port, id));
    }

    /// A log told of credentials from this port.
    pub fn follow_logged(&mut self, port: u16) {
        self.logged.retain(|(of, _)| *of != port);
    }

    /// Whether no credentials followed that challenge; from now on nobody waits for any.
    pub fn take_logged(&mut self, id: u64) -> bool {
        let before = self.logged.len();
        self.logged.retain(|(_, of)| *of != id);
        self.logged.len() < before
    }

    /// Whether so many challenges are outstanding that the kernel has to hold the source; the last
    /// one went to `port`.
    pub fn is_to_be_held(
        &self,
        port: u16,
        config: &extension_enumeration::Config,
        now: Time,
    ) -> bool {
        let count = |hold_at: u32, counts: &dyn Fn(&Outstanding) -> bool| {
            let hold_at = hold_at as usize;
            self.outstanding.len() >= hold_at && self.identities_outstanding(counts) >= hold_at
        };
        let was_told = self
            .told
            .is_some_and(|(told, at)| told == port && now.since(at) < config.limits.window);
        let before = now - config.hold_reaction;
        count(config.hold_at, &|challenge| challenge.at <= before)
            || was_told && count(config.hold_told_at, &|challenge| challenge.port == port)
    }

    /// Different identities that were challenged and not followed.
    fn identities_outstanding(&self, counts: &dyn Fn(&Outstanding) -> bool) -> usize {
        let mut identities: Vec<u64> = self
            .outstanding
            .iter()
            .filter(|challenge| counts(challenge))
            .map(|challenge| challenge.identity)
            .collect();
        identities.sort_unstable();
        identities.dedup();
        identities.len()
    }
}

impl Suspect {
    /// Keeps what is to be shown; with the source port where it counted.
    pub fn note(&mut self, detector: Detector, port: Option<u16>, evidence: Evidence) {
        if self.evidence.len() >= EVIDENCE {
            // What did not count goes first, or a stranger's lines would push out what did.
            let uncounted = self.evidence.iter().position(|(_, port, _)| port.is_none());
            self.evidence.remove(uncounted.unwrap_or_default());
        }
        self.evidence.push_back((detector, port, evidence));
    }

    /// The latest things that a detector saw, oldest first.
    pub fn evidence(&self, detector: Detector) -> Vec<Evidence> {
        let own = self.evidence.iter().filter(|(of, _, _)| *of == detector);
        let skipped = own.clone().count().saturating_sub(SHOWN);
        own.skip(skipped)
            .map(|(_, _, evidence)| evidence.clone())
            .collect()
    }

    /// The source port that did most of what a detector saw: behind one address, the guesser's
    /// and not that of who mistyped last.
    pub fn port(&self, detector: Detector) -> Option<u16> {
        let own = self.evidence.iter().filter(|(of, _, _)| *of == detector);
        let mut counts: Vec<(u16, usize)> = Vec::new();
        for port in own.filter_map(|(_, port, _)| *port) {
            match counts.iter_mut().find(|(known, _)| *known == port) {
                Some((_, count)) => *count += 1,
                None => counts.push((port, 1)),
            }
        }
        // Of equals the last one, which came later.
        counts
            .into_iter()
            .max_by_key(|(_, count)| *count)
            .map(|(port, _)| port)
    }

    /// Starts a detector's count anew; the evidence stays to be shown.
    pub fn reset(&mut self, detector: Detector) {
        match detector {
            Detector::PasswordGuessing | Detector::AccountAttacked => {
                self.guessing = password_guessing::State::default();
            }
            Detector::ExtensionEnumeration => {
                self.enumeration = extension_enumeration::State::default();
            }
            Detector::UnansweredInvite => self.invites = unanswered_invite::State::default(),
            Detector::TollFraudProbe => self.toll_fraud = toll_fraud_probe::State::default(),
            Detector::ServerProbing => self.probing = server_probing::State::default(),
            Detector::MalformedFlood => self.malformed = malformed_flood::State::default(),
            Detector::ScannerSignature
            | Detector::RateExceeded
            | Detector::Tripwire
            | Detector::PrefixCampaign
            | Detector::FraudAfterLogin => {}
        }
    }

    /// How far each detector is from firing.
    pub fn progress(&self, config: &Config, now: Time) -> [(Detector, Progress); 6] {
        [
            (
                Detector::PasswordGuessing,
                self.guessing.progress(&config.password_guessing, now),
            ),
            (
                Detector::ExtensionEnumeration,
                self.enumeration
                    .progress(&config.extension_enumeration, now),
            ),
            (
                Detector::UnansweredInvite,
                self.invites.progress(&config.unanswered_invite, now),
            ),
            (
                Detector::TollFraudProbe,
                self.toll_fraud.progress(&config.toll_fraud_probe, now),
            ),
            (
                Detector::ServerProbing,
                self.probing.progress(&config.server_probing, now),
            ),
            (
                Detector::MalformedFlood,
                self.malformed.progress(&config.malformed_flood, now),
            ),
        ]
    }
}
