//! The daemon from start to end.
//!
//! The order of the start is a promise; what fails leaves everything before it as it was:
//!
//! 1. the configuration is read and checked, signatures included;
//! 2. each interface of the command line exists, and the kernel offers BPF, or nftables, and to us;
//! 3. no other sipward guards an interface of these, and this one holds them;
//! 4. the state folder is held, the ledger opened, the folder of pins held;
//! 5. signals wait for the loop, and the control socket is bound; who asks now waits for the
//!    answer; the kernel is asked to tell of interfaces that come and go;
//! 6. the program is loaded, over the pinned maps or new ones, or the table of nftables is, and the
//!    taps behind it are opened;
//! 7. policy, signatures, bans and allowlist are made those of configuration and ledger, each
//!    difference is logged, and then the program goes on the interfaces; where one refuses it and nobody has asked
//!    for XDP, 6 and 7 are done again with nftables;
//! 8. one line says that sipward is ready, and the service manager hears it.

use std::{
    collections::BTreeSet,
    fs, io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use nix::net::if_::if_nametoindex;
use sipward_engine::Time;
use tokio::{
    io::unix::AsyncFd,
    signal::unix::{Signal, SignalKind, signal},
    sync::{mpsc, watch},
    task::yield_now,
    time::{Interval, MissedTickBehavior, interval_at, sleep},
};

use super::{
    Guard,
    asterisk::{self, Beside},
    backend::{self, Guarding},
    default_interfaces, drops,
    hep::HepListener,
    links::Links,
    locks::{FolderLock, InterfaceLocks},
    logs::{self, Logs},
    notify,
    packets::tap_ports,
    reload::{Prepared, Ready, Reloading},
    step::keep_time,
    taps::Taps,
};
use crate::{
    clock,
    config::{self, BackendChoice, Config, GuardMode, Listen, XdpChoice},
    control::server::{Control, MOST_WAITING, Task},
    exit::{Exit, Failure},
    feeds,
    http::Http,
    ledger::{self, Ledger},
    panics, signatures,
};

/// How often SSH sessions, gateways and interfaces are looked at.
const LOOK: Duration = Duration::from_secs(10);
/// How often it is checked that what is decided is carried out.
const CHECK: Duration = Duration::from_secs(1);
/// How often the ledger forgets what is old.
const TIDY: Duration = Duration::from_secs(3_600);
/// Tasks of the control socket in one turn at most.
const TASKS: usize = 16;

/// What the command line says; it goes before what the configuration says.
#[derive(Clone, Debug)]
pub struct Options {
    /// The configuration; none means the default path, or the defaults.
    pub config: Option<PathBuf>,
    /// Interfaces to guard.
    pub interfaces: Vec<String>,
    /// Drop nothing.
    pub observe: bool,
    /// What enforces.
    pub backend: Option<BackendChoice>,
    /// How XDP is attached.
    pub xdp_mode: Option<XdpChoice>,
    /// The folder of the ledger.
    pub state_dir: PathBuf,
    /// The control socket.
    pub socket: PathBuf,
    /// Where the metrics are shown.
    pub http: Option<Listen>,
}

impl Options {
    pub(super) fn configuration(&self) -> Result<Config, Failure> {
        let mut config = Config::load_or_default(self.config.as_deref())?;
        if !self.interfaces.is_empty() {
            let mut names = BTreeSet::new();
            if let Some(name) = self.interfaces.iter().find(|name| !names.insert(*name)) {
                let text = format!("--interface {name} is there twice: name each interface once");
                return Err(Failure::input(text));
            }
            config.interfaces.clone_from(&self.interfaces);
        }
        if self.observe {
            config.mode = GuardMode::Observe;
        }
        if let Some(backend) = self.backend {
            config.backend = backend;
        }
        if let Some(mode) = self.xdp_mode {
            config.xdp_mode = mode;
        }
        if let Some(listen) = self.http {
            config.http.listen = listen;
        }
        config.signatures.feeds_folder = Some(feeds::folder(&self.state_dir));
        Ok(config)
    }
}

/// Guards until SIGTERM or SIGINT, which take what is enforced off, or SIGQUIT, which leaves it in
/// force for the next start.
///
/// # Errors
/// What keeps it from guarding, with the exit code that fits.
pub fn run(options: &Options) -> Result<(), Failure> {
    panics::end_the_process();
    let config = options.configuration()?;
    signatures::compile(&config.signatures).map_err(of_configuration)?;
    let account = asterisk::account(&config)?;

    let interfaces = interfaces(options, &config)?;
    backend::probe(&config)?;

    let mut locks = InterfaceLocks::default();
    for name in &interfaces {
        // Those that come later are taken when they do.
        if let Ok(index) = if_nametoindex(name.as_str()) {
            locks.take(index, name)?;
        }
    }

    ledger::make_folder(&options.state_dir)?;
    let _state = FolderLock::take(&options.state_dir, "--state-dir")?;
    let open_ledger = || Ledger::open_to_guard(&options.state_dir, clock::now());
    let ledger = open_ledger()?;
    keep_time(&ledger)?;

    let _pins = hold_pins(&config.pin_dir)?;

    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| no_wait(&error))?;
    // Sockets and timers belong to the runtime.
    let entered = runtime.enter();
    // A signal that comes during the rest of the start waits for the loop, which detaches.
    let signals = Signals::listen()?;
    let mut control = Control::bind(&options.socket)?;

    let hep = runtime.block_on(HepListener::open(config.sensors.hep, &config.ports))?;
    let logs = Logs::open(logs::paths(&config.asterisk));
    // What comes while the program is put on the interfaces is told, too.
    let links = Links::watch()?;
    let Guarding {
        mut guard,
        events,
        taps,
    } = backend::guard(&config, &interfaces, ledger, open_ledger)?;
    guard.interfaces.hold(locks);
    let (sender, tasks) = mpsc::channel(MOST_WAITING);
    control.serve(sender.clone());
    let (signatures, feeds) = watch::channel(guard.config().signatures.clone());
    tokio::spawn(super::feeds::keep_fresh(feeds, sender.clone()));
    let http = Http::start(guard.config().http.listen, sender.clone());
    let beside = Beside::start(guard.config(), account, sender.clone());
    let daemon = Daemon {
        events,
        taps,
        links,
        hep,
        beside,
        http,
        signatures,
        logs,
        guard,
        reloading: Reloading::of(options.clone()),
        more_waits: false,
        tasks,
        own_tasks: sender,
        signals,
        _control: control,
    };
    let ended = runtime.block_on(daemon.guard());
    drop(entered);
    // A name that is being looked up is not waited for.
    runtime.shutdown_background();
    ended
}

/// Everything that wakes the daemon, and what it guards with.
struct Daemon {
    events: AsyncFd<OwnedFd>,
    taps: Taps,
    links: Links,
    hep: HepListener,
    beside: Beside,
    http: Http,
    /// Tells those who fetch lists of each new configuration.
    signatures: watch::Sender<config::Signatures>,
    logs: Logs,
    guard: Guard,
    reloading: Reloading,
    /// The last turn left something: it makes nothing ready again.
    more_waits: bool,
    tasks: mpsc::Receiver<Task>,
    /// For what is done in threads beside the loop.
    own_tasks: mpsc::Sender<Task>,
    signals: Signals,
    _control: Control,
}

/// The signals that the daemon obeys.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
    hangup: Signal,
}

impl Signals {
    fn listen() -> Result<Self, Failure> {
        let listen = |kind| signal(kind).map_err(|error| no_wait(&error));
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            quit: listen(SignalKind::quit())?,
            hangup: listen(SignalKind::hangup())?,
        })
    }
}

/// What is done now and then.
struct Ticks {
    look: Interval,
    check: Interval,
    tidy: Interval,
}

/// What woke the daemon.
enum Wake {
    Stop,
    Quit,
    Reload,
    Ready(Ready),
    Task(Task),
    Events,
    Links,
    Logs,
    Look,
    Check,
    Tidy,
    Time,
}

impl Daemon {
    /// The loop. Each turn does, in this order: what a signal asks for, at most sixteen tasks of
    /// the control socket, at most 256 frames of the taps, each decision in the kernel at once,
    /// the kernel's events, at most 512 kB of each log, what time has brought, and all of it into
    /// the ledger.
    ///
    /// Time passes only up to the oldest frame that waits: an answer that was in time counts,
    /// however late it is read.
    async fn guard(mut self) -> Result<(), Failure> {
        let mut ticks = Ticks {
            look: every(LOOK),
            check: every(CHECK),
            // At the start it was done.
            tidy: every_after(Instant::now() + TIDY, TIDY),
        };
        self.hep.follow(&self.guard);
        self.say_ready();
        let stays = loop {
            match self.wake(&mut ticks).await {
                Wake::Stop => break false,
                Wake::Quit => break true,
                Wake::Reload => {
                    notify::reloading();
                    self.reloading.begin(self.guard.edition());
                    self.guard.reloading_since = self.reloading.since();
                }
                Wake::Ready(ready) => self.reload(ready),
                Wake::Task(task) => self.take_tasks(task),
                Wake::Look => {
                    self.guard.look_at_machine();
                }
                Wake::Check => {
                    self.guard.follow_clock();
                    self.guard.check_enforcement();
                    self.fall_back();
                    self.taps.check(&mut self.guard);
                    self.logs.check();
                    self.tell_long_reload();
                }
                Wake::Links => {
                    self.guard.check_interfaces();
                    self.fall_back();
                    self.taps.mend(&mut self.guard);
                }
                Wake::Logs => self.logs.wake(),
                Wake::Tidy => self.tidy(),
                Wake::Events | Wake::Time => {}
            }
            let waits = self.taps.take(&mut self.guard);
            let until = waits.unwrap_or_else(clock::now);
            let events = self.guard.take_events(until);
            let more = self.hep.take(&mut self.guard, until);
            self.guard.take_ami(&mut self.taps, until);
            let lines = self.logs.take(&mut self.guard, &mut self.taps, until);
            self.more_waits = events > 0 || more || lines || waits.is_some();
            self.guard.handle_timeout(until);
            self.guard.carry_out();
            self.guard.write_ledger();
        };
        notify::stopping();
        if stays {
            tracing::info!("stopping: what is enforced stays in force, until the next start");
            self.guard.write_last();
            return Ok(());
        }
        tracing::info!("stopping: the interfaces are no longer guarded");
        self.guard.detach()
    }

    /// Has nftables guard where an interface that came later does not take XDP's program.
    fn fall_back(&mut self) {
        let Some(why) = self.guard.may_fall_back_for() else {
            return;
        };
        tracing::warn!("no XDP, so nftables is to guard from now on: {why}");
        match backend::change_to_nftables(&mut self.guard, &mut self.taps, &why) {
            Ok(events) => self.events = events,
            Err(error) => {
                tracing::error!("nor can nftables guard: {error}");
                let interfaces = &mut self.guard.interfaces;
                interfaces.cannot_fall_back(&error, Instant::now());
            }
        }
    }

    async fn wake(&mut self, ticks: &mut Ticks) -> Wake {
        let timeout = self.guard.poll_timeout();
        let edition = self.guard.edition();
        tokio::select! {
            biased;
            _ = self.signals.terminate.recv() => Wake::Stop,
            _ = self.signals.interrupt.recv() => Wake::Stop,
            _ = self.signals.quit.recv() => Wake::Quit,
            _ = self.signals.hangup.recv() => Wake::Reload,
            ready = self.reloading.ready(edition) => Wake::Ready(ready),
            Some(task) = self.tasks.recv() => Wake::Task(task),
            () = self.links.changed() => Wake::Links,
            _ = ticks.look.tick() => Wake::Look,
            _ = ticks.check.tick() => Wake::Check,
            _ = ticks.tidy.tick() => Wake::Tidy,
            // Once everybody else had a turn: in a flood the control socket is answered, too.
            () = yield_now(), if self.more_waits => Wake::Events,
            () = self.taps.readable() => Wake::Events,
            () = self.hep.readable() => Wake::Events,
            () = self.logs.readable() => Wake::Logs,
            ready = self.events.readable() => {
                // Taken after this: what comes meanwhile makes it ready again.
                if let Ok(mut ready) = ready {
                    ready.clear_ready();
                }
                Wake::Events
            }
            () = until(timeout) => Wake::Time,
        }
    }

    fn take_tasks(&mut self, first: Task) {
        first(&mut self.guard);
        for _ in 1..TASKS {
            let Ok(task) = self.tasks.try_recv() else {
                break;
            };
            task(&mut self.guard);
        }
    }

    /// Has the ledger forget what is old, and know what each ban has dropped so far.
    fn tidy(&mut self) {
        self.guard.tidy_ledger();
        match self.guard.read_bans() {
            Ok(read) => {
                tokio::spawn(drops::note(read, self.own_tasks.clone()));
            }
            Err(error) => drops::untold(&error),
        }
    }

    fn reload(&mut self, ready: Ready) {
        self.guard.reloading_since = None;
        let put_in_force = |prepared: Box<Prepared>| self.put_in_force(*prepared);
        match ready.prepared.and_then(put_in_force) {
            Ok(()) => {
                tracing::info!("the configuration was read again and is in force");
                if ready.has_older_signatures {
                    self.renew_signatures();
                }
            }
            Err(error) => {
                for line in error.text.lines() {
                    tracing::error!("the configuration in force stays: {line}");
                }
            }
        }
        notify::ready();
    }

    /// Has the signatures read and compiled once more, beside the loop.
    fn renew_signatures(&self) {
        let tasks = self.own_tasks.clone();
        tokio::spawn(async move {
            if let Err(error) = super::feeds::swap_signatures(&tasks).await {
                tracing::error!("the signatures in force stay: {error}");
            }
        });
    }

    fn tell_long_reload(&mut self) {
        if let Some(lasts) = self.reloading.is_long() {
            tracing::warn!(
                "the configuration is being read again for {} s, and until it is read the one before \
                 stays in force: one of its files may be a pipe, or on a disk, that does not answer",
                lasts.as_secs()
            );
        }
    }

    fn put_in_force(&mut self, prepared: Prepared) -> Result<(), Failure> {
        let Prepared {
            mut config,
            account,
            logs,
            tables,
            complaints,
        } = prepared;
        let running = self.guard.config();
        let fixed = |config: &Config| {
            (
                config.interfaces.clone(),
                config.backend,
                config.xdp_mode,
                config.pin_dir.clone(),
                config.sensors.clone(),
            )
        };
        if fixed(running) != fixed(&config) {
            tracing::warn!(
                "interfaces, backend, xdp-mode, pin-dir and sensors change with the next start only"
            );
            (
                config.interfaces,
                config.backend,
                config.xdp_mode,
                config.pin_dir,
                config.sensors,
            ) = fixed(running);
        }
        self.guard.reload(config, tables, complaints)?;
        self.beside.follow(self.guard.config(), account);
        self.signatures
            .send_replace(self.guard.config().signatures.clone());
        self.hep.follow(&self.guard);
        let config = self.guard.config();
        self.http.follow(config.http.listen);
        self.logs.follow(logs);
        if let Err(error) = self.taps.set_ports(&tap_ports(config)) {
            tracing::error!("its ports are guarded, but what comes to them is not read: {error}");
        }
        Ok(())
    }

    fn say_ready(&self) {
        match self.guard.status() {
            Ok(status) => {
                let interfaces: Vec<String> = status
                    .interfaces
                    .iter()
                    .map(|interface| format!("{} ({})", interface.name, interface.how()))
                    .collect();
                tracing::info!(
                    "ready: sipward {} guards {}, mode {}, {} bans, {} allowed",
                    status.version,
                    interfaces.join(", "),
                    status.mode,
                    status.bans,
                    status.allowed,
                );
            }
            Err(error) => tracing::error!("ready, but: {error}"),
        }
        notify::ready();
    }
}

/// The interfaces to guard. One that somebody has just typed exists; one of the configuration may
/// come later, as a bridge does at boot.
fn interfaces(options: &Options, config: &Config) -> Result<Vec<String>, Failure> {
    if config.interfaces.is_empty() {
        let found = default_interfaces();
        if found.is_empty() {
            return Err(Failure::input(
                "there is no default route, so which interface to guard? Name it with --interface \
                 (`ip link` lists them)",
            ));
        }
        return Ok(found);
    }
    for name in config.interfaces.iter().filter(|name| !exists(name)) {
        if options.interfaces.contains(name) {
            return Err(sipward_shield::Error::NoInterface(name.clone()).into());
        }
        tracing::warn!("no interface {name:?} here (`ip link` lists them): it is awaited");
    }
    Ok(config.interfaces.clone())
}

fn exists(interface: &str) -> bool {
    if_nametoindex(interface).is_ok()
}

/// Holds the folder of pins. One that cannot be made is the loader's to complain of.
fn hold_pins(folder: &Path) -> Result<Option<FolderLock>, Failure> {
    if fs::create_dir_all(folder).is_err() {
        return Ok(None);
    }
    FolderLock::take(folder, "pin-dir in the configuration").map(Some)
}

fn every(period: Duration) -> Interval {
    every_after(Instant::now(), period)
}

fn every_after(first: Instant, period: Duration) -> Interval {
    let mut ticks = interval_at(first.into(), period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

async fn until(at: Option<Time>) {
    match at {
        Some(at) => sleep(at.since(clock::now())).await,
        None => std::future::pending().await,
    }
}

/// A mistake in what the configuration names is a mistake in the configuration.
fn of_configuration(failure: Failure) -> Failure {
    Failure {
        exit: Exit::Config,
        ..failure
    }
}

fn no_wait(error: &io::Error) -> Failure {
    Failure::unsupported(format!("cannot wait for events: {error}"))
}
