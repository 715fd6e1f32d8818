//! A stage: clients with a script, a server as measured, and the engine that watches between them
//! and whose bans are enforced. Time is an argument, so a day takes as long as its messages.

#![allow(dead_code, reason = "each test file uses its own part of the stage")]
#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests may panic as the tests may"
)]

mod job;
mod pbx;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use sipward_engine::{
    Alert, Ban, Command, Config, Detector, Direction, Engine, KernelDrop, Message, Observation,
    Place, Reason, Time, Transport,
};
use sipward_wire::sip;

use job::{credentials, request, uri};

pub use job::{Job, Login};
pub use pbx::{Driver, Pbx, digest};

pub const START: Time = Time::from_secs(1_800_000_000);
pub const SERVER: &str = "198.51.100.1:5060";

pub fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

pub fn minutes(n: u64) -> Duration {
    seconds(60 * n)
}

pub fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

struct Client {
    job: Job,
    call: String,
    cseq: u32,
    asked: bool,
    done: bool,
}

enum Event {
    /// A client begins.
    Start(usize),
    /// A message arrives at the server's interface.
    Arrive {
        from: SocketAddr,
        tcp: bool,
        text: String,
    },
    /// The server sends.
    Send {
        to: SocketAddr,
        tcp: bool,
        text: String,
        invite: Option<(String, String)>,
    },
    /// A message arrives at a client.
    Receive { to: SocketAddr, text: String },
}

pub struct Scene {
    pub engine: Engine,
    pub pbx: Pbx,
    pub commands: Vec<Command>,
    /// Packets that bans and holds dropped, by source.
    pub dropped: BTreeMap<SocketAddr, u32>,
    /// Answers that a source drew, sendings counted.
    pub answers: BTreeMap<IpAddr, Vec<Time>>,
    /// Tells the engine the time more often than needed.
    pub more_timeouts: bool,
    /// Its streams are encrypted, and the server hands on what was said.
    pub decrypts: bool,
    clients: Vec<Client>,
    calls: BTreeMap<String, usize>,
    acknowledged: BTreeSet<(String, String)>,
    events: BTreeMap<(Time, u64), Event>,
    holds: BTreeMap<ipnet::IpNet, Time>,
    count: u64,
    packets: u64,
    pub now: Time,
}

impl Scene {
    pub fn new(driver: Driver) -> Self {
        Self::with(driver, Config::default(), 7)
    }

    pub fn with(driver: Driver, config: Config, seed: u64) -> Self {
        Self {
            engine: Engine::new(config, seed),
            pbx: Pbx::new(driver),
            commands: Vec::new(),
            dropped: BTreeMap::new(),
            answers: BTreeMap::new(),
            more_timeouts: false,
            decrypts: false,
            clients: Vec::new(),
            calls: BTreeMap::new(),
            acknowledged: BTreeSet::new(),
            events: BTreeMap::new(),
            holds: BTreeMap::new(),
            count: 0,
            packets: 0,
            now: START,
        }
    }

    pub fn account(&mut self, user: &str, password: &str) {
        self.pbx.users.insert(user.to_owned(), password.to_owned());
    }

    pub fn add(&mut self, job: Job) {
        let at = START + job.at;
        let call = job
            .call
            .clone()
            .unwrap_or_else(|| format!("call-{}@client", self.clients.len()));
        let client = self.clients.len();
        self.calls.insert(call.clone(), client);
        self.clients.push(Client {
            cseq: job.cseq - 1,
            job,
            call,
            asked: false,
            done: false,
        });
        self.push(at, Event::Start(client));
    }

    pub fn add_all(&mut self, jobs: impl IntoIterator<Item = Job>) {
        jobs.into_iter().for_each(|job| self.add(job));
    }

    /// Plays everything that happens until `span` after the start.
    pub fn play(&mut self, span: Duration) -> &mut Self {
        let end = START + span;
        while let Some(entry) = self.events.first_entry() {
            let at = entry.key().0;
            if at > end {
                break;
            }
            let event = entry.remove();
            if self.more_timeouts {
                for part in 1..4 {
                    let between = self.now + at.since(self.now) * part / 4;
                    self.engine.handle_timeout(between);
                    self.take_commands();
                }
            }
            self.engine.handle_timeout(at);
            self.take_commands();
            self.now = at;
            self.step(event);
        }
        self.now = end;
        self.engine.handle_timeout(end);
        self.take_commands();
        self
    }

    pub fn bans(&self) -> Vec<&Ban> {
        self.commands.iter().filter_map(Command::ban).collect()
    }

    pub fn alerts(&self) -> Vec<&Alert> {
        fn alert(command: &Command) -> Option<&Alert> {
            match command {
                Command::Alert(alert) => Some(alert),
                Command::Ban(_)
                | Command::Unban(_)
                | Command::Trust(_)
                | Command::Distrust(_)
                | Command::TakeRate(_)
                | Command::Hold(_)
                | Command::Release(_) => None,
            }
        }
        self.commands.iter().filter_map(alert).collect()
    }

    /// The first ban, which must be by this detector.
    #[track_caller]
    pub fn banned_by(&self, detector: Detector) -> &Ban {
        let bans = self.bans();
        let first = bans
            .first()
            .unwrap_or_else(|| panic!("no ban: {:#?}", self.alerts()));
        assert_eq!(first.detector, Some(detector), "{first:#?}");
        first
    }

    /// Nobody was banned, held or warned of, and not a packet was dropped.
    #[track_caller]
    pub fn is_peaceful(&self) {
        let noise: Vec<&Command> = self
            .commands
            .iter()
            .filter(|command| !matches!(command, Command::Trust(_)))
            .collect();
        assert!(noise.is_empty(), "{noise:#?}");
        assert!(self.dropped.is_empty(), "{:?}", self.dropped);
    }

    pub fn answers_to(&self, address: &str) -> usize {
        let address: IpAddr = address.parse().unwrap();
        self.answers.get(&address).map_or(0, Vec::len)
    }

    pub fn answers_within(&self, address: &str, before: Time) -> usize {
        let address: IpAddr = address.parse().unwrap();
        let times = self.answers.get(&address).into_iter().flatten();
        times.filter(|at| **at <= before).count()
    }

    /// Shows the engine something else than a script's traffic.
    pub fn observe(&mut self, observation: &Observation<'_>) {
        self.engine.observe(observation, self.now);
        self.take_commands();
    }

    /// The server itself sends a request and gets this answer.
    pub fn server_asks(&mut self, to: &str, method: &str, status: &str) {
        let to: SocketAddr = to.parse().unwrap();
        self.count += 1;
        let id = self.count;
        let headers = format!(
            "Via: SIP/2.0/UDP 198.51.100.1;branch=z9hG4bKown{id}\r\nFrom: <sip:asterisk@198.51.100.1>;tag=as{id}\r\n\
             To: <sip:trunk@example.com>\r\nCall-ID: own-{id}\r\nCSeq: 102 {method}\r\nContent-Length: 0\r\n\r\n"
        );
        let request = format!("{method} sip:trunk@example.com SIP/2.0\r\n{headers}");
        self.show(Direction::Outbound, to, false, &request);
        let response = format!("SIP/2.0 {status}\r\n{headers}");
        self.show(Direction::Inbound, to, false, &response);
    }

    /// Any payload to the server.
    pub fn send(&mut self, from: &str, payload: &str) {
        self.show(Direction::Inbound, from.parse().unwrap(), false, payload);
    }

    /// Any message from the server.
    pub fn server_sends(&mut self, to: &str, message: &str) {
        let to = to.parse().unwrap();
        self.show(Direction::Outbound, to, false, message);
    }

    /// The kernel dropped so many packets of this source for their rate.
    pub fn rate_drops(&mut self, from: &str, count: u32) {
        for _ in 0..count {
            self.observe(&Observation::KernelDrop(KernelDrop {
                source: from.parse().unwrap(),
                destination: SERVER.parse().unwrap(),
                transport: Transport::Udp,
                established: false,
                reason: Reason::Rate,
                count: 1,
                passed: 0,
                signature: None,
                packet: None,
                sample: b"",
            }));
        }
    }

    fn push(&mut self, at: Time, event: Event) {
        self.count += 1;
        self.events.insert((at, self.count), event);
    }

    fn step(&mut self, event: Event) {
        match event {
            Event::Start(client) => self.start(client),
            Event::Arrive { from, tcp, text } => self.arrive(from, tcp, &text),
            Event::Send {
                to,
                tcp,
                text,
                invite,
            } => {
                if invite.is_some_and(|key| self.acknowledged.contains(&key)) {
                    return;
                }
                self.answers.entry(to.ip()).or_default().push(self.now);
                self.show(Direction::Outbound, to, tcp, &text);
                let way = self.way(&text);
                self.push(self.now + way, Event::Receive { to, text });
            }
            Event::Receive { to, text } => self.receive(to, &text),
        }
    }

    fn start(&mut self, client: usize) {
        let job = self.clients[client].job.clone();
        let authorization = match &job.login {
            Login::Never | Login::Password(_) | Login::Oracle(_) => String::new(),
            Login::Cached(password) => credentials(&job, password, "0badc0de"),
            Login::Ims(_) => format!(
                "Authorization: Digest username=\"{}\", realm=\"asterisk\", nonce=\"\", uri=\"{}\", response=\"\"\r\n",
                job.user,
                uri(&job)
            ),
        };
        let authorization = job.first_authorization.unwrap_or(authorization);
        self.send_request(client, &authorization);
    }

    fn send_request(&mut self, client: usize, authorization: &str) {
        let entry = &mut self.clients[client];
        entry.cseq += 1;
        let text = request(&entry.job, &entry.call, entry.cseq, authorization);
        let (from, tcp, way) = (entry.job.from, entry.job.tcp, entry.job.way);
        self.push(self.now + way, Event::Arrive { from, tcp, text });
    }

    fn arrive(&mut self, from: SocketAddr, tcp: bool, text: &str) {
        let now = self.now;
        let banned = self
            .engine
            .bans()
            .any(|ban| ban.is_in_force(now) && ban.hits(from.ip(), from.port()));
        let held = self
            .holds
            .iter()
            .any(|(prefix, until)| prefix.contains(&from.ip()) && *until > now);
        if banned || held {
            *self.dropped.entry(from).or_default() += 1;
            return;
        }
        self.show(Direction::Inbound, from, tcp, text);
        let message = sip::Message::parse(text.as_bytes());
        let Some(method) = message.method() else {
            return;
        };
        let key = (
            pbx::text(message.call_id().unwrap_or_default()),
            message
                .cseq()
                .and_then(|cseq| cseq.number)
                .unwrap_or(0)
                .to_string(),
        );
        if method == sip::Method::Ack {
            self.acknowledged.insert(key);
            return;
        }
        for answer in self.pbx.answer(from, &message) {
            let repeats = method == sip::Method::Invite && answer.times.len() > 1;
            for time in answer.times {
                let invite = repeats.then(|| key.clone());
                let text = answer.text.clone();
                self.push(
                    now + time,
                    Event::Send {
                        to: from,
                        tcp,
                        text,
                        invite,
                    },
                );
            }
        }
    }

    fn receive(&mut self, to: SocketAddr, text: &str) {
        let message = sip::Message::parse(text.as_bytes());
        let Some(client) = self
            .calls
            .get(&pbx::text(message.call_id().unwrap()))
            .copied()
        else {
            return;
        };
        let status = message.status().unwrap();
        let job = self.clients[client].job.clone();
        let acknowledges = job.acknowledges && (status >= 300 || job.acknowledges_success);
        if status >= 200 && job.method == "INVITE" && acknowledges {
            let cseq = message.cseq().and_then(|cseq| cseq.number).unwrap();
            let tag = pbx::text(message.to().unwrap().tag().unwrap_or_default());
            let ack = request(&job, &self.clients[client].call, cseq, "")
                .replace("INVITE", "ACK")
                .replace(
                    &format!("To: <sip:{}@198.51.100.1>", job.target),
                    &format!("To: <sip:{}@198.51.100.1>;tag={tag}", job.target),
                );
            let event = Event::Arrive {
                from: to,
                tcp: job.tcp,
                text: ack,
            };
            self.push(self.now + job.way, event);
        }
        if self.clients[client].done || !matches!(status, 401 | 407) {
            return;
        }
        let nonce = message
            .challenges()
            .next()
            .and_then(|c| c.nonce())
            .map(pbx::text);
        let nonce = nonce.unwrap_or_default();
        let password = match &job.login {
            Login::Never => return,
            Login::Password(password) | Login::Cached(password) | Login::Ims(password) => password,
            Login::Oracle(password) => {
                self.clients[client].done = true;
                let authorization = credentials(&job, password, "facade00");
                self.send_request(client, &authorization);
                return;
            }
        };
        let stale = message.challenges().any(|challenge| challenge.stale());
        if self.clients[client].asked && !stale {
            self.clients[client].done = true;
            return;
        }
        self.clients[client].asked = true;
        let authorization = credentials(&job, password, &nonce);
        self.send_request(client, &authorization);
    }

    fn show(&mut self, direction: Direction, client: SocketAddr, tcp: bool, text: &str) {
        self.packets += 1;
        let server = SERVER.parse().unwrap();
        let (source, destination) = match direction {
            Direction::Inbound => (client, server),
            Direction::Outbound => (server, client),
        };
        let sip = sip::Message::parse(text.as_bytes());
        let message = Message {
            direction,
            source,
            destination,
            transport: if tcp { Transport::Tcp } else { Transport::Udp },
            established: tcp,
            decrypted: tcp && self.decrypts,
            place: Place::Packet(self.packets),
            sip: &sip,
        };
        self.engine
            .observe(&Observation::Message(message), self.now);
        self.take_commands();
    }

    fn take_commands(&mut self) {
        while let Some(command) = self.engine.next_command() {
            match &command {
                Command::Hold(hold) => {
                    self.holds.insert(hold.prefix, hold.until);
                }
                Command::Release(prefix) => {
                    self.holds.remove(prefix);
                }
                Command::Ban(_)
                | Command::Unban(_)
                | Command::Alert(_)
                | Command::Trust(_)
                | Command::Distrust(_)
                | Command::TakeRate(_) => {}
            }
            self.commands.push(command);
        }
    }

    fn way(&self, text: &str) -> Duration {
        let message = sip::Message::parse(text.as_bytes());
        let call = pbx::text(message.call_id().unwrap());
        let client = self.calls.get(&call).map(|client| &self.clients[*client]);
        client.map_or(Duration::ZERO, |client| client.job.way)
    }
}
