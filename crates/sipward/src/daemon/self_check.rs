//! Whether what is decided is carried out. A ban that is listed but does not bite is the worst
//! that a guard can have; so it looks at what comes through behind itself.
//!
//! | found                                                | done                          |
//! |------------------------------------------------------|-------------------------------|
//! | a packet of a banned source behind the shield        | counted; the ban put back     |
//! | a ban that the kernel no longer has, or has shorter  | put back                      |
//! | the program gone from an interface                   | put back, where that is free  |
//! | an interface that has come, or come back             | guarded at once               |
//! | another program in its place                         | put back                      |
//!
//! In observe mode nothing is dropped, and so nothing leaks.

use std::{
    collections::{BTreeSet, VecDeque},
    net::IpAddr,
    time::Duration,
};

use ipnet::IpNet;
use sipward_engine::{Ban, Protection, Scope, Time};
use sipward_shield::{BootTime, Direction, TapFrame};
use sipward_wire::{Packet, Transport};

use super::guard::{Guard, kernel_ban, scope};
use crate::{
    clock::{self, Clocks},
    config::{GuardMode, PortLists},
    control::api::{Enforcement, EnforcementState},
    exit::Failure,
    ledger::Target,
};

/// After a ban was set, or what is exempt from bans changed, packets may be on their way for so
/// long; and a ban may lapse so much earlier in the kernel, whose clock is another.
const GRACE: Duration = Duration::from_millis(100);
/// So long after the last trouble it is still told.
const RECENT: Duration = Duration::from_secs(60);
/// Bans that are looked up in one check, 5 ms' worth; more take turns.
const BANS_AT_ONCE: usize = 5_000;
/// Bans of which packets came through that are looked up between two checks: each once, for as many
/// packets may leak as a flood has.
const LEAKS_AT_ONCE: usize = 1_000;
/// Ends that differ by less are the same: the two clocks drift.
const SAME: Duration = Duration::from_secs(2);

/// What the self-check has found so far.
#[derive(Debug)]
pub struct SelfCheck {
    leaked: u64,
    /// When something was found last.
    pub(super) trouble: Option<Time>,
    /// What the log says of enforcement.
    told: EnforcementState,
    /// What was banned within the last [`GRACE`], and when.
    fresh: VecDeque<(Time, Target)>,
    /// When what is exempt from bans changed last.
    changed: Time,
    /// The ban that was looked up last, where more follow.
    looked_up: Option<Target>,
    /// The bans of which packets came through since the last check.
    leaking: BTreeSet<Target>,
    /// Bans put back since the last check, and the first of them.
    put_back: Option<(IpNet, usize)>,
}

impl SelfCheck {
    /// Nothing found yet.
    pub fn new(now: Time) -> Self {
        Self {
            leaked: 0,
            trouble: None,
            told: EnforcementState::Ok,
            fresh: VecDeque::new(),
            changed: now,
            looked_up: None,
            leaking: BTreeSet::new(),
            put_back: None,
        }
    }

    /// Forgets what it found, but for the count.
    pub fn begin_anew(&mut self, now: Time) {
        *self = Self {
            leaked: self.leaked,
            ..Self::new(now)
        };
    }

    /// The kernel was told of a ban.
    pub fn banned(&mut self, target: Target, now: Time) {
        self.forget(now);
        self.fresh.push_back((now, target));
    }

    /// Mode, ports or allowlist have changed.
    pub fn changed(&mut self, now: Time) {
        self.changed = now;
    }

    /// Whether the kernel knew of this ban, and of all exemptions, long enough before `at`.
    fn is_settled(&mut self, target: &Target, at: Time) -> bool {
        self.forget(at);
        at > self.changed + GRACE && self.fresh.iter().all(|(_, fresh)| fresh != target)
    }

    /// Whether a ban that leaks is to be looked up.
    fn leaks_first(&mut self, target: Target) -> bool {
        self.leaking.len() < LEAKS_AT_ONCE && self.leaking.insert(target)
    }

    fn forget(&mut self, now: Time) {
        while self.fresh.front().is_some_and(|(at, _)| *at + GRACE < now) {
            self.fresh.pop_front();
        }
    }
}

impl Guard {
    /// Whether what is decided is carried out.
    ///
    /// # Errors
    /// The kernel cannot be asked.
    pub fn enforcement(&self) -> Result<Enforcement, Failure> {
        let unguarded = self.unguarded()?;
        let now = clock::now();
        let recent = |at: Time| now.since(at) < RECENT;
        let state = if !unguarded.is_empty() {
            EnforcementState::Detached
        } else if self.self_check.trouble.is_some_and(recent) {
            EnforcementState::Leaking
        } else {
            EnforcementState::Ok
        };
        Ok(Enforcement {
            state,
            leaked_packets: self.self_check.leaked,
        })
    }

    /// Looks whether the program is on its interfaces and the bans are in the kernel, mends what
    /// is not, and tells the log.
    pub fn check_enforcement(&mut self) {
        self.self_check.leaking.clear();
        self.check_interfaces();
        self.look_up_bans();
        if let Err(error) = self.detach_former() {
            tracing::debug!("what guarded before is still there: {error}");
        }
        let put_back = self.self_check.put_back.take().map(|(prefix, count)| {
            format!("{count} bans were missing in the kernel and are back, that of {prefix} first")
        });
        if let Some(put_back) = &put_back {
            tracing::warn!("{put_back}");
        }
        self.tell_enforcement("bans were missing");
    }

    /// Counts a frame of a banned source, which should not have come through.
    pub(super) fn check_leak(&mut self, frame: &TapFrame<'_>, packet: &Packet<'_>) {
        let Some(ban) = self.leaked_ban(frame, packet) else {
            return;
        };
        let target = Target::of(&ban);
        if !self.self_check.is_settled(&target, Time(frame.at)) {
            return;
        }
        self.self_check.leaked += 1;
        self.self_check.trouble = Some(clock::now());
        if !self.self_check.leaks_first(target) {
            return;
        }
        self.put_back(&target, ban.until);
        self.tell_enforcement(&format!(
            "a packet of {} came through, which is banned",
            ban.prefix
        ));
    }

    /// The ban that should have dropped this frame.
    fn leaked_ban(&self, frame: &TapFrame<'_>, packet: &Packet<'_>) -> Option<Ban> {
        if frame.direction == Direction::Out || self.config.mode == GuardMode::Observe {
            return None;
        }
        let source = packet.source()?;
        let at = Time(frame.at);
        let in_force = |ban: &&Ban| at > ban.since + GRACE && ban.is_in_force(at + GRACE);
        let ban = self
            .engine
            .bans_of(source)
            .filter(in_force)
            .find(|ban| drops(ban, packet, &self.config.ports))?;
        (!self.is_exempt(source)).then(|| ban.clone())
    }

    fn is_exempt(&self, source: IpAddr) -> bool {
        self.engine.protected().is(Protection::Allowlist, source)
    }

    /// Looks the next bans up in the kernel, and puts back those that are missing there.
    fn look_up_bans(&mut self) {
        let wanted = |ban: &Ban| (Target::of(ban), ban.until);
        let next: Vec<(Target, Option<Time>)> = match self.self_check.looked_up {
            None => self.engine.bans().take(BANS_AT_ONCE).map(wanted).collect(),
            Some(last) => self
                .engine
                .bans_after(last.prefix, last.port, last.scope)
                .take(BANS_AT_ONCE)
                .map(wanted)
                .collect(),
        };
        let all = next.len() < BANS_AT_ONCE;
        self.self_check.looked_up = next.last().map(|(last, _)| *last).filter(|_| !all);
        for (target, until) in next {
            if self.put_back(&target, until) {
                self.self_check.trouble = Some(clock::now());
            }
        }
    }

    /// Sets a ban again that the kernel does not have, or not for as long as it should.
    fn put_back(&mut self, target: &Target, until: Option<Time>) -> bool {
        let clocks = Clocks::now();
        let lapses_soon = until.is_some_and(|until| until < clocks.unix + SAME);
        let ban = kernel_ban(target, until);
        let same = u64::try_from(SAME.as_nanos()).unwrap_or_default();
        let is_held = |end: BootTime| end.0.saturating_add(same) >= ban.until.0;
        let held = self.shield.ban_end(&ban.target, scope(target.scope));
        let mended = match held {
            Ok(held) if lapses_soon || held.is_some_and(is_held) => return false,
            Ok(_) => self.shield.ban(&ban),
            Err(error) => Err(error),
        };
        match mended {
            Ok(()) => {
                self.self_check.banned(*target, clocks.unix);
                let put_back = &mut self.self_check.put_back;
                put_back.get_or_insert((target.prefix, 0)).1 += 1;
            }
            Err(error) => tracing::error!("the ban of {}: {error}", target.prefix),
        }
        true
    }

    /// Tells the log where the state is another than it was.
    pub(super) fn tell_enforcement(&mut self, why: &str) {
        let state = match self.enforcement() {
            Ok(enforcement) => enforcement.state,
            Err(error) => return tracing::error!("cannot look at the interfaces: {error}"),
        };
        if state == self.self_check.told {
            return;
        }
        self.self_check.told = state;
        match state {
            EnforcementState::Ok => tracing::info!("enforcement: ok again"),
            EnforcementState::Leaking => tracing::warn!("enforcement: leaking: {why}"),
            EnforcementState::Detached => tracing::warn!("enforcement: detached: {why}"),
        }
    }
}

/// Whether the kernel drops this packet of a source of the ban.
fn drops(ban: &Ban, packet: &Packet<'_>, ports: &PortLists) -> bool {
    let has_port = match ban.port {
        None => true,
        Some(port) => packet.ports().is_some_and(|(source, _)| source == port),
    };
    has_port
        && match ban.scope {
            Scope::All => true,
            Scope::Sip => is_sip(packet, ports),
        }
}

/// Whether a packet goes to a port of the scope `sip`.
fn is_sip(packet: &Packet<'_>, ports: &PortLists) -> bool {
    let has = |port: u16, lists: &[&[u16]]| lists.iter().any(|list| list.contains(&port));
    match packet.transport {
        Transport::Udp(udp) => has(
            udp.destination_port,
            &[&ports.sip_udp, &ports.iax2, &ports.tripwire],
        ),
        Transport::Tcp(tcp) => has(
            tcp.destination_port,
            &[
                &ports.sip_tcp,
                &ports.sip_tls,
                &ports.sip_ws,
                &ports.tripwire,
            ],
        ),
        // What has no port, or none that could be read, is not dropped in this scope.
        Transport::Icmp(_)
        | Transport::Other
        | Transport::LaterFragment
        | Transport::NotUnderstood(_) => false,
    }
}

#[cfg(test)]
mod tests;
