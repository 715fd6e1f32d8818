//! The allowlist: what the configuration says, prefixes that were allowed by hand, and names with
//! what they stand for.

use std::{net::IpAddr, time::Duration};

use ipnet::IpNet;
use sipward_engine::Time;

use super::{guard::Guard, peers::ASTERISK, reconcile};
use crate::{
    address,
    clock::{self, timestamp},
    control::api::{AllowReply, AllowRequest, AllowedView, DisallowReply, Resolved},
    exit::Failure,
    ledger::{AllowedName, Entry},
};

/// How long an address that a name no longer answers with stays allowed. Many answer with a few of
/// their addresses at a time.
const REMEMBERED: Duration = Duration::from_secs(86_400);

impl Guard {
    /// Puts prefixes and names on the allowlist, and ends what bans them; the names of the request
    /// were looked up before.
    ///
    /// # Errors
    /// The ledger cannot be written; the kernel refused.
    pub fn allow(
        &mut self,
        request: &AllowRequest,
        names: Vec<Resolved>,
    ) -> Result<AllowReply, Failure> {
        self.carry_out();
        let now = clock::now();
        let configured = self.config.allowed();
        let by_hand = self.allowed_by_hand()?;
        let mut reply = AllowReply::default();
        let mut entries = Vec::new();
        for prefix in &request.prefixes {
            if configured.contains(prefix) || by_hand.contains(prefix) {
                reply.already.push(*prefix);
            } else {
                entries.push(Entry::Allow(*prefix, now));
                reply.allowed.push(*prefix);
            }
        }
        entries.extend(names.iter().map(|name| {
            Entry::AllowName(AllowedName {
                name: name.name.clone(),
                addresses: name.addresses.clone(),
                since: now,
            })
        }));
        self.ledger.write(&entries)?;
        reconcile::allowed(self)?;
        let named = names.iter().flat_map(|name| &name.addresses);
        let named = named.map(|address| IpNet::from(*address));
        for prefix in request.prefixes.iter().copied().chain(named) {
            reply.lift.add(Some(prefix), self.engine.lift(prefix, now));
        }
        reply.lift.not_banned.clear();
        reply.names = names;
        self.carry_out_order()?;
        Ok(reply)
    }

    /// Takes prefixes and names from the allowlist.
    ///
    /// # Errors
    /// The ledger cannot be written; the kernel refused.
    pub fn disallow(&mut self, request: &AllowRequest) -> Result<DisallowReply, Failure> {
        let by_hand = self.allowed_by_hand()?;
        let names = self.ledger.allowed_names()?;
        let mut reply = DisallowReply::default();
        let mut entries = Vec::new();
        for prefix in &request.prefixes {
            if by_hand.contains(prefix) {
                entries.push(Entry::Disallow(*prefix));
                reply.disallowed.push(*prefix);
            }
            reply.refused.extend(self.held(prefix, &by_hand, &names));
        }
        for name in &request.names {
            if names.iter().any(|allowed| allowed.name == *name) {
                entries.push(Entry::DisallowName(name.clone()));
                reply.names.push(name.clone());
            } else {
                reply
                    .refused
                    .push(format!("{name} is not on the allowlist"));
            }
        }
        self.ledger.write(&entries)?;
        self.allowed_changed()?;
        Ok(reply)
    }

    /// `allowed`
    ///
    /// # Errors
    /// The ledger cannot be asked.
    pub fn allowed(&self) -> Result<Vec<AllowedView>, Failure> {
        let configured = self.config.allowed().into_iter();
        let mut allowed: Vec<AllowedView> = configured
            .map(|prefix| AllowedView {
                prefix,
                origin: "configuration".to_owned(),
                name: None,
                since: None,
            })
            .collect();
        allowed.extend(self.peers.views(&self.config));
        let manual = |prefix, name, since| AllowedView {
            prefix,
            origin: "manual".to_owned(),
            name,
            since: Some(timestamp(since)),
        };
        for (prefix, since) in self.ledger.allowed()? {
            allowed.push(manual(prefix, None, since));
        }
        for AllowedName {
            name,
            addresses,
            since,
        } in self.ledger.allowed_names()?
        {
            let rows = addresses.into_iter().map(IpNet::from);
            allowed.extend(rows.map(|prefix| manual(prefix, Some(name.clone()), since)));
        }
        allowed.sort_by_key(|allowed| allowed.prefix);
        Ok(allowed)
    }

    /// The names to look up again.
    ///
    /// # Errors
    /// The ledger cannot be asked.
    pub fn names(&self) -> Result<Vec<String>, Failure> {
        let names = self.ledger.allowed_names()?.into_iter();
        let mut names: Vec<String> = names.map(|allowed| allowed.name).collect();
        names.extend(self.config.allowed_names().map(str::to_owned));
        names.extend(self.peers.names().map(str::to_owned));
        names.sort_unstable();
        names.dedup();
        Ok(names)
    }

    /// Takes what names stand for now. What one stood for within a day stays.
    ///
    /// # Errors
    /// The ledger cannot be written; the kernel refused.
    pub fn names_are(&mut self, found: Vec<Resolved>) -> Result<(), Failure> {
        let at = clock::now();
        let mut entries = Vec::new();
        let by_hand = self.ledger.allowed_names()?;
        let mut changed = false;
        for Resolved { name, addresses } in found {
            let by_hand = by_hand.iter().find(|allowed| allowed.name == name);
            let before = by_hand.map_or_else(
                || self.peers.stands_for(&name).to_vec(),
                |allowed| allowed.addresses.clone(),
            );
            let addresses = self.stood_for(&name, &before, &addresses, at);
            changed |= self.peers.stand_for(&name, &addresses);
            if addresses == before {
                continue;
            }
            let shown: Vec<String> = addresses.iter().map(IpAddr::to_string).collect();
            tracing::info!("{name} stands for {} now", shown.join(", "));
            entries.extend(by_hand.map(|allowed| {
                Entry::AllowName(AllowedName {
                    addresses,
                    ..allowed.clone()
                })
            }));
        }
        if entries.is_empty() && !changed {
            return Ok(());
        }
        // Those of peers and of the configuration are in no ledger.
        let written = self.ledger.write(&entries);
        self.allowed_changed()?;
        written
    }

    /// Has the kernel and the engine know of another allowlist.
    pub(super) fn allowed_changed(&mut self) -> Result<(), Failure> {
        reconcile::allowed(self)?;
        self.self_check.changed(clock::now());
        Ok(())
    }

    /// What a name stands for, or did within [`REMEMBERED`].
    fn stood_for(
        &mut self,
        name: &str,
        before: &[IpAddr],
        now: &[IpAddr],
        at: Time,
    ) -> Vec<IpAddr> {
        for address in before {
            self.named.entry((name.to_owned(), *address)).or_insert(at);
        }
        for address in now {
            self.named.insert((name.to_owned(), *address), at);
        }
        self.named.retain(|_, seen| at.since(*seen) < REMEMBERED);
        let of_this_name = self.named.keys().filter(|(named, _)| named == name);
        of_this_name.map(|(_, address)| *address).collect()
    }

    fn allowed_by_hand(&self) -> Result<Vec<IpNet>, Failure> {
        let by_hand = self.ledger.allowed()?;
        Ok(by_hand.into_iter().map(|(prefix, _)| prefix).collect())
    }

    /// Why a prefix is not off the allowlist although it was asked for.
    fn held(&self, prefix: &IpNet, by_hand: &[IpNet], names: &[AllowedName]) -> Option<String> {
        let shown = address::show(prefix);
        let configured = self.config.allowed();
        if configured.contains(prefix) {
            return Some(format!(
                "{shown} is allowed by the configuration: take it out of [allow] there, then reload"
            ));
        }
        let mut of_names = self.peers.views(&self.config).into_iter();
        if let Some(view) = of_names.find(|view| view.prefix == *prefix) {
            return Some(match (view.origin.as_str(), view.name) {
                (ASTERISK, _) => format!(
                    "{shown} is allowed because Asterisk itself calls it: asterisk-peers = false in \
                     [allow], then reload, would end that for all of them"
                ),
                (_, name) => format!(
                    "{shown} is allowed by the configuration as {}: take it out of [allow] there, \
                     then reload",
                    name.unwrap_or_default()
                ),
            });
        }
        let name = names.iter().find(|name| {
            let mut addresses = name.addresses.iter();
            addresses.any(|address| IpNet::from(*address) == *prefix)
        });
        if let Some(AllowedName { name, .. }) = name {
            return Some(format!("{shown} is allowed as {name}: disallow that"));
        }
        if by_hand.contains(prefix) {
            return None;
        }
        let mut wider = configured.iter().chain(by_hand);
        Some(match wider.find(|wider| wider.contains(prefix)) {
            Some(wider) => format!("{shown} is allowed as part of {wider}: disallow that"),
            None => format!("{shown} is not on the allowlist"),
        })
    }
}
