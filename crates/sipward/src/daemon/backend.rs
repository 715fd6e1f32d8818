//! What enforces: XDP, or nftables where that cannot be.
//!
//! | asked for           | XDP works | XDP does not                      |
//! |---------------------|-----------|-----------------------------------|
//! | auto                | XDP       | nftables, and `status` says why   |
//! | xdp, or an xdp-mode | XDP       | an error                          |
//! | nftables            | nftables  | nftables                          |
//!
//! With `auto` the same holds for an interface that comes while XDP guards and does not take its
//! program: nftables then guards all of them, see [`change_to_nftables`].

use std::os::fd::OwnedFd;

use sipward_shield::{
    Ban, Shield,
    nftables::{self, Nftables},
    xdp::{self, Xdp},
};
use tokio::io::unix::AsyncFd;

use super::{
    Guard,
    guard::sender,
    packets::tap_ports,
    taps::{self, Taps},
};
use crate::{
    clock,
    config::{BackendChoice, Config, XdpChoice},
    exit::{Exit, Failure},
    ledger::Ledger,
};

/// What enforces, and why that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// As on the command line.
    pub name: &'static str,
    /// For `status`.
    pub reason: String,
    /// Whether it drops what bears a scanner's signature; if not, the tap looks for them.
    pub knows_signatures: bool,
}

impl Backend {
    /// XDP.
    pub fn xdp() -> Self {
        Self {
            name: "xdp",
            reason: "the kernel loads the XDP program".to_owned(),
            knows_signatures: true,
        }
    }

    /// Whether it is XDP.
    pub const fn is_xdp(&self) -> bool {
        self.knows_signatures
    }

    fn nftables(why: &str) -> Self {
        Self {
            name: "nftables",
            reason: format!(
                "{why}; it knows no signatures: a scanner's first message passes, and the tap \
                 bans its sender"
            ),
            knows_signatures: false,
        }
    }
}

/// A guard at work, and what wakes it.
pub struct Guarding {
    /// The guard.
    pub guard: Guard,
    /// Readable when the kernel has something to tell.
    pub events: AsyncFd<OwnedFd>,
    /// What comes through.
    pub taps: Taps,
}

/// Finds out whether this machine has what is asked for.
///
/// # Errors
/// Exit code 4, with what is missing.
pub fn probe(config: &Config) -> Result<(), Failure> {
    sender(config)?;
    if config.backend == BackendChoice::Nftables {
        return Ok(nftables::probe()?);
    }
    let Err(xdp) = sipward_shield::probe() else {
        return Ok(());
    };
    if !may_fall_back(config) {
        return Err(xdp.into());
    }
    nftables::probe().map_err(|error| neither(&xdp.into(), &error.into()))
}

/// Whether nftables can guard where XDP cannot be: the configuration lets it, and this machine has
/// it. False without root.
#[must_use]
pub fn has_fallback(config: &Config) -> bool {
    let may = config.backend == BackendChoice::Nftables || may_fall_back(config);
    may && nftables::probe().is_ok()
}

/// Opens the backend and guards with it. The ledger goes with the first attempt; `ledger_again`
/// opens it for the second.
///
/// # Errors
/// What keeps it from guarding.
pub fn guard(
    config: &Config,
    interfaces: &[String],
    ledger: Ledger,
    ledger_again: impl FnOnce() -> Result<Ledger, Failure>,
) -> Result<Guarding, Failure> {
    if config.backend == BackendChoice::Nftables {
        return with_nftables(config, interfaces, ledger, "asked for");
    }
    match with_xdp(config, interfaces, ledger) {
        Err(why) if why.exit == Exit::Unsupported && may_fall_back(config) => {
            tracing::warn!("no XDP, so nftables is to guard: {why}");
            with_nftables(
                config,
                interfaces,
                ledger_again()?,
                &format!("no XDP: {why}"),
            )
            .map_err(|error| neither(&why, &error))
        }
        guarding => guarding,
    }
}

fn with_xdp(config: &Config, interfaces: &[String], ledger: Ledger) -> Result<Guarding, Failure> {
    let interface = |name: &String| xdp::Interface {
        name: name.clone(),
        mode: config.xdp_mode.asked(),
    };
    let shield = Xdp::open(&xdp::Options {
        pin_dir: config.pin_dir.clone(),
        interfaces: interfaces.iter().map(interface).collect(),
    })?;
    let events = shield.events_fd().try_clone_to_owned();
    let taps = Taps::open(interfaces, &tap_ports(config))?;
    let mut guard = Guard::new(config.clone(), Box::new(shield), ledger)?;
    guard.set_backend(Backend::xdp());
    if nftables::remove_leftovers()? {
        tracing::info!("the table that an earlier start with nftables has left is removed");
    }
    Ok(Guarding {
        guard,
        events: taps::readable(events).map_err(|error| no_events(&error))?,
        taps,
    })
}

fn with_nftables(
    config: &Config,
    interfaces: &[String],
    ledger: Ledger,
    why: &str,
) -> Result<Guarding, Failure> {
    let shield = Nftables::open(interfaces)?;
    let events = shield.events_fd().try_clone_to_owned();
    let mut taps = Taps::open_nftables(interfaces, &tap_ports(config))?;
    let mut guard = Guard::new(config.clone(), Box::new(shield), ledger)?;
    // Its rules are in the table, which was there before only if an earlier start has left it.
    taps.set_ports(&tap_ports(config))?;
    guard.set_backend(Backend::nftables(why));
    if xdp::remove_leftovers(&config.pin_dir)? {
        tracing::info!("the program that an earlier start with XDP has left is removed");
    }
    Ok(Guarding {
        guard,
        events: taps::readable(events).map_err(|error| no_events(&error))?,
        taps,
    })
}

/// Has nftables guard from now on, with all that XDP has in force. The table judges before the program
/// goes, so that no packet is without a judge; each counts from 0.
///
/// # Errors
/// What keeps nftables from guarding; XDP then guards on.
pub fn change_to_nftables(
    guard: &mut Guard,
    taps: &mut Taps,
    why: &str,
) -> Result<AsyncFd<OwnedFd>, Failure> {
    let guarded = guard.shield.interfaces()?;
    let interfaces: Vec<String> = guarded.iter().map(|it| it.wanted.clone()).collect();
    let ports = tap_ports(guard.config());
    // What an attempt in vain could not take away.
    nftables::remove_leftovers()?;
    let mut shield = Nftables::open(&interfaces)?;
    for interface in guarded.iter().filter(|it| it.is_present) {
        shield.is_called(&interface.wanted, &interface.name)?;
    }
    let events = shield.events_fd().try_clone_to_owned();
    let events = taps::readable(events).map_err(|error| no_events(&error))?;
    let mut next = Taps::open_nftables(&interfaces, &ports)?;
    // What has come through so far is seen once, by the taps before.
    taps.drain(guard);
    let backend = Backend::nftables(&format!("no XDP: {why}"));
    if let Err(error) = guard.change_shield(Box::new(shield), backend) {
        // Who listens owns the table.
        drop(events);
        if let Err(left) = nftables::remove_leftovers() {
            tracing::error!("what nftables has taken so far stays beside XDP: {left}");
        }
        return Err(error);
    }
    if let Err(error) = next.set_ports(&ports) {
        // The next check tries again.
        tracing::error!("{error}");
    }
    taps.replace(next);
    // Between the last look of those before and the first of these.
    guard.overlooked();
    Ok(events)
}

impl Guard {
    /// Has another shield enforce all that is in force, and then lets go of the one before.
    ///
    /// # Errors
    /// The other one refused; the one before stays.
    pub(super) fn change_shield(
        &mut self,
        mut shield: Box<dyn Shield>,
        backend: Backend,
    ) -> Result<(), Failure> {
        let bans: Vec<Ban> = self.shield.bans()?.iter().map(|held| held.ban).collect();
        shield.set_policy(&self.config.policy())?;
        shield.ban_all(&bans)?;
        for prefix in self.shield.allowed()? {
            shield.allow(prefix)?;
        }
        for source in self.shield.trusted()? {
            shield.trust(source)?;
        }
        let signatures = match self.events.tables().cloned() {
            Some(tables) => Some((shield.set_signatures(&tables)?, tables)),
            None => None,
        };
        for note in shield.attach()? {
            tracing::info!("{note}");
        }
        // Its counts go with it, and what it tells is of its own signatures.
        self.note_all_drops();
        self.take_events(clock::now());
        if let Some((generation, tables)) = signatures {
            self.events.know(generation, tables);
        }
        self.former = Some(std::mem::replace(&mut self.shield, shield));
        self.set_backend(backend);
        self.self_check.changed(clock::now());
        if let Err(error) = self.detach_former() {
            tracing::error!(
                "what guarded before stays beside it, with the bans of now; the next check tries                  again: {error}"
            );
        }
        Ok(())
    }

    /// Has the shield before let go. While it does not, it judges by what was in force then.
    ///
    /// # Errors
    /// It still does not.
    pub(super) fn detach_former(&mut self) -> Result<(), Failure> {
        let Some(former) = &mut self.former else {
            return Ok(());
        };
        if let Err(error) = former.detach() {
            self.self_check.trouble = Some(clock::now());
            return Err(error.into());
        }
        self.former = None;
        Ok(())
    }
}

/// Who names a mode of XDP wants XDP.
pub(super) fn may_fall_back(config: &Config) -> bool {
    config.backend == BackendChoice::Auto && config.xdp_mode == XdpChoice::Auto
}

fn neither(xdp: &Failure, nftables: &Failure) -> Failure {
    Failure::unsupported(format!("{xdp}; nor can nftables guard: {nftables}"))
}

fn no_events(error: &std::io::Error) -> Failure {
    Failure::unsupported(format!("cannot wait for events: {error}"))
}
