//! The engine itself: takes observations, gives commands.

use std::{collections::VecDeque, net::IpAddr};

use ipnet::IpNet;

use crate::{
    Config, Time,
    accounts::Accounts,
    bans::{Bans, Key, without},
    command::{Ban, Command, Scope, Trusted, Unban, UnbanCause},
    delay::Delay,
    detect::{dictionary::Dictionary, prefix_campaign},
    hash::HashKey,
    judge::Strikes,
    ladder::Ladder,
    log::{LoggedChallenge, UnacknowledgedCall},
    lru::Lru,
    nonces::Nonces,
    observation::Observation,
    outcomes::WaitingAttempt,
    protected::{Protected, ProtectedPrefix},
    site::Site,
    source::Source,
    sources::SourceState,
    traffic::{OwnRequests, canonical},
    transactions::Transactions,
    trust::Trust,
    window::Bucket,
};

/// Prefixes that are watched for campaigns at most.
const MOST_PREFIXES: usize = 50_000;
/// Trusted addresses whose misdeeds are remembered.
const MOST_STRIKES: usize = 20_000;
/// Contacts of registered clients that are remembered.
const MOST_CONTACTS: usize = 100_000;
/// Unacknowledged calls that a later log line may be about.
const MOST_CALLS: usize = 10_000;

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
    pub(crate) strikes: Lru<IpAddr, Strikes>,
    pub(crate) commands: VecDeque<Command>,
    pub(crate) statistics: Statistics,
    pub(crate) key: HashKey,
    pub(crate) sources: Lru<Source, SourceState>,
    pub(crate) site: Site,
    pub(crate) accounts: Accounts,
    pub(crate) campaigns: Lru<IpNet, prefix_campaign::State>,
    pub(crate) nonces: Nonces,
    pub(crate) transactions: Transactions,
    pub(crate) own_requests: OwnRequests,
    /// Where registered clients said that they are.
    pub(crate) contacts: Lru<u64, ()>,
    pub(crate) unacknowledged: Lru<u64, UnacknowledgedCall>,
    pub(crate) dictionary: Dictionary,
    pub(crate) dictionary_budget: Bucket,
    /// INVITEs whose ACK is awaited.
    pub(crate) acknowledgements: Delay<u64>,
    /// Challenges whose credentials are awaited.
    pub(crate) challenges: Delay<(Source, u64)>,
    /// The same of challenges that only a log told of.
    pub(crate) logged_challenges: Delay<LoggedChallenge>,
    /// Refused attempts whose success is awaited.
    pub(crate) attempts: Delay<WaitingAttempt>,
    /// When packets were last lost that nobody has seen.
    pub(crate) unseen: Option<Time>,
    /// Names what only a log told of.
    pub(crate) logged: u64,
    pub(crate) now: Time,
}

/// What the engine counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Observations taken.
    pub observations: u64,
    /// Unproven bans that did not fit into their minute.
    pub unproven_bans_withheld: u64,
    /// Log lines about a call that no sensor saw, so nobody knows whose it was.
    pub unattributed_lines: u64,
    /// Log lines about a connection that no sensor saw, so they counted nothing.
    pub unconnected_lines: u64,
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
        let key = HashKey::new(seed);
        Self {
            key,
            sources: Lru::new(config.sources, key),
            site: Site::default(),
            accounts: Accounts::new(key),
            campaigns: Lru::new(MOST_PREFIXES, key),
            nonces: Nonces::new(key),
            transactions: Transactions::new(key),
            own_requests: OwnRequests::new(key),
            contacts: Lru::new(MOST_CONTACTS, key),
            unacknowledged: Lru::new(MOST_CALLS, key),
            dictionary: Dictionary::new(),
            dictionary_budget: Bucket::default(),
            acknowledgements: Delay::new(config.unanswered_invite.patience),
            challenges: Delay::new(config.extension_enumeration.follow),
            logged_challenges: Delay::new(config.extension_enumeration.follow),
            attempts: Delay::new(config.password_guessing.patience),
            config,
            protected: Protected::default(),
            bans: Bans::default(),
            ladder: Ladder::default(),
            trust: Trust::default(),
            strikes: Lru::new(MOST_STRIKES, key),
            commands: VecDeque::new(),
            statistics: Statistics::default(),
            unseen: None,
            logged: 0,
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
            let user = trusted.username.as_ref();
            let user = user.map(|name| self.key.of_caseless(name.as_bytes()));
            self.trust.restore(trusted, user, &self.config.trust);
        }
    }

    /// Puts other numbers in force; what was counted stays.
    pub fn set_config(&mut self, config: Config) {
        self.acknowledgements
            .set_span(config.unanswered_invite.patience);
        self.challenges
            .set_span(config.extension_enumeration.follow);
        self.logged_challenges
            .set_span(config.extension_enumeration.follow);
        self.attempts.set_span(config.password_guessing.patience);
        self.config = config;
    }

    /// Takes one observation, made at `now`. Time never runs backwards here: an earlier `now`
    /// than the last one is taken as the last one.
    pub fn observe(&mut self, observation: &Observation<'_>, now: Time) {
        self.handle_timeout(now);
        self.statistics.observations += 1;
        match observation {
            Observation::KernelDrop(drop) => self.observe_drop(drop),
            Observation::Message(message) => self.observe_message(message),
            Observation::Signature(seen) => self.observe_signature(seen),
            Observation::Unreachable(unreachable) => {
                let client = canonical(unreachable.destination);
                let now = self.now;
                if let Some(state) = self.sources.get_mut(Source::of(client.ip())) {
                    state.unreachable = Some((client.port(), now));
                }
            }
            Observation::Log(event) => self.observe_log(event),
        }
    }

    /// Until `now` packets went by that no observation tells of. What was awaited then, an ACK,
    /// credentials, may have been among them, so that it did not come is held against nobody. So may
    /// a registration: whom the server asks with OPTIONS or calls becomes no peer for two hours by
    /// answering, unless it was one before. To be called where a daemon starts, too; a recording,
    /// which is shorter than that as a rule, is judged by what it shows.
    pub fn overlooked(&mut self, now: Time) {
        // Before the time passes, for what is due was perhaps overlooked.
        self.unseen = Some(now);
    }

    /// The next thing to do, oldest first.
    pub fn next_command(&mut self) -> Option<Command> {
        self.commands.pop_front()
    }

    /// When [`Self::handle_timeout`] must be called at the latest.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Time> {
        [
            self.bans.next_end(),
            self.transactions.next(),
            self.acknowledgements.next(),
            self.challenges.next(),
            self.logged_challenges.next(),
            self.attempts.next(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Lets the time pass. What is due is done in the order of its time and as of its time, so it
    /// makes no difference how often this is called.
    pub fn handle_timeout(&mut self, now: Time) {
        while let Some(due) = self.poll_timeout() {
            if due > now {
                break;
            }
            self.advance(due);
            self.handle_due(due);
        }
        self.advance(now);
    }

    /// Sets a ban that no detector asked for. Refused where it would hit a protected address, and
    /// narrowed as by [`Self::narrow`], unless forced. False where one of the same target is in force
    /// that lasts at least as long.
    pub fn impose(
        &mut self,
        mut ban: Ban,
        force: bool,
        now: Time,
    ) -> Result<bool, ProtectedPrefix> {
        self.handle_timeout(now);
        ban.prefix = ban.prefix.trunc();
        if force {
            return Ok(self.set_ban(ban));
        }
        match self.protected.conflict(&ban.prefix) {
            Some(conflict) => Err(conflict),
            None => Ok(self.set_narrowed(ban)),
        }
    }

    /// Has a ban that would hit somebody who has just connected by SSH drop SIP only, and say so: the
    /// administrator may have logged in that moment, and must not be cut off. A ban of a whole prefix
    /// is narrowed as a whole: SIP is what sipward guards, and so a stranger's connection spares
    /// neither him nor his neighbours that. True where the ban is another one now.
    pub fn narrow(&self, ban: &mut Ban) -> bool {
        if ban.scope == Scope::Sip {
            return false;
        }
        let Some(address) = self.protected.ssh_connection(&ban.prefix) else {
            return false;
        };
        ban.scope = Scope::Sip;
        let why = format!("; SIP only, for {address} has just connected by SSH");
        ban.reason.push_str(&why);
        true
    }

    /// As [`Self::narrow`], of a ban that was decided and that nobody has enforced yet: the next commands
    /// have the narrowed one in its place. True where this one must not be enforced.
    pub fn narrow_decided(&mut self, ban: &Ban) -> bool {
        let mut narrowed = ban.clone();
        if !self.narrow(&mut narrowed) {
            return false;
        }
        if self.withdraw(ban) {
            self.set_ban(narrowed);
        }
        true
    }

    /// Lifts every ban within `prefix`, and makes a hole for it in each ban around it.
    pub fn lift(&mut self, prefix: IpNet, now: Time) -> Lifted {
        self.handle_timeout(now);
        let prefix = prefix.trunc();
        let within: Vec<Key> = self.bans.within(prefix).map(Key::of).collect();
        let around: Vec<Key> = self.bans.around(prefix).map(Key::of).collect();
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

    /// Forgets a ban that could not be enforced, and says nothing of it. Another one that has taken
    /// its place meanwhile stays, and then the answer is false.
    pub fn withdraw(&mut self, ban: &Ban) -> bool {
        let key = Key::of(ban);
        self.bans.get(&key) == Some(ban) && self.bans.remove(&key).is_some()
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

    pub(crate) fn set_narrowed(&mut self, mut ban: Ban) -> bool {
        self.narrow(&mut ban);
        self.set_ban(ban)
    }

    pub(crate) fn set_ban(&mut self, ban: Ban) -> bool {
        let is_new = self.bans.add(ban.clone());
        if is_new {
            self.commands.push_back(Command::Ban(ban));
        }
        is_new
    }

    fn handle_due(&mut self, due: Time) {
        while let Some(Key {
            prefix,
            port,
            scope,
        }) = self.bans.pop_lapsed(due)
        {
            self.commands.push_back(Command::Unban(Unban {
                prefix,
                port,
                scope,
                cause: UnbanCause::Lapsed,
            }));
        }
        while let Some(key) = self.acknowledgements.pop_due(due) {
            self.acknowledgement_is_due(key);
        }
        while let Some((source, key)) = self.challenges.pop_due(due) {
            self.credentials_are_due(source, key);
        }
        while let Some(challenge) = self.logged_challenges.pop_due(due) {
            self.logged_credentials_are_due(&challenge);
        }
        while let Some(waiting) = self.attempts.pop_due(due) {
            self.attempt_is_due(&waiting);
        }
        self.transactions.forget(due);
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
