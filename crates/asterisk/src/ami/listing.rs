//! Whom Asterisk itself calls, asked of the running one: what its configuration cannot say, as names
//! that it has resolved and peers of a database, is known here.

use std::collections::BTreeSet;

use super::{LineEnd, Message, action};
use crate::peers;

/// The questions. An Asterisk without the driver says that it does not know them.
const ACTIONS: [&str; 5] = [
    "SIPpeers",
    "SIPshowregistry",
    "IAXpeerlist",
    "IAXregistry",
    "PJSIPShowRegistrationsOutbound",
];

/// Hosts that are kept at most: more than the trunks of any one machine.
const MOST: usize = 4_096;

/// The hosts of static peers and of Asterisk's own registrations. Never where somebody who registered
/// said that they are.
#[derive(Debug)]
pub struct Listing {
    id: String,
    open: BTreeSet<usize>,
    hosts: BTreeSet<String>,
}

impl Listing {
    /// A new listing, and the bytes that ask for it. The answers are known by `id`: one word that
    /// nobody can guess.
    ///
    /// # Errors
    /// If `id` has a line end in it.
    pub fn ask(id: &str) -> Result<(Self, Vec<u8>), LineEnd> {
        let mut bytes = Vec::new();
        for (number, name) in ACTIONS.iter().enumerate() {
            bytes.extend(action(name, &[("ActionID", &format!("{id}-{number}"))])?);
        }
        let listing = Self {
            id: id.to_owned(),
            open: (0..ACTIONS.len()).collect(),
            hosts: BTreeSet::new(),
        };
        Ok((listing, bytes))
    }

    /// Takes a message. Tells whether it is one of the answers.
    pub fn take(&mut self, message: &Message) -> bool {
        let Some(number) = message.get("ActionID").and_then(|id| self.number(id)) else {
            return false;
        };
        let ends = message.get("EventList") == Some(b"Complete");
        if ends || message.succeeded() == Some(false) {
            self.open.remove(&number);
        } else if let Some(host) = host(message)
            && self.hosts.len() < MOST
        {
            self.hosts.insert(host);
        }
        true
    }

    /// The hosts, as names and addresses, once every question is answered.
    #[must_use]
    pub fn hosts(&self) -> Option<&BTreeSet<String>> {
        self.open.is_empty().then_some(&self.hosts)
    }

    fn number(&self, id: &[u8]) -> Option<usize> {
        let number = id.strip_prefix(self.id.as_bytes())?.strip_prefix(b"-")?;
        std::str::from_utf8(number).ok()?.parse().ok()
    }
}

fn host(message: &Message) -> Option<String> {
    let text = |name| std::str::from_utf8(message.get(name)?).ok();
    let host = match message.event()? {
        // What is dynamic is where somebody registered from.
        b"PeerEntry" if message.get("Dynamic")? == b"no" => text("IPaddress")?,
        b"RegistryEntry" => text("Host")?,
        b"OutboundRegistrationDetail" => peers::of_uri(text("ServerUri")?),
        _ => return None,
    };
    let host = peers::without_port(host.trim());
    let is_host = host != "-none-" && !host.is_empty() && !host.starts_with('(');
    is_host.then(|| host.to_owned())
}
