//! Many entries of a map in few system calls, which aya does not offer.

use std::{
    io,
    marker::PhantomData,
    os::fd::{AsFd as _, AsRawFd as _, OwnedFd},
};

use aya::{Pod, maps::IterableMap};

use super::bpf;

const BPF_MAP_LOOKUP_BATCH: libc::c_long = 24;
const BPF_MAP_UPDATE_BATCH: libc::c_long = 26;

/// Entries that are read in one call. A bucket of a hash, of which a call returns all entries or
/// none, never has as many.
const READ_AT_ONCE: usize = 16_384;
/// The kernel notes here how far it has read: the number of a bucket, or the last key of a trie.
type Position = [u64; 4];

/// The head of `union bpf_attr` for BPF_MAP_LOOKUP_BATCH and BPF_MAP_UPDATE_BATCH.
#[repr(C)]
struct BatchRequest {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map: u32,
    element_flags: u64,
    flags: u64,
}

/// Writes entries into a hash or a trie, in their order and in one system call (since Linux 5.13
/// for a trie).
///
/// # Errors
/// How many of them were written, and why the next one was not.
pub fn update_batch<K: Pod, V: Pod>(
    map: &impl IterableMap<K, V>,
    entries: &[(K, V)],
) -> Result<(), (usize, io::Error)> {
    // The kernel refuses a batch of none.
    if entries.is_empty() {
        return Ok(());
    }
    // aya has made sure that the map's keys and values are of these sizes.
    let (keys, values): (Vec<K>, Vec<V>) = entries.iter().copied().unzip();
    let mut request = BatchRequest {
        in_batch: 0,
        out_batch: 0,
        keys: keys.as_ptr().addr() as u64,
        values: values.as_ptr().addr() as u64,
        count: u32::try_from(entries.len()).unwrap_or(u32::MAX),
        map: map.map().fd().as_fd().as_raw_fd().cast_unsigned(),
        element_flags: 0,
        flags: 0,
    };
    match bpf(BPF_MAP_UPDATE_BATCH, &mut request) {
        Ok(_) => Ok(()),
        Err(error) => Err((request.count as usize, error)),
    }
}

/// Reads all of a hash or a trie, in whatever thread.
pub struct Reader<K, V> {
    map: OwnedFd,
    entries: PhantomData<fn() -> (K, V)>,
}

impl<K: Pod, V: Pod> Reader<K, V> {
    /// Of this map.
    ///
    /// # Errors
    /// There is no descriptor left.
    pub fn of(map: &impl IterableMap<K, V>) -> io::Result<Self> {
        Ok(Self {
            map: map.map().fd().as_fd().try_clone_to_owned()?,
            entries: PhantomData,
        })
    }

    /// A second one of the same map.
    ///
    /// # Errors
    /// As [`Self::of`].
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self {
            map: self.map.try_clone()?,
            entries: PhantomData,
        })
    }

    /// All entries, in no order (since Linux 5.6 for a hash, 5.13 for a trie). What is written
    /// meanwhile may be missing, and what stays may come twice. What is deleted of a trie meanwhile may
    /// have the value of a wider entry: its value is looked up, after its key, by the longest match.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn all(&self) -> io::Result<Vec<(K, V)>> {
        let mut all = Vec::new();
        let mut keys: Vec<K> = Vec::with_capacity(READ_AT_ONCE);
        let mut values: Vec<V> = Vec::with_capacity(READ_AT_ONCE);
        // With room for the longest key of ours, 24 bytes.
        let (mut from, mut to): (Option<Position>, Position) = (None, Position::default());
        loop {
            let mut request = BatchRequest {
                in_batch: from.as_ref().map_or(0, |from| from.as_ptr().addr() as u64),
                out_batch: to.as_mut_ptr().addr() as u64,
                keys: keys.as_mut_ptr().addr() as u64,
                values: values.as_mut_ptr().addr() as u64,
                count: u32::try_from(READ_AT_ONCE).unwrap_or(u32::MAX),
                map: self.map.as_raw_fd().cast_unsigned(),
                element_flags: 0,
                flags: 0,
            };
            let read = bpf(BPF_MAP_LOOKUP_BATCH, &mut request);
            let is_last = match read {
                Ok(_) => false,
                Err(error) if error.kind() == io::ErrorKind::NotFound => true,
                // An entry of a trie was deleted between its key and its value.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => false,
                Err(error) => return Err(error),
            };
            let count = (request.count as usize).min(READ_AT_ONCE);
            // SAFETY: the kernel has written so many keys and values into the capacity, and they
            // are plain bytes of the sizes that aya has made sure the map has.
            unsafe {
                keys.set_len(count);
                values.set_len(count);
            }
            all.extend(keys.iter().copied().zip(values.iter().copied()));
            if is_last {
                return Ok(all);
            }
            if count > 0 {
                from = Some(to);
            }
        }
    }
}
