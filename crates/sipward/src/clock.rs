//! The clocks: the engine and the ledger use nanoseconds of UNIX time, the kernel's maps boot
//! time, people and JSON a date. They are turned into one another here and nowhere else.

use jiff::{Timestamp, tz::TimeZone};
use sipward_engine::Time;
use sipward_shield::BootTime;

/// UNIX time now.
#[must_use]
pub fn now() -> Time {
    time(Timestamp::now())
}

/// The engine's form of a moment; one before 1970 is the beginning of 1970.
#[must_use]
pub fn time(at: Timestamp) -> Time {
    Time(u64::try_from(at.as_nanosecond()).unwrap_or_default())
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
    use super::{Clocks, timestamp};
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

    #[test]
    fn json_shows_milliseconds() {
        let at = Time(1_795_348_085_123_456_789);
        assert_eq!(timestamp(at).to_string(), "2026-11-22T11:48:05.123Z");
        assert!(timestamp(Time(u64::MAX)).to_string().starts_with("2554-"));
    }
}
