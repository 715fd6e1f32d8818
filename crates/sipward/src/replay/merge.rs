//! The files as one recording: whose entry is the next in time.

use std::thread::Scope;

use sipward_engine::Time;

use super::{
    cursor::Cursor,
    feed::{Filter, Read},
    survey::{Input, Kind},
};
use crate::exit::Failure;

/// Files in the order of their beginnings. Each is opened when its time has come, so however many
/// there are, those that overlap are held in memory only.
#[derive(Debug)]
pub struct Merge<'scope, 'env> {
    scope: &'scope Scope<'scope, 'env>,
    inputs: &'env [Input],
    filter: &'env Filter,
    /// The next file to be opened.
    next: usize,
    open: Vec<Cursor<'scope>>,
    failures: Vec<Option<Failure>>,
}

/// Whose turn it is.
#[derive(Clone, Copy, Debug)]
pub struct Turn {
    /// Which of the files.
    pub file: usize,
    /// Until when no other file has anything to say; `None`: to its end.
    pub until: Option<Time>,
    /// A capture goes on.
    pub in_capture: bool,
    /// When the next capture begins.
    pub next_capture: Option<Time>,
    index: usize,
}

impl<'scope, 'env> Merge<'scope, 'env> {
    /// Nothing is opened yet. `inputs` are sorted by their beginnings.
    pub fn new(
        scope: &'scope Scope<'scope, 'env>,
        inputs: &'env [Input],
        filter: &'env Filter,
    ) -> Self {
        Self {
            scope,
            inputs,
            filter,
            next: 0,
            open: Vec::new(),
            failures: inputs.iter().map(|_| None).collect(),
        }
    }

    /// Whose turn it is; `None` at the end of all. What was read of which file goes to `read`.
    pub fn turn(&mut self, mut read: impl FnMut(usize, &Read)) -> Option<Turn> {
        loop {
            let mut times = Vec::with_capacity(self.open.len());
            let mut index = 0;
            while let Some(cursor) = self.open.get_mut(index) {
                let file = cursor.file;
                if let Some(at) = cursor.peek(|part| read(file, part)) {
                    times.push((at, index));
                    index += 1;
                    continue;
                }
                let result = self.open.remove(index).close();
                if let Some(failure) = self.failures.get_mut(file) {
                    *failure = result.err();
                }
            }
            times.sort_unstable();
            let first = times.first().copied();
            let begins = self.inputs.get(self.next).map(begin);
            if begins.is_some_and(|begins| first.is_none_or(|(at, _)| begins <= at)) {
                self.open_next();
                continue;
            }
            let (_, index) = first?;
            let other = times.get(1).map(|(at, _)| *at);
            let capture = |input: &&Input| is_capture(input);
            let mut open = self
                .open
                .iter()
                .filter_map(|cursor| self.inputs.get(cursor.file));
            return Some(Turn {
                file: self.open.get(index)?.file,
                until: other.into_iter().chain(begins).min(),
                in_capture: open.any(is_capture),
                next_capture: self.inputs.iter().skip(self.next).find(capture).map(begin),
                index,
            });
        }
    }

    /// The file whose turn it is.
    pub fn cursor(&mut self, turn: &Turn) -> Option<&mut Cursor<'scope>> {
        self.open.get_mut(turn.index)
    }

    /// What is wrong with each file.
    pub fn failures(self) -> Vec<Option<Failure>> {
        self.failures
    }

    fn open_next(&mut self) {
        if let Some(input) = self.inputs.get(self.next) {
            let cursor = Cursor::open(self.scope, self.next, input, self.filter);
            self.open.push(cursor);
        }
        self.next += 1;
    }
}

fn begin(input: &Input) -> Time {
    input.first.unwrap_or_default()
}

fn is_capture(input: &Input) -> bool {
    match input.kind {
        Kind::Capture => true,
        Kind::Log(_) => false,
    }
}
