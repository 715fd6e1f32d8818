//! What went in and out at the protected ports, logged behind our own drop rules: a packet socket
//! sees what nftables is about to drop, and would take each of these for a leak.

use std::{
    os::fd::{AsFd, BorrowedFd},
    time::{SystemTime, UNIX_EPOCH},
};

use super::{
    TAP_GROUP,
    interfaces::Interfaces,
    netlink::Socket,
    nflog::Listener,
    ruleset::{self, LAYOUT, TAP_CHAINS},
    table::{busy_or, chains, failed, rules, run_nft},
};
use crate::{Direction, Error, Frames, TapFrame, TapPorts, TapStatistics};

/// The part of an Ethernet header before the EtherType.
const ADDRESSES: usize = 12;

/// The tap of the nftables backend. It outlives its rules, which [`Frames::mend`] makes again.
pub struct Tap {
    interfaces: Interfaces,
    name: String,
    listener: Listener,
    frame: Vec<u8>,
    at: Option<u64>,
    statistics: TapStatistics,
    /// How many there are of those that were meant last; none until these are in force.
    rules: Option<usize>,
}

impl Tap {
    /// Opens the tap on all interfaces. Where the table is not there yet, or is of another layout,
    /// it sees the first packet after [`Frames::set_ports`] or [`Frames::mend`].
    ///
    /// # Errors
    /// Somebody else listens; what `nft` or the kernel says.
    pub fn open(interfaces: &[String], ports: &TapPorts) -> Result<Self, Error> {
        let listener = Listener::open(TAP_GROUP).map_err(busy_or(TAP_GROUP))?;
        let chains = chains_now()?;
        let mut tap = Self {
            interfaces: Interfaces::named(interfaces, &chains)?,
            name: interfaces.join(", "),
            listener,
            frame: Vec::new(),
            at: None,
            statistics: TapStatistics::default(),
            rules: None,
        };
        if chains.iter().any(|chain| chain == LAYOUT) {
            tap.set_ports(ports)?;
        }
        Ok(tap)
    }

    fn rules_now() -> Result<usize, Error> {
        let rules = Socket::open().and_then(|mut socket| rules(&mut socket));
        let rules = rules.map_err(failed("cannot read the rules of the tap"))?;
        let own = TAP_CHAINS.iter().filter_map(|chain| rules.get(*chain));
        Ok(own.sum())
    }
}

impl Frames for Tap {
    fn interface(&self) -> &str {
        &self.name
    }

    fn mend(&mut self, ports: &TapPorts) -> Result<bool, Error> {
        if self.rules == Some(Self::rules_now()?) && self.interfaces.are_called_so()? {
            return Ok(false);
        }
        self.set_ports(ports)?;
        self.name = self.interfaces.to_string();
        self.listener.lost = 0;
        self.statistics = TapStatistics::default();
        Ok(true)
    }

    fn set_ports(&mut self, ports: &TapPorts) -> Result<(), Error> {
        self.rules = None;
        self.interfaces.recall(&chains_now()?);
        let called = self.interfaces.called_now()?;
        run_nft(&ruleset::tap(&called, ports))?;
        self.interfaces.written(called);
        self.rules = Some(Self::rules_now()?);
        Ok(())
    }

    fn next_at(&mut self) -> Option<u64> {
        let next = self.listener.peek()?;
        // What goes out has no time: it is here as soon as it has left.
        let at = self.at.or(next.at).unwrap_or_else(unix_now);
        self.at = Some(at);
        Some(at)
    }

    fn next_frame(&mut self) -> Option<TapFrame<'_>> {
        let at = self.next_at()?;
        let logged = self.listener.next()?;
        self.at = None;
        self.statistics.frames += 1;
        self.frame.clear();
        self.frame.resize(ADDRESSES, 0);
        self.frame.extend(logged.protocol.to_be_bytes());
        self.frame.extend(&logged.bytes);
        Some(TapFrame {
            bytes: &self.frame,
            at,
            direction: if logged.is_outgoing {
                Direction::Out
            } else {
                Direction::In
            },
            is_cut: false,
            vlan: None,
        })
    }

    fn statistics(&mut self) -> Result<TapStatistics, Error> {
        self.statistics.lost = self.listener.lost;
        Ok(self.statistics)
    }
}

impl AsFd for Tap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

fn chains_now() -> Result<Vec<String>, Error> {
    let chains = Socket::open().and_then(|mut socket| chains(&mut socket));
    chains.map_err(failed("cannot read the table"))
}

fn unix_now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| u64::try_from(now.as_nanos()).unwrap_or(u64::MAX))
}
