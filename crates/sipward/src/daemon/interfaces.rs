//! The guarded interfaces while the daemon runs: they come, go, and change their names.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use sipward_shield::{GuardedInterface, Refusal, RefusalKind};

use super::{backend, guard::Guard, locks::InterfaceLocks};
use crate::{clock, exit::Failure};

/// How long after the first attempt in vain to have nftables guard the next one follows; after each
/// further one it is twice as long. With a million bans an attempt takes 7.6 s.
const PAUSE: Duration = Duration::from_secs(60);
const PAUSE_MAX: Duration = Duration::from_secs(3_600);

/// What was found of the interfaces last.
#[derive(Debug, Default)]
pub struct Interfaces {
    /// Why none could be looked at or mended.
    refused: Option<String>,
    /// What the log says of how an interface is called, by its wanted name; by that where it says
    /// nothing.
    told: BTreeMap<String, String>,
    locks: InterfaceLocks,
    bare: Option<Bare>,
}

/// What XDP cannot guard nftables could not either.
#[derive(Debug)]
struct Bare {
    error: String,
    pause: Duration,
    again: Instant,
}

impl Interfaces {
    /// Why none could be looked at or mended.
    pub fn refused(&self) -> Option<&str> {
        self.refused.as_deref()
    }

    /// Holds these against other daemons, and those that come.
    pub fn hold(&mut self, locks: InterfaceLocks) {
        self.locks = locks;
    }

    /// What XDP cannot guard nftables could not either: that is tried again after a while.
    pub fn cannot_fall_back(&mut self, error: &Failure, now: Instant) {
        let before = self.bare.as_ref();
        let pause = before.map_or(PAUSE, |bare| (bare.pause * 2).min(PAUSE_MAX));
        self.bare = Some(Bare {
            error: error.to_string(),
            pause,
            again: now + pause,
        });
    }

    /// Whether it is time to try whether nftables can guard.
    fn may_try(&self, now: Instant) -> bool {
        self.bare.as_ref().is_none_or(|bare| bare.again <= now)
    }

    /// The reason why nobody can guard an interface that is refused so.
    pub fn why_bare(&self, refused: Refusal) -> String {
        let Refusal { why, kind } = refused;
        match &self.bare {
            Some(Bare { error, .. }) if kind == RefusalKind::NoXdp => {
                format!("{why}; nor can nftables guard: {error}")
            }
            Some(_) | None => why,
        }
    }

    /// Tells of each that has another name than before.
    fn tell_names(&mut self, interfaces: &[GuardedInterface]) {
        for GuardedInterface { name, wanted, .. } in interfaces.iter().filter(|it| it.attached) {
            let told = self.told.insert(wanted.clone(), name.clone());
            if told.as_ref().unwrap_or(wanted) == name {
                continue;
            }
            if name == wanted {
                tracing::info!("{wanted}: an interface of this name is guarded again");
            } else {
                tracing::warn!(
                    "{wanted} is called {name} now and guarded on; an interface that is called \
                     {wanted} again takes its place"
                );
            }
        }
    }
}

impl Guard {
    /// Puts the program on each interface where it is missing: on one that has come, too.
    pub fn check_interfaces(&mut self) {
        let why = match self.reattach() {
            Ok(why) => why,
            Err(error) => Some(error.to_string()),
        };
        self.tell_enforcement(why.as_deref().unwrap_or("an interface has come or gone"));
    }

    /// How the interface is called that is guarded for this name.
    pub(super) fn name_of(&self, wanted: &str) -> Option<String> {
        let mut all = self.shield.interfaces().ok()?.into_iter();
        let found = all.find(|interface| interface.wanted == wanted && interface.is_present);
        found.map(|interface| interface.name)
    }

    /// Why XDP cannot guard an interface that nftables could, where the configuration lets it and it
    /// was not tried in vain a moment ago.
    pub(super) fn may_fall_back_for(&self) -> Option<String> {
        if !self.backend.is_xdp() || !backend::may_fall_back(&self.config) {
            return None;
        }
        if !self.interfaces.may_try(Instant::now()) {
            return None;
        }
        let unguarded = self.unguarded().ok()?.into_iter();
        unguarded
            .filter(|it| it.is_present)
            .filter_map(|it| it.refused)
            .find(|refused| refused.kind == RefusalKind::NoXdp)
            .map(|refused| refused.why)
    }

    /// Puts the program back where it is missing. Returns what was found, if anything was.
    fn reattach(&mut self) -> Result<Option<String>, Failure> {
        let unguarded = self.unguarded()?;
        let locks = &mut self.interfaces.locks;
        let mut claimed = BTreeMap::new();
        let reattached = self.shield.reattach(&mut |index, name| {
            claimed.insert(name.to_owned(), index);
            locks.take(index, name).map_err(|refused| refused.text)
        });
        if reattached.is_ok() {
            // Who guards it is to find its lock free when it starts again.
            for interface in self.shield.interfaces()? {
                let kind = interface.refused.map(|refused| refused.kind);
                if kind == Some(RefusalKind::Anothers) {
                    claimed.remove(&interface.name);
                }
            }
            locks.keep(&claimed.into_values().collect());
        }
        self.interfaces.refused = reattached.as_ref().err().map(ToString::to_string);
        let mut missing = Vec::new();
        let mut absent = Vec::new();
        for interface in unguarded {
            let list = if interface.is_present {
                &mut missing
            } else {
                &mut absent
            };
            list.push(interface.name);
        }
        if !missing.is_empty() {
            self.self_check.trouble = Some(clock::now());
        }
        for note in reattached? {
            tracing::warn!("{note}");
        }
        self.interfaces.tell_names(&self.shield.interfaces()?);
        let found = [
            ("the shield was missing on ", missing),
            ("there is no interface ", absent),
        ];
        let found: Vec<String> = found
            .into_iter()
            .filter(|(_, names)| !names.is_empty())
            .map(|(what, names)| what.to_owned() + &names.join(", "))
            .collect();
        Ok((!found.is_empty()).then(|| found.join("; ")))
    }

    /// Those in which packets come in that nobody judges, or will.
    pub(super) fn unguarded(&self) -> Result<Vec<GuardedInterface>, Failure> {
        let interfaces = self.shield.interfaces()?.into_iter();
        Ok(interfaces.filter(|interface| !interface.attached).collect())
    }
}
