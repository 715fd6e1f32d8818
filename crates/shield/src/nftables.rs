//! The shield as a table of nftables, for where XDP is not to be had.
//!
//! Everything is in the table `inet sipward`; no other is read or touched. It is judged at priority
//! raw, before connection tracking, so that no rule that lets established connections through lets
//! a banned source through. The table outlives the daemon, and bans lapse in it by themselves.
//!
//! Rules are text and go through `nft -f -`, elements and counters through netlink. What is set
//! here is remembered: a table that somebody flushes (`nft flush ruleset` does) is made again with
//! all that was in it, in one transaction. So is one that was not there, or that an older or newer
//! version has left: that one judges until ours, whole, takes its place.

mod events;
mod interfaces;
pub(crate) mod netlink;
mod nflog;
mod ruleset;
mod sets;
mod table;
mod tap;

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet, HashMap},
    io,
    net::IpAddr,
    os::fd::{AsFd as _, BorrowedFd},
    time::Duration,
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use sipward_signature::Tables;

use self::{
    events::Seen,
    interfaces::Interfaces,
    netlink::{Change, Message, Socket},
    nflog::Listener,
    ruleset::{ANY_LAYOUT, BANS_MAX, ENTRY, LAYOUT, TAP_CHAINS},
    sets::{Element, Family, Purpose, Set},
    table::{busy_or, chains, failed, removal, rules, run_nft},
};
pub use self::{table::TABLE, tap::Tap};

use crate::{
    Ban, BootTime, Claim, Count, Counters, EnforcedBan, Error, Event, GuardedInterface, Policy,
    ReadBans, Reason, Scope, Shield, Target, sys,
};

/// The log group of drops that the daemon hears of. Groups belong to a network namespace; ulogd's
/// usual ones are below 100.
const EVENTS_GROUP: u16 = 5060;
/// The log group of the tap.
const TAP_GROUP: u16 = 5061;
/// Begins the error of a machine or a process that may not use nf_tables.
const CANNOT: &str = "cannot use nf_tables (it takes CAP_NET_ADMIN)";
/// Events taken in one go.
const EVENTS_AT_ONCE: usize = 1024;

/// The guarding table.
pub struct Nftables {
    socket: RefCell<Socket>,
    events: Listener,
    interfaces: Interfaces,
    /// Whether the table is there, of this layout. Until [`Shield::attach`] makes it, everything is
    /// only remembered.
    is_made: bool,
    /// Rules of each chain, as we have made them; none while nothing is attached.
    rules: Option<BTreeMap<String, usize>>,
    sets: BTreeSet<Set>,
    policy: Option<Policy>,
    bans: BTreeMap<(Target, Scope), BootTime>,
    allowed: BTreeSet<IpNet>,
    trusted: BTreeSet<IpAddr>,
    generation: u32,
    limited: HashMap<IpAddr, Seen>,
    notes: Vec<String>,
}

impl Nftables {
    /// Takes over what an earlier start has left, or has a table made by [`Shield::attach`]; until
    /// then no other packets are judged than before. If that never comes, nothing has changed.
    ///
    /// # Errors
    /// Another sipward uses it; a kernel without nf_tables or nfnetlink_log; no `nft`; no
    /// permission (CAP_NET_ADMIN).
    pub fn open(interfaces: &[String]) -> Result<Self, Error> {
        let mut socket = Socket::open().map_err(failed(CANNOT))?;
        let chains = chains(&mut socket).map_err(failed(CANNOT))?;
        let interfaces = Interfaces::named(interfaces, &chains)?;
        // Who listens owns the table.
        let events = Listener::open(EVENTS_GROUP).map_err(busy_or(EVENTS_GROUP))?;
        let mut table = Self {
            socket: RefCell::new(socket),
            events,
            interfaces,
            is_made: chains.iter().any(|chain| chain == LAYOUT),
            rules: None,
            sets: BTreeSet::new(),
            policy: None,
            bans: BTreeMap::new(),
            allowed: BTreeSet::new(),
            trusted: BTreeSet::new(),
            generation: 0,
            limited: HashMap::new(),
            notes: Vec::new(),
        };
        if table.is_made {
            run_nft(&ruleset::table())?;
            table.adopt().map_err(failed("cannot read the table"))?;
            if chains.iter().any(|chain| chain == ENTRY) {
                table.notes.push(format!("table inet {TABLE}: adopted"));
            }
        } else if !chains.is_empty() {
            table.notes.push(format!(
                "table inet {TABLE} was of another layout: this version's has taken its place"
            ));
        }
        Ok(table)
    }

    /// Tells that the interface of this name is the one that is wanted by another.
    ///
    /// # Errors
    /// It cannot be looked at.
    pub fn is_called(&mut self, wanted: &str, name: &str) -> Result<(), Error> {
        let index = sys::interface_index(name).map_err(Error::Interfaces)?;
        if let Some(index) = index {
            self.interfaces.was(index, wanted);
        }
        Ok(())
    }

    /// Becomes readable when [`Shield::drain_events`] has something to give.
    #[must_use]
    pub fn events_fd(&self) -> BorrowedFd<'_> {
        self.events.as_fd()
    }

    /// Reads what the table holds already.
    fn adopt(&mut self) -> io::Result<()> {
        let socket = &mut *self.socket.borrow_mut();
        for set in sets::existing(socket)? {
            let held = sets::all(socket, &set)?;
            self.sets.insert(set);
            for element in held {
                match set.purpose {
                    Purpose::Allowed => {
                        self.allowed.insert(element.target.prefix);
                    }
                    Purpose::Banned(scope) => {
                        self.bans.insert((element.target, scope), element.until);
                    }
                    // They lapse by themselves, and the daemon tells them anew.
                    Purpose::SshSessions => {}
                }
            }
        }
        for family in Family::ALL {
            let found = sets::addresses(socket, &trusted_set(family))?;
            self.trusted.extend(found);
        }
        Ok(())
    }

    /// Makes a set where it is not there yet, and has it looked into.
    fn ensure(&mut self, wanted: &BTreeSet<Set>) -> Result<(), Error> {
        let new: Vec<Set> = wanted.difference(&self.sets).copied().collect();
        if new.is_empty() {
            return Ok(());
        }
        if self.is_made {
            let all: Vec<Set> = self.sets.union(wanted).copied().collect();
            let text: String = new.iter().map(ruleset::new_set).collect();
            run_nft(&(text + &ruleset::lookups(&all)))?;
        }
        self.sets.extend(new);
        self.know_rules()
    }

    /// Notes which rules there are now, all of which we made.
    fn know_rules(&mut self) -> Result<(), Error> {
        if self.rules.is_some() {
            self.rules = Some(self.own_rules()?);
        }
        Ok(())
    }

    /// Rules of each chain but of the tap's, which has its own eye on them.
    fn own_rules(&self) -> Result<BTreeMap<String, usize>, Error> {
        let rules = rules(&mut self.socket.borrow_mut());
        let mut rules = rules.map_err(failed("cannot read the rules"))?;
        rules.retain(|chain, _| !TAP_CHAINS.contains(&chain.as_str()));
        Ok(rules)
    }

    fn has_rules(&self) -> bool {
        let wanted = self.rules.as_ref();
        wanted.is_some_and(|wanted| self.own_rules().is_ok_and(|found| found == *wanted))
    }

    /// Has the packets of the interfaces judged, as these are called now.
    fn enter(&mut self) -> Result<(), Error> {
        let chains = chains(self.socket.get_mut()).map_err(failed("cannot read the table"))?;
        let called = self.interfaces.called_now()?;
        let marks = called.marks();
        let is_stale = |chain: &&String| interfaces::is_mark(chain) && !marks.contains(chain);
        let mut text = ruleset::entry(&called);
        for mark in chains.iter().filter(is_stale) {
            text += &format!("delete chain inet {TABLE} {mark}\n");
        }
        run_nft(&text)?;
        self.interfaces.written(called);
        self.rules = Some(self.own_rules()?);
        Ok(())
    }

    /// Makes the table with all that is to be in it, in the place of what is there. That takes one
    /// transaction: a packet is judged by the one or by the other. 100,000 bans take `nft` 0.75 s of
    /// work; netlink takes 0.5 s, and cannot carry rules that are text.
    fn make(&mut self) -> Result<(), Error> {
        let all: Vec<Set> = self.sets.iter().copied().collect();
        let mut text = removal() + &ruleset::table();
        text.extend(all.iter().map(ruleset::new_set));
        text += &ruleset::lookups(&all);
        if let Some(policy) = &self.policy {
            text += &ruleset::policy(policy);
        }
        text += &self.contents()?;
        let called = self.interfaces.called_now()?;
        text += &ruleset::entry(&called);
        run_nft(&text)?;
        self.interfaces.written(called);
        self.is_made = true;
        self.rules = Some(self.own_rules()?);
        Ok(())
    }

    /// What is remembered, as text.
    fn contents(&self) -> Result<String, Error> {
        let now = BootTime::now();
        let mut contents: BTreeMap<String, Vec<(Target, BootTime)>> = BTreeMap::new();
        for ((target, scope), until) in self.bans.iter().filter(|(_, until)| **until > now) {
            let set = Set::of_ban(target, *scope)?;
            let elements = contents.entry(set.name()).or_default();
            elements.push((*target, *until));
        }
        let allowed = self.allowed.iter().map(|prefix| {
            let set = Set::of_prefix(Purpose::Allowed, prefix);
            (set.name(), *prefix)
        });
        let trusted = self.trusted.iter().map(|source| {
            let set = trusted_set(Family::of(*source));
            (set, IpNet::from(*source))
        });
        for (set, prefix) in allowed.chain(trusted) {
            let target = Target { prefix, port: None };
            let elements = contents.entry(set).or_default();
            elements.push((target, BootTime::NEVER));
        }
        let text = |(set, elements): (&String, &Vec<_>)| sets::text(set, elements, now);
        Ok(contents.iter().map(text).collect())
    }

    fn transact(&self, messages: Vec<(Change, Message)>) -> Result<(), Error> {
        if !self.is_made {
            return Ok(());
        }
        self.socket
            .borrow_mut()
            .transact(messages)
            .map_err(|source| {
                if source.raw_os_error() == Some(libc::ENFILE) {
                    return Error::Full(BANS_MAX);
                }
                failed("the kernel refused a change")(source)
            })
    }

    /// Writes bans, each with the count that it has. One that lapses just now is no error.
    fn write_bans(&mut self, bans: &[Ban]) -> Result<(), Error> {
        let now = BootTime::now();
        let mut messages = Vec::new();
        let mut new: BTreeMap<Set, Vec<Element>> = BTreeMap::new();
        for ban in bans {
            let set = Set::of_ban(&ban.target, ban.scope)?;
            let is_known = self.bans.contains_key(&(ban.target, ban.scope));
            let held = if is_known {
                self.element(&set, &ban.target)?
            } else {
                None
            };
            if held.is_some() {
                messages.push(sets::delete(&set.name(), &ban.target));
            }
            if ban.until > now {
                let packets = held.map_or(0, |held| held.packets);
                let element = Element::of_ban(ban, packets);
                new.entry(set).or_default().push(element);
            }
        }
        for (set, elements) in &new {
            messages.extend(sets::create(&set.name(), elements, true, now));
        }
        self.transact(messages)
    }

    /// Makes each anew: an element that is made again keeps the end that it had, before Linux 6.12.
    fn write_ssh_sessions(&self, sources: &BTreeSet<IpNet>, until: BootTime) -> Result<(), Error> {
        let mut messages = Vec::new();
        for prefix in sources {
            let set = Set::of_prefix(Purpose::SshSessions, prefix);
            let target = Target {
                prefix: *prefix,
                port: None,
            };
            if self.element(&set, &target)?.is_some() {
                messages.push(sets::delete(&set.name(), &target));
            }
            let element = Element::of_source(prefix.addr(), until);
            messages.extend(sets::create(
                &set.name(),
                &[element],
                false,
                BootTime::now(),
            ));
        }
        self.transact(messages)
    }

    fn element(&self, set: &Set, target: &Target) -> Result<Option<sets::Held>, Error> {
        if !self.is_made || !self.sets.contains(set) {
            return Ok(None);
        }
        sets::get(&mut self.socket.borrow_mut(), set, target)
            .map_err(failed("cannot look a ban up"))
    }
}

impl Shield for Nftables {
    fn set_policy(&mut self, policy: &Policy) -> Result<(), Error> {
        if self.is_made {
            let sets: Vec<Set> = self.sets.iter().copied().collect();
            run_nft(&(ruleset::policy(policy) + &ruleset::lookups(&sets)))?;
        }
        self.policy = Some(policy.clone());
        self.know_rules()
    }

    fn set_signatures(&mut self, _tables: &Tables) -> Result<u32, Error> {
        self.generation = self.generation.wrapping_add(1);
        Ok(self.generation)
    }

    fn ban(&mut self, ban: &Ban) -> Result<(), Error> {
        self.ban_all(std::slice::from_ref(ban))
    }

    fn ban_all(&mut self, bans: &[Ban]) -> Result<(), Error> {
        // The last word on a target counts.
        let bans: BTreeMap<(Target, Scope), Ban> = bans
            .iter()
            .map(|ban| {
                let target = sets::truncated(&ban.target);
                ((target, ban.scope), Ban { target, ..*ban })
            })
            .collect();
        let sets = bans
            .values()
            .map(|ban| Set::of_ban(&ban.target, ban.scope))
            .collect::<Result<_, _>>()?;
        self.ensure(&sets)?;
        let list: Vec<Ban> = bans.values().copied().collect();
        // A ban that lapsed between look and change; then it is not there any more.
        match self.write_bans(&list) {
            Err(Error::Nftables { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                self.write_bans(&list)?;
            }
            written => written?,
        }
        self.bans
            .extend(bans.into_iter().map(|(key, ban)| (key, ban.until)));
        Ok(())
    }

    fn unban(&mut self, target: &Target, scope: Scope) -> Result<u64, Error> {
        let set = Set::of_ban(target, scope)?;
        let held = self.element(&set, target)?;
        if held.is_some() {
            match self.transact(vec![sets::delete(&set.name(), target)]) {
                Err(Error::Nftables { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                }
                deleted => deleted?,
            }
        }
        self.bans.remove(&(sets::truncated(target), scope));
        Ok(held.map_or(0, |held| held.packets))
    }

    fn held(&self, target: &Target, scope: Scope) -> Result<Option<EnforcedBan>, Error> {
        let set = Set::of_ban(target, scope)?;
        if !self.is_made {
            let key = (sets::truncated(target), scope);
            let until = self.bans.get(&key);
            return Ok(until.map(|until| remembered(&key, until)));
        }
        Ok(self.element(&set, target)?.map(|held| held.ban(scope)))
    }

    fn overdue(&self) -> Duration {
        sys::slept()
    }

    fn read_bans(&self) -> Result<ReadBans, Error> {
        if !self.is_made {
            let bans: Vec<EnforcedBan> = self
                .bans
                .iter()
                .map(|(key, until)| remembered(key, until))
                .collect();
            return Ok(Box::new(move || Ok(bans)));
        }
        let sets = self.sets.clone();
        // The daemon's own is in use meanwhile.
        let mut socket = Socket::open().map_err(failed(CANNOT))?;
        Ok(Box::new(move || {
            sets::bans(&mut socket, &sets).map_err(failed("cannot read the bans"))
        }))
    }

    fn allow(&mut self, prefix: IpNet) -> Result<(), Error> {
        let prefix = prefix.trunc();
        let set = Set::of_prefix(Purpose::Allowed, &prefix);
        self.ensure(&BTreeSet::from([set]))?;
        let element = Element::of_address(prefix.addr());
        self.transact(sets::create(
            &set.name(),
            &[element],
            false,
            BootTime::now(),
        ))?;
        self.allowed.insert(prefix);
        Ok(())
    }

    fn disallow(&mut self, prefix: IpNet) -> Result<(), Error> {
        let prefix = prefix.trunc();
        if !self.allowed.contains(&prefix) {
            return Ok(());
        }
        let set = Set::of_prefix(Purpose::Allowed, &prefix);
        let target = Target { prefix, port: None };
        if self.element(&set, &target)?.is_some() {
            self.transact(vec![sets::delete(&set.name(), &target)])?;
        }
        self.allowed.remove(&prefix);
        Ok(())
    }

    fn allowed(&self) -> Result<Vec<IpNet>, Error> {
        Ok(self.allowed.iter().copied().collect())
    }

    fn allowed_count(&self) -> usize {
        self.allowed.len()
    }

    fn trust(&mut self, source: IpAddr) -> Result<(), Error> {
        let source = source_of(source);
        let set = trusted_set(Family::of(source));
        let element = Element::of_address(source);
        self.transact(sets::create(&set, &[element], false, BootTime::now()))?;
        self.trusted.insert(source);
        Ok(())
    }

    fn distrust(&mut self, source: IpAddr) -> Result<(), Error> {
        let source = source_of(source);
        if self.trusted.remove(&source) {
            let target = Target {
                prefix: source.into(),
                port: None,
            };
            let set = trusted_set(Family::of(source));
            match self.transact(vec![sets::delete(&set, &target)]) {
                Err(Error::Nftables { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                }
                deleted => deleted?,
            }
        }
        Ok(())
    }

    fn trusted(&self) -> Result<Vec<IpAddr>, Error> {
        Ok(self.trusted.iter().copied().collect())
    }

    fn lift_ssh_limit(&mut self, sources: &[IpAddr], until: BootTime) -> Result<(), Error> {
        let sources: BTreeSet<IpNet> = sources.iter().map(|source| network_of(*source)).collect();
        let of = |source| Set::of_prefix(Purpose::SshSessions, source);
        self.ensure(&sources.iter().map(of).collect())?;
        // One that lapses between look and change; then it is not there any more.
        match self.write_ssh_sessions(&sources, until) {
            Err(Error::Nftables { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                self.write_ssh_sessions(&sources, until)
            }
            written => written,
        }
    }

    fn counters(&self) -> Result<Counters, Error> {
        let found = table::counters(&mut self.socket.borrow_mut())
            .map_err(failed("cannot read the counters"))?;
        let of = |name: String| found.get(&name).copied().unwrap_or_default();
        let count = |reason: &Reason| {
            let count = Count {
                passed: of(ruleset::passed(*reason)),
                dropped: of(ruleset::dropped(*reason)),
            };
            (*reason, count)
        };
        Ok(Counters(Reason::ALL.iter().map(count).collect()))
    }

    fn interfaces(&self) -> Result<Vec<GuardedInterface>, Error> {
        let has_rules = self.has_rules();
        let mut guarded = self.interfaces.guarded()?;
        for interface in &mut guarded {
            interface.attached &= has_rules;
        }
        Ok(guarded)
    }

    fn drain_events(&mut self, sink: &mut dyn FnMut(Event)) -> usize {
        let mut drained = 0;
        while drained < EVENTS_AT_ONCE
            && let Some(logged) = self.events.next()
        {
            drained += 1;
            if let Some(event) = self.event(&logged) {
                sink(event);
            }
        }
        drained
    }

    fn attach(&mut self) -> Result<Vec<String>, Error> {
        if self.is_made {
            self.enter()?;
        } else {
            self.make()?;
        }
        Ok(std::mem::take(&mut self.notes))
    }

    fn reattach(&mut self, claim: &mut Claim<'_>) -> Result<Vec<String>, Error> {
        if self.rules.is_none() {
            return Ok(Vec::new());
        }
        self.notes.extend(self.interfaces.claim(claim)?);
        if !self.has_rules() {
            self.make()?;
            self.notes.push(format!(
                "rules of table inet {TABLE} were missing (`nft flush ruleset` takes them): it is \
                 made anew"
            ));
        } else if !self.interfaces.are_called_so()? {
            self.enter()?;
            let note = format!("the rules are for {} now", self.interfaces);
            self.notes.push(note);
        }
        self.interfaces.check()?;
        Ok(std::mem::take(&mut self.notes))
    }

    fn detach(&mut self) -> Result<(), Error> {
        self.rules = None;
        self.is_made = false;
        run_nft(&removal())
    }
}

/// Finds out whether this process may use nf_tables, and whether there is an `nft`.
///
/// # Errors
/// What an administrator can act on.
pub fn probe() -> Result<(), Error> {
    let asked = Socket::open().and_then(|mut socket| chains(&mut socket));
    asked.map_err(failed(CANNOT))?;
    run_nft("")
}

/// Takes away what a sipward with this backend has left behind that is no longer running. Returns
/// whether there was anything.
///
/// # Errors
/// What `nft` says.
pub fn remove_leftovers() -> Result<bool, Error> {
    let left = || chains(&mut Socket::open()?);
    // Where nf_tables is not to be had, nothing can be left in it.
    let is_ours = |chain: &String| chain.starts_with(ANY_LAYOUT);
    if !left().is_ok_and(|chains| chains.iter().any(is_ours)) {
        return Ok(false);
    }
    // Who listens owns the table, and guards by it.
    match Listener::open(EVENTS_GROUP).map_err(busy_or(EVENTS_GROUP)) {
        Err(Error::LogGroup(_)) => Ok(false),
        Err(error) => Err(error),
        Ok(_owner) => run_nft(&removal()).map(|()| true),
    }
}

/// A ban of a table that is not made yet.
fn remembered((target, scope): &(Target, Scope), until: &BootTime) -> EnforcedBan {
    EnforcedBan {
        ban: Ban {
            target: *target,
            scope: *scope,
            until: *until,
        },
        dropped_packets: 0,
    }
}

fn trusted_set(family: Family) -> String {
    format!("trusted{}", family.digit())
}

/// A source is an IPv4 address or an IPv6 /64.
fn network_of(address: IpAddr) -> IpNet {
    match address {
        IpAddr::V4(address) => Ipv4Net::from(address).into(),
        IpAddr::V6(address) => Ipv6Net::new_assert(address, 64).trunc().into(),
    }
}

/// The first address of a source.
fn source_of(address: IpAddr) -> IpAddr {
    network_of(address).addr()
}
