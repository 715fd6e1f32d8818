//! A shield and a tap in memory, for tests of what is above them: the shield can lose its state and
//! refuse.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::IpAddr,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixDatagram,
    },
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use ipnet::IpNet;
use sipward_shield::{
    Ban, BootTime, Claim, Counters, Direction, EnforcedBan, Error, Event, Frames, GuardedInterface,
    Policy, ReadBans, Refusal, RefusalKind, Scope, Shield, TapFrame, TapPorts, TapStatistics,
    Target, XdpMode,
};
use sipward_signature::Tables;
use sipward_testkit::packet::Packet;

/// Packets that every ban has dropped.
pub const DROPPED: u64 = 7;

/// What the kernel would hold; shared, as pins are by one daemon and the next.
#[derive(Clone, Default)]
pub struct Double(Arc<Mutex<State>>);

#[derive(Default)]
pub struct State {
    pub policy: Option<Policy>,
    pub bans: BTreeMap<(Target, Scope), Ban>,
    pub allowed: BTreeSet<IpNet>,
    pub trusted: BTreeSet<IpAddr>,
    pub events: Vec<Event>,
    pub is_full: bool,
    /// Refuses what configurations allow.
    pub has_no_allowlist: bool,
    /// What the signatures in force decide, packed.
    pub signatures: Vec<u32>,
    pub is_attached: bool,
    /// Whom the limit of SSH was lifted for, and until when.
    pub free_of_ssh_limit: Vec<(Vec<IpAddr>, BootTime)>,
    /// How often the end of a ban was asked for.
    pub lookups: usize,
    /// Another program stands on the interface.
    pub is_occupied: bool,
    /// Lifts no ban.
    pub lifts_nothing: bool,
    /// Does not let go.
    pub holds_on: bool,
    pub is_detached: bool,
    /// See [`Shield::overdue`].
    pub overdue: Duration,
    /// What the next reading of all bans does first.
    pub before_reading: Option<Box<dyn FnOnce() + Send>>,
    generation: u32,
}

impl Double {
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shield for Double {
    fn set_policy(&mut self, policy: &Policy) -> Result<(), Error> {
        self.state().policy = Some(policy.clone());
        Ok(())
    }

    fn set_signatures(&mut self, tables: &Tables) -> Result<u32, Error> {
        let mut state = self.state();
        state.signatures.clone_from(&tables.cells);
        state.generation += 1;
        Ok(state.generation)
    }

    fn ban(&mut self, ban: &Ban) -> Result<(), Error> {
        let mut state = self.state();
        if state.is_full {
            return Err(Error::Full(0));
        }
        state.bans.insert((ban.target, ban.scope), *ban);
        Ok(())
    }

    fn unban(&mut self, target: &Target, scope: Scope) -> Result<u64, Error> {
        let mut state = self.state();
        if state.lifts_nothing {
            return Err(Error::NotPermitted);
        }
        let ban = state.bans.remove(&(*target, scope));
        Ok(ban.map_or(0, |_| DROPPED))
    }

    fn held(&self, target: &Target, scope: Scope) -> Result<Option<EnforcedBan>, Error> {
        let mut state = self.state();
        state.lookups += 1;
        Ok(state.bans.get(&(*target, scope)).map(enforced))
    }

    fn overdue(&self) -> Duration {
        self.state().overdue
    }

    fn read_bans(&self) -> Result<ReadBans, Error> {
        let double = self.clone();
        Ok(Box::new(move || {
            let before = double.state().before_reading.take();
            if let Some(before) = before {
                before();
            }
            Ok(double.state().bans.values().map(enforced).collect())
        }))
    }

    fn allow(&mut self, prefix: IpNet) -> Result<(), Error> {
        let mut state = self.state();
        if state.has_no_allowlist {
            return Err(Error::Full(0));
        }
        state.allowed.insert(prefix);
        Ok(())
    }

    fn disallow(&mut self, prefix: IpNet) -> Result<(), Error> {
        self.state().allowed.remove(&prefix);
        Ok(())
    }

    fn allowed(&self) -> Result<Vec<IpNet>, Error> {
        Ok(self.state().allowed.iter().copied().collect())
    }

    fn allowed_count(&self) -> usize {
        self.state().allowed.len()
    }

    fn trust(&mut self, source: IpAddr) -> Result<(), Error> {
        self.state().trusted.insert(source);
        Ok(())
    }

    fn distrust(&mut self, source: IpAddr) -> Result<(), Error> {
        self.state().trusted.remove(&source);
        Ok(())
    }

    fn trusted(&self) -> Result<Vec<IpAddr>, Error> {
        Ok(self.state().trusted.iter().copied().collect())
    }

    fn lift_ssh_limit(&mut self, sources: &[IpAddr], until: BootTime) -> Result<(), Error> {
        let freed = (sources.to_vec(), until);
        self.state().free_of_ssh_limit.push(freed);
        Ok(())
    }

    fn counters(&self) -> Result<Counters, Error> {
        Ok(Counters::default())
    }

    fn interfaces(&self) -> Result<Vec<GuardedInterface>, Error> {
        let state = self.state();
        let occupied = Error::Occupied {
            interface: "eth0".to_owned(),
            by: "xdp_pass (id 7)".to_owned(),
            kind: RefusalKind::NoXdp,
        };
        Ok(vec![GuardedInterface {
            name: "eth0".to_owned(),
            wanted: "eth0".to_owned(),
            is_present: true,
            mode: Some(XdpMode::Native),
            attached: state.is_attached,
            refused: state.is_occupied.then(|| Refusal {
                why: occupied.to_string(),
                kind: RefusalKind::NoXdp,
            }),
        }])
    }

    fn drain_events(&mut self, sink: &mut dyn FnMut(Event)) -> usize {
        let events = std::mem::take(&mut self.state().events);
        let count = events.len();
        events.into_iter().for_each(sink);
        count
    }

    fn attach(&mut self) -> Result<Vec<String>, Error> {
        Ok(Vec::new())
    }

    fn reattach(&mut self, _: &mut Claim<'_>) -> Result<Vec<String>, Error> {
        let mut state = self.state();
        if state.is_attached || state.is_occupied {
            return Ok(Vec::new());
        }
        state.is_attached = true;
        Ok(vec!["eth0: back".to_owned()])
    }

    fn detach(&mut self) -> Result<(), Error> {
        let mut state = self.state();
        if state.holds_on {
            return Err(Error::NotPermitted);
        }
        state.is_detached = true;
        Ok(())
    }
}

const fn enforced(ban: &Ban) -> EnforcedBan {
    EnforcedBan {
        ban: *ban,
        dropped_packets: DROPPED,
    }
}

/// Frames that wait in a tap.
pub struct WaitingFrames {
    frames: VecDeque<(Direction, Vec<u8>)>,
    given: Vec<u8>,
    /// What it looks at, since it was told.
    pub ports: Arc<Mutex<Option<TapPorts>>>,
    pub refuses_ports: bool,
    /// When all of them were seen.
    at: u64,
    socket: UnixDatagram,
}

impl WaitingFrames {
    pub fn new(frames: Vec<(Direction, Vec<u8>)>, at: u64) -> Self {
        Self {
            frames: frames.into(),
            given: Vec::new(),
            ports: Arc::default(),
            refuses_ports: false,
            at,
            socket: UnixDatagram::unbound().unwrap(),
        }
    }
}

/// The server's answer to a SYN, and its acknowledgement.
pub fn handshake(remote: &str, local: &str) -> Vec<(Direction, Vec<u8>)> {
    let segment = |from: &str, to: &str, flags, (sequence, acknowledges)| {
        let segment = Packet::tcp(from, to).tcp_flags(flags);
        segment.tcp_numbers(sequence, acknowledges).build()
    };
    vec![
        (Direction::Out, segment(local, remote, 0x12, (700, 1))),
        (Direction::In, segment(remote, local, 0x10, (1, 701))),
    ]
}

impl AsFd for WaitingFrames {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Frames for WaitingFrames {
    fn interface(&self) -> &'static str {
        "memory"
    }

    fn mend(&mut self, _: &TapPorts) -> Result<bool, Error> {
        Ok(false)
    }

    fn set_ports(&mut self, ports: &TapPorts) -> Result<(), Error> {
        if self.refuses_ports {
            return Err(Error::TooManyPorts(0));
        }
        *self.ports.lock().unwrap() = Some(ports.clone());
        Ok(())
    }

    fn next_at(&mut self) -> Option<u64> {
        (!self.frames.is_empty()).then_some(self.at)
    }

    fn next_frame(&mut self) -> Option<TapFrame<'_>> {
        let (direction, bytes) = self.frames.pop_front()?;
        self.given = bytes;
        Some(TapFrame {
            bytes: &self.given,
            at: self.at,
            direction,
            is_cut: false,
            vlan: None,
        })
    }

    fn statistics(&mut self) -> Result<TapStatistics, Error> {
        Ok(TapStatistics::default())
    }
}
