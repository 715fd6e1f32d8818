//! A map of bounded size: who was not touched for the longest time goes first.

use std::hash::Hash;

use crate::hash::{HashKey, Map};

/// A map with room for so many; entries form a list from the most to the least recently touched.
#[derive(Debug)]
pub(crate) struct Lru<K, V> {
    slots: Map<K, usize>,
    entries: Vec<Entry<K, V>>,
    newest: usize,
    oldest: usize,
    capacity: usize,
}

#[derive(Debug)]
struct Entry<K, V> {
    key: K,
    value: V,
    newer: usize,
    older: usize,
}

const NONE: usize = usize::MAX;

impl<K: Copy + Eq + Hash, V: Default> Lru<K, V> {
    pub fn new(capacity: usize, key: HashKey) -> Self {
        Self {
            slots: key.map(),
            entries: Vec::new(),
            newest: NONE,
            oldest: NONE,
            capacity: capacity.max(1),
        }
    }

    /// The value, left where it is in the order.
    pub fn get(&self, key: K) -> Option<&V> {
        let slot = *self.slots.get(&key)?;
        self.entries.get(slot).map(|entry| &entry.value)
    }

    /// The value, left where it is in the order.
    pub fn get_mut(&mut self, key: K) -> Option<&mut V> {
        let slot = *self.slots.get(&key)?;
        self.entries.get_mut(slot).map(|entry| &mut entry.value)
    }

    /// The value, made the newest; a fresh one where there was none, in the oldest's place where
    /// there is no room.
    pub fn touch(&mut self, key: K) -> &mut V {
        let slot = match self.slots.get(&key) {
            Some(slot) => {
                let slot = *slot;
                self.unlink(slot);
                slot
            }
            None => self.place(key),
        };
        self.link_newest(slot);
        match self.entries.get_mut(slot) {
            Some(entry) => &mut entry.value,
            None => unreachable!("the slot was placed or found just now"),
        }
    }

    /// All entries, in an order that depends only on the calls so far.
    pub fn iter(&self) -> impl Iterator<Item = (K, &V)> {
        self.entries.iter().map(|entry| (entry.key, &entry.value))
    }

    fn place(&mut self, key: K) -> usize {
        let slot = if self.entries.len() < self.capacity {
            self.entries.push(Entry {
                key,
                value: V::default(),
                newer: NONE,
                older: NONE,
            });
            self.entries.len() - 1
        } else {
            let slot = self.oldest;
            self.unlink(slot);
            if let Some(entry) = self.entries.get_mut(slot) {
                self.slots.remove(&entry.key);
                entry.key = key;
                entry.value = V::default();
            }
            slot
        };
        self.slots.insert(key, slot);
        slot
    }

    fn unlink(&mut self, slot: usize) {
        let Some(entry) = self.entries.get(slot) else {
            return;
        };
        let (newer, older) = (entry.newer, entry.older);
        match self.entries.get_mut(newer) {
            Some(entry) => entry.older = older,
            None => self.newest = older,
        }
        match self.entries.get_mut(older) {
            Some(entry) => entry.newer = newer,
            None => self.oldest = newer,
        }
    }

    fn link_newest(&mut self, slot: usize) {
        let older = self.newest;
        if let Some(entry) = self.entries.get_mut(slot) {
            entry.newer = NONE;
            entry.older = older;
        }
        match self.entries.get_mut(older) {
            Some(entry) => entry.newer = slot,
            None => self.oldest = slot,
        }
        self.newest = slot;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn is_a_list_that_moves_to_the_front_and_drops_at_the_end(
            capacity in 1usize..8, keys in prop::collection::vec(0u8..12, 0..200), seed: u64,
        ) {
            let mut lru: Lru<u8, u32> = Lru::new(capacity, HashKey::new(seed));
            let mut naive: Vec<(u8, u32)> = Vec::new();
            for key in keys {
                *lru.touch(key) += 1;
                let count = naive
                    .iter()
                    .position(|(known, _)| *known == key)
                    .map_or(0, |at| naive.remove(at).1);
                naive.insert(0, (key, count + 1));
                naive.truncate(capacity);
                prop_assert_eq!(lru.iter().count(), naive.len());
                for key in 0..12 {
                    let known = naive.iter().find(|(known, _)| *known == key).map(|(_, n)| n);
                    prop_assert_eq!(lru.get(key), known);
                }
            }
        }
    }
}
