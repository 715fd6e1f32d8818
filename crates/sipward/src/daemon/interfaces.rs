//! The guarded interfaces while the daemon runs: they come, go, and change their names.

use std::collections::BTreeMap;

use sipward_shield::GuardedInterface;

use super::guard::Guard;
use crate::{clock, exit::Failure};

/// What was found of the interfaces last.
#[derive(Debug, Default)]
pub struct Interfaces {
    /// Why none could be looked at or mended.
    refused: Option<String>,
    /// What the log says of how an interface is called, by its wanted name; by that where it says
    /// nothing.
    told: BTreeMap<String, String>,
}

impl Interfaces {
    /// Why none could be looked at or mended.
    pub fn refused(&self) -> Option<&str> {
        self.refused.as_deref()
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

    /// Puts the program back where it is missing. Returns what was found, if anything was.
    fn reattach(&mut self) -> Result<Option<String>, Failure> {
        let unguarded = self.unguarded()?;
        let reattached = self.shield.reattach();
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
