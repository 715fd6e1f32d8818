//! What each signature has hit.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
    sync::LazyLock,
};

use sipward_engine::Time;
use sipward_signature::{SignatureSet, Tables};

use crate::{
    clock::timestamp,
    control::api::SignatureView,
    exit::Failure,
    ledger::{Entry, Hits, Ledger},
};

/// The names of the built-in ones.
static BUILT_IN: LazyLock<BTreeSet<String>> = LazyLock::new(|| {
    let built_in = SignatureSet::builtin();
    built_in.iter().map(|it| it.name.clone()).collect()
});

/// Counts of all time, and what of them the ledger does not have yet.
#[derive(Default)]
pub struct SignatureHits {
    ever: BTreeMap<String, Hits>,
    /// What this daemon has counted, which never goes down: the ledger may have lost some.
    since_start: BTreeMap<String, u64>,
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
            ..Self::default()
        })
    }

    /// What the ledger has by now; what was counted since the start stays.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn read_again(&mut self, ledger: &Ledger) -> Result<(), Failure> {
        let read = Self::read(ledger)?;
        let since_start = mem::take(&mut self.since_start);
        *self = Self {
            since_start,
            ..read
        };
        Ok(())
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
        *self.since_start.entry(name.to_owned()).or_default() += packets;
        let (unwritten, last) = self.unwritten.entry(name.to_owned()).or_default();
        *unwritten += packets;
        *last = at.max(*last);
    }

    /// What those of these signatures have hit since the start that are built in, or ever hit: lists
    /// bring thousands that never do.
    pub fn since_start(&self, tables: &Tables) -> BTreeMap<String, u64> {
        let names = tables.signatures.iter().map(|it| &it.name);
        let shown = names.filter(|name| BUILT_IN.contains(*name) || self.of(name) > 0);
        shown
            .map(|name| {
                (
                    name.clone(),
                    self.since_start.get(name).copied().unwrap_or(0),
                )
            })
            .collect()
    }

    /// How many packets this one has hit, ever.
    pub fn of(&self, name: &str) -> u64 {
        self.ever.get(name).map_or(0, |hits| hits.packets)
    }

    /// What the ledger does not have yet.
    pub fn take_unwritten(&mut self) -> impl Iterator<Item = Entry> {
        mem::take(&mut self.unwritten)
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
