//! What the lines of logs come to, beside each other and beside captures of the same time.

use std::time::Duration;

use sipward_asterisk::log::{self, Kind, Level};
use sipward_engine::{Engine, Observation, Place, Time};

use super::report::Reporter;
use crate::sensors::{Connections, Duplicates, asterisk::log_event};

/// How long after a SECURITY event Asterisk is taken to write one beside each NOTICE of the same
/// thing: with the level switched on, every phone that registers causes some.
const SECURITY: Duration = Duration::from_secs(3600);

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
    /// The last SECURITY event.
    security: Option<Time>,
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
        if !self.duplicates.is_new(read.file, text, now) {
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
        if line.level == Level::Security {
            self.security = Some(now);
        }
        let has_security = self.security.is_some_and(|last| now.since(last) < SECURITY);
        if has_security && line.has_a_security_event() {
            return;
        }
        let place = Place::Line(read.place);
        let event = log_event(&line.event, text, place, |remote, spoken| {
            connections.speaks(remote, spoken, now)
        });
        if let Some(event) = event {
            engine.observe(&Observation::Log(event), now);
        }
    }
}
