//! Lets detectors count, and has their findings judged.

use std::net::SocketAddr;

use crate::{
    Config, Detector, Source, Time,
    command::{Alert, Command, Evidence, TrustedBy},
    detect::{Firing, Tally},
    engine::Engine,
    judge::Judgement,
    protected::Protection,
    source::host,
    sources::Suspect,
    text::escape,
    transactions::{Name, Transaction},
};

/// Who did something that counts, and where that is to be seen.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub client: SocketAddr,
    pub proven: bool,
    pub account: Option<String>,
    pub evidence: Evidence,
}

impl Engine {
    /// A request and its answer, as evidence.
    pub(crate) fn seen(&self, transaction: &Transaction, what: &str) -> Seen {
        let request = &transaction.request;
        let line = escape(&request.first_line);
        let name = escape(&request.identity.text);
        let answer = match &transaction.answer {
            Some(answer) => format!("{} {}", answer.status, escape(&answer.reason)),
            None => "no answer".to_owned(),
        };
        Seen {
            client: request.client,
            proven: transaction.is_proven(),
            account: request
                .credentials
                .as_ref()
                .map(|credentials| escape(&credentials.username.text).to_string()),
            evidence: Evidence {
                at: request.at,
                place: request.place,
                summary: format!("{line} as {name}: {answer}, {what}"),
            },
        }
    }

    /// Lets a detector count, and has its finding judged.
    pub(crate) fn tally(
        &mut self,
        detector: Detector,
        seen: &Seen,
        count: impl FnOnce(&mut Suspect, &Config, Time) -> Tally,
    ) {
        self.tally_if_any(detector, seen, |suspect, config, now| {
            Some(count(suspect, config, now))
        });
    }

    /// As [`Self::tally`], where the detector may not have counted after all.
    pub(crate) fn tally_if_any(
        &mut self,
        detector: Detector,
        seen: &Seen,
        count: impl FnOnce(&mut Suspect, &Config, Time) -> Option<Tally>,
    ) {
        if !self.config.is_enabled(detector) || self.is_exempt(seen.client) {
            return;
        }
        let now = self.now;
        let source = Source::of(seen.client.ip());
        let state = self.sources.touch(source);
        state.last = Some((seen.client, now));
        let suspect = state.suspect();
        suspect.note(detector, Some(seen.client.port()), seen.evidence.clone());
        let Some(tally) = count(suspect, &self.config, now) else {
            return;
        };
        let Some(fired) = tally.fired else {
            if tally.progress.is_half_way() {
                self.note_campaign(source, seen.proven);
            }
            return;
        };
        let proven = fired.proof.is_proven();
        let port = suspect.port(detector).unwrap_or(seen.client.port());
        let offender = SocketAddr::new(seen.client.ip(), port);
        let firing = Firing {
            detector,
            proven,
            summary: fired.summary,
            signature: None,
            account: fired.account.or_else(|| seen.account.clone()),
            evidence: suspect.evidence(detector),
            mild: fired.mild,
        };
        match self.judge(offender, firing, now) {
            Judgement::Raised => {
                self.reset(source, detector);
                self.note_campaign(source, proven);
            }
            Judgement::AlreadyBanned => self.reset(source, detector),
            Judgement::Withheld => {}
        }
    }

    fn reset(&mut self, source: Source, detector: Detector) {
        if let Some(state) = self.sources.get_mut(source) {
            state.suspect().reset(detector);
        }
    }

    /// Tells of something that no ban would mend.
    pub(crate) fn warn(
        &mut self,
        client: SocketAddr,
        account: &Name,
        summary: String,
        evidence: Evidence,
    ) {
        self.commands.push_back(Command::Alert(Alert {
            at: self.now,
            source: host(client.ip()),
            port: Some(client.port()),
            detector: Detector::FraudAfterLogin,
            proven: true,
            summary: format!("{}: {summary}", escape(&account.text)),
            account: Some(escape(&account.text).to_string()),
            evidence: vec![evidence],
            spared: Some("this is a warning: look at the account".to_owned()),
        }));
    }

    /// Peers and the allowlist: nothing they do is counted.
    pub(crate) fn is_exempt(&self, client: SocketAddr) -> bool {
        let address = client.ip();
        let is_peer = self
            .trust
            .get(address, self.now)
            .is_some_and(|trusted| trusted.by == TrustedBy::Peer);
        is_peer
            || self.protected.is(Protection::Allowlist, address)
            || self.protected.is(Protection::Peer, address)
    }
}
