//! The logs of the Asterisk on this machine: follows them and gives the engine what they say.
//!
//! Asterisk writes the same record into several files, and a NOTICE beside the SECURITY event of the
//! same thing; its manager interface tells that event again. Each counts once: a record that another
//! file brought already is passed over ([`Duplicates`]), and of what the three of them tell as much
//! counts as one of them does ([`Twins`](crate::sensors::Twins)).

mod find;
mod follow;
mod watch;

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use sipward_asterisk::log::LogLine;
use sipward_engine::{Place, Time, escape_at_most};

pub use self::find::paths;
use self::{follow::Follower, watch::Watch};
use super::{Guard, taps::Taps};
use crate::{
    control::api::{Sensor, SensorState},
    sensors::{Duplicates, Witness, asterisk::log_event},
};

/// How often calls that nobody saw are warned of at most.
const WARN: Duration = Duration::from_secs(60);
/// Bytes of a line that a warning shows.
const SHOWN: usize = 200;

/// The logs that are followed.
pub struct Logs {
    followers: Vec<Follower>,
    watch: Watch,
    duplicates: Duplicates,
    /// Something may be new.
    is_due: bool,
    warned: Option<Instant>,
    /// Since the last warning.
    unseen_calls: UnseenCalls,
}

/// What a turn brought.
#[derive(Clone, Copy, Debug, Default)]
struct Brought {
    events: u64,
    unmatched: u64,
}

impl Logs {
    /// Follows these logs, from where they end now.
    pub fn open(paths: Vec<PathBuf>) -> Self {
        let mut logs = Self {
            followers: Vec::new(),
            watch: Watch::open(),
            duplicates: Duplicates::default(),
            is_due: true,
            warned: None,
            unseen_calls: UnseenCalls::default(),
        };
        logs.follow(paths);
        logs
    }

    /// Follows these logs from now on; those that are followed already go on as they were.
    pub fn follow(&mut self, paths: Vec<PathBuf>) {
        let mut before = std::mem::take(&mut self.followers);
        for path in paths {
            let known = before.iter().position(|follower| follower.path() == path);
            let follower = match known {
                Some(known) => before.swap_remove(known),
                None => Follower::new(path),
            };
            self.followers.push(follower);
        }
        self.check();
    }

    /// Waits until something was written.
    pub async fn readable(&self) {
        self.watch.readable().await;
    }

    /// Something may have been written.
    pub fn wake(&mut self) {
        self.watch.drain();
        self.is_due = true;
    }

    /// To be called every second: folders that are new are watched, and what no watch tells of is
    /// seen now.
    pub fn check(&mut self) {
        let folders = self.followers.iter().filter_map(|f| f.path().parent());
        self.watch.keep(folders);
        self.is_due = true;
    }

    /// Gives the guard what is new, at most 512 kB of a file; none is taken as later than `now`.
    /// Tells whether more may wait.
    ///
    /// A line may tell of a connection whose packets wait in the taps while it was read already:
    /// these are taken before it counts.
    pub fn take(&mut self, guard: &mut Guard, taps: &mut Taps, now: Time) -> bool {
        if !std::mem::take(&mut self.is_due) {
            return false;
        }
        let at = Instant::now();
        let several = self.followers.len() > 1;
        let mut brought = Brought::default();
        for (number, follower) in self.followers.iter_mut().enumerate() {
            let (duplicates, unseen_calls) = (&mut self.duplicates, &mut self.unseen_calls);
            // All lines of the turn were written before its first one is told.
            let mut is_sought = false;
            let turn = follower.take(at, &mut |line_number, line, text| {
                if several && !duplicates.is_new(number, line.record(), now) {
                    return;
                }
                brought.events += 1;
                if !is_sought && guard.lacks_connection(&line.event) {
                    is_sought = true;
                    guard.seek_connection(&line.event, taps);
                }
                let matched = observe(guard, line, text, line_number, now, unseen_calls);
                brought.unmatched += u64::from(!matched);
            });
            brought.unmatched += turn.too_long;
            self.is_due |= turn.more;
        }
        let sensor = &mut guard.asterisk_log;
        let is_open = self.followers.iter().any(Follower::is_open);
        *sensor = Sensor {
            state: if is_open {
                SensorState::On
            } else {
                SensorState::Waiting
            },
            note: (!is_open).then(|| {
                let paths = self.followers.iter().map(|it| it.path().display());
                let paths: Vec<String> = paths.map(|path| path.to_string()).collect();
                format!("none of these is there: {}", paths.join(", "))
            }),
            events: sensor.events + brought.events,
            unmatched: sensor.unmatched + brought.unmatched,
            lost: 0,
        };
        self.warn_of_unseen_calls(at);
        self.is_due
    }

    /// Calls that Asterisk gave up waiting for, and that no packet told of: nobody can be blamed,
    /// but somebody should know.
    fn warn_of_unseen_calls(&mut self, at: Instant) {
        let Some(line) = self.unseen_calls.last.take() else {
            return;
        };
        if self
            .warned
            .is_some_and(|warned| at.duration_since(warned) < WARN)
        {
            self.unseen_calls.last = Some(line);
            return;
        }
        self.warned = Some(at);
        let count = std::mem::take(&mut self.unseen_calls.count);
        tracing::warn!(
            "unattributed: Asterisk gave up on {count} calls whose packets sipward did not see, so \
             nobody knows who called: guard the interface they come in by (--interface), and name \
             their ports in [ports]; if they came over TLS, have the server send what it reads \
             ([sensors] hep; res_hep and res_hep_pjsip of Asterisk). The last line: {line}"
        );
    }
}

/// Calls that nobody saw.
#[derive(Debug, Default)]
struct UnseenCalls {
    count: u64,
    last: Option<String>,
}

/// Gives the engine what a line says; false where that is nothing.
fn observe(
    guard: &mut Guard,
    line: &LogLine<'_>,
    text: &[u8],
    number: u64,
    now: Time,
    unseen_calls: &mut UnseenCalls,
) -> bool {
    let event = log_event(&line.event, text, Place::Line(number), |remote, spoken| {
        guard.connection(remote, spoken)
    });
    let Some(event) = event else {
        return false;
    };
    let before = guard.engine.statistics().unattributed_lines;
    guard.observe_told(Witness::of(line), &event, now);
    let is_unseen = guard.engine.statistics().unattributed_lines > before;
    if is_unseen {
        unseen_calls.count += 1;
        unseen_calls.last = Some(escape_at_most(text, SHOWN).to_string());
    }
    !is_unseen
}

#[cfg(test)]
mod tests;
