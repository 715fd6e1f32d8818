//! The interfaces that rules name. By its wanted name, so that one that comes late is judged from its
//! first packet on; and by the index of whoever bears that, so that one that is given another name
//! is judged on, with the daemon dead, too. For whom an index stands, a chain's name tells the next
//! start: an index by itself does not say what it was guarded for.

use std::{collections::BTreeMap, fmt, io};

use crate::{
    Claim, Error, GuardedInterface, Refusal, RefusalKind,
    interfaces::{Link, Present, Wanted, from_hexadecimal, hexadecimal},
};

/// Begins the name of the chain that tells for which name an interface is guarded; its index and
/// the name in hexadecimal follow.
const MARK: &str = "guards-";

/// Interfaces, and how they are called in the rules.
#[derive(Clone, Debug)]
pub struct Interfaces {
    wanted: Vec<Wanted>,
    written: Called,
    /// Why those are left alone that may not be claimed, by their wanted names.
    refused: BTreeMap<String, String>,
}

/// What the rules call interfaces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Called {
    /// The wanted names.
    pub names: Vec<String>,
    /// Those that are there.
    present: Vec<Bearer>,
}

/// Who bears a wanted name, or bore it last.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Bearer {
    wanted: String,
    present: Present,
}

impl Called {
    /// Those that are there, by their indices.
    pub fn indices(&self) -> Vec<u32> {
        self.present.iter().map(|one| one.present.index).collect()
    }

    /// The names of the chains that tell the next start which interface is guarded for which name.
    pub fn marks(&self) -> Vec<String> {
        let mark = |one: &Bearer| {
            let (index, wanted) = (one.present.index, hexadecimal(&one.wanted));
            format!("{MARK}{index}-{wanted}")
        };
        self.present.iter().map(mark).collect()
    }
}

/// Whether a chain is there for its name only, see [`Called::marks`].
pub fn is_mark(chain: &str) -> bool {
    chain.starts_with(MARK)
}

fn from_mark(chain: &str) -> Option<(u32, String)> {
    let (index, wanted) = chain.strip_prefix(MARK)?.split_once('-')?;
    Some((index.parse().ok()?, from_hexadecimal(wanted)?))
}

impl Interfaces {
    /// Interfaces of these names; they need not be there. The chains of the table tell which
    /// interface an earlier start has guarded for which of them.
    ///
    /// # Errors
    /// A name that no rule can have.
    pub fn named(names: &[String], chains: &[String]) -> Result<Self, Error> {
        if let Some(name) = names.iter().find(|name| !can_be_written(name)) {
            return Err(Error::Nftables {
                what: format!("the name of interface {name:?} cannot be written in a rule"),
                source: io::ErrorKind::InvalidInput.into(),
            });
        }
        let mut interfaces = Self {
            wanted: names.iter().map(|name| Wanted::named(name)).collect(),
            written: Called::default(),
            refused: BTreeMap::new(),
        };
        interfaces.recall(chains);
        interfaces.check()?;
        Ok(interfaces)
    }

    /// Learns from the chains of the table which interface is guarded for which name.
    pub fn recall(&mut self, chains: &[String]) {
        for (index, wanted) in chains.iter().filter_map(|chain| from_mark(chain)) {
            self.was(index, &wanted);
        }
    }

    /// The interface of this index is guarded for this name, where nobody else is known to bear it.
    pub fn was(&mut self, index: u32, wanted: &str) {
        let mut all = self.wanted.iter_mut();
        if let Some(one) = all.find(|one| one.name == wanted) {
            one.was(index);
        }
    }

    /// Whether the kernel gives the packets of all of them to rules under their own names.
    ///
    /// # Errors
    /// A port of a bridge or a bond.
    pub fn check(&self) -> Result<(), Error> {
        for wanted in &self.wanted {
            let present = wanted.present(&self.wanted).map_err(Error::Interfaces)?;
            if let Some(present) = present
                && let Some((kind, master)) = Link::port_of(present.index)
            {
                return Err(Error::Port {
                    interface: present.name,
                    kind,
                    master,
                });
            }
        }
        Ok(())
    }

    /// Claims each that is there. Returns why one may not be, once.
    ///
    /// # Errors
    /// They cannot be looked at.
    pub fn claim(&mut self, claim: &mut Claim<'_>) -> Result<Vec<String>, Error> {
        let mut refused = BTreeMap::new();
        for Bearer { wanted, present } in self.bearers()? {
            if let Err(why) = claim(present.index, &present.name) {
                refused.insert(wanted, why);
            }
        }
        let is_new = |(wanted, why): &(&String, &String)| self.refused.get(*wanted) != Some(why);
        let news = refused.iter().filter(is_new).map(|(_, why)| why.clone());
        let news = news.collect();
        self.refused = refused;
        Ok(news)
    }

    /// What rules that are written now are to call them.
    ///
    /// # Errors
    /// They cannot be looked at.
    pub fn called_now(&mut self) -> Result<Called, Error> {
        let mut present = self.bearers()?;
        present.retain(|one| !self.refused.contains_key(&one.wanted));
        let names = self.wanted.iter().map(|wanted| wanted.name.clone());
        let names = names.filter(|name| !self.refused.contains_key(name));
        Ok(Called {
            names: names.collect(),
            present,
        })
    }

    /// Rules that call them so are in force.
    pub fn written(&mut self, called: Called) {
        self.written = called;
    }

    /// Whether the rules written last call them as they are called now.
    ///
    /// # Errors
    /// They cannot be looked at.
    pub fn are_called_so(&mut self) -> Result<bool, Error> {
        Ok(self.called_now()? == self.written)
    }

    /// The interfaces, attached where the rules judge their packets.
    ///
    /// # Errors
    /// They cannot be looked at.
    pub fn guarded(&self) -> Result<Vec<GuardedInterface>, Error> {
        let indices = self.written.indices();
        let guarded = |wanted: &Wanted| {
            let present = wanted.present(&self.wanted).map_err(Error::Interfaces)?;
            let attached = present.as_ref().is_some_and(|present| {
                let is_called =
                    self.written.names.contains(&present.name) || indices.contains(&present.index);
                is_called && Link::port_of(present.index).is_none()
            });
            Ok(GuardedInterface {
                attached,
                refused: self.refused.get(&wanted.name).map(|why| Refusal {
                    why: why.clone(),
                    kind: RefusalKind::Anothers,
                }),
                ..GuardedInterface::of(wanted, present)
            })
        };
        self.wanted.iter().map(guarded).collect()
    }

    fn bearers(&mut self) -> Result<Vec<Bearer>, Error> {
        Wanted::look(&mut self.wanted).map_err(Error::Interfaces)?;
        let mut bearers = Vec::new();
        for wanted in &self.wanted {
            let present = wanted.present(&self.wanted).map_err(Error::Interfaces)?;
            bearers.extend(present.map(|present| Bearer {
                wanted: wanted.name.clone(),
                present,
            }));
        }
        Ok(bearers)
    }
}

/// As they are called now; one that is not there, as it will be.
impl fmt::Display for Interfaces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Called { names, present } = &self.written;
        let now = |name: &String| {
            let bearer = present.iter().find(|one| one.wanted == *name);
            bearer.map_or_else(|| name.clone(), |one| one.present.name.clone())
        };
        let names: Vec<String> = names.iter().map(now).collect();
        match names.as_slice() {
            [] => f.write_str("no interface"),
            names => f.write_str(&names.join(", ")),
        }
    }
}

/// `nft` would read these as its own; `*` stands for many interfaces.
fn can_be_written(name: &str) -> bool {
    !name.contains(['"', '\\', '*'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_tells_for_which_name_an_interface_is_guarded() {
        let present = Present {
            index: 7,
            name: "outside".to_owned(),
        };
        let called = Called {
            names: vec!["eth0.100".to_owned()],
            present: vec![Bearer {
                wanted: "eth0.100".to_owned(),
                present,
            }],
        };
        let [mark] = <[_; 1]>::try_from(called.marks()).unwrap();
        assert!(is_mark(&mark));
        assert!(mark.chars().all(|c| c.is_ascii_alphanumeric() || c == '-'));
        assert_eq!(from_mark(&mark), Some((7, "eth0.100".to_owned())));
        for other in ["guards-", "guards-7", "guards-x-65", "guards-7-6", "judge4"] {
            assert_eq!(from_mark(other), None, "{other}");
        }
    }
}
