//! Events of the kernel's program, and what it could not see.

use std::net::SocketAddr;

use crate::{
    Reason, Source,
    command::{Evidence, Place},
    detect::{Firing, scanner_signature, tripwire},
    engine::Engine,
    judge::Judgement,
    observation::{KernelDrop, SignatureSeen, Transport},
    tally::Seen,
    traffic::canonical,
};

impl Engine {
    pub(crate) fn observe_drop(&mut self, drop: &KernelDrop<'_>) {
        let now = self.now;
        let firing = match drop.reason {
            Reason::Signature => drop.signature.and_then(|hit| {
                let proven = drop.transport == Transport::Tcp && drop.established;
                let place = drop.packet.map_or(Place::Kernel, Place::Packet);
                let config = &self.config.scanner_signature;
                scanner_signature::observe(hit, proven, place, drop.sample, config, now)
            }),
            Reason::Tripwire => {
                let config = &self.config.tripwire;
                let address = drop.source.ip();
                let forgiven = self.trust.succeeded_within(address, config.forgiven, now);
                tripwire::observe(drop, forgiven, config, now)
            }
            Reason::Rate => {
                self.rate_dropped(drop);
                None
            }
            Reason::RateUnknown => {
                let source = Source::of(drop.source.ip());
                self.sources.touch(source).last_rate_drop = Some(now);
                None
            }
            Reason::NotIp
            | Reason::NotUnderstood
            | Reason::Allowed
            | Reason::NotProtected
            | Reason::LaterFragment
            | Reason::Clean
            | Reason::CleanLong
            | Reason::Banned
            | Reason::TinyFragment => None,
        };
        if let Some(firing) = firing {
            self.judge_packet(drop.source, firing);
        }
    }

    /// A signature in what one packet does not show: as if the kernel had found it.
    pub(crate) fn observe_signature(&mut self, seen: &SignatureSeen<'_>) {
        let proven = seen.transport == Transport::Tcp && seen.established;
        let config = &self.config.scanner_signature;
        let firing = scanner_signature::observe(
            seen.hit,
            proven,
            seen.place,
            seen.message,
            config,
            self.now,
        );
        if let Some(firing) = firing {
            self.judge_packet(seen.source, firing);
        }
    }

    fn judge_packet(&mut self, source: SocketAddr, firing: Firing) {
        let client = canonical(source);
        let proven = firing.proven;
        // One forged packet must not count against a whole neighbourhood.
        if self.judge(client, firing, self.now) == Judgement::Raised && proven {
            self.note_campaign(Source::of(client.ip()), proven);
        }
    }

    fn rate_dropped(&mut self, drop: &KernelDrop<'_>) {
        let now = self.now;
        let client = canonical(drop.source);
        let state = self.sources.touch(Source::of(client.ip()));
        state.last_rate_drop = Some(now);
        let proven = drop.transport == Transport::Tcp && drop.established;
        let tally = state.rate.drop(drop, &self.config.rate_exceeded, now);
        let is_known = self.trust.get(client.ip(), now).is_some();
        let Some(fired) = tally.fired.filter(|_| !is_known) else {
            return;
        };
        let seen = Seen {
            client,
            proven,
            account: None,
            evidence: Evidence {
                at: now,
                place: drop.packet.map_or(Place::Kernel, Place::Packet),
                summary: fired.summary.clone(),
            },
        };
        self.tally(crate::Detector::RateExceeded, &seen, |_, _, _| {
            crate::detect::Tally {
                progress: tally.progress,
                fired: Some(fired),
            }
        });
    }
}
