//! SIP messages as they come: requests and answers are put together here.

use std::{net::SocketAddr, time::Duration};

use sipward_wire::sip::{self, HeaderName, Method, NameAddr, StartLine};

use crate::{
    Time,
    command::TrustedBy,
    detect::malformed_flood,
    engine::Engine,
    hash::HashKey,
    nonces::{Freshness, Issued},
    observation::{Direction, Message},
    source::Source,
    transactions::{Answer, Credentials, Name, Outcome, Request, Transaction, digest_of},
};

/// Bytes of a first line that are kept to be shown.
const LINE: usize = 160;
/// Bytes of a name that are kept to be shown.
const NAME: usize = 64;
/// Bytes of a header with credentials that are kept.
const CREDENTIALS: usize = 2_048;

impl Engine {
    pub(crate) fn observe_message(&mut self, message: &Message<'_>) {
        match message.direction {
            Direction::Inbound => self.inbound(message),
            Direction::Outbound => self.outbound(message),
        }
    }

    fn inbound(&mut self, message: &Message<'_>) {
        let client = canonical(message.source);
        let state = self.sources.touch(Source::of(client.ip()));
        state.rate.pass(&self.config.rate_exceeded, self.now);
        if message.decrypted {
            state.read_stream(client.port(), self.now);
        }
        if malformed_flood::is_malformed(message.sip) {
            self.malformed(client, message);
            return;
        }
        match message.sip.start_line() {
            StartLine::Request(line) if line.method == Method::Ack => {
                self.acknowledge(client, message.sip);
            }
            StartLine::Request(_) => self.request(client, message),
            StartLine::Response(_) => self.answer_of_peer(client, message.sip),
            StartLine::Unrecognised(_) => {}
        }
    }

    fn outbound(&mut self, message: &Message<'_>) {
        let client = canonical(message.destination);
        match message.sip.start_line() {
            StartLine::Request(line) => self.own_request(client, line.method, message.sip),
            StartLine::Response(line) => {
                if let Some(status) = line.status {
                    self.answer(client, status, line.reason, message.sip);
                }
            }
            StartLine::Unrecognised(_) => {}
        }
    }

    /// A request of a client. One that is sent again tells nothing new.
    fn request(&mut self, client: SocketAddr, message: &Message<'_>) {
        let Some(key) = self.transactions.key_of(client, message.sip) else {
            return;
        };
        let Some(request) = self.read_request(client, message) else {
            return;
        };
        if let Some(credentials) = &request.credentials {
            let (call, cseq) = (request.call, request.cseq);
            let state = self.sources.touch(Source::of(client.ip()));
            state.follow(credentials.username.hash, call, cseq);
            state.follow(request.claimant, call, cseq);
            self.excuse_invites(call, cseq);
        }
        self.transactions.add(key, request);
    }

    /// Whoever goes on with credentials has got the answer, also if its ACK was lost.
    fn excuse_invites(&mut self, call: u64, cseq: u32) {
        for key in self.transactions.invites(call).to_vec() {
            let Some(transaction) = self.transactions.get_mut(key) else {
                continue;
            };
            if let Some(answer) = &mut transaction.answer
                && transaction.request.cseq < cseq
            {
                answer.excused = true;
            }
        }
    }

    /// An ACK: Call-ID, CSeq and To tag name the answer, whoever sends it.
    fn acknowledge(&mut self, client: SocketAddr, ack: &sip::Message<'_>) {
        let (Some(call_id), Some(cseq)) = (ack.call_id(), ack.cseq()) else {
            return;
        };
        let Some(tag) = to_tag(self.key, ack) else {
            return;
        };
        for key in self.transactions.invites(self.key.of(&[call_id])).to_vec() {
            let Some(transaction) = self.transactions.get_mut(key) else {
                continue;
            };
            let request = transaction.request.clone();
            let Some(answer) = &mut transaction.answer else {
                continue;
            };
            if Some(request.cseq) != cseq.number || answer.to_tag != Some(tag) {
                continue;
            }
            let is_first = !std::mem::replace(&mut answer.acknowledged, true);
            if client.ip() == request.client.ip() {
                answer.acknowledged_by_client = true;
            }
            if is_first {
                self.acknowledged(key);
            }
        }
    }

    /// A response of the server.
    fn answer(
        &mut self,
        client: SocketAddr,
        status: u16,
        reason: &[u8],
        response: &sip::Message<'_>,
    ) {
        let now = self.now;
        self.sources.touch(Source::of(client.ip())).answer(now);
        self.issue_nonces(client, response);
        let Some(key) = self.transactions.key_of(client, response) else {
            return;
        };
        let Some(transaction) = self.transactions.get(key) else {
            return;
        };
        if transaction.answer.is_some() {
            return;
        }
        let outcome = self.outcome(transaction, status, reason, response);
        if status < 200 {
            if outcome == Outcome::Accepted && !transaction.accepted {
                self.accepted(key, TrustedBy::Login, Duration::ZERO);
            }
            return;
        }
        let answer = Answer {
            at: now,
            status,
            reason: shortened(reason, NAME),
            outcome,
            to_tag: to_tag(self.key, response),
            acknowledged: false,
            acknowledged_by_client: false,
            excused: false,
        };
        let lasts = registered_for(response);
        if matches!(status, 200..=299) && transaction.request.method == Method::Register {
            self.registered(response);
        }
        if let Some(transaction) = self.transactions.get_mut(key) {
            transaction.answer = Some(answer);
        }
        self.answered(key, lasts);
    }

    /// What a response says of the request's credentials.
    fn outcome(
        &self,
        transaction: &Transaction,
        status: u16,
        reason: &[u8],
        response: &sip::Message<'_>,
    ) -> Outcome {
        let request = &transaction.request;
        let asks = matches!(status, 401 | 407);
        let Some(credentials) = &request.credentials else {
            return match status {
                200..=299 => Outcome::Done,
                _ if asks => Outcome::Challenged,
                _ => Outcome::Refused,
            };
        };
        if transaction.accepted {
            return Outcome::Accepted;
        }
        if asks {
            return refusal(credentials, response);
        }
        let address = request.client.ip();
        let user = credentials.username.hash;
        let day = crate::window::DAY;
        let is_register = request.method == Method::Register;
        match status {
            100 => Outcome::Refused,
            101..=199 if request.method == Method::Invite && credentials.bound => Outcome::Accepted,
            200..=299 if is_register || credentials.bound => Outcome::Accepted,
            200..=299 => Outcome::Done,
            403 if is_register => Outcome::WrongPassword,
            403 if reason.eq_ignore_ascii_case(b"Forbidden")
                && !self.trust.user_succeeded(address, user, day, self.now) =>
            {
                Outcome::WrongPassword
            }
            // These say that the number, the event or the callee is at fault: the server looked
            // at the password before.
            300..=399 | 403 | 404 | 410 | 480 | 484..=489 | 600 | 603 | 604 | 606
                if credentials.bound && !is_register =>
            {
                Outcome::Accepted
            }
            _ => Outcome::Refused,
        }
    }

    fn issue_nonces(&mut self, client: SocketAddr, response: &sip::Message<'_>) {
        let Some(cseq) = response.cseq() else {
            return;
        };
        let claimant = claimant(cseq.method, response).map(|claimant| user_of(&claimant));
        let issued = Issued {
            at: self.now,
            method: cseq.method,
            claimant: self.key.of_caseless(claimant.unwrap_or_default()),
            accepted_for: None,
        };
        for nonce in response
            .challenges()
            .filter_map(|challenge| challenge.nonce())
        {
            self.nonces.issue(client.ip(), nonce, issued);
        }
    }

    /// Remembers where a client said that it is.
    fn registered(&mut self, response: &sip::Message<'_>) {
        for contact in response.contacts() {
            let place = place(self.key, &contact.uri);
            self.contacts.touch(place);
        }
    }

    /// A request of the server itself: who answers it well is a peer. Not so where a client has sent
    /// it: a stolen account may name any address as its own.
    fn own_request(&mut self, to: SocketAddr, method: Method, request: &sip::Message<'_>) {
        let is_first = to_tag(self.key, request).is_none();
        let asks = matches!(method, Method::Register | Method::Options | Method::Invite);
        let is_of_client = request.request().is_some_and(|line| {
            let place = place(self.key, &line.uri);
            self.contacts.get(place).is_some()
        });
        if !is_first || !asks || is_of_client {
            return;
        }
        if let Some(key) = self.transactions.key_of(to, request) {
            self.own_requests.add(key, method, self.now);
        }
    }

    fn answer_of_peer(&mut self, peer: SocketAddr, response: &sip::Message<'_>) {
        if !matches!(response.status(), Some(200..=299)) {
            return;
        }
        let Some(key) = self.transactions.key_of(peer, response) else {
            return;
        };
        if let Some(method) = self.own_requests.take(key) {
            self.peer_answered(peer, method);
        }
    }

    fn read_request(&self, client: SocketAddr, message: &Message<'_>) -> Option<Request> {
        let sip = message.sip;
        let line = sip.request()?;
        let cseq = sip.cseq()?;
        let claimed = claimant(line.method, sip).map(|claimant| user_of(&claimant));
        let claimed = claimed.unwrap_or_default();
        let claimant = self.key.of_caseless(claimed);
        let credentials = self.read_credentials(client, line.method, claimant, sip);
        let identity = match (&credentials, line.method) {
            (Some(credentials), method) if method != Method::Register => {
                credentials.username.clone()
            }
            (Some(_) | None, _) => self.name(claimed),
        };
        let from = sip.header(HeaderName::From).unwrap_or_default().raw;
        let user_agent = sip.user_agent().map(|value| value.raw);
        let contact = sip.contacts().next();
        let contact_user = contact.and_then(|contact| contact.uri.user);
        Some(Request {
            client,
            established: message.established,
            method: line.method,
            call: self.key.of(&[sip.call_id()?]),
            cseq: cseq.number?,
            in_dialog: to_tag(self.key, sip).is_some(),
            claimant,
            identity,
            target: line.uri.user_name().map(|user| self.name(user)),
            registrar: (line.method == Method::Register).then(|| shortened(line.uri.host, NAME)),
            credentials: credentials.map(Box::new),
            device: self.key.of(&[
                user_agent.unwrap_or_default(),
                contact_user.unwrap_or_default(),
            ]),
            keep_alive: self.key.of(&[
                without_tag(from),
                line.uri.raw,
                &client.port().to_be_bytes(),
            ]),
            user_agent: user_agent.map(|value| shortened(value, LINE)),
            first_line: shortened(first_line(sip), LINE),
            place: message.place,
            at: self.now,
        })
    }

    fn read_credentials(
        &self,
        client: SocketAddr,
        method: Method,
        claimant: u64,
        sip: &sip::Message<'_>,
    ) -> Option<Credentials> {
        let digest = digest_of(sip)?;
        let issued = self.nonces.find(client.ip(), digest.nonce()?);
        let username = self.name(digest.username().unwrap_or_default());
        let is_fresh = |issued: &Issued| {
            self.now.since(issued.at) <= self.config.password_guessing.fresh
                && issued.accepted_for != Some(username.hash)
        };
        Some(Credentials {
            freshness: if issued.as_ref().is_some_and(is_fresh) {
                Freshness::Fresh
            } else {
                Freshness::Old
            },
            username,
            bound: issued
                .is_some_and(|issued| (issued.method, issued.claimant) == (method, claimant)),
            header: shortened(digest.raw, CREDENTIALS),
        })
    }

    pub(crate) fn name(&self, text: &[u8]) -> Name {
        Name {
            hash: self.key.of_caseless(text),
            text: shortened(text, NAME),
        }
    }
}

/// What 401 or 407 says of the credentials in the request.
fn refusal(credentials: &Credentials, response: &sip::Message<'_>) -> Outcome {
    let sent = credentials.digest();
    let mut challenges = response.challenges().peekable();
    if challenges.peek().is_none() {
        return Outcome::WrongPassword;
    }
    let mut same_realm = challenges.filter(|challenge| challenge.realm() == sent.realm());
    match same_realm.next() {
        // A proxy let the request through to a server that asks for its own password.
        None => Outcome::Challenged,
        Some(challenge) if challenge.stale() => Outcome::Stale,
        Some(_) => Outcome::WrongPassword,
    }
}

/// Who the client says it is, before any credentials.
fn claimant<'a>(method: Method, message: &sip::Message<'a>) -> Option<NameAddr<'a>> {
    if method == Method::Register {
        message.to()
    } else {
        message.from()
    }
}

fn user_of<'a>(address: &NameAddr<'a>) -> &'a [u8] {
    address.uri.user_name().unwrap_or_default()
}

fn to_tag(key: HashKey, message: &sip::Message<'_>) -> Option<u64> {
    let tag = message.to()?.tag().filter(|tag| !tag.is_empty())?;
    Some(key.of(&[tag]))
}

fn without_tag(from: &[u8]) -> &[u8] {
    let tag = from.windows(5).position(|part| part == b";tag=");
    tag.and_then(|at| from.get(..at)).unwrap_or(from)
}

fn first_line<'a>(message: &sip::Message<'a>) -> &'a [u8] {
    let is_line_end = |byte: &u8| matches!(byte, b'\r' | b'\n');
    message
        .head()
        .split(is_line_end)
        .find(|line| !line.is_empty())
        .unwrap_or_default()
}

/// Where a URI leads, whatever else it says.
fn place(key: HashKey, uri: &sip::Uri<'_>) -> u64 {
    let user = uri.user.unwrap_or_default();
    let port = uri.port.unwrap_or(0).to_be_bytes();
    key.of(&[user, &uri.host.to_ascii_lowercase(), &port])
}

/// How long the registration lasts that a 200 confirms.
fn registered_for(response: &sip::Message<'_>) -> Duration {
    let by_contact = response.contacts().filter_map(|contact| {
        let value = contact.params.value("expires")?;
        std::str::from_utf8(value).ok()?.parse::<u32>().ok()
    });
    let seconds = by_contact.chain(response.expires()).max().unwrap_or(0);
    Duration::from_secs(seconds.into())
}

fn shortened(bytes: &[u8], most: usize) -> Box<[u8]> {
    bytes.get(..most).unwrap_or(bytes).into()
}

pub(crate) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Requests of the server that wait for their answers.
#[derive(Debug)]
pub(crate) struct OwnRequests {
    waiting: crate::hash::Map<u64, Method>,
    ends: crate::delay::Delay<u64>,
}

impl OwnRequests {
    /// Most that wait at a time, the oldest out.
    const MOST: usize = 20_000;
    /// An INVITE may ring this long.
    const PATIENCE: Duration = Duration::from_secs(180);

    pub fn new(key: HashKey) -> Self {
        Self {
            waiting: key.map(),
            ends: crate::delay::Delay::new(Self::PATIENCE),
        }
    }

    fn add(&mut self, key: u64, method: Method, now: Time) {
        while self.waiting.len() >= Self::MOST || self.ends.next().is_some_and(|due| due <= now) {
            let Some(oldest) = self.ends.pop() else {
                break;
            };
            self.waiting.remove(&oldest);
        }
        if self.waiting.insert(key, method).is_none() {
            self.ends.push(now, key);
        }
    }

    fn take(&mut self, key: u64) -> Option<Method> {
        self.waiting.remove(&key)
    }
}
