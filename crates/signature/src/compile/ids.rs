//! A vector indexed by the small numbers that the compiler gives to states, classes and blocks.

use std::ops::{Index, IndexMut};

/// The number of a state, a class or a block.
pub(super) type Id = u32;

/// A vector whose indices are [`Id`]s that the compiler itself gave out. An index beyond the end
/// is a fault in the compiler, not in its input, and panics.
#[derive(Debug, Clone)]
pub(super) struct IdVec<T>(Vec<T>);

impl<T> IdVec<T> {
    pub(super) fn new() -> Self {
        Self(Vec::new())
    }

    pub(super) fn filled(value: T, len: usize) -> Self
    where
        T: Clone,
    {
        Self(vec![value; len])
    }

    pub(super) fn push(&mut self, value: T) -> Id {
        let id = id(self.0.len());
        self.0.push(value);
        id
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = Id> + use<T> {
        0..id(self.0.len())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter()
    }

    pub(super) fn slice(&self, from: Id, len: usize) -> &[T] {
        let from = from as usize;
        self.0
            .get(from..from + len)
            .expect("a range of ids that the compiler gave out")
    }

    pub(super) fn swap(&mut self, a: Id, b: Id) {
        self.0.swap(a as usize, b as usize);
    }
}

impl<T> FromIterator<T> for IdVec<T> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        Self(items.into_iter().collect())
    }
}

impl<T> Index<Id> for IdVec<T> {
    type Output = T;

    fn index(&self, id: Id) -> &T {
        self.0
            .get(id as usize)
            .expect("an id that the compiler gave out")
    }
}

impl<T> IndexMut<Id> for IdVec<T> {
    fn index_mut(&mut self, id: Id) -> &mut T {
        self.0
            .get_mut(id as usize)
            .expect("an id that the compiler gave out")
    }
}

/// The id for a length or position; the compiler gives up long before 2^32 states.
pub(super) fn id(len: usize) -> Id {
    Id::try_from(len).expect("fewer than 2^32 states")
}
