//! The client of Asterisk's manager interface.
//!
//! ```text
//! off ── a user is configured ──► waiting ── logged in ──► on
//!                                  ▲   │ 1 s, 2 s … 60 s    │ closed, silent, Asterisk restarts
//!                                  │   └─────────┐          │
//!                      5 min       └── refused ◄─┴──────────┘ (where the login is refused)
//! ```

mod connection;

use std::{
    collections::BTreeSet,
    convert::Infallible,
    fmt,
    hash::{BuildHasher, RandomState},
    time::Duration,
};

use sipward_asterisk::ami::{self, Codec, LineEnd, Listing, Message};
use sipward_engine::{LogEvent, Observation, Place, Time, escape_at_most};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::{mpsc, watch},
    time::{Instant, sleep, timeout, timeout_at},
};

use self::connection::{Stream, connect};
use crate::{
    config::Ami,
    control::{
        api::{Sensor, SensorState},
        server::Task,
    },
    daemon::{Guard, taps::Taps},
    sensors::{Witness, asterisk::log_event},
};

/// Wait before the second attempt; it doubles with each one that fails.
const SHORTEST: Duration = Duration::from_secs(1);
/// Longest wait.
const LONGEST: Duration = Duration::from_secs(60);
/// Wait after a refused login: another one soon would only fill Asterisk's log, and Fail2Ban's.
const REFUSED: Duration = Duration::from_secs(300);
/// An answer to the login takes so long at most.
const LOGIN: Duration = Duration::from_secs(10);
/// Whatever Asterisk writes in one go has come when so long nothing came.
const QUIET: Duration = Duration::from_millis(100);
/// After so long without a word Asterisk is asked for one, and after as long again it is gone.
const SILENCE: Duration = Duration::from_secs(30);
/// How often Asterisk is asked whom it calls.
const LIST: Duration = Duration::from_secs(300);
/// Bytes of one read.
const READ: usize = 16 * 1024;
/// Bytes of Asterisk's own words that are shown.
const SHOWN: usize = 120;

/// What the guard knows of it.
#[derive(Debug, Default)]
pub struct AmiSensor {
    /// For `status`, but for the counters.
    state: Option<(SensorState, Option<String>)>,
    events: u64,
    unmatched: u64,
    waiting: Vec<Message>,
}

impl AmiSensor {
    /// For `status`.
    #[must_use]
    pub fn view(&self) -> Sensor {
        let (state, note) = self.state.clone().unwrap_or((SensorState::Off, None));
        Sensor {
            state,
            events: self.events,
            unmatched: self.unmatched,
            lost: 0,
            note,
        }
    }

    /// Takes another state, and tells the log of it.
    pub(super) fn is(&mut self, state: SensorState, note: Option<String>) {
        let now = Some((state, note));
        if self.state == now {
            return;
        }
        match &now {
            Some((SensorState::Off, _)) | None => {}
            Some((SensorState::On, _)) => tracing::info!("ami: logged in"),
            Some((SensorState::Waiting | SensorState::Refused, note)) => {
                tracing::warn!("ami: {}", note.as_deref().unwrap_or("not connected"));
            }
        }
        self.state = now;
    }

    /// Takes what came. It is observed once the packets that came before are.
    pub(super) fn queue(&mut self, messages: Vec<Message>) {
        self.waiting.extend(messages);
    }

    /// Some of it said nothing.
    fn said_nothing(&mut self, count: u64) {
        self.unmatched += count;
    }
}

impl Guard {
    /// Observes what the manager interface has told, as of `at`, behind the packets that came
    /// before.
    pub fn take_ami(&mut self, taps: &mut Taps, at: Time) {
        let mut is_sought = false;
        for message in std::mem::take(&mut self.ami.waiting) {
            let Some(event) = ami::security_event(&message) else {
                continue;
            };
            self.ami.events += 1;
            if !is_sought && self.lacks_connection(&event) {
                is_sought = true;
                self.seek_connection(&event, taps);
            }
            let text = shown(&message);
            let event = log_event(&event, &text, Place::Ami, |remote, spoken| {
                self.connection(remote, spoken)
            });
            match event {
                Some(event) => self.observe_told(Witness::Ami, &event, at),
                None => self.ami.said_nothing(1),
            }
        }
    }

    /// Observes what Asterisk has told the log or the manager interface, unless the other one of
    /// them was told of it, too.
    pub fn observe_told(&mut self, witness: Witness, event: &LogEvent<'_>, at: Time) {
        if self.twins.is_new(witness, event, at) {
            self.observe(&Observation::Log(event.clone()), at);
        }
    }
}

/// An event as one line, without what every one has.
fn shown(message: &Message) -> Vec<u8> {
    const EVERY: [&[u8]; 4] = [b"Privilege", b"EventTV", b"Severity", b"EventVersion"];
    let fields = message.fields().filter(|(key, _)| !EVERY.contains(key));
    let fields: Vec<Vec<u8>> = fields
        .map(|(key, value)| [key, b": ", value].concat())
        .collect();
    fields.join(&b", "[..])
}

/// Whom to be there, and where that is.
#[derive(Clone, PartialEq, Eq)]
pub struct Account {
    /// The interface.
    pub at: Ami,
    /// The user.
    pub user: String,
    /// The secret.
    pub secret: String,
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, user, .. } = self;
        write!(f, "{user}@{}:{}", at.host, at.port())
    }
}

/// Why a connection ended.
#[derive(Debug)]
enum Gone {
    /// The login was refused.
    Refused(String),
    /// Anything else.
    Lost(String),
}

/// Follows the manager interface that the configuration names, for ever. Whom Asterisk calls goes
/// to `hosts`.
pub async fn follow(
    mut accounts: watch::Receiver<Option<Account>>,
    tasks: mpsc::Sender<Task>,
    hosts: watch::Sender<BTreeSet<String>>,
) {
    loop {
        let account = accounts.borrow_and_update().clone();
        let life = async {
            let Some(account) = account else {
                tell(&tasks, SensorState::Off, None).await;
                return std::future::pending().await;
            };
            live(&account, &tasks, &hosts).await;
        };
        tokio::select! {
            () = life => return,
            changed = accounts.changed() => if changed.is_err() {
                return;
            },
        }
    }
}

/// Connects again and again, until nobody takes what comes.
async fn live(
    account: &Account,
    tasks: &mpsc::Sender<Task>,
    hosts: &watch::Sender<BTreeSet<String>>,
) {
    let mut failures = 0;
    while !tasks.is_closed() {
        let mut session = Session::new(tasks, hosts);
        let gone = session.run(account).await;
        if session.logged_in {
            failures = 0;
        }
        let jitter = f64::from(u16::try_from(random() >> 48).unwrap_or_default()) / 65_535.0;
        let (state, why, wait) = match gone {
            Gone::Refused(why) => (SensorState::Refused, why, REFUSED),
            Gone::Lost(why) => (SensorState::Waiting, why, backoff(failures, jitter)),
        };
        failures += 1;
        tell(tasks, state, Some(format!("{account:?}: {why}"))).await;
        sleep(wait).await;
    }
}

/// How long to wait after so many failures before, `jitter` from 0 to 1: half of it is random, lest
/// many clients of one Asterisk come at once.
fn backoff(failures: u32, jitter: f64) -> Duration {
    let full = SHORTEST.saturating_mul(1 << failures.min(16)).min(LONGEST);
    full.mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0)
}

/// One connection.
struct Session<'a> {
    tasks: &'a mpsc::Sender<Task>,
    hosts: &'a watch::Sender<BTreeSet<String>>,
    codec: Codec,
    too_long: u64,
    logged_in: bool,
}

impl<'a> Session<'a> {
    fn new(tasks: &'a mpsc::Sender<Task>, hosts: &'a watch::Sender<BTreeSet<String>>) -> Self {
        Self {
            tasks,
            hosts,
            codec: Codec::new(),
            too_long: 0,
            logged_in: false,
        }
    }

    async fn run(&mut self, account: &Account) -> Gone {
        match self.follow(account).await {
            Ok(never) => match never {},
            Err(gone) => gone,
        }
    }

    async fn follow(&mut self, account: &Account) -> Result<Infallible, Gone> {
        let (mut stream, private) = connect(&account.at).await.map_err(Gone::Lost)?;
        timeout(LOGIN, self.log_in(&mut *stream, private, account))
            .await
            .map_err(|_| Gone::Lost("no answer to the login: is this Asterisk?".to_owned()))??;
        self.logged_in = true;
        tell(self.tasks, SensorState::On, None).await;
        self.listen(&mut *stream).await
    }

    /// With a challenge where Asterisk offers one, so that the secret itself is not sent.
    async fn log_in(
        &mut self,
        stream: &mut dyn Stream,
        private: bool,
        account: &Account,
    ) -> Result<(), Gone> {
        let Account { user, secret, .. } = account;
        let answer = self.ask(stream, ami::challenge()).await?;
        let login = match answer.get("Challenge") {
            Some(challenge) => {
                let key = md5::compute([challenge, secret.as_bytes()].concat());
                ami::login_with_key(user, &format!("{key:x}"))
            }
            None if private => ami::login(user, secret),
            None => {
                return Err(Gone::Refused(
                    "Asterisk offers no challenge, and the secret is not sent in cleartext over a \
                     network: set asterisk.ami.tls"
                        .to_owned(),
                ));
            }
        };
        let answer = self.ask(stream, login).await?;
        if answer.succeeded() == Some(true) {
            return Ok(());
        }
        let said = answer.get("Message").unwrap_or(b"no reason");
        let said = escape_at_most(said, SHOWN);
        Err(Gone::Refused(format!("the login is refused: {said}")))
    }

    /// Sends an action and waits for the response.
    async fn ask(
        &mut self,
        stream: &mut dyn Stream,
        action: Result<Vec<u8>, LineEnd>,
    ) -> Result<Message, Gone> {
        send(stream, &action.map_err(of_line_end)?).await?;
        loop {
            let messages = self.read(stream, None).await?;
            let mut messages = messages.into_iter();
            let answer = messages.find(|message| message.succeeded().is_some());
            if let Some(answer) = answer {
                // Events may follow the answer to the login at once.
                self.observe(messages.collect()).await;
                return Ok(answer);
            }
        }
    }

    /// Observes what comes; from time to time asks whom Asterisk calls.
    async fn listen(&mut self, stream: &mut dyn Stream) -> Result<Infallible, Gone> {
        let mut next_listing = Instant::now();
        let mut listing: Option<Listing> = None;
        let mut last_heard = Instant::now();
        let mut pinged = false;
        loop {
            if Instant::now() >= next_listing {
                next_listing = Instant::now() + LIST;
                let id = format!("sipward-{:016x}", random());
                let (asked, bytes) = Listing::ask(&id).map_err(of_line_end)?;
                send(stream, &bytes).await?;
                listing = Some(asked);
            }
            if last_heard.elapsed() >= SILENCE {
                if pinged {
                    return Err(Gone::Lost("Asterisk does not answer any more".to_owned()));
                }
                pinged = true;
                last_heard = Instant::now();
                send(stream, &ami::action("Ping", &[]).map_err(of_line_end)?).await?;
            }
            let until = next_listing.min(last_heard + SILENCE);
            let before = self.codec.heard();
            let messages = self.read(stream, Some(until)).await?;
            if self.codec.heard() > before {
                last_heard = Instant::now();
                pinged = false;
            }
            if let Some(asked) = &mut listing {
                for message in &messages {
                    asked.take(message);
                }
                if let Some(found) = asked.hosts() {
                    self.hosts.send_if_modified(|hosts| {
                        let other = hosts != found;
                        hosts.clone_from(found);
                        other
                    });
                    listing = None;
                }
            }
            self.observe(messages).await;
        }
    }

    /// The next messages; none where nothing came until then.
    async fn read(
        &mut self,
        stream: &mut dyn Stream,
        until: Option<Instant>,
    ) -> Result<Vec<Message>, Gone> {
        let mut buffer = [0; READ];
        let quiet = self.codec.holds().then(|| Instant::now() + QUIET);
        let lost = |error: std::io::Error| Gone::Lost(error.to_string());
        let read = stream.read(&mut buffer);
        let count = match quiet.into_iter().chain(until).min() {
            Some(until) => match timeout_at(until, read).await {
                Ok(read) => read.map_err(lost)?,
                Err(_) => return Ok(self.codec.quiet()),
            },
            None => read.await.map_err(lost)?,
        };
        if count == 0 {
            // A refusal comes right before the end.
            if self.codec.holds() {
                return Ok(self.codec.quiet());
            }
            return Err(Gone::Lost("Asterisk has closed the connection".to_owned()));
        }
        Ok(self.codec.feed(buffer.get(..count).unwrap_or_default()))
    }

    async fn observe(&mut self, messages: Vec<Message>) {
        let too_long = self.codec.too_long() - self.too_long;
        self.too_long = self.codec.too_long();
        if messages.is_empty() && too_long == 0 {
            return;
        }
        let observe: Task = Box::new(move |guard| {
            guard.ami.said_nothing(too_long);
            guard.ami.queue(messages);
        });
        // Nobody takes it where the daemon stops.
        let _ = self.tasks.send(observe).await;
    }
}

async fn send(stream: &mut dyn Stream, bytes: &[u8]) -> Result<(), Gone> {
    let written = timeout(LOGIN, stream.write_all(bytes)).await;
    written
        .map_err(|_| Gone::Lost("Asterisk does not read".to_owned()))?
        .map_err(|error| Gone::Lost(error.to_string()))
}

async fn tell(tasks: &mpsc::Sender<Task>, state: SensorState, note: Option<String>) {
    let tell: Task = Box::new(move |guard| guard.ami.is(state, note));
    // Nobody takes it where the daemon stops.
    let _ = tasks.send(tell).await;
}

fn of_line_end(error: LineEnd) -> Gone {
    Gone::Refused(error.to_string())
}

/// A number that nobody outside can guess.
fn random() -> u64 {
    RandomState::new().hash_one(0)
}

#[cfg(test)]
mod tests;
