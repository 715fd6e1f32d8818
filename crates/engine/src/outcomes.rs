//! What became of requests, and which detectors hear of it.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use sipward_wire::sip::Method;

use crate::{
    Detector, Source,
    command::{Command, Evidence, Hold, TrustedBy},
    detect::{Firing, malformed_flood, password_guessing::Attempt, server_probing},
    engine::Engine,
    judge::Judgement,
    observation::Message,
    sources::Outstanding,
    tally::Seen,
    text::escape,
    transactions::{Name, Outcome, Request, Transaction},
    trust::Success,
};

/// Successes within this time make an address an old acquaintance.
const WEEK: Duration = Duration::from_secs(7 * 86_400);

/// How long a registration lasts at most that nobody saw: PJSIP's default of `maximum_expiration`,
/// and twice chan_sip's.
const REGISTERED: Duration = Duration::from_secs(7_200);

/// A refused attempt that waits for its success.
#[derive(Clone, Debug)]
pub(crate) struct WaitingAttempt {
    pub client: SocketAddr,
    /// Names it among those of its source.
    pub id: u64,
    pub attempt: Attempt,
    pub account: Name,
    pub evidence: Evidence,
}

impl Engine {
    /// A request got its final answer.
    pub(crate) fn answered(&mut self, key: u64, registered_for: Duration) {
        let Some(transaction) = self.transactions.get(key).cloned() else {
            return;
        };
        let (request, Some(answer)) = (&transaction.request, &transaction.answer) else {
            return;
        };
        let is_call = request.method == Method::Invite && !request.in_dialog;
        if is_call && answer.status >= 300 {
            self.acknowledgements.push(self.now, key);
        }
        match answer.outcome {
            Outcome::Challenged => self.challenged(key, request),
            Outcome::Stale => {}
            Outcome::WrongPassword => self.wrong_password(key, &transaction),
            Outcome::Accepted => {
                let by = if request.method == Method::Register {
                    TrustedBy::Registration
                } else {
                    TrustedBy::Login
                };
                self.accepted(key, by, registered_for);
                if is_call {
                    self.called(request, answer.status);
                }
            }
            Outcome::Done => self.probed(&transaction),
            Outcome::Refused => {
                let names_nobody =
                    request.method == Method::Register && matches!(answer.status, 404 | 604);
                if answer.status == 403 || names_nobody {
                    self.identity_refused(&transaction);
                }
                if names_nobody && request.credentials.is_none() {
                    let state = self.sources.touch(Source::of(request.client.ip()));
                    state.told = Some((request.client.port(), self.now));
                }
                self.probed(&transaction);
            }
        }
    }

    /// The answer to an INVITE was acknowledged.
    pub(crate) fn acknowledged(&mut self, key: u64) {
        let Some(transaction) = self.transactions.get(key).cloned() else {
            return;
        };
        let Some(answer) = &transaction.answer else {
            return;
        };
        let by_client = answer.acknowledged_by_client;
        if answer.status < 300 {
            if by_client && !transaction.accepted && !transaction.request.in_dialog {
                self.accepted(key, TrustedBy::Call, Duration::ZERO);
            }
        } else {
            self.number_refused(&transaction);
        }
    }

    /// The time for an ACK is over.
    pub(crate) fn acknowledgement_is_due(&mut self, key: u64) {
        let Some(transaction) = self.transactions.get(key).cloned() else {
            return;
        };
        let (request, Some(answer)) = (&transaction.request, &transaction.answer) else {
            return;
        };
        if answer.acknowledged {
            return;
        }
        self.number_refused(&transaction);
        let source = Source::of(request.client.ip());
        let unreachable = self.sources.get(source).and_then(|state| state.unreachable);
        let is_unreachable =
            unreachable.is_some_and(|(port, at)| port == request.client.port() && at >= answer.at);
        let is_unseen = self.unseen.is_some_and(|at| at >= answer.at);
        if answer.excused || is_unreachable || is_unseen || transaction.accepted {
            return;
        }
        self.unacknowledged.touch(request.call).client = Some(request.client);
        let seen = self.seen(&transaction, "not acknowledged");
        self.tally(Detector::UnansweredInvite, &seen, |suspect, config, now| {
            let config = &config.unanswered_invite;
            suspect.invites.count(key, seen.proven, config, now)
        });
    }

    /// The time for credentials after a challenge is over.
    pub(crate) fn credentials_are_due(&mut self, source: Source, key: u64) {
        let unseen = self.unseen;
        let Some(state) = self.sources.get_mut(source) else {
            return;
        };
        let Some(at) = state
            .outstanding
            .iter()
            .position(|challenge| challenge.request == key)
        else {
            return;
        };
        let Some(challenge) = state.outstanding.get(at).copied() else {
            return;
        };
        // What came during a hold was dropped, and comes again after it.
        let config = &self.config.extension_enumeration;
        let is_held = state
            .first_hold
            .is_some_and(|at| at >= challenge.at && at.since(challenge.at) < config.hold_reaction);
        if is_held && self.now.since(challenge.at) <= config.follow {
            self.challenges.push(self.now, (source, key));
            return;
        }
        state.outstanding.remove(at);
        // They came, perhaps, and were dropped or not seen.
        let excuses = [state.last_rate_drop, unseen];
        if excuses.into_iter().flatten().any(|at| at >= challenge.at) {
            return;
        }
        let Some(transaction) = self.transactions.get(key).cloned() else {
            return;
        };
        self.identity_refused(&transaction);
        if transaction.request.credentials.is_none() {
            self.number_dialled(&transaction);
            self.probed(&transaction);
        }
    }

    /// The time of an attempt with an old nonce is over.
    pub(crate) fn attempt_is_due(&mut self, waiting: &WaitingAttempt) {
        let source = Source::of(waiting.client.ip());
        let Some(state) = self.sources.get_mut(source) else {
            return;
        };
        let is_over = state.suspect().guessing.is_over(waiting.id);
        let is_unseen = self.unseen.is_some_and(|at| at >= waiting.evidence.at);
        if is_over && !is_unseen {
            let seen = Seen {
                client: waiting.client,
                proven: waiting.attempt.proven,
                account: Some(escape(&waiting.account.text).to_string()),
                evidence: waiting.evidence.clone(),
            };
            self.attempt_refused(&seen, waiting.attempt, &waiting.account);
        }
    }

    pub(crate) fn malformed(&mut self, client: SocketAddr, message: &Message<'_>) {
        let names: Vec<&str> = message.sip.anomalies().names().collect();
        let seen = Seen {
            client,
            proven: message.established,
            account: None,
            evidence: Evidence {
                at: self.now,
                place: message.place,
                summary: format!("not readable: {}", names.join(", ")),
            },
        };
        self.tally(Detector::MalformedFlood, &seen, |suspect, config, now| {
            let config: &malformed_flood::Config = &config.malformed_flood;
            suspect.malformed.count(seen.proven, config, now)
        });
    }

    /// A peer answered a request of the server itself.
    pub(crate) fn peer_answered(&mut self, peer: SocketAddr, method: Method) {
        let by = self
            .trust
            .get(peer.ip(), self.now)
            .map(|trusted| trusted.by);
        // The server asks registered phones with OPTIONS, too, also where their trust has ended:
        // that makes no trunk of them. And a stolen account that registered while nobody looked may
        // have named anybody as such a phone.
        let may_be_customer = self.trust.has_logged_in(peer.ip())
            || self
                .unseen
                .is_some_and(|unseen| self.now.since(unseen) < REGISTERED);
        if method != Method::Register && by != Some(TrustedBy::Peer) && may_be_customer {
            return;
        }
        self.succeed(Success {
            address: peer.ip(),
            by: TrustedBy::Peer,
            user: None,
            user_agent: None,
            registered_for: Duration::ZERO,
        });
    }

    /// Right credentials, or a call that was answered and acknowledged.
    pub(crate) fn accepted(&mut self, key: u64, by: TrustedBy, registered_for: Duration) {
        let Some(transaction) = self.transactions.get_mut(key) else {
            return;
        };
        if std::mem::replace(&mut transaction.accepted, true) {
            return;
        }
        let request = transaction.request.clone();
        if let Some(credentials) = &request.credentials
            && let Some(nonce) = credentials.digest().nonce()
        {
            let user = credentials.username.hash;
            self.nonces.accept(request.client.ip(), nonce, user);
        }
        let by = match (by, self.trust.get(request.client.ip(), self.now)) {
            // A trunk that calls stays a trunk; a client that registers is none.
            (TrustedBy::Call | TrustedBy::Login, Some(trusted)) => match trusted.by {
                TrustedBy::Peer | TrustedBy::Registration => trusted.by,
                TrustedBy::Call | TrustedBy::Login => by,
            },
            (_, _) => by,
        };
        let account = request.credentials.as_ref().map(|c| c.username.clone());
        if let (TrustedBy::Registration, Some(host), Some(account)) =
            (by, &request.registrar, &account)
        {
            self.site.registered(host, account, self.now);
        }
        self.succeed_as(&request, by, account.as_ref(), registered_for);
    }

    fn succeed_as(
        &mut self,
        request: &Arc<Request>,
        by: TrustedBy,
        account: Option<&Name>,
        registered_for: Duration,
    ) {
        let shown = account.map(|account| escape(&account.text).to_string());
        let user = account.zip(shown.as_deref());
        self.succeed(Success {
            address: request.client.ip(),
            by,
            user: user.map(|(account, shown)| (account.hash, shown)),
            user_agent: request.user_agent.as_deref(),
            registered_for,
        });
        let Some(account) = account else {
            return;
        };
        let evidence = Evidence {
            at: self.now,
            place: request.place,
            summary: escape(&request.first_line).to_string(),
        };
        self.account_accepted(request.client, account, evidence);
    }

    /// An account was accepted, as the wire or a log says.
    pub(crate) fn account_accepted(
        &mut self,
        client: SocketAddr,
        account: &Name,
        evidence: Evidence,
    ) {
        let now = self.now;
        let source = Source::of(client.ip());
        if let Some(state) = self.sources.get_mut(source)
            && let Some(suspect) = &mut state.suspect
        {
            let config = &self.config.password_guessing;
            suspect.guessing.accept(account.hash, config, now);
        }
        let fraud = &mut self.accounts.touch(account.hash).fraud;
        let place = source.neighbourhood();
        if let Some(summary) = fraud.accept(place, &self.config.fraud_after_login, now) {
            self.warn(client, account, summary, evidence);
        }
    }

    /// Notes a success: trust, and the end of a hold.
    pub(crate) fn succeed(&mut self, success: Success<'_>) {
        let now = self.now;
        let source = Source::of(success.address);
        if let Some(trusted) = self.trust.succeed(success, &self.config.trust, now) {
            self.commands.push_back(Command::Trust(trusted));
        }
        let state = self.sources.touch(source);
        let held = state.held_until.take();
        if held.is_some_and(|until| until > now) {
            self.commands.push_back(Command::Release(source.prefix()));
        }
    }

    /// A call with right credentials was put through or refused.
    fn called(&mut self, request: &Arc<Request>, status: u16) {
        let now = self.now;
        let (Some(credentials), Some(number)) = (&request.credentials, &request.target) else {
            return;
        };
        let account = &credentials.username;
        let config = &self.config.fraud_after_login;
        let fraud = &mut self.accounts.touch(account.hash).fraud;
        let warning = match status {
            200..=299 => fraud.call(&number.text, config, now),
            403 | 404 | 484 | 603 => fraud.refuse_number(&number.text, number.hash, config, now),
            _ => None,
        };
        if let Some(summary) = warning {
            let evidence = Evidence {
                at: now,
                place: request.place,
                summary: escape(&request.first_line).to_string(),
            };
            self.warn(request.client, account, summary, evidence);
        }
    }

    /// The server asks for credentials: they are awaited.
    fn challenged(&mut self, key: u64, request: &Arc<Request>) {
        let now = self.now;
        let source = Source::of(request.client.ip());
        let config = &self.config.extension_enumeration;
        let state = self.sources.touch(source);
        state.challenge(Outstanding {
            request: key,
            call: request.call,
            cseq: request.cseq,
            identity: request.identity.hash,
            port: request.client.port(),
            at: now,
        });
        self.challenges.push(now, (source, key));
        let is_held = state.held_until.is_some_and(|until| until > now);
        if !config.enabled || is_held || !state.is_to_be_held(request.client.port(), config, now) {
            return;
        }
        let address = request.client.ip();
        let is_known = self
            .trust
            .succeeded_within(address, self.config.trust.memory, now);
        if is_known || self.is_exempt(request.client) || self.protected.address(address).is_some() {
            return;
        }
        let until = now + config.follow;
        let state = self.sources.touch(source);
        state.held_until = Some(until);
        let again = config.limits.window;
        if state
            .first_hold
            .is_none_or(|first| now.since(first) > again)
        {
            state.first_hold = Some(now);
        }
        self.commands.push_back(Command::Hold(Hold {
            prefix: source.prefix(),
            until,
        }));
    }

    /// A wrong password; with an old nonce it may still be an honest one.
    fn wrong_password(&mut self, key: u64, transaction: &Transaction) {
        let request = &transaction.request;
        let Some(credentials) = &request.credentials else {
            return;
        };
        let account = credentials.username.clone();
        let proven = transaction.is_proven();
        let attempt = Attempt {
            user: account.hash,
            device: request.device,
            proven,
            logged_in: self.trust.users(request.client.ip(), WEEK, self.now),
            listed_password: self.listed_password(request),
        };
        let seen = self.seen(transaction, "wrong password");
        match credentials.freshness {
            crate::nonces::Freshness::Fresh => {
                self.attempt_refused(&seen, attempt, &account);
                self.identity_refused(transaction);
            }
            crate::nonces::Freshness::Old => {
                self.challenged(key, request);
                self.attempt_waits(key, seen, attempt, account);
            }
        }
    }

    /// A refused attempt that accepted credentials may still excuse.
    pub(crate) fn attempt_waits(&mut self, id: u64, seen: Seen, attempt: Attempt, account: Name) {
        self.attempts.push(
            self.now,
            WaitingAttempt {
                client: seen.client,
                id,
                attempt,
                account: account.clone(),
                evidence: seen.evidence.clone(),
            },
        );
        let mut counts = false;
        self.tally_if_any(Detector::PasswordGuessing, &seen, |suspect, config, now| {
            let tally = suspect
                .guessing
                .wait(id, attempt, &config.password_guessing, now);
            counts = tally.is_some();
            tally
        });
        if counts {
            self.account_refused(&seen, &account);
        }
    }

    /// A refused attempt that counts.
    fn attempt_refused(&mut self, seen: &Seen, attempt: Attempt, account: &Name) {
        self.tally(Detector::PasswordGuessing, seen, |suspect, config, now| {
            suspect
                .guessing
                .refuse(attempt, &config.password_guessing, now)
        });
        self.account_refused(seen, account);
    }

    fn account_refused(&mut self, seen: &Seen, account: &Name) {
        let now = self.now;
        let address = seen.client.ip();
        let source = Source::of(address);
        if self.is_exempt(seen.client) {
            return;
        }
        if self.trust.get(address, now).is_some() {
            self.strikes.touch(address).refuse(now);
        }
        let entry = self.accounts.touch(account.hash);
        let place = source.neighbourhood();
        entry
            .fraud
            .refuse(place, &self.config.fraud_after_login, now);
        let config = &self.config.account_attacked;
        let attacked = entry.attacked.refuse(source, config, now);
        let is_owner = self.trust.user_succeeded(address, account.hash, WEEK, now);
        if !attacked || is_owner {
            return;
        }
        let name = escape(&account.text);
        let summary =
            format!("tried a wrong password on {name}, which is attacked from everywhere");
        let firing = Firing {
            detector: Detector::AccountAttacked,
            proven: seen.proven,
            summary,
            signature: None,
            account: Some(name.to_string()),
            evidence: vec![seen.evidence.clone()],
            mild: false,
        };
        if self.judge(seen.client, firing, now) == Judgement::Raised {
            self.note_campaign(source, seen.proven);
        }
    }

    /// An identity was refused, or did not follow a challenge.
    fn identity_refused(&mut self, transaction: &Transaction) {
        let identity = transaction.request.identity.hash;
        let what = match self.bare_address(&transaction.request) {
            Some(name) => format!("no login, at the bare address; phones here use {name}"),
            None => "no login".to_owned(),
        };
        let seen = self.seen(transaction, &what);
        self.identity_not_followed(&seen, identity);
    }

    /// The same, whoever saw it.
    pub(crate) fn identity_not_followed(&mut self, seen: &Seen, identity: u64) {
        let (address, now) = (seen.client.ip(), self.now);
        if self.trust.user_succeeded(address, identity, WEEK, now) {
            return;
        }
        let logged_in = self.trust.users(address, WEEK, now);
        let logged_in = u32::try_from(logged_in).unwrap_or(u32::MAX);
        self.tally(
            Detector::ExtensionEnumeration,
            seen,
            |suspect, config, now| {
                let config = &config.extension_enumeration;
                suspect
                    .enumeration
                    .refuse(identity, seen.proven, logged_in, config, now)
            },
        );
    }

    /// A call was refused without a login, and its ACK came or will not come any more.
    fn number_refused(&mut self, transaction: &Transaction) {
        let Some(answer) = &transaction.answer else {
            return;
        };
        let counts = match answer.outcome {
            Outcome::WrongPassword => true,
            Outcome::Refused => matches!(answer.status, 403 | 404 | 484 | 603),
            Outcome::Challenged | Outcome::Stale | Outcome::Accepted | Outcome::Done => false,
        };
        if counts {
            self.number_dialled(transaction);
        }
    }

    fn number_dialled(&mut self, transaction: &Transaction) {
        let request = &transaction.request;
        let Some(number) = &request.target else {
            return;
        };
        if request.method != Method::Invite || request.in_dialog {
            return;
        }
        let seen = self.seen(transaction, "refused");
        self.tally(Detector::TollFraudProbe, &seen, |suspect, config, now| {
            let config = &config.toll_fraud_probe;
            suspect
                .toll_fraud
                .count(&number.text, number.hash, seen.proven, config, now)
        });
    }

    /// A request that led to no login; of a source that never logged in it counts.
    fn probed(&mut self, transaction: &Transaction) {
        let (request, Some(answer)) = (&transaction.request, &transaction.answer) else {
            return;
        };
        let address = request.client.ip();
        if self.trust.get(address, self.now).is_some() || self.is_exempt(request.client) {
            return;
        }
        let seen = self.seen(transaction, "no login");
        let method = request.method;
        if server_probing::is_odd(method, answer.status) {
            self.tally(Detector::ServerProbing, &seen, |suspect, config, now| {
                let config = &config.server_probing;
                suspect.probing.count_odd(method, seen.proven, config, now)
            });
            return;
        }
        if request.in_dialog || method == Method::Register && answer.status < 300 {
            return;
        }
        let config = &self.config.server_probing;
        if matches!(method, Method::Options | Method::Notify) {
            let state = self.sources.touch(Source::of(address));
            let probing = &mut state.suspect().probing;
            if probing.is_keep_alive(request.keep_alive, config, request.at) {
                return;
            }
        }
        let target = request.target.as_ref().map_or(0, |target| target.hash);
        let pair = self.key.of(&[&[method as u8], &target.to_be_bytes()]);
        self.tally(Detector::ServerProbing, &seen, |suspect, config, now| {
            let config = &config.server_probing;
            suspect.probing.count(pair, seen.proven, config, now)
        });
    }

    fn listed_password(&mut self, request: &Request) -> Option<u64> {
        let credentials = request.credentials.as_ref()?;
        let most = self.config.password_guessing.dictionary_per_second;
        let leak = Duration::from_secs(1).checked_div(most)?;
        if self.dictionary_budget.level(leak, self.now) >= most {
            return None;
        }
        self.dictionary_budget.fill(leak, self.now);
        self.dictionary
            .find(&credentials.digest(), request.method, self.key)
    }
}
