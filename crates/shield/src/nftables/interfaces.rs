//! The interfaces that rules name: those that are wanted, under the names that they have now.

use std::{fmt, io};

use crate::{
    Error, GuardedInterface,
    interfaces::{Link, Present, Wanted},
};

/// Interfaces, and how they are called in the rules.
#[derive(Clone, Debug)]
pub struct Interfaces {
    wanted: Vec<Wanted>,
    written: Vec<String>,
}

impl Interfaces {
    /// Interfaces of these names; they need not be there.
    ///
    /// # Errors
    /// A name that no rule can have.
    pub fn named(names: &[String]) -> Result<Self, Error> {
        if let Some(name) = names.iter().find(|name| !can_be_written(name)) {
            return Err(Error::Nftables {
                what: format!("the name of interface {name:?} cannot be written in a rule"),
                source: io::ErrorKind::InvalidInput.into(),
            });
        }
        let interfaces = Self {
            wanted: names.iter().map(|name| Wanted::named(name)).collect(),
            written: Vec::new(),
        };
        interfaces.check()?;
        Ok(interfaces)
    }

    /// Whether the kernel gives the packets of all of them to rules under their own names.
    ///
    /// # Errors
    /// A port of a bridge.
    pub fn check(&self) -> Result<(), Error> {
        for wanted in &self.wanted {
            let present = wanted.present(&self.wanted).map_err(Error::Interfaces)?;
            if let Some(present) = present
                && let Some(bridge) = Link::bridge_of(present.index)
            {
                let interface = present.name;
                return Err(Error::BridgePort { interface, bridge });
            }
        }
        Ok(())
    }

    /// The names for rules that are written now: of each interface the wanted one, so that it is
    /// guarded from its first packet on when it comes, and the one that it was given since.
    ///
    /// # Errors
    /// They cannot be looked at.
    pub fn look(&mut self) -> Result<&[String], Error> {
        self.written = self.names_now()?;
        Ok(&self.written)
    }

    /// Whether the rules written last have all names that count now.
    ///
    /// # Errors
    /// They cannot be looked at.
    pub fn are_called_so(&mut self) -> Result<bool, Error> {
        Ok(self.names_now()? == self.written)
    }

    /// The interfaces, attached where the rules have their names.
    ///
    /// # Errors
    /// They cannot be looked at.
    pub fn guarded(&self) -> Result<Vec<GuardedInterface>, Error> {
        let guarded = |wanted: &Wanted| {
            let present = wanted.present(&self.wanted).map_err(Error::Interfaces)?;
            let is_bridged = present.as_ref().is_some_and(is_port);
            let mut guarded = GuardedInterface::of(wanted, present);
            guarded.attached =
                guarded.is_present && self.written.contains(&guarded.name) && !is_bridged;
            Ok(guarded)
        };
        self.wanted.iter().map(guarded).collect()
    }

    fn names_now(&mut self) -> Result<Vec<String>, Error> {
        for wanted in &mut self.wanted {
            wanted.look().map_err(Error::Interfaces)?;
        }
        let mut names: Vec<String> = self.wanted.iter().map(|one| one.name.clone()).collect();
        for wanted in &self.wanted {
            let present = wanted.present(&self.wanted).map_err(Error::Interfaces)?;
            let name = present.map(|present| present.name);
            names.extend(name.filter(|name| *name != wanted.name && can_be_written(name)));
        }
        Ok(names)
    }
}

impl fmt::Display for Interfaces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written.join(", "))
    }
}

fn is_port(present: &Present) -> bool {
    Link::bridge_of(present.index).is_some()
}

/// `nft` would read these as its own; `*` stands for many interfaces.
fn can_be_written(name: &str) -> bool {
    !name.contains(['"', '\\', '*'])
}
