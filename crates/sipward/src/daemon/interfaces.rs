//! The guarded interfaces while the daemon runs: they come, go, and change their names.

use std::collections::{BTreeMap, BTreeSet};

use sipward_shield::GuardedInterface;

use super::{backend, guard::Guard, locks::InterfaceLocks};
use crate::{clock, exit::Failure};

/// What was found of the interfaces last.
#[derive(Debug, Default)]
pub struct Interfaces {
    /// Why none could be looked at or mended.
    refused: Option<String>,
    /// What the log says of how an interface is called, by its wanted name; by that where it says
    /// nothing.
    told: BTreeMap<String, String>,
    locks: InterfaceLocks,
    /// Why XDP does not guard one, and why nftables cannot in its place.
    bare: Option<(String, String)>,
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

    /// For the reason for which XDP does not guard an interface nftables cannot either.
    pub fn cannot_fall_back(&mut self, why: String, error: &Failure) {
        self.bare = Some((why, error.to_string()));
    }

    /// The reason why nobody can guard an interface for which XDP's is this.
    pub fn why_bare(&self, refused: String) -> String {
        match &self.bare {
            Some((why, error)) if *why == refused => {
                format!("{refused}; nor can nftables guard: {error}")
            }
            Some(_) | None => refused,
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

    /// Why XDP leaves an interface bare that nftables could guard: the configuration lets it, and
    /// neither another sipward guards that one, nor was it tried in vain.
    pub(super) fn may_fall_back_for(&self) -> Option<String> {
        if !self.backend.is_xdp() || !backend::may_fall_back(&self.config) {
            return None;
        }
        let tried = self.interfaces.bare.as_ref().map(|(why, _)| why);
        let unguarded = self.unguarded().ok()?.into_iter();
        unguarded
            .filter(|it| it.is_present && !self.interfaces.locks.is_refused(&it.name))
            .filter_map(|it| it.refused)
            .find(|why| Some(why) != tried)
    }

    /// Puts the program back where it is missing. Returns what was found, if anything was.
    fn reattach(&mut self) -> Result<Option<String>, Failure> {
        let unguarded = self.unguarded()?;
        let locks = &mut self.interfaces.locks;
        let mut claimed = BTreeSet::new();
        let reattached = self.shield.reattach(&mut |index, name| {
            claimed.insert(index);
            locks.take(index, name).map_err(|refused| refused.text)
        });
        if reattached.is_ok() {
            locks.keep(&claimed);
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
