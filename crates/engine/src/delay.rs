//! Things to look at again after a fixed time.

use std::{collections::VecDeque, time::Duration};

use crate::Time;

/// A queue in which every item waits equally long, so that the first in is the first due. What
/// became pointless meanwhile stays in and is skipped by whoever takes it out.
#[derive(Debug)]
pub(crate) struct Delay<T> {
    span: Duration,
    items: VecDeque<(Time, T)>,
}

impl<T> Delay<T> {
    pub fn new(span: Duration) -> Self {
        Self {
            span,
            items: VecDeque::new(),
        }
    }

    /// Gives what is pushed from now on another time to wait. Where it is shorter, it waits for
    /// what is in the queue already.
    pub fn set_span(&mut self, span: Duration) {
        self.span = span;
    }

    pub fn push(&mut self, now: Time, item: T) {
        let last = self.items.back().map(|(due, _)| *due);
        let due = (now + self.span).max(last.unwrap_or_default());
        self.items.push_back((due, item));
    }

    /// When the first item is due.
    pub fn next(&self) -> Option<Time> {
        self.items.front().map(|(due, _)| *due)
    }

    /// Takes out the first item if it is due.
    pub fn pop_due(&mut self, now: Time) -> Option<T> {
        if self.next()? > now {
            return None;
        }
        self.pop()
    }

    /// Takes out the first item, due or not.
    pub fn pop(&mut self) -> Option<T> {
        self.items.pop_front().map(|(_, item)| item)
    }
}
