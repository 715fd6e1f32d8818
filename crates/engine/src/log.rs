//! Log lines and events of the manager interface.
//!
//! Where the wire can be read, the same thing was seen there, and the line is evidence only. For
//! TLS, with and without WebSocket, and the manager interface it counts where a connection of its
//! source was seen: strangers may write whole lines into a log, but no handshake in another's name.
//! Where the server hands on what it has decrypted (HEP), the line is evidence again.
//! For IAX2 it counts unproven, and so does every line where only a log is at hand; there a login
//! counts, too, and for IAX2 it does not: a peer's name holds 255 bytes of anything.
//!
//! ```text
//! challenged ── a success or a refusal of the same address and port within 4 s ──► nothing
//!            └─ nothing more ──► its account counts for extension-enumeration, it for
//!                                server-probing unless the one before was 5 s ago or longer
//! ```
//!
//! Of an INVITE without credentials Asterisk logs the challenge and nothing else, neither the number
//! nor whether its answer was acknowledged: 20 of them are `server-probing`, whatever they are.

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

/// A challenge that only a log told of, and whose credentials are awaited.
#[derive(Clone, Debug)]
pub(crate) struct LoggedChallenge {
    /// Names it among those of its source.
    id: u64,
    account: Name,
    seen: Seen,
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
        match event.kind {
            LogKind::InviteTimeout { call_id } | LogKind::AnswerTimeout { call_id } => {
                match self.caller(call_id).or(event.source) {
                    Some(client) => {
                        let client = canonical(client);
                        self.add_evidence(client, Detector::UnansweredInvite, evidence);
                    }
                    None => self.statistics.unattributed_lines += 1,
                }
                return;
            }
            LogKind::WrongPassword
            | LogKind::UnknownAccount
            | LogKind::Success
            | LogKind::Challenged
            | LogKind::Limited
            | LogKind::Misdial
            | LogKind::RefusedCall { .. }
            | LogKind::Malformed => {}
        }
        let Some(client) = event.source.map(canonical) else {
            return;
        };
        let is_seen = event.transport.is_readable_on_the_wire() || self.is_decrypted(client);
        let is_doubtful = event.transport.is_connected() && !event.connected;
        if self.config.wire_is_read && (is_seen || is_doubtful) {
            if !is_seen {
                self.statistics.unconnected_lines += 1;
            }
            if let Some(detector) = detector_of(event.kind) {
                self.add_evidence(client, detector, evidence);
            }
            return;
        }
        let account = self.name(event.account.unwrap_or_default());
        let seen = Seen {
            client,
            proven: event.transport.is_connected() && event.connected,
            account: Some(escape(&account.text).to_string()),
            evidence,
        };
        match event.kind {
            LogKind::WrongPassword => {
                self.follow_logged(client);
                self.wrong_password_logged(seen, account);
            }
            // Where there is none, a line of its own says that there is no such account.
            LogKind::Challenged if event.account.is_none() => {}
            LogKind::Challenged => self.challenge_logged(seen, account),
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
            LogKind::Success if self.config.wire_is_read && !seen.proven => {}
            LogKind::Success => {
                self.follow_logged(client);
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
            LogKind::Misdial
            | LogKind::Limited
            | LogKind::InviteTimeout { .. }
            | LogKind::AnswerTimeout { .. } => {}
        }
    }

    /// Who called, as long as that is remembered: 64 s, and longer where nobody acknowledged.
    fn caller(&mut self, call_id: &[u8]) -> Option<SocketAddr> {
        let call = self.key.of(&[call_id]);
        if let Some(client) = self.unacknowledged.get(call).and_then(|call| call.client) {
            return Some(client);
        }
        let key = self.transactions.invites(call).last()?;
        Some(self.transactions.get(*key)?.request.client)
    }

    /// It waits for a success of the same account and address, which makes it none.
    fn wrong_password_logged(&mut self, seen: Seen, account: Name) {
        self.logged += 1;
        let attempt = Attempt {
            user: account.hash,
            device: account.hash,
            proven: seen.proven,
            logged_in: self
                .trust
                .users(seen.client.ip(), self.config.trust.lasts, self.now),
            listed_password: None,
        };
        self.attempt_waits(self.logged, seen, attempt, account);
    }

    fn challenge_logged(&mut self, seen: Seen, account: Name) {
        self.logged += 1;
        let id = self.logged;
        let state = self.sources.touch(Source::of(seen.client.ip()));
        state.challenge_logged(seen.client.port(), id);
        let challenge = LoggedChallenge { id, account, seen };
        self.logged_challenges.push(self.now, challenge);
    }

    /// The server hands on what it has decrypted of this connection.
    fn is_decrypted(&self, client: SocketAddr) -> bool {
        let state = self.sources.get(Source::of(client.ip()));
        state.is_some_and(|state| state.reads_stream(client.port(), self.now))
    }

    /// Credentials came over this connection, right or wrong.
    fn follow_logged(&mut self, client: SocketAddr) {
        if let Some(state) = self.sources.get_mut(Source::of(client.ip())) {
            state.follow_logged(client.port());
        }
    }

    /// The time for credentials after a logged challenge is over.
    pub(crate) fn logged_credentials_are_due(&mut self, challenge: &LoggedChallenge) {
        let LoggedChallenge { id, account, seen } = challenge;
        let (address, port) = (seen.client.ip(), seen.client.port());
        let Some(state) = self.sources.get_mut(Source::of(address)) else {
            return;
        };
        let is_dropped = state
            .last_rate_drop
            .is_some_and(|at| at >= seen.evidence.at);
        if !state.take_logged(*id) || is_dropped {
            return;
        }
        self.identity_not_followed(seen, account.hash);
        if self.trust.get(address, self.now).is_some() || self.is_exempt(seen.client) {
            return;
        }
        let config = &self.config.server_probing;
        let fingerprint = self
            .key
            .of(&[&account.hash.to_be_bytes(), &port.to_be_bytes()]);
        let state = self.sources.touch(Source::of(address));
        let probing = &mut state.suspect().probing;
        if probing.is_keep_alive(fingerprint, config, seen.evidence.at) {
            return;
        }
        let request = self.key.of(&[&id.to_be_bytes()]);
        self.tally(Detector::ServerProbing, seen, |suspect, config, now| {
            let config = &config.server_probing;
            suspect.probing.count(request, seen.proven, config, now)
        });
    }

    /// Something to be shown beside what was counted, or where nothing was: also of somebody whose
    /// packets have not been seen yet, for the log may be read before the tap.
    fn add_evidence(&mut self, client: SocketAddr, detector: Detector, evidence: Evidence) {
        let state = self.sources.touch(Source::of(client.ip()));
        state.last.get_or_insert((client, evidence.at));
        // A line that does not count must not choose whose port a ban hits either.
        state.suspect().note(detector, None, evidence);
    }
}

fn detector_of(kind: LogKind<'_>) -> Option<Detector> {
    match kind {
        LogKind::WrongPassword => Some(Detector::PasswordGuessing),
        LogKind::UnknownAccount => Some(Detector::ExtensionEnumeration),
        LogKind::RefusedCall { .. } => Some(Detector::TollFraudProbe),
        LogKind::Malformed => Some(Detector::MalformedFlood),
        LogKind::InviteTimeout { .. } | LogKind::AnswerTimeout { .. } => {
            Some(Detector::UnansweredInvite)
        }
        LogKind::Challenged | LogKind::Success | LogKind::Misdial | LogKind::Limited => None,
    }
}
