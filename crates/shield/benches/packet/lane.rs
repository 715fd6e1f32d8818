//! Filters with ways of their own from a phone to a PBX.

use std::{io::Write as _, process::Stdio, time::Instant};

use anyhow::{Context as _, Result, ensure};
use aya::{Ebpf, EbpfLoader, programs::xdp};
use sipward_shield::{
    Reason, Shield as _, XdpMode,
    xdp::{Interface, Options, Xdp},
};
use sipward_signature::Profile;
use sipward_testkit::namespace::Namespace;

use crate::{
    Effort,
    common::{BPF_FS, INTERFACE, Road, Spread, configure, register},
    program::{BARE_OBJECT, bare_program},
};

/// Packets between two looks at the clock.
const BURST: u32 = 64;
/// Each `--string` of the guide once, as it is written there. Left out is `-`, which stops every
/// SIP message and so would spare the kernel the rules behind it.
pub const GUIDE_PATTERNS: &str = include_str!("../guide-patterns.txt");

/// What stands in the packets' way.
#[derive(Clone, Copy)]
pub enum Filter {
    None,
    List(&'static str),
    Bare(XdpMode),
    Sipward(XdpMode),
}

/// The same, in place.
pub enum Installed {
    None,
    List,
    Bare { _held: Ebpf },
    Sipward(Box<Xdp>),
}

/// One filter with a way of its own from a phone to a PBX.
pub struct Lane {
    pub name: &'static str,
    road: Road,
    pub installed: Installed,
    /// Nanoseconds per packet.
    pub rounds: Vec<f64>,
}

impl Lane {
    pub fn new(
        phones: &Namespace,
        number: usize,
        name: &'static str,
        filter: Filter,
    ) -> Result<Self> {
        let lane = Self {
            name,
            installed: Installed::None,
            road: Road::new(phones, number, register("Yealink SIP-T46S 66.86.0.15"))?,
            rounds: Vec::new(),
        };
        // Has the neighbour's address found.
        lane.road.send(BURST)?;
        lane.with(filter)
    }

    fn with(mut self, filter: Filter) -> Result<Self> {
        self.installed = match filter {
            Filter::None => return Ok(self),
            Filter::List(iptables) => {
                install_list(&self.road.pbx, iptables)?;
                Installed::List
            }
            Filter::Bare(mode) => Installed::Bare {
                _held: self.road.pbx.enter(|| bare(mode))?,
            },
            Filter::Sipward(mode) => {
                let options = Options {
                    pin_dir: format!("{BPF_FS}/{}", self.road.pbx.name()).into(),
                    interfaces: vec![Interface {
                        name: INTERFACE.to_owned(),
                        mode: Some(mode),
                    }],
                };
                let shield = self.road.pbx.enter(|| {
                    let mut shield = Xdp::open(&options)?;
                    configure(&mut shield, Profile::Standard)?;
                    shield.attach()?;
                    anyhow::Ok(shield)
                })?;
                Installed::Sipward(Box::new(shield))
            }
        };
        self.stops_a_scanner()?;
        Ok(self)
    }

    /// Sends packets for a round's share and returns nanoseconds per packet.
    pub fn round(&self, effort: &Effort) -> Result<f64> {
        let (arrived, clean) = (self.road.arrived()?, self.count(Reason::Clean)?);
        // The caches were another lane's.
        self.road.send(BURST)?;
        let mut sent = u64::from(BURST);
        let mut bursts = Vec::new();
        let start = Instant::now();
        while bursts.len() < effort.bursts && start.elapsed() < effort.share {
            let took = self.road.send(BURST)?;
            bursts.push(took.as_nanos() as f64 / f64::from(BURST));
            sent += u64::from(BURST);
        }
        self.road.wait_for_arrival(arrived + sent)?;
        if let Installed::Sipward(_) = self.installed {
            let clean = self.count(Reason::Clean)? - clean;
            ensure!(
                clean == sent,
                "{sent} packets were sent and {clean} counted as clean"
            );
        }
        Ok(Spread::of(&bursts).median)
    }

    fn count(&self, reason: Reason) -> Result<u64> {
        match &self.installed {
            Installed::Sipward(shield) => {
                let count = shield.counters()?.of(reason);
                Ok(count.passed + count.dropped)
            }
            Installed::None | Installed::List | Installed::Bare { .. } => Ok(0),
        }
    }

    /// Shows that the filter is in force: of a phone's packet and a scanner's one arrives.
    fn stops_a_scanner(&self) -> Result<()> {
        let scanner = match self.installed {
            Installed::None | Installed::Bare { .. } => return Ok(()),
            Installed::List | Installed::Sipward(_) => register("friendly-scanner"),
        };
        let (arrived, hits) = (self.road.arrived()?, self.count(Reason::Signature)?);
        self.road.phone.send(&scanner)?;
        self.road.phone.send(&self.road.message)?;
        self.road.wait_for_arrival(arrived + 1)?;
        if let Installed::Sipward(_) = self.installed {
            let hits = self.count(Reason::Signature)? - hits;
            ensure!(hits == 1, "a scanner's packet hit {hits} signatures");
        }
        Ok(())
    }
}

/// Installs the guide's rules. It has them inserted at the top, so the last one is asked first.
fn install_list(pbx: &Namespace, iptables: &str) -> Result<()> {
    let mut rules = "*filter\n".to_owned();
    for pattern in GUIDE_PATTERNS.lines() {
        rules += "-I INPUT -p udp --dport 5060 -m string ";
        rules += &format!("--string \"{pattern}\" --algo bm -j DROP\n");
    }
    rules += "COMMIT\n";
    let mut restore = pbx
        .command(format!("{iptables}-restore"))
        .stdin(Stdio::piped())
        .spawn()?;
    let mut input = restore.stdin.take().context("no standard input")?;
    input.write_all(rules.as_bytes())?;
    drop(input);
    let status = restore.wait()?;
    ensure!(status.success(), "{iptables}-restore: {status}");
    Ok(())
}

/// Attaches a program of two instructions.
fn bare(mode: XdpMode) -> Result<Ebpf> {
    let mut ebpf = EbpfLoader::new().load(BARE_OBJECT)?;
    let program = bare_program(&mut ebpf, "pass")?;
    let mode = match mode {
        XdpMode::Native => xdp::XdpMode::Driver,
        XdpMode::Generic => xdp::XdpMode::Skb,
    };
    program.attach(INTERFACE, mode)?;
    Ok(ebpf)
}
