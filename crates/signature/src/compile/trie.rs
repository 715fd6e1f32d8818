//! A tree of byte strings.

use std::collections::BTreeMap;

use super::ids::{Id, IdVec};

/// A set of byte strings, each with a value, walked byte by byte from [`Trie::ROOT`].
pub(super) struct Trie<T> {
    nodes: IdVec<Node<T>>,
}

struct Node<T> {
    next: BTreeMap<u8, Id>,
    value: Option<T>,
}

impl<T: Copy> Trie<T> {
    pub(super) const ROOT: Id = 0;

    pub(super) fn new() -> Self {
        let mut nodes = IdVec::new();
        nodes.push(Node {
            next: BTreeMap::new(),
            value: None,
        });
        Self { nodes }
    }

    pub(super) fn insert(&mut self, key: &[u8], value: T) {
        let mut at = Self::ROOT;
        for &byte in key {
            at = match self.next(at, byte) {
                Some(next) => next,
                None => {
                    let next = self.nodes.push(Node {
                        next: BTreeMap::new(),
                        value: None,
                    });
                    self.nodes[at].next.insert(byte, next);
                    next
                }
            };
        }
        self.nodes[at].value = Some(value);
    }

    pub(super) fn next(&self, node: Id, byte: u8) -> Option<Id> {
        self.nodes[node].next.get(&byte).copied()
    }

    /// The value of the string that ends at this node.
    pub(super) fn value(&self, node: Id) -> Option<T> {
        self.nodes[node].value
    }

    pub(super) fn is_empty(&self) -> bool {
        self.nodes.len() == 1
    }
}
