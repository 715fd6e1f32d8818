//! A file that is being played: its next entry, and the thread that reads it.

use std::{
    panic::resume_unwind,
    sync::mpsc::{self, Receiver, Sender},
    thread::{Scope, ScopedJoinHandle},
};

use sipward_engine::Time;

use super::{
    feed::{self, Batch, Entered, Filter, Read},
    survey::Input,
};
use crate::exit::Failure;

/// Where a file is at.
#[derive(Debug)]
pub struct Cursor<'scope> {
    /// Which of the files it is.
    pub file: usize,
    full: Receiver<Batch>,
    back: Sender<Batch>,
    reader: ScopedJoinHandle<'scope, Result<(), Failure>>,
    batch: Batch,
    /// The next entry of the batch, and where its bytes begin.
    next: usize,
    start: usize,
    /// The time of the entry before, which is taken for those that have none.
    last: Time,
    has_ended: bool,
}

impl<'scope> Cursor<'scope> {
    /// Begins to read.
    pub fn open<'env>(
        scope: &'scope Scope<'scope, 'env>,
        file: usize,
        input: &Input,
        filter: &'env Filter,
    ) -> Self {
        let (batches, full) = mpsc::sync_channel(feed::BATCHES);
        let (back, empty) = mpsc::channel();
        let last = input.first.unwrap_or_default();
        let input = input.clone();
        Self {
            file,
            full,
            back,
            reader: scope.spawn(move || feed::read(input, filter, &batches, &empty)),
            batch: Batch::default(),
            next: 0,
            start: 0,
            last,
            has_ended: false,
        }
    }

    /// The time of the next entry; `None` at the end of the file. What was read meanwhile goes to
    /// `read`.
    pub fn peek(&mut self, mut read: impl FnMut(&Read)) -> Option<Time> {
        loop {
            if let Some((entered, _)) = self.batch.entry(self.next, self.start) {
                return Some(entered.at.unwrap_or(self.last));
            }
            if self.has_ended {
                return None;
            }
            read(&self.batch.read);
            self.batch.clear();
            (self.next, self.start) = (0, 0);
            let Ok(batch) = self.full.recv() else {
                self.has_ended = true;
                return None;
            };
            // At the end of the file nobody wants it any more.
            let _ = self.back.send(std::mem::replace(&mut self.batch, batch));
        }
    }

    /// The next entry, as long as it is in memory and not after `until`, and its time.
    pub fn next(&mut self, until: Option<Time>) -> Option<(Entered<'_>, Time)> {
        let (entered, end) = self.batch.entry(self.next, self.start)?;
        let at = entered.at.unwrap_or(self.last);
        if until.is_some_and(|until| at > until) {
            return None;
        }
        self.next += 1;
        self.start = end;
        self.last = at;
        Some((entered, at))
    }

    /// What the reader came to, once the file is at its end.
    pub fn close(self) -> Result<(), Failure> {
        drop(self.full);
        self.reader
            .join()
            .unwrap_or_else(|panic| resume_unwind(panic))
    }
}
