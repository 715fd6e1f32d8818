//! The kernel's maps behind the words of [`crate::Shield`].

mod fill;

use std::{
    collections::{BTreeSet, HashSet},
    net::IpAddr,
};

use aya::{
    Ebpf,
    maps::{Array, HashMap, MapData, PerCpuArray, RingBuf, lpm_trie::LpmTrie},
};
use ipnet::IpNet;
use sipward_signature::Tables;

use crate::{
    Ban, BootTime, Count, Counters, EnforcedBan, Error, Event, Mode, Over, Policy, ReadBans,
    Reason, Scope, Target,
    abi::{
        Active, Address, BanAbi, BanKey, CountAbi, PolicyAbi, SourceAbi, TablesAbi, class_number,
    },
    automaton,
    cover::{Cover, Ends, Entry},
    entries::{
        Slot, alone, ends_of, event_of, found, full_or, in_force_ends_of, in_map, key4, key6, net,
        slot_of, source_key, take, target_of, zeroed,
    },
    held::{self, HeldBans},
    listed::{Kind, Listed},
    sys,
};

/// Events taken in one go: under a flood more come than are taken, and somebody has to act.
const EVENTS_AT_ONCE: usize = 1024;

pub struct Maps {
    active: Array<MapData, Active>,
    policies: Array<MapData, PolicyAbi>,
    tables: Array<MapData, TablesAbi>,
    listed: Listed,
    allowed4: LpmTrie<MapData, [u8; 4], u64>,
    allowed6: LpmTrie<MapData, [u8; 16], u64>,
    bans: HashMap<MapData, BanKey, BanAbi>,
    prefix_bans4: LpmTrie<MapData, [u8; 4], BanAbi>,
    prefix_bans6: LpmTrie<MapData, [u8; 16], BanAbi>,
    held: HeldBans,
    trusted: HashMap<MapData, Address, SourceAbi>,
    /// The keys in `bans` and in `trusted`, as far as we know: an entry that somebody else takes away is
    /// not to be counted twice when it is put back, and no more when it is lifted.
    banned: HashSet<BanKey>,
    logged_in: HashSet<Address>,
    ssh_sessions: HashMap<MapData, Address, u64>,
    counts: PerCpuArray<MapData, CountAbi>,
    events: RingBuf<MapData>,
    allowed: BTreeSet<IpNet>,
    cover: Cover,
    generation: u32,
}

impl Maps {
    /// Takes the maps of a loaded object; what pinned ones already hold is read.
    pub fn new(ebpf: &mut Ebpf) -> Result<Self, Error> {
        let bans = HashMap::try_from(take(ebpf, "bans")?).map_err(in_map("bans"))?;
        let prefix_bans4 =
            LpmTrie::try_from(take(ebpf, "prefix_bans4")?).map_err(in_map("prefix_bans4"))?;
        let prefix_bans6 =
            LpmTrie::try_from(take(ebpf, "prefix_bans6")?).map_err(in_map("prefix_bans6"))?;
        let mut maps = Self {
            held: HeldBans::of(&bans, &prefix_bans4, &prefix_bans6)?,
            active: Array::try_from(take(ebpf, "active")?).map_err(in_map("active"))?,
            policies: Array::try_from(take(ebpf, "policies")?).map_err(in_map("policies"))?,
            tables: Array::try_from(take(ebpf, "signature_tables")?)
                .map_err(in_map("signature_tables"))?,
            listed: Listed::new(Array::try_from(take(ebpf, "listed")?).map_err(in_map("listed"))?),
            allowed4: LpmTrie::try_from(take(ebpf, "allowed4")?).map_err(in_map("allowed4"))?,
            allowed6: LpmTrie::try_from(take(ebpf, "allowed6")?).map_err(in_map("allowed6"))?,
            bans,
            prefix_bans4,
            prefix_bans6,
            trusted: HashMap::try_from(take(ebpf, "trusted")?).map_err(in_map("trusted"))?,
            ssh_sessions: HashMap::try_from(take(ebpf, "ssh_sessions")?)
                .map_err(in_map("ssh_sessions"))?,
            banned: HashSet::new(),
            logged_in: HashSet::new(),
            counts: PerCpuArray::try_from(take(ebpf, "counts")?).map_err(in_map("counts"))?,
            events: RingBuf::try_from(take(ebpf, "events")?).map_err(in_map("events"))?,
            allowed: BTreeSet::new(),
            cover: Cover::default(),
            generation: 0,
        };
        maps.adopt_singles()?;
        maps.adopt_prefixes()?;
        maps.allowed = maps.allowed_entries()?;
        maps.list_entries()?;
        // Generations of an earlier process would name the wrong signatures: begin elsewhere.
        let boot_ms = BootTime::now().0 / 1_000_000;
        maps.generation = u32::try_from(boot_ms & 0xffff_ffff).unwrap_or_default();
        Ok(maps)
    }

    pub fn events(&self) -> &RingBuf<MapData> {
        &self.events
    }

    pub fn set_policy(&mut self, policy: &Policy) -> Result<(), Error> {
        let limits = &policy.limits;
        let mut abi: Box<PolicyAbi> = zeroed();
        abi.sip = limits.sip.into();
        abi.responses = limits.responses.into();
        abi.unknown = limits.unknown.into();
        abi.trusted = limits.trusted.into();
        abi.ssh = limits.ssh.into();
        abi.observe = u32::from(policy.mode == Mode::Observe);
        abi.reject = u32::from(policy.over == Over::Reject);
        for (port, class) in &policy.ports.udp {
            abi.udp[usize::from(*port)] = class_number(*class);
        }
        for (port, class) in &policy.ports.tcp {
            abi.tcp[usize::from(*port)] = class_number(*class);
        }

        let mut active = self.active()?;
        let spare = 1 - (active.policy & 1);
        self.policies
            .set(spare, abi.as_ref(), 0)
            .map_err(in_map("policies"))?;
        active.policy = spare;
        self.set_active(active)
    }

    pub fn set_signatures(&mut self, tables: &Tables) -> Result<u32, Error> {
        let abi = automaton::lay_out(tables, self.generation.wrapping_add(1))?;
        let mut active = self.active()?;
        let spare = 1 - (active.tables & 1);
        self.tables
            .set(spare, abi.as_ref(), 0)
            .map_err(in_map("signature_tables"))?;
        active.tables = spare;
        self.set_active(active)?;
        self.generation = abi.generation;
        Ok(self.generation)
    }

    /// Sets bans, of each target and scope the last one, and writes them in few system calls. Those
    /// that are not written when the kernel refuses one are as they were before.
    pub fn ban_all(&mut self, bans: &[Ban]) -> Result<(), Error> {
        let mut bans: Vec<Ban> = bans.iter().map(trunc).collect();
        bans.sort_by_key(|ban| ban.target);
        let mut singles = Vec::new();
        let mut prefixes = Vec::new();
        for same in bans.chunk_by(|a, b| a.target == b.target) {
            let Some(first) = same.first() else {
                continue;
            };
            let ends = |before: Ends| {
                same.iter()
                    .fold(before, |ends, ban| ends.with(ban.scope, ban.until))
            };
            match slot_of(&first.target)? {
                Slot::Single(key) => {
                    let seen = self.single_ban(&key)?.unwrap_or_default();
                    singles.push((key, alone(seen, ends(ends_of(&seen)))));
                }
                Slot::Prefix(prefix) => {
                    let before = self.cover.own(&prefix);
                    let ends = ends(before.unwrap_or_default());
                    prefixes.push((prefix, ends, before));
                }
            }
        }
        self.write_singles(&singles)?;
        self.write_prefixes(&prefixes)
    }

    /// Writes bans of single targets, some of which are not there yet.
    fn write_singles(&mut self, bans: &[(BanKey, BanAbi)]) -> Result<(), Error> {
        let keys = bans.iter().map(|(key, _)| *key);
        let fresh: Vec<BanKey> = keys.filter(|key| !self.banned.contains(key)).collect();
        self.list_all(
            fresh
                .iter()
                .map(|key| (kind_of(key), target_of(key).prefix)),
        )?;
        let Err((written, error)) = sys::update_batch(&self.bans, bans) else {
            self.banned.extend(fresh);
            return Ok(());
        };
        let written = bans.iter().take(written);
        self.banned.extend(written.map(|(key, _)| *key));
        for key in fresh {
            if !self.banned.contains(&key) {
                // The error that counts is the other; a flag too many only costs time.
                let _ = self.unlist(kind_of(&key), target_of(&key).prefix);
            }
        }
        Err(full_or("bans", error))
    }

    /// Writes bans of prefixes, in order, each with the ends that it had before.
    fn write_prefixes(&mut self, bans: &[(IpNet, Ends, Option<Ends>)]) -> Result<(), Error> {
        let fresh: Vec<IpNet> = bans
            .iter()
            .filter_map(|(prefix, _, before)| before.is_none().then_some(*prefix))
            .collect();
        self.list_all(fresh.iter().map(|prefix| (Kind::PrefixBanned, *prefix)))?;
        let ends: Vec<(IpNet, Ends)> = bans
            .iter()
            .map(|(prefix, ends, _)| (*prefix, *ends))
            .collect();
        let entries = self.cover.set_all(&ends);
        let Err((written, error)) = self.write_entries(&entries, &fresh) else {
            return Ok(());
        };
        // The index must not claim what the trie does not have. What is around a prefix stands
        // before it, so that what is written has its covers.
        let refused = entries.get(written).map(|entry| entry.prefix);
        let from = bans.partition_point(|(prefix, _, _)| Some(*prefix) < refused);
        for (prefix, _, before) in bans.iter().skip(from) {
            match before {
                Some(ends) => {
                    self.cover.set_all(&[(*prefix, *ends)]);
                }
                None => {
                    self.cover.remove(prefix);
                    let _ = self.unlist(Kind::PrefixBanned, *prefix);
                }
            }
        }
        Err(error)
    }

    pub fn unban(&mut self, target: &Target, scope: Scope) -> Result<u64, Error> {
        match slot_of(target)? {
            Slot::Single(key) => {
                let Some(seen) = found(self.bans.get(&key, 0)).map_err(in_map("bans"))? else {
                    self.unlist_single(&key)?;
                    return Ok(0);
                };
                let ends = ends_of(&seen).with(scope, BootTime(0));
                if ends == Ends::default() {
                    found(self.bans.remove(&key)).map_err(in_map("bans"))?;
                    self.unlist_single(&key)?;
                    return Ok(seen.dropped);
                }
                self.bans
                    .insert(key, alone(seen, ends), 0)
                    .map_err(in_map("bans"))?;
                Ok(seen.dropped)
            }
            Slot::Prefix(prefix) => {
                let Some(own) = self.cover.own(&prefix) else {
                    return Ok(0);
                };
                let dropped = self.prefix_ban(prefix)?.map_or(0, |seen| seen.dropped);
                let ends = own.with(scope, BootTime(0));
                if ends != Ends::default() {
                    let entries = self.cover.set_all(&[(prefix, ends)]);
                    self.write_mended(&entries)?;
                    return Ok(dropped);
                }
                self.remove_prefix(prefix)?;
                let entries = self.cover.remove(&prefix);
                self.write_mended(&entries)?;
                self.unlist(Kind::PrefixBanned, prefix)?;
                Ok(dropped)
            }
        }
    }

    pub fn held(&self, target: &Target, scope: Scope) -> Result<Option<EnforcedBan>, Error> {
        let value = match slot_of(target)? {
            Slot::Single(key) => found(self.bans.get(&key, 0)).map_err(in_map("bans"))?,
            Slot::Prefix(prefix) => self.prefix_ban(prefix)?,
        };
        let held = value.map(|value| held::ban_of(*target, scope, &value));
        Ok(held.filter(|held| held.ban.until.0 > 0))
    }

    pub fn read_bans(&self) -> Result<ReadBans, Error> {
        let held = self.held.try_clone()?;
        Ok(Box::new(move || held.in_force()))
    }

    pub fn allow(&mut self, prefix: IpNet) -> Result<(), Error> {
        let prefix = prefix.trunc();
        if self.allowed.contains(&prefix) {
            return Ok(());
        }
        self.list(Kind::Allowed, prefix)?;
        let inserted = match prefix {
            IpNet::V4(net) => self
                .allowed4
                .insert(&key4(net), 1, 0)
                .map_err(in_map("allowed4")),
            IpNet::V6(net) => self
                .allowed6
                .insert(&key6(net), 1, 0)
                .map_err(in_map("allowed6")),
        };
        if inserted.is_err() {
            let _ = self.unlist(Kind::Allowed, prefix);
            return inserted;
        }
        self.allowed.insert(prefix);
        Ok(())
    }

    pub fn disallow(&mut self, prefix: IpNet) -> Result<(), Error> {
        let prefix = prefix.trunc();
        if !self.allowed.contains(&prefix) {
            return Ok(());
        }
        match prefix {
            IpNet::V4(net) => {
                found(self.allowed4.remove(&key4(net))).map_err(in_map("allowed4"))?;
            }
            IpNet::V6(net) => {
                found(self.allowed6.remove(&key6(net))).map_err(in_map("allowed6"))?;
            }
        }
        self.allowed.remove(&prefix);
        self.unlist(Kind::Allowed, prefix)
    }

    pub fn allowed(&self) -> Result<Vec<IpNet>, Error> {
        Ok(self.allowed_entries()?.into_iter().collect())
    }

    pub fn allowed_count(&self) -> usize {
        self.allowed.len()
    }

    pub fn trust(&mut self, source: IpAddr) -> Result<(), Error> {
        let key = source_key(source);
        if found(self.trusted.get(&key, 0))
            .map_err(in_map("trusted"))?
            .is_some()
        {
            // A fresh entry would refill the bucket.
            return Ok(());
        }
        if !self.logged_in.contains(&key) {
            self.list(Kind::Trusted, source.into())?;
            self.logged_in.insert(key);
        }
        let inserted = self.trusted.insert(key, SourceAbi::default(), 0);
        if inserted.is_err() {
            let _ = self.unlist_trusted(source);
        }
        inserted.map_err(in_map("trusted"))
    }

    pub fn distrust(&mut self, source: IpAddr) -> Result<(), Error> {
        found(self.trusted.remove(&source_key(source))).map_err(in_map("trusted"))?;
        self.unlist_trusted(source)
    }

    pub fn trusted(&self) -> Result<Vec<IpAddr>, Error> {
        let keys = self.trusted.keys();
        let mut sources: Vec<IpAddr> = keys
            .map(|key| key.map(IpAddr::from).map_err(in_map("trusted")))
            .collect::<Result<_, _>>()?;
        sources.sort_unstable();
        Ok(sources)
    }

    pub fn lift_ssh_limit(&mut self, sources: &[IpAddr], until: BootTime) -> Result<(), Error> {
        for source in sources {
            self.ssh_sessions
                .insert(source_key(*source), until.0, 0)
                .map_err(in_map("ssh_sessions"))?;
        }
        Ok(())
    }

    pub fn counters(&self) -> Result<Counters, Error> {
        let mut counters = Vec::new();
        for reason in Reason::ALL {
            let values = self
                .counts
                .get(&u32::from(*reason as u8), 0)
                .map_err(in_map("counts"))?;
            let count = values.iter().fold(Count::default(), |sum, value| Count {
                passed: sum.passed + value.passed,
                dropped: sum.dropped + value.dropped,
            });
            counters.push((*reason, count));
        }
        Ok(Counters(counters))
    }

    pub fn drain_events(&mut self, sink: &mut dyn FnMut(Event)) -> usize {
        let mut drained = 0;
        while drained < EVENTS_AT_ONCE
            && let Some(item) = self.events.next()
        {
            drained += 1;
            if let Some(event) = event_of(&item) {
                sink(event);
            }
        }
        drained
    }

    /// Takes over the bans of single targets of an earlier process. Those that lapsed with the
    /// daemon dead only take up room.
    fn adopt_singles(&mut self) -> Result<(), Error> {
        let now = BootTime::now();
        for (key, value) in self.held.singles()? {
            if is_lapsed(&value, now) {
                found(self.bans.remove(&key)).map_err(in_map("bans"))?;
            } else {
                self.banned.insert(key);
                self.listed.count(kind_of(&key), target_of(&key).prefix);
            }
        }
        Ok(())
    }

    /// As [`Self::adopt_singles`], of prefixes.
    fn adopt_prefixes(&mut self) -> Result<(), Error> {
        let now = BootTime::now();
        let (lapsed, held): (Vec<_>, Vec<_>) = self
            .held
            .prefixes()?
            .into_iter()
            .partition(|(_, value)| is_lapsed(value, now));
        for (prefix, _) in lapsed {
            self.remove_prefix(prefix)?;
        }
        let ends: Vec<(IpNet, Ends)> = held
            .iter()
            .map(|(prefix, value)| (*prefix, ends_of(value)))
            .collect();
        let mut entries = self.cover.set_all(&ends);
        // An earlier process may have died between two of a cover's entries.
        entries.retain(|entry| {
            let at = held.binary_search_by_key(&entry.prefix, |(prefix, _)| *prefix);
            at.map_or(true, |at| in_force_ends_of(&held[at].1) != entry.in_force)
        });
        self.write_mended(&entries)
    }

    fn remove_prefix(&mut self, prefix: IpNet) -> Result<(), Error> {
        match prefix {
            IpNet::V4(net) => {
                found(self.prefix_bans4.remove(&key4(net))).map_err(in_map("prefix_bans4"))?;
            }
            IpNet::V6(net) => {
                found(self.prefix_bans6.remove(&key6(net))).map_err(in_map("prefix_bans6"))?;
            }
        }
        Ok(())
    }

    fn active(&self) -> Result<Active, Error> {
        self.active.get(&0, 0).map_err(in_map("active"))
    }

    fn set_active(&mut self, active: Active) -> Result<(), Error> {
        self.active.set(0, active, 0).map_err(in_map("active"))
    }

    /// Has the kernel look for an entry that is about to be made.
    fn list(&mut self, kind: Kind, prefix: IpNet) -> Result<(), Error> {
        self.listed.add(kind, prefix)?;
        self.set_listed_everywhere()
    }

    /// As [`Self::list`], for many.
    fn list_all(
        &mut self,
        entries: impl Iterator<Item = (Kind, IpNet)> + Clone,
    ) -> Result<(), Error> {
        self.listed.add_all(entries)?;
        self.set_listed_everywhere()
    }

    /// Spares the kernel the lookup of an entry that is gone, where there is no other.
    fn unlist(&mut self, kind: Kind, prefix: IpNet) -> Result<(), Error> {
        self.listed.remove(kind, prefix)?;
        self.set_listed_everywhere()
    }

    /// As [`Self::unlist`], of a ban of a single target.
    fn unlist_single(&mut self, key: &BanKey) -> Result<(), Error> {
        if !self.banned.remove(key) {
            return Ok(());
        }
        self.unlist(kind_of(key), target_of(key).prefix)
    }

    /// As [`Self::unlist`], of a source that has logged in.
    fn unlist_trusted(&mut self, source: IpAddr) -> Result<(), Error> {
        if !self.logged_in.remove(&source_key(source)) {
            return Ok(());
        }
        self.unlist(Kind::Trusted, source.into())
    }

    /// Counts what is not yet, and sets the flags anew: who died between flag and entry has left one
    /// too many.
    fn list_entries(&mut self) -> Result<(), Error> {
        for prefix in self.cover.prefixes() {
            self.listed.count(Kind::PrefixBanned, prefix);
        }
        for prefix in &self.allowed {
            self.listed.count(Kind::Allowed, *prefix);
        }
        for key in self.trusted.keys() {
            let key = key.map_err(in_map("trusted"))?;
            self.logged_in.insert(key);
            self.listed.count(Kind::Trusted, IpAddr::from(key).into());
        }
        self.listed.write_all()?;
        self.set_listed_everywhere()
    }

    fn set_listed_everywhere(&mut self) -> Result<(), Error> {
        let listed = u32::from(self.listed.everywhere());
        let active = self.active()?;
        if active.listed == listed {
            return Ok(());
        }
        self.set_active(Active { listed, ..active })
    }

    fn allowed_entries(&self) -> Result<BTreeSet<IpNet>, Error> {
        let mut prefixes = BTreeSet::new();
        for key in self.allowed4.keys() {
            let key = key.map_err(in_map("allowed4"))?;
            prefixes.extend(net(key.data(), key.prefix_len()));
        }
        for key in self.allowed6.keys() {
            let key = key.map_err(in_map("allowed6"))?;
            prefixes.extend(net(key.data(), key.prefix_len()));
        }
        Ok(prefixes)
    }

    fn single_ban(&self, key: &BanKey) -> Result<Option<BanAbi>, Error> {
        // Spares the system call.
        if !self.banned.contains(key) {
            return Ok(None);
        }
        found(self.bans.get(key, 0)).map_err(in_map("bans"))
    }

    fn prefix_ban(&self, prefix: IpNet) -> Result<Option<BanAbi>, Error> {
        // The trie would answer with a cover where the prefix itself is not there.
        if self.cover.own(&prefix).is_none() {
            return Ok(None);
        }
        match prefix {
            IpNet::V4(net) => {
                found(self.prefix_bans4.get(&key4(net), 0)).map_err(in_map("prefix_bans4"))
            }
            IpNet::V6(net) => {
                found(self.prefix_bans6.get(&key6(net), 0)).map_err(in_map("prefix_bans6"))
            }
        }
    }

    /// Writes entries that are there already.
    fn write_mended(&mut self, entries: &[Entry]) -> Result<(), Error> {
        self.write_entries(entries, &[]).map_err(|(_, error)| error)
    }

    /// Writes entries, in order, with the counts they have; those that are not there yet, in order,
    /// begin with none. Where it fails it tells how many are written.
    fn write_entries(&mut self, entries: &[Entry], fresh: &[IpNet]) -> Result<(), (usize, Error)> {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for entry in entries {
            let seen = if fresh.binary_search(&entry.prefix).is_ok() {
                None
            } else {
                self.prefix_ban(entry.prefix).map_err(|error| (0, error))?
            };
            let value = BanAbi {
                all_until_ns: entry.in_force.all,
                sip_until_ns: entry.in_force.sip,
                own_all_until_ns: entry.own.all,
                own_sip_until_ns: entry.own.sip,
                dropped: seen.unwrap_or_default().dropped,
            };
            match entry.prefix {
                IpNet::V4(net) => v4.push((key4(net), value)),
                IpNet::V6(net) => v6.push((key6(net), value)),
            }
        }
        // IPv4 stands before IPv6 in the order of the entries.
        sys::update_batch(&self.prefix_bans4, &v4)
            .map_err(|(written, error)| (written, full_or("prefix_bans4", error)))?;
        sys::update_batch(&self.prefix_bans6, &v6)
            .map_err(|(written, error)| (v4.len() + written, full_or("prefix_bans6", error)))
    }
}

/// A ban with the host bits of its target zero.
fn trunc(ban: &Ban) -> Ban {
    let prefix = ban.target.prefix.trunc();
    Ban {
        target: Target {
            prefix,
            ..ban.target
        },
        ..*ban
    }
}

fn is_lapsed(ban: &BanAbi, now: BootTime) -> bool {
    ban.own_all_until_ns <= now.0 && ban.own_sip_until_ns <= now.0
}

/// What a ban of a single address is to the flags.
fn kind_of(key: &BanKey) -> Kind {
    if key.port == 0 {
        Kind::Banned
    } else {
        Kind::PortBanned
    }
}
