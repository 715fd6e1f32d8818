//! Engine, shield and ledger together: what was seen goes in, what follows is enforced and
//! remembered.

use std::{
    collections::{BTreeMap, VecDeque},
    net::IpAddr,
    time::{Duration, Instant},
};

use ipnet::IpNet;
use sipward_engine::{Ban, Command, Engine, Hold, Observation, Origin, Protection, Time};
use sipward_feed::Extent;
use sipward_shield::{self as shield, BootTime, RawSender, ReadBans, Scope, Shield};
use sipward_signature::{Field, Tables};

use super::{
    ami::AmiSensor, answers::Answers, backend::Backend, evidence, figures::Sent,
    hits::SignatureHits, interfaces::Interfaces, kernel_events::KernelEvents, lists::Spared,
    machine, packets::Packets, peers::Peers, reconcile, rejections::Rejections,
    self_check::SelfCheck, ssh_sessions::SshSessions, step::Restoring, strangers::Strangers,
    unwritten::Unwritten, watch::Watchers,
};
use crate::{
    clock::{self, Clocks},
    config::{self, Config, OverLimit},
    control::api::Sensor,
    exit::Failure,
    ledger::{Ended, Entry, Ledger, Target},
    sensors::Twins,
    signatures::{self, Complaints},
};

/// For so long bans that follow each other go by the same look at the machine.
pub(super) const LOOK_LASTS: Duration = Duration::from_secs(1);

/// A hold ends by itself after this, should the daemon die meanwhile.
const HOLD_LASTS: Duration = Duration::from_secs(3);

/// How long an order took where.
#[derive(Clone, Copy, Debug)]
pub(super) struct OrderTime {
    pub ledger: Duration,
    pub kernel: Duration,
}

/// Everything that guards, owned by one task.
pub struct Guard {
    pub(super) config: Config,
    pub(super) engine: Engine,
    pub(super) shield: Box<dyn Shield>,
    /// What guarded before it and would not let go.
    pub(super) former: Option<Box<dyn Shield>>,
    pub(super) backend: Backend,
    pub(super) ledger: Ledger,
    pub(super) started: BootTime,
    /// Since when a configuration is read again beside the loop.
    pub(super) reloading_since: Option<tokio::time::Instant>,
    pub(super) events: KernelEvents,
    pub(super) packets: Packets,
    pub(super) watchers: Watchers,
    pub(super) self_check: SelfCheck,
    pub(super) interfaces: Interfaces,
    pub(super) hits: SignatureHits,
    /// What is wrong with the signatures.
    pub(super) complaints: Complaints,
    /// Counts the signatures that were put in force.
    edition: u64,
    /// What the logs of Asterisk told.
    pub(super) asterisk_log: Sensor,
    /// When names of the allowlist were last seen to stand for addresses.
    pub(super) named: BTreeMap<(String, IpAddr), Time>,
    pub(super) peers: Peers,
    pub(super) ami: AmiSensor,
    pub(super) twins: Twins,
    pub(super) strangers: Strangers,
    pub(super) answers: Answers,
    pub(super) rejections: Rejections,
    pub(super) spared: Spared,
    pub(super) sent: Sent,
    /// What lists ban, at most.
    pub(super) listed: Extent,
    pub(super) ssh_sessions: SshSessions,
    /// Where the configuration has anything sent.
    pub(super) sender: Option<RawSender>,
    /// What the engine decided and nobody has carried out.
    decided: VecDeque<Command>,
    pub(super) pending: Unwritten,
    pub(super) restoring: Restoring,
    /// When the machine was looked at last.
    looked: Option<Instant>,
}

impl Guard {
    /// Puts the configuration in force, compares what the kernel holds with what the ledger says,
    /// mends every difference, and then guards.
    ///
    /// # Errors
    /// The kernel or the ledger refused; signatures that cannot be compiled.
    pub fn new(config: Config, shield: Box<dyn Shield>, ledger: Ledger) -> Result<Self, Failure> {
        let (tables, complaints) = signatures::compile(&config.signatures)?;
        complaints.log();
        let mut guard = Self {
            complaints,
            edition: 0,
            engine: Engine::new(config.engine(), seed()),
            packets: Packets::new(&config),
            watchers: Watchers::default(),
            self_check: SelfCheck::new(clock::now()),
            interfaces: Interfaces::default(),
            hits: SignatureHits::read(&ledger)?,
            asterisk_log: Sensor::OFF,
            named: BTreeMap::new(),
            peers: Peers::default(),
            ami: AmiSensor::default(),
            twins: Twins::default(),
            strangers: Strangers::default(),
            answers: Answers::default(),
            rejections: Rejections::default(),
            spared: Spared::default(),
            sent: Sent::default(),
            listed: Extent::default(),
            ssh_sessions: SshSessions::default(),
            sender: sender(&config)?,
            config,
            shield,
            former: None,
            backend: Backend::xdp(),
            restoring: Restoring::after_start(&ledger),
            looked: None,
            ledger,
            started: BootTime::now(),
            reloading_since: None,
            events: KernelEvents::default(),
            decided: VecDeque::new(),
            pending: Unwritten::default(),
        };
        guard.enforce_policy(tables)?;
        guard.restore()?;
        for note in guard.shield.attach()? {
            tracing::info!("{note}");
        }
        guard.self_check.changed(clock::now());
        guard.note_clock();
        guard.write_ledger();
        Ok(guard)
    }

    /// Has engine and kernel know what the ledger says.
    pub(super) fn restore(&mut self) -> Result<(), Failure> {
        // Who has registered until now, nobody saw.
        self.overlooked();
        self.look_at_machine();
        reconcile::bans(self)?;
        self.listed = self.extent_of_lists(&[]);
        self.spared = Spared::read(&self.ledger)?;
        reconcile::trusted(self)?;
        reconcile::allowed(self)
    }

    /// Says what it guards with.
    pub fn set_backend(&mut self, backend: Backend) {
        if !backend.knows_signatures {
            self.packets.scan_all();
        }
        self.backend = backend;
    }

    /// The configuration in force.
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// Puts another configuration in force, of which the signatures were compiled beside the loop.
    /// Where the kernel or the ledger refuses, the one in force is put back.
    ///
    /// # Errors
    /// They refused; or the configuration has something sent, and nothing can be.
    pub fn reload(
        &mut self,
        config: Config,
        tables: Tables,
        complaints: Complaints,
    ) -> Result<(), Failure> {
        complaints.log();
        let sender = sender(&config)?;
        let before = (self.config.clone(), self.events.tables().cloned());
        let Err(error) = self.put_in_force(config, tables) else {
            self.complaints = complaints;
            self.sender = sender;
            return Ok(());
        };
        if let (config, Some(tables)) = before
            && let Err(error) = self.put_in_force(config, tables)
        {
            tracing::error!("the configuration before cannot be put back: {error}");
        }
        Err(error)
    }

    /// What is to be compiled beside the loop, for [`Self::take_signatures`].
    #[must_use]
    pub fn to_compile(&self) -> (config::Signatures, u64) {
        (self.config.signatures.clone(), self.edition)
    }

    /// Tells signatures in force from those before.
    #[must_use]
    pub const fn edition(&self) -> u64 {
        self.edition
    }

    /// Puts signatures in force that were compiled beside the loop since [`Self::to_compile`] gave this
    /// edition. False where others came in force meanwhile: they may be of newer files, so they stay.
    ///
    /// # Errors
    /// The kernel refused; those before stay.
    pub fn take_signatures(
        &mut self,
        edition: u64,
        tables: Tables,
        complaints: Complaints,
    ) -> Result<bool, Failure> {
        if edition != self.edition {
            return Ok(false);
        }
        self.enforce_signatures(tables)?;
        if complaints != self.complaints {
            complaints.log();
            self.complaints = complaints;
        }
        Ok(true)
    }

    /// Takes what a sensor saw. Every observation of every sensor comes in here.
    pub fn observe(&mut self, observation: &Observation<'_>, at: Time) {
        // What the engine then has to give follows from this observation.
        self.collect();
        self.count_hit(observation, at);
        if let Observation::Message(message) = observation
            && self.strangers.see(message, self.engine.protected())
        {
            tracing::warn!(
                "all strangers come from {}, the default gateway, which is never banned: `sipward \
                 doctor` says what to do",
                message.source.ip()
            );
        }
        self.watchers.show(observation, at, self.config.mode);
        if self.config.answer.enabled {
            self.answers.see(observation, at);
        }
        self.engine.observe(observation, at);
    }

    fn count_hit(&mut self, observation: &Observation<'_>, at: Time) {
        match observation {
            Observation::KernelDrop(drop) => {
                if let Some(signature) = drop.signature {
                    self.hits
                        .count(signature.name, u64::from(drop.count.max(1)), at);
                }
            }
            Observation::Signature(seen) => self.hits.count(seen.hit.name, 1, at),
            Observation::Message(_) | Observation::Unreachable(_) | Observation::Log(_) => {}
        }
    }

    /// Adds to what the engine has just decided what the packet itself shows.
    pub(super) fn add_evidence(&mut self, sample: &[u8], field: Field) {
        while let Some(mut command) = self.engine.next_command() {
            if let Command::Alert(alert) = &mut command {
                evidence::add_headers(alert, sample, field);
            }
            self.decided.push_back(command);
        }
    }

    /// Packets went by until now that no sensor saw.
    pub fn overlooked(&mut self) {
        self.engine.overlooked(clock::now());
    }

    /// Lets the time pass up to `until`.
    pub fn handle_timeout(&mut self, until: Time) {
        self.engine.handle_timeout(until);
        self.watchers.tell_losses();
    }

    /// When [`Self::handle_timeout`] must be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Time> {
        self.engine.poll_timeout()
    }

    /// Carries out what the engine decided: the kernel first, for every packet counts. A ban that
    /// the kernel refuses is taken back.
    pub fn carry_out(&mut self) {
        while let Some(command) = self.next_command() {
            if self.gives_way_to_ssh(&command) {
                continue;
            }
            let enforced = self.enforce(&command);
            if let Err(error) = &enforced {
                tracing::error!("{error}");
            }
            if let (Err(_), Command::Ban(ban)) = (enforced, &command) {
                self.engine.withdraw(ban);
            } else {
                self.pending.extend(entry(command, clock::now()));
            }
        }
    }

    /// Carries out what somebody asked for: the ledger first, so that an acknowledged order
    /// survives whatever comes. Bans that the kernel refuses are taken back; the rest is in force.
    pub(super) fn carry_out_order(&mut self) -> Result<OrderTime, Failure> {
        let mut commands = Vec::new();
        while let Some(command) = self.next_command() {
            commands.push(command);
        }
        let now = clock::now();
        let entries: Vec<Entry> = commands
            .iter()
            .filter_map(|command| entry(command.clone(), now))
            .collect();
        // What waits is older than what is ordered now, and written with it.
        self.pending.extend(entries);
        let began = Instant::now();
        let written = self.write_order();
        let ledger = began.elapsed();
        let began = Instant::now();
        let mut error = None;
        for same in commands.chunk_by(|a, b| a.ban().is_some() && b.ban().is_some()) {
            let bans: Vec<&Ban> = same.iter().filter_map(Command::ban).collect();
            if !bans.is_empty() && self.enforce_bans(&bans).is_ok() {
                same.iter().for_each(|command| self.watchers.tell(command));
                continue;
            }
            // One by one, to find which of them are refused.
            for command in same {
                let Err(failure) = self.enforce(command) else {
                    continue;
                };
                error.get_or_insert(failure);
                if let Command::Ban(ban) = command {
                    tracing::error!("the kernel refused the ban of {}", ban.prefix);
                    self.engine.withdraw(ban);
                    let lift = Entry::Lift(Target::of(ban), now, Ended::Lifted);
                    self.pending.push(lift);
                }
            }
        }
        let kernel = began.elapsed();
        self.write_ledger();
        if let Some(error) = error {
            return Err(error);
        }
        let time = OrderTime { ledger, kernel };
        written.map(|()| time).map_err(|error| Failure {
            text: format!(
                "in force now, but it would not survive a reboot before it is written: {error}"
            ),
            ..error
        })
    }

    /// As [`Self::look_at_machine`], unless that was done within the last second: a long list comes in
    /// hundreds of orders, and the kernel takes 30 ms to list the machine's connections.
    pub(super) fn look_at_machine_lately(&mut self) {
        let is_fresh = |looked: Instant| looked.elapsed() < LOOK_LASTS;
        if !self.looked.is_some_and(is_fresh) {
            self.look_at_machine();
        }
    }

    /// Does something while the kernel drops SIP of these addresses, until what is carried out next is.
    pub(super) fn hold_during(&mut self, prefix: IpNet, what: impl FnOnce(&mut Self)) {
        let until = clock::now() + HOLD_LASTS;
        if let Err(error) = self.enforce(&Command::Hold(Hold { prefix, until })) {
            tracing::error!("{error}");
        }
        what(self);
        self.decided.push_front(Command::Release(prefix));
    }

    /// Looks again at what this machine is and lives on.
    pub fn look_at_machine(&mut self) {
        self.looked = Some(Instant::now());
        machine::protect(self.engine.protected_mut());
        self.look_at_ssh();
        self.look_for_connections();
    }

    /// What reads the bans of the kernel, in whatever thread.
    ///
    /// # Errors
    /// The kernel cannot be asked.
    pub fn read_bans(&self) -> Result<ReadBans, shield::Error> {
        self.shield.read_bans()
    }

    /// Has the ledger know all that the kernel does: what is enforced may be gone at the next start.
    pub fn write_last(&mut self) {
        self.note_all_drops();
        self.write_ledger();
    }

    /// Detaches from every interface and removes every pin.
    ///
    /// # Errors
    /// The kernel refused.
    pub fn detach(&mut self) -> Result<(), Failure> {
        self.write_last();
        self.shield.detach()?;
        self.detach_former()
    }

    pub(super) fn protect_allowed(
        &mut self,
        allowed: impl IntoIterator<Item = IpNet>,
        peers: impl IntoIterator<Item = IpNet>,
    ) {
        let protected = self.engine.protected_mut();
        protected.set(Protection::Allowlist, allowed);
        protected.set(Protection::Peer, peers);
    }

    /// Takes over what the engine has decided so far.
    fn collect(&mut self) {
        while let Some(command) = self.engine.next_command() {
            self.decided.push_back(command);
        }
    }

    /// Puts a decision beside those of the engine.
    #[cfg(test)]
    pub(super) fn decide(&mut self, command: Command) {
        self.decided.push_back(command);
    }

    fn next_command(&mut self) -> Option<Command> {
        self.decided
            .pop_front()
            .or_else(|| self.engine.next_command())
    }

    /// The ban of exactly this target.
    pub(super) fn ban_of(&self, target: &Target) -> Option<&Ban> {
        let ban = self.engine.ban(target.prefix, target.port, target.scope)?;
        ban.is_in_force(clock::now()).then_some(ban)
    }

    /// The signatures in force.
    pub(super) fn tables(&self) -> Option<&Tables> {
        self.events.tables()
    }

    fn put_in_force(&mut self, config: Config, tables: Tables) -> Result<(), Failure> {
        let port = |config: &Config| config.asterisk.ami.port();
        if config.ports != self.config.ports || port(&config) != port(&self.config) {
            self.packets.set_ports(&config);
        }
        self.config = config;
        self.enforce_policy(tables)?;
        reconcile::allowed(self)?;
        self.self_check.changed(clock::now());
        self.engine.set_config(self.config.engine());
        Ok(())
    }

    fn enforce_policy(&mut self, tables: Tables) -> Result<(), Failure> {
        self.shield.set_policy(&self.config.policy())?;
        self.enforce_signatures(tables)
    }

    fn enforce_signatures(&mut self, tables: Tables) -> Result<(), Failure> {
        let generation = self.shield.set_signatures(&tables)?;
        self.packets.set_signatures(tables.clone());
        let looked_for = self.hits.look_for(&tables, clock::now());
        self.pending.extend(looked_for);
        self.events.know(generation, tables);
        self.edition += 1;
        Ok(())
    }

    /// Enforces bans, all in one go. None of them is told of where it fails.
    fn enforce_bans(&mut self, bans: &[&Ban]) -> Result<(), Failure> {
        let kernel: Vec<shield::Ban> = bans
            .iter()
            .map(|ban| kernel_ban(&Target::of(ban), ban.until))
            .collect();
        self.shield.ban_all(&kernel)?;
        let now = clock::now();
        for ban in bans {
            self.ban_is_in_force(ban, now);
        }
        Ok(())
    }

    /// What follows once the kernel has a ban.
    fn ban_is_in_force(&mut self, ban: &Ban, now: Time) {
        tell_ban(ban);
        self.self_check.banned(Target::of(ban), now);
        self.answer(ban);
    }

    fn enforce(&mut self, command: &Command) -> Result<(), Failure> {
        self.watchers.tell(command);
        match command {
            Command::Ban(ban) => {
                let target = Target::of(ban);
                self.shield.ban(&kernel_ban(&target, ban.until))?;
                self.ban_is_in_force(ban, clock::now());
            }
            Command::Unban(unban) => {
                tracing::info!("the ban of {} has ended", unban.prefix);
                let target = shield::Target {
                    prefix: unban.prefix,
                    port: unban.port,
                };
                let dropped = self.shield.unban(&target, scope(unban.scope))?;
                let target = Target {
                    prefix: unban.prefix,
                    port: unban.port,
                    scope: unban.scope,
                };
                self.pending.push(Entry::Dropped(target, dropped));
            }
            Command::Alert(alert) => {
                let spared = alert
                    .spared
                    .as_ref()
                    .map(|why| format!("; {why}"))
                    .unwrap_or_default();
                tracing::info!(
                    "{} {}: {}{spared}",
                    alert.source,
                    alert.detector,
                    alert.summary
                );
            }
            Command::Trust(trusted) => self.shield.trust(trusted.address)?,
            Command::Distrust(address) | Command::TakeRate(address) => {
                self.shield.distrust(*address)?
            }
            Command::Hold(hold) => {
                let target = held(hold.prefix);
                let lasts = |ban: &Ban| ban.until.is_none_or(|until| until >= hold.until);
                if !self.ban_of(&target).is_some_and(lasts) {
                    self.shield.ban(&kernel_ban(&target, Some(hold.until)))?;
                }
            }
            Command::Release(prefix) => {
                let target = held(*prefix);
                match self.ban_of(&target).map(|ban| ban.until) {
                    Some(until) => self.shield.ban(&kernel_ban(&target, until))?,
                    None => {
                        let prefix = shield::Target {
                            prefix: *prefix,
                            port: None,
                        };
                        self.shield.unban(&prefix, Scope::Sip)?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// What sends, where the configuration has anything sent.
pub(super) fn sender(config: &Config) -> Result<Option<RawSender>, Failure> {
    let sends = config.answer.enabled || config.limits.sip.over == OverLimit::Reject;
    Ok(sends.then(RawSender::open).transpose()?)
}

fn tell_ban(ban: &Ban) {
    // Of an import and of a list their number is told.
    if !matches!(ban.origin, Origin::Import | Origin::Feed) {
        tracing::info!("ban {} ({}): {}", ban.prefix, ban.origin.name(), ban.reason);
    }
}

/// A ban as the kernel enforces it.
pub(super) fn kernel_ban(target: &Target, until: Option<Time>) -> shield::Ban {
    shield::Ban {
        target: shield::Target {
            prefix: target.prefix,
            port: target.port,
        },
        scope: scope(target.scope),
        until: Clocks::now().boot(until),
    }
}

/// What a hold of these addresses is in the kernel: a ban of them in SIP.
const fn held(prefix: IpNet) -> Target {
    Target {
        prefix,
        port: None,
        scope: sipward_engine::Scope::Sip,
    }
}

/// The kernel's word for what a ban drops.
pub(super) const fn scope(scope: sipward_engine::Scope) -> Scope {
    match scope {
        sipward_engine::Scope::All => Scope::All,
        sipward_engine::Scope::Sip => Scope::Sip,
    }
}

/// What the ledger keeps of a command.
fn entry(command: Command, now: Time) -> Option<Entry> {
    match command {
        Command::Ban(ban) => Some(Entry::Ban(ban)),
        Command::Unban(unban) => {
            let target = Target {
                prefix: unban.prefix,
                port: unban.port,
                scope: unban.scope,
            };
            Some(Entry::Lift(target, now, unban.cause.into()))
        }
        Command::Alert(alert) => Some(Entry::Alert(alert)),
        Command::Trust(trusted) => Some(Entry::Trust(trusted)),
        Command::Distrust(address) => Some(Entry::Distrust(address)),
        Command::TakeRate(_) | Command::Hold(_) | Command::Release(_) => None,
    }
}

/// A number that nobody outside can guess.
pub(super) fn seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0)
}
