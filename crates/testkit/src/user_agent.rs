//! A small SIP user agent: any number of parties in one thread, honest or not, over UDP, TCP, TLS
//! and WebSocket, with digest authentication. It does on purpose what no phone does: keeps nonces,
//! invents them, acknowledges nothing.
//!
//! Nothing is retransmitted: between namespaces nothing is lost, and an exchange that gets no
//! answer is an outcome.

use std::collections::{BTreeMap, HashMap};
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use rustls::ClientConfig;

use crate::lab::Lab;

mod connection;
mod message;

pub use connection::Transport;

use connection::Connection;
use message::{Challenge, Incoming, empty_credentials, response};

/// How long an exchange waits for an answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// How a party logs in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Login {
    /// Not at all.
    Never,
    /// With this password when it is asked; if the nonce is stale, with the next one.
    Password(String),
    /// With the nonce that the last exchange of this source got, and with the new one when asked.
    Kept(String),
    /// With empty credentials at first (IMS), and with real ones when it is asked.
    Ims(String),
    /// Once asked, with each of these passwords and a nonce that nobody issued, in one dialog:
    /// the nonce oracle.
    Oracle(Vec<String>),
    /// With this password and this nonce, and with the new one when it is asked.
    Unasked(String, String),
}

/// Which final answers to its INVITE a party acknowledges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acknowledges {
    /// All.
    Everything,
    /// All but 2xx, whose ACK a router swallows.
    Refusals,
    /// None.
    Nothing,
}

/// What a caller does once it rings or is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Hangs up when it is answered.
    HangsUp,
    /// Leaves it to the server.
    Stays,
    /// Cancels when it rings.
    Cancels,
}

/// A request and all that follows from it.
#[derive(Debug, Clone)]
pub struct Exchange {
    /// When it begins.
    pub at: Duration,
    /// Who sends it.
    pub source: SocketAddr,
    /// The PBX.
    pub server: SocketAddr,
    /// What carries it.
    pub transport: Transport,
    /// The method.
    pub method: &'static str,
    /// The user in From, and without a target in To.
    pub user: String,
    /// The digest username.
    pub username: String,
    /// The user of the request URI and in To; empty: the server itself.
    pub target: String,
    /// How it logs in.
    pub login: Login,
    /// What it calls itself.
    pub user_agent: Option<&'static str>,
    /// Names it; each exchange but continued ones has its own.
    pub call_id: String,
    /// Number of the first request.
    pub cseq: u32,
    /// Appended to each branch: what a forking proxy makes different.
    pub branch: &'static str,
    /// What it acknowledges.
    pub acknowledges: Acknowledges,
    /// What it does when the call is on.
    pub ending: Ending,
}

impl Exchange {
    /// A request without credentials over UDP from a phone that does all as it should.
    ///
    /// # Panics
    /// If an address does not parse: a mistake in the test.
    #[must_use]
    pub fn new(source: &str, server: &str, method: &'static str, user: &str) -> Self {
        let address = |text: &str| -> SocketAddr { text.parse().expect("an address with a port") };
        Self {
            at: Duration::ZERO,
            source: address(source),
            server: address(server),
            transport: Transport::Udp,
            method,
            user: user.to_owned(),
            username: user.to_owned(),
            target: String::new(),
            login: Login::Never,
            user_agent: Some("Yealink SIP-T46S 66.86.0.15"),
            call_id: String::new(),
            cseq: 1,
            branch: "",
            acknowledges: Acknowledges::Everything,
            ending: Ending::HangsUp,
        }
    }

    /// Begins then.
    #[must_use]
    pub fn at(self, at: Duration) -> Self {
        Self { at, ..self }
    }

    /// Is for this user.
    #[must_use]
    pub fn to(self, target: &str) -> Self {
        let target = target.to_owned();
        Self { target, ..self }
    }

    /// Logs in so.
    #[must_use]
    pub fn login(self, login: Login) -> Self {
        Self { login, ..self }
    }

    /// Logs in with this password when asked.
    #[must_use]
    pub fn password(self, password: &str) -> Self {
        self.login(Login::Password(password.to_owned()))
    }

    /// Acknowledges nothing.
    #[must_use]
    pub fn silent(self) -> Self {
        let acknowledges = Acknowledges::Nothing;
        Self {
            acknowledges,
            ..self
        }
    }

    /// Goes over this.
    #[must_use]
    pub fn over(self, transport: Transport) -> Self {
        Self { transport, ..self }
    }
}

impl Exchange {
    /// The request that it begins with; `kept` is the nonce that its party has from before.
    #[must_use]
    pub fn first_request(&self, kept: Option<&str>) -> String {
        let unasked = |nonce: &str, password| Challenge::unasked(nonce).answer(self, password);
        let authorization = match &self.login {
            Login::Never | Login::Password(_) | Login::Oracle(_) => String::new(),
            Login::Ims(_) => empty_credentials(self),
            Login::Unasked(password, nonce) => unasked(nonce, password),
            Login::Kept(password) => {
                let credentials = kept.map(|nonce| unasked(nonce, password));
                credentials.unwrap_or_default()
            }
        };
        self.request(self.cseq, &authorization)
    }
}

/// How fast exchanges follow one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// Each at its time.
    Live,
    /// Each as soon as the one before is over, in the order of their times.
    OneByOne,
}

/// A [`Login::Oracle`]'s invention.
const INVENTED_NONCE: &str = "facade00facade00";

struct Dialog {
    exchange: Exchange,
    cseq: u32,
    asked: u32,
    cancelled: bool,
    /// The status of the last final answer, once it is over.
    outcome: Option<u16>,
}

enum Socket {
    Udp(UdpSocket),
    Connection(Box<Connection>),
}

/// Parties at work in the namespaces of a [`Lab`]: who has an address of the phones' network is
/// there, the others are where the attacker is.
pub struct UserAgents<'a> {
    lab: &'a Lab,
    epoll: Epoll,
    tls: Option<Arc<ClientConfig>>,
    sockets: Vec<(SocketAddr, Transport, Socket)>,
    dialogs: HashMap<String, Dialog>,
    kept: HashMap<SocketAddr, String>,
    /// INVITEs of the server that ring.
    ringing: HashMap<String, Incoming>,
    count: u32,
}

impl<'a> UserAgents<'a> {
    /// Nobody yet.
    ///
    /// # Errors
    /// If the kernel has no epoll instance to give.
    pub fn new(lab: &'a Lab) -> Result<Self> {
        Ok(Self {
            lab,
            epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
            tls: None,
            sockets: Vec::new(),
            dialogs: HashMap::new(),
            kept: HashMap::new(),
            ringing: HashMap::new(),
            count: 0,
        })
    }

    /// From now on TLS is spoken with whoever shows this certificate (PEM), and only with them.
    ///
    /// # Errors
    /// If it is none.
    pub fn trust(&mut self, certificate: &str) -> Result<()> {
        self.tls = Some(connection::trusting(certificate)?);
        Ok(())
    }

    /// Gives the exchange the name that it is known by in a recording.
    #[must_use]
    pub fn name(&mut self, exchange: Exchange) -> Exchange {
        if !exchange.call_id.is_empty() {
            return exchange;
        }
        self.count += 1;
        let call_id = format!("{:06}@{}", self.count, exchange.source.ip());
        Exchange {
            call_id,
            ..exchange
        }
    }

    /// Plays them all to their ends and returns the final status of each; `None` where no answer
    /// came in 5 s.
    ///
    /// # Errors
    /// If a socket cannot be opened.
    pub fn play(&mut self, exchanges: Vec<Exchange>, pace: Pace) -> Result<Vec<Option<u16>>> {
        let names: Vec<_> = exchanges
            .iter()
            .map(|e| (e.call_id.clone(), e.cseq))
            .collect();
        let mut waiting: BTreeMap<(Duration, usize), Exchange> = BTreeMap::new();
        for (number, exchange) in exchanges.into_iter().enumerate() {
            self.socket(exchange.source, exchange.server, exchange.transport)?;
            waiting.insert((exchange.at, number), exchange);
        }
        let start = Instant::now();
        let mut outcomes = vec![None; names.len()];
        let mut open: Vec<(usize, Instant)> = Vec::new();
        while !waiting.is_empty() || !open.is_empty() {
            open.retain(|(number, since)| {
                let (call_id, _) = &names[*number];
                outcomes[*number] = self.dialogs.get(call_id).and_then(|dialog| dialog.outcome);
                outcomes[*number].is_none() && since.elapsed() < PATIENCE
            });
            let next = waiting.first_key_value().map(|(key, _)| *key);
            let wait = match (pace, next) {
                (Pace::Live, Some((at, _))) => at.saturating_sub(start.elapsed()),
                (Pace::OneByOne, Some(_)) if open.is_empty() => Duration::ZERO,
                (Pace::OneByOne, Some(_)) | (Pace::Live | Pace::OneByOne, None) => PATIENCE,
            };
            if wait.is_zero() {
                if let Some((_, exchange)) = waiting.pop_first() {
                    open.extend(next.map(|(_, number)| (number, Instant::now())));
                    self.begin(exchange)?;
                }
            } else if !open.is_empty() || !waiting.is_empty() {
                self.receive(wait.min(Duration::from_millis(50)))?;
            }
        }
        Ok(outcomes)
    }

    /// The nonce that the party of this address was given last.
    #[must_use]
    pub fn kept(&self, source: SocketAddr) -> Option<&str> {
        self.kept.get(&source).map(String::as_str)
    }

    /// Answers what comes for so long.
    ///
    /// # Errors
    /// If a socket fails.
    pub fn linger(&mut self, span: Duration) -> Result<()> {
        let end = Instant::now() + span;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            self.receive(left)?;
        }
    }

    /// Sends a datagram that is no request of an exchange.
    ///
    /// # Errors
    /// If the source cannot be bound to.
    pub fn send(&mut self, source: SocketAddr, server: SocketAddr, payload: &[u8]) -> Result<()> {
        let socket = self.socket(source, server, Transport::Udp)?;
        self.transmit(socket, server, payload)
    }

    /// Opens the party's socket, where it can be called.
    ///
    /// # Errors
    /// If the source cannot be bound to, or nobody accepts the connection.
    pub fn socket(
        &mut self,
        source: SocketAddr,
        server: SocketAddr,
        transport: Transport,
    ) -> Result<usize> {
        let is_same = |(address, over, _): &(SocketAddr, Transport, Socket)| {
            (*address, *over) == (source, transport)
        };
        if let Some(index) = self.sockets.iter().position(is_same) {
            return Ok(index);
        }
        let namespace = match source.ip() {
            IpAddr::V4(ip) if ip.octets()[..3] == [198, 51, 100] => &self.lab.phones,
            IpAddr::V6(ip) if ip.segments()[2] == 0x51 => &self.lab.phones,
            IpAddr::V4(_) | IpAddr::V6(_) => &self.lab.attacker,
        };
        let index = self.sockets.len();
        let event = EpollEvent::new(EpollFlags::EPOLLIN, index as u64);
        let socket = match transport {
            Transport::Udp => {
                let socket = namespace
                    .enter(|| UdpSocket::bind(source))
                    .with_context(|| format!("binding to {source}"))?;
                socket.set_nonblocking(true)?;
                self.epoll.add(&socket, event)?;
                Socket::Udp(socket)
            }
            Transport::Tcp | Transport::Tls | Transport::Ws | Transport::Wss => {
                let (ends, tls) = ([source, server], self.tls.as_ref());
                let connection = Connection::open(namespace, ends, transport, tls, PATIENCE)?;
                self.epoll.add(&connection, event)?;
                Socket::Connection(Box::new(connection))
            }
        };
        self.sockets.push((source, transport, socket));
        Ok(index)
    }

    fn begin(&mut self, exchange: Exchange) -> Result<()> {
        let kept = self.kept.get(&exchange.source).map(String::as_str);
        let request = exchange.first_request(kept);
        let dialog = Dialog {
            cseq: exchange.cseq,
            asked: 0,
            cancelled: false,
            outcome: None,
            exchange,
        };
        let (call_id, exchange) = (dialog.exchange.call_id.clone(), dialog.exchange.clone());
        self.dialogs.insert(call_id, dialog);
        self.send_for(&exchange, &request)
    }

    fn send_for(&mut self, exchange: &Exchange, text: &str) -> Result<()> {
        let socket = self.socket(exchange.source, exchange.server, exchange.transport)?;
        self.transmit(socket, exchange.server, text.as_bytes())
    }

    fn transmit(&mut self, socket: usize, server: SocketAddr, payload: &[u8]) -> Result<()> {
        match &mut self.sockets[socket].2 {
            Socket::Udp(socket) => match socket.send_to(payload, server) {
                // An answer to what was sent before: the port there is closed.
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
                sent => drop(sent?),
            },
            Socket::Connection(connection) => connection.send(payload)?,
        }
        Ok(())
    }

    fn receive(&mut self, wait: Duration) -> Result<()> {
        let mut events = [EpollEvent::empty(); 64];
        let wait = EpollTimeout::try_from(wait.max(Duration::from_millis(1)))?;
        let ready = match self.epoll.wait(&mut events, wait) {
            Err(Errno::EINTR) => 0,
            ready => ready?,
        };
        for event in &events[..ready] {
            let index = usize::try_from(event.data())?;
            for (message, from) in self.read(index)? {
                match message.status() {
                    Some(status) => self.answered(&message, status)?,
                    None => self.asked(index, &message, from)?,
                }
            }
        }
        Ok(())
    }

    fn read(&mut self, index: usize) -> Result<Vec<(Incoming, SocketAddr)>> {
        let mut messages = Vec::new();
        match &mut self.sockets[index].2 {
            Socket::Udp(socket) => {
                let mut buffer = [0; 65_536];
                while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                    let message = Incoming::read(&buffer[..length]);
                    messages.extend(message.map(|message| (message, from)));
                }
            }
            Socket::Connection(connection) => {
                let (read, is_open) = connection.receive()?;
                let server = connection.server();
                messages.extend(read.into_iter().map(|message| (message, server)));
                if !is_open {
                    self.epoll.delete(&**connection)?;
                }
            }
        }
        Ok(messages)
    }

    /// An answer to one of our requests.
    fn answered(&mut self, answer: &Incoming, status: u16) -> Result<()> {
        // Of a recording's earlier party, or to a forged request.
        let Some(dialog) = self.dialogs.get_mut(answer.header("Call-ID")) else {
            return Ok(());
        };
        let (cseq, method) = answer.cseq();
        let exchange = dialog.exchange.clone();
        if method != exchange.method {
            return Ok(());
        }
        if status < 200 {
            if status >= 180 && exchange.ending == Ending::Cancels && !dialog.cancelled {
                dialog.cancelled = true;
                return self.send_for(&exchange, &exchange.cancel(cseq));
            }
            return Ok(());
        }
        let ack = if method == "INVITE" {
            exchange.ack(answer)
        } else {
            None
        };
        let is_repeated = dialog.outcome.is_some() || cseq != dialog.cseq;
        let mut next = None;
        if !is_repeated {
            next = Self::credentials(dialog, &mut self.kept, answer);
            dialog.outcome = next.is_none().then_some(status);
            dialog.cseq += u32::from(next.is_some());
        }
        let cseq = dialog.cseq;
        if let Some(text) = ack {
            self.send_for(&exchange, &text)?;
        }
        if let Some(authorization) = next {
            return self.send_for(&exchange, &exchange.request(cseq, &authorization));
        }
        let hangs_up = exchange.ending == Ending::HangsUp && !is_repeated;
        if method == "INVITE" && status < 300 && hangs_up {
            return self.send_for(&exchange, &exchange.bye(answer));
        }
        Ok(())
    }

    /// The credentials to try next, if any.
    fn credentials(
        dialog: &mut Dialog,
        kept: &mut HashMap<SocketAddr, String>,
        answer: &Incoming,
    ) -> Option<String> {
        let exchange = &dialog.exchange;
        let challenge = answer.challenge()?;
        let asked = dialog.asked;
        dialog.asked += 1;
        kept.insert(exchange.source, challenge.nonce.clone());
        match &exchange.login {
            Login::Never => None,
            Login::Password(password)
            | Login::Kept(password)
            | Login::Ims(password)
            | Login::Unasked(password, _) => {
                (asked == 0 || challenge.stale).then(|| challenge.answer(exchange, password))
            }
            Login::Oracle(passwords) => {
                let password = passwords.get(asked as usize)?;
                let invented = Challenge {
                    nonce: INVENTED_NONCE.to_owned(),
                    ..challenge
                };
                Some(invented.answer(exchange, password))
            }
        }
    }

    /// A request of the server. Calls ring until the server cancels.
    fn asked(&mut self, socket: usize, request: &Incoming, server: SocketAddr) -> Result<()> {
        let call_id = request.header("Call-ID").to_owned();
        let mut answers = Vec::new();
        match request.method() {
            "ACK" => {}
            "INVITE" => {
                answers.push(response(request, "180 Ringing"));
                self.ringing.insert(call_id, request.clone());
            }
            "CANCEL" => {
                answers.push(response(request, "200 OK"));
                let invite = self.ringing.remove(&call_id);
                answers.extend(invite.map(|invite| response(&invite, "487 Request Terminated")));
            }
            _ => answers.push(response(request, "200 OK")),
        }
        for answer in answers {
            self.transmit(socket, server, answer.as_bytes())?;
        }
        Ok(())
    }
}
