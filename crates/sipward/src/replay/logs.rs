//! What the lines of logs come to, beside each other and beside captures of the same time.

use sipward_asterisk::log::{self, Kind};
use sipward_engine::{Engine, Observation, Place, Time};

use super::report::Reporter;
use crate::sensors::{Connections, Duplicates, Twins, Witness, asterisk::log_event};

const NANOSECONDS: u64 = 1_000_000_000;

/// A line of a file.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    /// Which of the files.
    pub file: usize,
    /// Its number, among those of all files.
    pub place: u64,
    /// The line, with its end.
    pub text: &'a [u8],
    /// A stranger may have written it.
    pub is_doubtful: bool,
}

/// Judges lines.
#[derive(Debug, Default)]
pub struct Logs {
    /// Asterisk writes the same record into several files.
    duplicates: Duplicates,
    /// And a NOTICE beside some SECURITY events.
    twins: Twins,
}

impl Logs {
    /// Judges a line. `connections` are those that captures have shown.
    pub fn judge(
        &mut self,
        read: &Line<'_>,
        now: Time,
        connections: &Connections,
        (engine, reporter): (&mut Engine, &mut Reporter),
    ) {
        let text = read.text.trim_ascii_end();
        let Some(line) = log::parse(text) else {
            return;
        };
        // The same line of another second is another record: of a log that was rotated then.
        let record = (line.record(), now.0 / NANOSECONDS);
        if !self.duplicates.is_new(read.file, record, now) {
            return;
        }
        let line = if read.is_doubtful {
            line.distrusted()
        } else {
            line
        };
        if line.event.kind == Kind::Unread {
            reporter.unmatched_security_line();
            return;
        }
        reporter.log_event(line.event.remote.map(|remote| remote.address.ip()));
        let place = Place::Line(read.place);
        let event = log_event(&line.event, text, place, |remote, spoken| {
            connections.speaks(remote, spoken, now)
        });
        let is_new = |event: &_| self.twins.is_new(Witness::of(&line), event, now);
        if let Some(event) = event.filter(is_new) {
            engine.observe(&Observation::Log(event), now);
        }
    }
}
