//! Log lines and events of the manager interface.
//!
//! Where the wire can be read, the same thing was seen there, and the line is evidence only. For
//! TLS, WebSocket, IAX2 and the manager interface, and where only a log is at hand, it counts.

use std::net::SocketAddr;

use crate::{
    Detector, Source,
    command::{Evidence, TrustedBy},
    detect::password_guessing::Attempt,
    engine::Engine,
    observation::{LogEvent, LogKind},
    tally::Seen,
    text::{escape, escape_at_most},
    traffic::canonical,
    transactions::Name,
    trust::Success,
};

/// A call whose answer was not acknowledged, by its Call-ID.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct UnacknowledgedCall {
    pub client: Option<SocketAddr>,
}

/// Bytes of a line that are kept to be shown.
const LINE: usize = 240;

impl Engine {
    pub(crate) fn observe_log(&mut self, event: &LogEvent<'_>) {
        let evidence = Evidence {
            at: self.now,
            place: event.place,
            summary: escape_at_most(event.text, LINE).to_string(),
        };
        if let LogKind::InviteTimeout { call_id } = event.kind {
            let call = self.key.of(&[call_id]);
            let client = self.unacknowledged.get(call).and_then(|call| call.client);
            if let Some(client) = client.or(event.source) {
                self.add_evidence(canonical(client), Detector::UnansweredInvite, evidence);
            }
            return;
        }
        let Some(client) = event.source.map(canonical) else {
            return;
        };
        if self.config.wire_is_read && event.transport.is_readable_on_the_wire() {
            if let Some(detector) = detector_of(event.kind) {
                self.add_evidence(client, detector, evidence);
            }
            return;
        }
        let account = self.name(event.account.unwrap_or_default());
        let seen = Seen {
            client,
            proven: event.transport.is_connected(),
            account: Some(escape(&account.text).to_string()),
            evidence,
        };
        match event.kind {
            LogKind::WrongPassword => self.wrong_password_logged(seen, account),
            LogKind::UnknownAccount => {
                self.tally(
                    Detector::ExtensionEnumeration,
                    &seen,
                    |suspect, config, now| {
                        let config = &config.extension_enumeration;
                        suspect
                            .enumeration
                            .refuse(account.hash, seen.proven, 0, config, now)
                    },
                );
            }
            LogKind::Success => {
                let shown = escape(&account.text).to_string();
                self.succeed(Success {
                    address: client.ip(),
                    by: TrustedBy::Login,
                    user: Some((account.hash, &shown)),
                    user_agent: None,
                    registered_for: std::time::Duration::ZERO,
                });
                self.account_accepted(client, &account, seen.evidence);
            }
            LogKind::RefusedCall { number } => {
                let hash = self.name(number).hash;
                self.tally(Detector::TollFraudProbe, &seen, |suspect, config, now| {
                    let config = &config.toll_fraud_probe;
                    suspect
                        .toll_fraud
                        .count(number, hash, seen.proven, config, now)
                });
            }
            LogKind::Malformed => {
                self.tally(Detector::MalformedFlood, &seen, |suspect, config, now| {
                    let config = &config.malformed_flood;
                    suspect.malformed.count(seen.proven, config, now)
                });
            }
            LogKind::Misdial | LogKind::InviteTimeout { .. } => {}
        }
    }

    /// It waits for a success of the same account and address, which makes it none.
    fn wrong_password_logged(&mut self, seen: Seen, account: Name) {
        self.logged_attempts += 1;
        let attempt = Attempt {
            user: account.hash,
            device: account.hash,
            proven: seen.proven,
            logged_in: self
                .trust
                .users(seen.client.ip(), self.config.trust.lasts, self.now),
            listed_password: None,
        };
        self.attempt_waits(self.logged_attempts, seen, attempt, account);
    }

    fn add_evidence(&mut self, client: SocketAddr, detector: Detector, evidence: Evidence) {
        if let Some(state) = self.sources.get_mut(Source::of(client.ip())) {
            state.suspect().note(detector, client.port(), evidence);
        }
    }
}

fn detector_of(kind: LogKind<'_>) -> Option<Detector> {
    match kind {
        LogKind::WrongPassword => Some(Detector::PasswordGuessing),
        LogKind::UnknownAccount => Some(Detector::ExtensionEnumeration),
        LogKind::RefusedCall { .. } => Some(Detector::TollFraudProbe),
        LogKind::Malformed => Some(Detector::MalformedFlood),
        LogKind::InviteTimeout { .. } => Some(Detector::UnansweredInvite),
        LogKind::Success | LogKind::Misdial => None,
    }
}
