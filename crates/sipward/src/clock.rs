//! The clocks: the engine and the ledger use nanoseconds of UNIX time, the kernel's maps boot
//! time, people and JSON a date. They are turned into one another here and nowhere else.

use std::{
    sync::atomic::{AtomicBool, AtomicI64, Ordering},
    time::Duration,
};

use jiff::{Timestamp, tz::TimeZone};
use sipward_engine::Time;
use sipward_shield::{BootTime, clock_is_kept};

/// A clock that is off by less is followed without a word.
const SMALL: Duration = Duration::from_secs(2);
/// Clocks that are read one after the other differ by less than a step does.
const NOISE: Duration = Duration::from_millis(1);
/// A frame that waits is not older than this.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// The offset that this process keeps; [`NONE`] where it goes by the machine's clock.
static KEPT: AtomicI64 = AtomicI64::new(NONE);
const NONE: i64 = i64::MIN;
/// Whether somebody kept the machine's clock right when it was looked at, since the start. The kernel
/// no longer says so once a step was made by hand.
static WAS_RIGHT: AtomicBool = AtomicBool::new(false);

/// UNIX time now. In a process that keeps an offset it goes on by boot time, whatever the
/// machine's clock is set to.
#[must_use]
pub fn now() -> Time {
    kept().map_or_else(machine, |offset| offset.unix(BootTime::now()))
}

fn machine() -> Time {
    time(Timestamp::now())
}

/// UNIX time less boot time, in nanoseconds: it changes when somebody sets the clock, and in
/// suspend, where both go on, it does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offset(pub i64);

impl Offset {
    /// That of the machine's clock now.
    #[must_use]
    pub fn now() -> Self {
        // Somebody else may run between the clocks: of some tries the closest counts.
        let tries = std::iter::repeat_with(|| {
            let (before, unix, after) = (BootTime::now(), machine(), BootTime::now());
            (after.0 - before.0, Self::between(unix, after))
        });
        let closest = tries.take(3).min_by_key(|(apart, _)| *apart);
        closest.map_or(Self(0), |(_, offset)| offset)
    }

    /// Where both clocks show this.
    #[must_use]
    pub fn between(unix: Time, boot: BootTime) -> Self {
        Self(signed(unix.0).saturating_sub(signed(boot.0)))
    }

    /// UNIX time at this boot time, 1970 at the earliest.
    #[must_use]
    pub fn unix(self, boot: BootTime) -> Time {
        let at = signed(boot.0).saturating_add(self.0);
        Time(u64::try_from(at).unwrap_or_default())
    }

    /// How far on the other is.
    const fn to(self, other: Self) -> i64 {
        other.0.saturating_sub(self.0)
    }
}

/// Somebody has set the machine's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// The offset before.
    pub from: Offset,
    /// The offset now.
    pub to: Offset,
    /// What time it was by the clock before.
    pub at: Time,
    /// The clock was kept right by somebody in this boot: then the new one is no better a measure
    /// of what was before.
    pub was_right: bool,
}

impl Step {
    /// How far the clock was set forward, in nanoseconds.
    #[must_use]
    pub const fn forward(&self) -> i64 {
        self.from.to(self.to)
    }
}

/// The offset that this process keeps, if it does.
#[must_use]
pub fn kept() -> Option<Offset> {
    let offset = KEPT.load(Ordering::Relaxed);
    (offset != NONE).then_some(Offset(offset))
}

/// From now on time goes on from this offset.
pub fn keep(offset: Offset) {
    KEPT.store(offset.0, Ordering::Relaxed);
}

/// Whether the machine's clock was set since its offset was kept; a small step is followed at once.
#[must_use]
pub fn step() -> Option<Step> {
    let (from, to) = (kept()?, Offset::now());
    if from.to(to).unsigned_abs() < nanoseconds(SMALL) {
        keep(to);
        WAS_RIGHT.fetch_or(clock_is_kept(), Ordering::Relaxed);
        return None;
    }
    Some(Step {
        from,
        to,
        at: now(),
        was_right: WAS_RIGHT.load(Ordering::Relaxed),
    })
}

/// When a frame came that bears this time of the machine's clock, which may have been set since.
#[must_use]
pub fn seen(at: u64) -> Time {
    let Some(kept) = kept() else { return Time(at) };
    let (unix, boot) = (machine(), BootTime::now());
    let now = kept.unix(boot);
    let machine = if kept.to(Offset::between(unix, boot)).unsigned_abs() < nanoseconds(NOISE) {
        kept
    } else {
        Offset::now()
    };
    by(kept, machine, Time(at)).clamp(now - LONGEST_WAIT, now)
}

/// The moment that the machine's clock shows so, by the offset that is kept.
fn by(kept: Offset, machine: Offset, at: Time) -> Time {
    Time(at.0.saturating_add_signed(machine.to(kept)))
}

/// The engine's form of a moment; one before 1970 is the beginning of 1970, one after 2554 its end.
#[must_use]
pub fn time(at: Timestamp) -> Time {
    Time(u64::try_from(at.as_nanosecond().max(0)).unwrap_or(u64::MAX))
}

/// The form that JSON shows, to the millisecond.
#[must_use]
pub fn timestamp(at: Time) -> Timestamp {
    let milliseconds = i64::try_from(at.0 / 1_000_000).unwrap_or(i64::MAX);
    Timestamp::from_millisecond(milliseconds).unwrap_or(Timestamp::MAX)
}

/// The moment, to the nanosecond.
#[must_use]
pub fn exact(at: Time) -> Timestamp {
    Timestamp::from_nanosecond(at.0.into()).unwrap_or(Timestamp::MAX)
}

/// The day of a moment, in UTC.
#[must_use]
pub fn day(at: Time) -> String {
    timestamp(at).strftime("%Y-%m-%d").to_string()
}

/// For people: local time, to the second.
#[must_use]
pub fn local(at: Timestamp) -> String {
    at.to_zoned(TimeZone::system())
        .strftime("%Y-%m-%d %H:%M:%S %Z")
        .to_string()
}

/// For people who watch: local time of day, to the millisecond.
#[must_use]
pub fn time_of_day(at: Timestamp) -> String {
    at.to_zoned(TimeZone::system())
        .strftime("%H:%M:%S%.3f")
        .to_string()
}

/// UNIX time and boot time, read at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clocks {
    /// UNIX time.
    pub unix: Time,
    /// Boot time.
    pub boot: BootTime,
}

impl Clocks {
    /// Reads both clocks.
    #[must_use]
    pub fn now() -> Self {
        Self {
            unix: now(),
            boot: BootTime::now(),
        }
    }

    /// The boot time of a moment; none means never. A moment before the machine started is its
    /// start.
    #[must_use]
    pub fn boot(&self, at: Option<Time>) -> BootTime {
        let Some(at) = at else { return BootTime::NEVER };
        // One less than NEVER at most, which would make a long ban one for ever.
        BootTime(shift(at.0, self.unix.0, self.boot.0).min(BootTime::NEVER.0 - 1))
    }

    /// The moment of a boot time; none for [`BootTime::NEVER`].
    #[must_use]
    pub fn unix(&self, at: BootTime) -> Option<Time> {
        (at != BootTime::NEVER).then(|| Time(shift(at.0, self.boot.0, self.unix.0)))
    }
}

fn signed(nanoseconds: u64) -> i64 {
    i64::try_from(nanoseconds).unwrap_or(i64::MAX)
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// What is as far from `there` as `at` is from `here`.
const fn shift(at: u64, here: u64, there: u64) -> u64 {
    if at >= here {
        there.saturating_add(at - here)
    } else {
        there.saturating_sub(here - at)
    }
}

#[cfg(test)]
mod tests {
    use super::{Clocks, Offset, by, time, timestamp};
    use jiff::Timestamp;
    use sipward_engine::Time;
    use sipward_shield::BootTime;

    const SECOND: u64 = 1_000_000_000;

    fn clocks() -> Clocks {
        Clocks {
            unix: Time::from_secs(1_000),
            boot: BootTime(100 * SECOND),
        }
    }

    #[test]
    fn a_moment_is_as_far_ahead_on_either_clock() {
        let in_ten_minutes = Time::from_secs(1_600);
        assert_eq!(clocks().boot(Some(in_ten_minutes)), BootTime(700 * SECOND));
        assert_eq!(clocks().unix(BootTime(700 * SECOND)), Some(in_ten_minutes));
    }

    #[test]
    fn for_ever_is_for_ever_on_either_clock() {
        assert_eq!(clocks().boot(None), BootTime::NEVER);
        assert_eq!(clocks().unix(BootTime::NEVER), None);
    }

    #[test]
    fn a_moment_before_the_start_of_the_machine_has_lapsed() {
        assert_eq!(clocks().boot(Some(Time::from_secs(1))), BootTime(0));
        assert_eq!(clocks().unix(BootTime(0)), Some(Time::from_secs(900)));
    }

    #[test]
    fn a_far_end_is_not_for_ever() {
        let far = clocks().boot(Some(Time(u64::MAX)));
        assert_ne!(far, BootTime::NEVER);
        assert!(clocks().unix(far).is_some());
    }

    /// An hour of sleep: boot time and UNIX time go on, and the kernel's monotonic clock does not.
    #[test]
    fn a_ban_ends_by_the_time_that_was_slept_too() {
        let offset = Offset::between(Time::from_secs(1_000), BootTime(100 * SECOND));
        let end = clocks().boot(Some(Time::from_secs(1_600)));
        let awake = BootTime((100 + 3_600) * SECOND);
        assert!(awake > end);
        assert_eq!(offset.unix(awake), Time::from_secs(4_600));
        assert_eq!(Offset::between(Time::from_secs(4_600), awake), offset);
    }

    #[test]
    fn a_machine_that_begins_in_1970_has_an_offset_too() {
        let offset = Offset::between(Time::from_secs(5), BootTime(60 * SECOND));
        assert_eq!(offset.unix(BootTime(90 * SECOND)), Time::from_secs(35));
        assert_eq!(offset.unix(BootTime(10 * SECOND)), Time(0));
    }

    /// Five days forward or back, while the ledger cannot be written.
    #[test]
    fn a_frame_is_as_old_before_a_step_is_followed() {
        let kept = Offset(1_000 * 86_400 * 1_000_000_000);
        for days in [5, -5] {
            let machine = Offset(kept.0 + days * 86_400 * 1_000_000_000);
            let came = BootTime(100 * SECOND);
            assert_eq!(by(kept, machine, machine.unix(came)), kept.unix(came));
        }
    }

    #[test]
    fn what_cannot_be_saturates() {
        assert_eq!(time(Timestamp::MAX), Time(u64::MAX));
        assert_eq!(time(Timestamp::MIN), Time(0));
    }

    #[test]
    fn json_shows_milliseconds() {
        let at = Time(1_795_348_085_123_456_789);
        assert_eq!(timestamp(at).to_string(), "2026-11-22T11:48:05.123Z");
        assert!(timestamp(Time(u64::MAX)).to_string().starts_with("2554-"));
    }
}
