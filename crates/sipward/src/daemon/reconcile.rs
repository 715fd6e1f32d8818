//! What the kernel holds and what the ledger says, made one again at the start. Each difference
//! is logged, or the number of those of one kind where they are many.
//!
//! | kernel | ledger        | so                                                     |
//! |--------|---------------|--------------------------------------------------------|
//! | –      | in force      | the pins are gone (a reboot): banned again             |
//! | ban    | in force      | the ledger's end counts                                |
//! | ban    | ended         | died between ledger and kernel: lifted                 |
//! | ban    | unknown       | died between kernel and ledger: taken into the ledger  |
//!
//! A ban of the kernel is the ended one where both were to last equally long, or it lasts longer by no
//! more than the machine has slept where that does not count; else it is a later one, of which the ledger
//! had not heard yet.

use std::{
    collections::{BTreeMap, BTreeSet},
    iter,
    net::IpAddr,
    time::Duration,
};

use ipnet::IpNet;
use sipward_engine::{Ban, Origin, Restored, Scope, Source, Time, Trusted};
use sipward_shield::EnforcedBan;

use super::guard::{Guard, kernel_ban};
use crate::{
    clock::{self, Clocks},
    exit::Failure,
    ledger::{Ended, Entry, PastBan, Target},
};

/// Ends that differ by less are the same: the two clocks drift, and UNIX time is set.
const SAME: Duration = Duration::from_secs(2);
/// An unknown ban that lapses sooner was a hold, which no ledger keeps.
const HOLD: Duration = Duration::from_secs(10);
/// Bans of which the same became are told one by one, up to so many.
const TOLD: usize = 20;
/// Past bans that the engine learns of; the ledger keeps no more.
const HISTORY: u32 = 200_000;

/// Compares the bans, mends the kernel, and tells the engine.
pub fn bans(guard: &mut Guard) -> Result<(), Failure> {
    let clocks = Clocks::now();
    let now = clocks.unix;
    guard.tidy_ledger();
    let mut bans = guard.ledger.bans(now)?;
    // Both are in the order of their targets.
    let mut enforced = guard.shield.bans()?.into_iter().peekable();
    let mut unknown = Vec::new();
    let mut wrong = Vec::new();
    let (mut restored, mut mended) = (Vec::new(), Vec::new());
    for ban in &bans {
        let wanted = Target::of(ban);
        unknown.extend(iter::from_fn(|| {
            enforced.next_if(|held| target(held) < wanted)
        }));
        let held = enforced.next_if(|held| target(held) == wanted);
        match held {
            Some(held) if same_end(clocks.unix(held.ban.until), ban.until) => continue,
            Some(_) => mended.push(ban.prefix),
            None => restored.push(ban.prefix),
        }
        wrong.push(kernel_ban(&wanted, ban.until));
    }
    unknown.extend(enforced);
    guard.shield.ban_all(&wrong)?;
    tell(
        &restored,
        "was not in the kernel: restored",
        "were not in the kernel: restored",
    );
    tell(
        &mended,
        "has the ledger's end again",
        "have the ledger's end again",
    );
    let (mut lifted, mut kept) = (Vec::new(), Vec::new());
    for held in unknown {
        let target = target(&held);
        let until = clocks.unix(held.ban.until);
        let last = guard.ledger.last_end(&target)?;
        let slept = guard.shield.overdue();
        // It outlasts its end by what was slept since it began.
        let is_last =
            |past: PastBan| is_over(until, past.ban.until, slept.min(now.since(past.ban.since)));
        if last.is_some_and(is_last) {
            guard.shield.unban(&held.ban.target, held.ban.scope)?;
            lifted.push(target.prefix);
        } else if until.is_none_or(|until| until > now + HOLD) {
            let ban = adopted(&target, now, until);
            // The file may know why it was set.
            if !guard.ledger.stands_in() {
                guard.pending.push(Entry::Ban(ban.clone()));
            }
            kept.push(target.prefix);
            bans.push(ban);
        }
    }
    tell(
        &lifted,
        "ended in the ledger: lifted",
        "ended in the ledger: lifted",
    );
    tell(
        &kept,
        "was not in the ledger: kept",
        "were not in the ledger: kept",
    );
    bans.extend(
        guard
            .ledger
            .history(now, HISTORY)?
            .into_iter()
            .map(PastBan::as_it_ended),
    );
    let trusted = guard.ledger.trusted()?;
    guard.engine.restore(Restored { bans, trusted }, now);
    Ok(())
}

/// Makes the ledger that of the engine, where it could not be told of everything that happened.
/// Returns what it has to be told.
pub fn ledger(guard: &Guard) -> Result<Vec<Entry>, Failure> {
    let now = clock::now();
    let in_force = guard.engine.bans().filter(|ban| ban.is_in_force(now));
    let mut bans: BTreeMap<Target, &Ban> = in_force.map(|ban| (Target::of(ban), ban)).collect();
    let mut entries = Vec::new();
    for written in guard.ledger.bans(now)? {
        let target = Target::of(&written);
        match bans.remove(&target) {
            Some(ban) if *ban == written => {}
            Some(ban) => entries.push(Entry::Ban(ban.clone())),
            None => entries.push(Entry::Lift(target, now, Ended::Lifted)),
        }
    }
    entries.extend(bans.into_values().cloned().map(Entry::Ban));
    let mut trusted: BTreeMap<IpAddr, &Trusted> = guard
        .engine
        .trusted(now)
        .map(|trusted| (trusted.address, trusted))
        .collect();
    for written in guard.ledger.trusted()? {
        match trusted.remove(&written.address) {
            Some(trusted) if *trusted == written => {}
            Some(trusted) => entries.push(Entry::Trust(trusted.clone())),
            None => entries.push(Entry::Distrust(written.address)),
        }
    }
    entries.extend(trusted.into_values().cloned().map(Entry::Trust));
    Ok(entries)
}

/// Gives the larger rate to every trusted address and to nobody else.
pub fn trusted(guard: &mut Guard) -> Result<(), Failure> {
    let trusted = guard.engine.trusted(clock::now());
    let wanted: BTreeSet<IpAddr> = trusted
        .map(|trusted| Source::of(trusted.address).prefix().addr())
        .collect();
    let held: BTreeSet<IpAddr> = guard.shield.trusted()?.into_iter().collect();
    for source in wanted.difference(&held) {
        guard.shield.trust(*source)?;
        tracing::info!("reconcile: {source} was not trusted in the kernel: trusted");
    }
    if guard.ledger.stands_in() {
        return Ok(());
    }
    for source in held.difference(&wanted) {
        guard.shield.distrust(*source)?;
        tracing::info!("reconcile: {source} has not logged in lately: no longer trusted");
    }
    Ok(())
}

/// Makes the kernel's allowlist that of configuration and ledger, and tells the engine.
pub fn allowed(guard: &mut Guard) -> Result<(), Failure> {
    let by_hand = guard.ledger.allowed()?;
    let names = guard.ledger.allowed_names()?;
    let named = names.iter().flat_map(|name| &name.addresses);
    let mut allowed: BTreeSet<IpNet> = guard
        .config
        .allowed()
        .into_iter()
        .chain(by_hand.iter().map(|(prefix, _)| *prefix))
        .chain(named.map(|address| IpNet::from(*address)))
        .chain(guard.peers.of_configuration(&guard.config))
        .collect();
    let peers: BTreeSet<IpNet> = guard
        .peers
        .of_asterisk()
        .map(|(prefix, _)| prefix)
        .collect();
    let wanted: BTreeSet<IpNet> = allowed.union(&peers).copied().collect();
    let held: BTreeSet<IpNet> = guard.shield.allowed()?.into_iter().collect();
    for prefix in wanted.difference(&held) {
        guard.shield.allow(*prefix)?;
        tracing::info!("reconcile: {prefix} was not allowed in the kernel: allowed");
    }
    if guard.ledger.stands_in() {
        // By whom they are allowed cannot be read: a false ban is worse than one that is missing.
        allowed.extend(held);
        guard.protect_allowed(allowed, peers);
        return Ok(());
    }
    for prefix in held.difference(&wanted) {
        guard.shield.disallow(*prefix)?;
        tracing::info!("reconcile: {prefix} is allowed by nobody: no longer allowed");
    }
    guard.protect_allowed(allowed, peers);
    Ok(())
}

/// Logs what became of bans: of each, or of many their number.
fn tell(prefixes: &[IpNet], one: &str, many: &str) {
    match prefixes {
        [first, ..] if prefixes.len() > TOLD => tracing::info!(
            "reconcile: {} bans {many}, that of {first} first",
            prefixes.len()
        ),
        few => few
            .iter()
            .for_each(|prefix| tracing::info!("reconcile: the ban of {prefix} {one}")),
    }
}

/// What tells a ban of the kernel from another, in the ledger's words.
pub fn target(enforced: &EnforcedBan) -> Target {
    Target {
        prefix: enforced.ban.target.prefix,
        port: enforced.ban.target.port,
        scope: match enforced.ban.scope {
            sipward_shield::Scope::All => Scope::All,
            sipward_shield::Scope::Sip => Scope::Sip,
        },
    }
}

fn adopted(target: &Target, since: Time, until: Option<Time>) -> Ban {
    Ban {
        prefix: target.prefix,
        port: target.port,
        scope: target.scope,
        since,
        until,
        detector: None,
        reason: "found in the kernel after a restart; why it was set is lost".to_owned(),
        proven: false,
        signature: None,
        account: None,
        origin: Origin::Local,
    }
}

/// Whether what ends then in the kernel is the ban that ended so in the ledger: as long ago as it may
/// outlast its end.
fn is_over(held: Option<Time>, ended: Option<Time>, overdue: Duration) -> bool {
    let (Some(held), Some(ended)) = (held, ended) else {
        return held == ended;
    };
    held.since(ended) < overdue + SAME && ended.since(held) < SAME
}

fn same_end(a: Option<Time>, b: Option<Time>) -> bool {
    match (a, b) {
        (None, None) => true,
        (Some(a), Some(b)) => a.since(b) < SAME && b.since(a) < SAME,
        (None, Some(_)) | (Some(_), None) => false,
    }
}
