//! What each signature has hit.

use std::collections::BTreeMap;

use sipward_engine::Time;
use sipward_signature::Tables;

use crate::{
    clock::timestamp,
    control::api::SignatureView,
    exit::Failure,
    ledger::{Entry, Hits, Ledger},
};

/// Counts of all time, and what of them the ledger does not have yet.
#[derive(Default)]
pub struct SignatureHits {
    ever: BTreeMap<String, Hits>,
    unwritten: BTreeMap<String, (u64, Time)>,
}

impl SignatureHits {
    /// What the ledger has.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub fn read(ledger: &Ledger) -> Result<Self, Failure> {
        let hits = ledger.hits()?.into_iter();
        Ok(Self {
            ever: hits.map(|hits| (hits.name.clone(), hits)).collect(),
            unwritten: BTreeMap::new(),
        })
    }

    /// These are looked for from now on; returns what the ledger should have of it.
    pub fn look_for(&mut self, tables: &Tables, now: Time) -> Vec<Entry> {
        let mut entries = Vec::new();
        for signature in &tables.signatures {
            let name = signature.name.clone();
            self.ever.entry(name.clone()).or_insert_with(|| {
                entries.push(Entry::LookFor(name.clone(), now));
                Hits::none(name, now)
            });
        }
        entries
    }

    /// One of them hit so many packets.
    pub fn count(&mut self, name: &str, packets: u64, at: Time) {
        let hits = self
            .ever
            .entry(name.to_owned())
            .or_insert_with(|| Hits::none(name.to_owned(), at));
        hits.packets += packets;
        hits.last = hits.last.max(Some(at));
        let (unwritten, last) = self.unwritten.entry(name.to_owned()).or_default();
        *unwritten += packets;
        *last = at.max(*last);
    }

    /// How many packets this one has hit.
    pub fn of(&self, name: &str) -> u64 {
        self.ever.get(name).map_or(0, |hits| hits.packets)
    }

    /// What the ledger does not have yet.
    pub fn take_unwritten(&mut self) -> impl Iterator<Item = Entry> {
        std::mem::take(&mut self.unwritten)
            .into_iter()
            .map(|(name, (packets, last))| Entry::Hits(name, packets, last))
    }

    /// Those that ever hit, the busiest first.
    pub fn views(&self) -> Vec<SignatureView> {
        let mut views: Vec<SignatureView> = self
            .ever
            .values()
            .filter_map(|hits| {
                Some(SignatureView {
                    name: hits.name.clone(),
                    packets: hits.packets,
                    last: timestamp(hits.last?),
                })
            })
            .collect();
        views.sort_by_key(|view| std::cmp::Reverse(view.packets));
        views
    }
}
