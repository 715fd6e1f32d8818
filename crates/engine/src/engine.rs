//! The engine itself: takes observations, gives commands.

use std::{
    collections::{BTreeMap, VecDeque},
    net::IpAddr,
};

use ipnet::IpNet;

use crate::{
    Config, Time,
    bans::{Bans, Key, without},
    command::{Ban, Command, Trusted, Unban, UnbanCause},
    detect::{scanner_signature, tripwire},
    judge::Strikes,
    ladder::Ladder,
    observation::{KernelDrop, Observation},
    protected::{Protected, ProtectedPrefix},
    reason::Reason,
    trust::Trust,
};

/// Decides. Give it what was seen with [`Self::observe`], call [`Self::handle_timeout`] when the
/// time of [`Self::poll_timeout`] has come, and after each of the two carry out every
/// [`Self::next_command`].
///
/// ```
/// use sipward_engine::{Config, Engine, Time};
///
/// let mut engine = Engine::new(Config::default(), 0);
/// engine.handle_timeout(Time::from_secs(1));
/// assert_eq!(engine.next_command(), None);
/// ```
#[derive(Debug)]
pub struct Engine {
    pub(crate) config: Config,
    pub(crate) protected: Protected,
    pub(crate) bans: Bans,
    pub(crate) ladder: Ladder,
    pub(crate) trust: Trust,
    pub(crate) strikes: BTreeMap<IpAddr, Strikes>,
    pub(crate) commands: VecDeque<Command>,
    pub(crate) statistics: Statistics,
    now: Time,
}

/// What the engine counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Observations taken.
    pub observations: u64,
    /// Unproven bans that did not fit into their minute.
    pub unproven_bans_withheld: u64,
}

/// What the ledger remembers from before a restart.
#[derive(Clone, Debug, Default)]
pub struct Restored {
    /// Bans in force and earlier ones, in any order.
    pub bans: Vec<Ban>,
    /// Addresses that logged in.
    pub trusted: Vec<Trusted>,
}

/// What lifting a ban came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lifted {
    /// Bans that are gone.
    pub bans: Vec<Ban>,
    /// Wider bans that go on around the freed addresses.
    pub holes_in: Vec<Ban>,
}

impl Lifted {
    /// True where no ban was touched.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bans.is_empty() && self.holes_in.is_empty()
    }
}

impl Engine {
    /// An engine that knows nothing yet. `seed` makes its hashes unpredictable to attackers and
    /// changes no decision.
    #[must_use]
    pub fn new(config: Config, seed: u64) -> Self {
        let _ = seed;
        Self {
            config,
            protected: Protected::default(),
            bans: Bans::default(),
            ladder: Ladder::default(),
            trust: Trust::default(),
            strikes: BTreeMap::new(),
            commands: VecDeque::new(),
            statistics: Statistics::default(),
            now: Time::default(),
        }
    }

    /// Takes over what the ledger remembers. Gives no commands: what is in force in the kernel is
    /// the caller's to compare with the ledger.
    pub fn restore(&mut self, restored: Restored, now: Time) {
        let now = self.advance(now);
        let mut bans = restored.bans;
        bans.sort_by_key(|ban| ban.since);
        for ban in bans {
            self.ladder.remember(&ban, &self.config.ladder);
            if ban.is_in_force(now) {
                self.bans.add(ban);
            }
        }
        for trusted in restored.trusted {
            self.trust.restore(trusted, &self.config.trust);
        }
    }

    /// Puts other numbers in force; what was counted stays.
    pub fn set_config(&mut self, config: Config) {
        self.config = config;
    }

    /// Takes one observation, made at `now`. Time never runs backwards here: an earlier `now`
    /// than the last one is taken as the last one.
    pub fn observe(&mut self, observation: &Observation<'_>, now: Time) {
        self.handle_timeout(now);
        self.statistics.observations += 1;
        match observation {
            Observation::KernelDrop(drop) => self.observe_drop(drop),
        }
    }

    /// The next thing to do, oldest first.
    pub fn next_command(&mut self) -> Option<Command> {
        self.commands.pop_front()
    }

    /// When [`Self::handle_timeout`] must be called at the latest.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Time> {
        self.bans.next_end()
    }

    /// Lets the time pass.
    pub fn handle_timeout(&mut self, now: Time) {
        let now = self.advance(now);
        while let Some(Key {
            prefix,
            port,
            scope,
        }) = self.bans.pop_lapsed(now)
        {
            self.commands.push_back(Command::Unban(Unban {
                prefix,
                port,
                scope,
                cause: UnbanCause::Lapsed,
            }));
        }
    }

    /// Sets a ban that no detector asked for. Refused where it would hit a protected address,
    /// unless forced.
    pub fn impose(&mut self, mut ban: Ban, force: bool, now: Time) -> Result<(), ProtectedPrefix> {
        self.handle_timeout(now);
        ban.prefix = ban.prefix.trunc();
        match self.protected.conflict(&ban.prefix) {
            Some(conflict) if !force => Err(conflict),
            Some(_) | None => {
                self.set_ban(ban);
                Ok(())
            }
        }
    }

    /// Lifts every ban within `prefix`, and makes a hole for it in each ban around it.
    pub fn lift(&mut self, prefix: IpNet, now: Time) -> Lifted {
        self.handle_timeout(now);
        let prefix = prefix.trunc();
        let (within, around) = self.bans.touching(&prefix);
        let mut lifted = Lifted::default();
        for key in within {
            lifted.bans.extend(self.end_ban(&key, UnbanCause::Lifted));
        }
        for key in around {
            let Some(ban) = self.bans.remove(&key) else {
                continue;
            };
            for part in without(&key.prefix, &prefix) {
                self.set_ban(Ban {
                    prefix: part,
                    ..ban.clone()
                });
            }
            self.push_unban(&key, UnbanCause::Split);
            lifted.holes_in.push(ban);
        }
        lifted
    }

    /// Lifts every ban that concerns this account, as [`Ban::account`] shows it.
    pub fn lift_account(&mut self, account: &str, now: Time) -> Lifted {
        self.lift_where(now, |ban| ban.account.as_deref() == Some(account))
    }

    /// Lifts every ban.
    pub fn lift_all(&mut self, now: Time) -> Lifted {
        self.lift_where(now, |_| true)
    }

    /// Who is never banned.
    #[must_use]
    pub fn protected(&self) -> &Protected {
        &self.protected
    }

    /// Who is never banned, to be changed: allowlist, own addresses, gateways, SSH sessions …
    pub fn protected_mut(&mut self) -> &mut Protected {
        &mut self.protected
    }

    /// What was counted.
    #[must_use]
    pub fn statistics(&self) -> Statistics {
        self.statistics
    }

    pub(crate) fn set_ban(&mut self, ban: Ban) {
        if self.bans.add(ban.clone()) {
            self.commands.push_back(Command::Ban(ban));
        }
    }

    fn observe_drop(&mut self, drop: &KernelDrop<'_>) {
        let now = self.now;
        let firing = match drop.reason {
            Reason::Signature => {
                scanner_signature::observe(drop, &self.config.scanner_signature, now)
            }
            Reason::Tripwire => {
                let config = &self.config.tripwire;
                let forgiven = self
                    .trust
                    .succeeded_within(drop.source.ip(), config.forgiven, now);
                tripwire::observe(drop, forgiven, config, now)
            }
            Reason::NotIp
            | Reason::NotUnderstood
            | Reason::Allowed
            | Reason::NotProtected
            | Reason::LaterFragment
            | Reason::Clean
            | Reason::CleanLong
            | Reason::Banned
            | Reason::Rate
            | Reason::RateUnknown
            | Reason::TinyFragment => None,
        };
        if let Some(firing) = firing {
            self.judge(drop.source, firing, now);
        }
    }

    fn lift_where(&mut self, now: Time, matches: impl Fn(&Ban) -> bool) -> Lifted {
        self.handle_timeout(now);
        let keys: Vec<Key> = self
            .bans
            .iter()
            .filter(|ban| matches(ban))
            .map(Key::of)
            .collect();
        Lifted {
            bans: keys
                .iter()
                .filter_map(|key| self.end_ban(key, UnbanCause::Lifted))
                .collect(),
            holes_in: Vec::new(),
        }
    }

    fn end_ban(&mut self, key: &Key, cause: UnbanCause) -> Option<Ban> {
        let ban = self.bans.remove(key)?;
        self.push_unban(key, cause);
        Some(ban)
    }

    fn push_unban(&mut self, key: &Key, cause: UnbanCause) {
        self.commands.push_back(Command::Unban(Unban {
            prefix: key.prefix,
            port: key.port,
            scope: key.scope,
            cause,
        }));
    }

    fn advance(&mut self, now: Time) -> Time {
        self.now = self.now.max(now);
        self.now
    }
}
