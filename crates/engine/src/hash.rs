//! Hashes that an attacker cannot predict, and maps that use them.

use std::{
    collections::HashMap,
    hash::{BuildHasher, Hasher},
};

use siphasher::sip::SipHasher13;

/// A secret for hashing. Texts from the network are remembered as keyed hashes: that bounds the
/// memory they take, and nobody can find two that collide without knowing the key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HashKey(u64, u64);

/// A hash map whose order is never looked at: iterating one is a lint error in this crate.
pub(crate) type Map<K, V> = HashMap<K, V, HashKey>;

impl HashKey {
    pub fn new(seed: u64) -> Self {
        // Two different halves from one seed; any mixing will do, the hash does the rest.
        Self(seed, seed.rotate_left(32) ^ 0x9e37_79b9_7f4a_7c15)
    }

    pub fn map<K, V>(self) -> Map<K, V> {
        HashMap::with_hasher(self)
    }

    /// Hashes texts one after the other; where one ends and the next begins makes a difference.
    pub fn of(self, parts: &[&[u8]]) -> u64 {
        let mut hasher = self.build_hasher();
        for part in parts {
            hasher.write_usize(part.len());
            hasher.write(part);
        }
        hasher.finish()
    }

    /// Hashes a text without regard to ASCII case.
    pub fn of_caseless(self, text: &[u8]) -> u64 {
        let mut hasher = self.build_hasher();
        for byte in text {
            hasher.write_u8(byte.to_ascii_lowercase());
        }
        hasher.finish()
    }
}

impl BuildHasher for HashKey {
    type Hasher = SipHasher13;

    fn build_hasher(&self) -> SipHasher13 {
        SipHasher13::new_with_keys(self.0, self.1)
    }
}
