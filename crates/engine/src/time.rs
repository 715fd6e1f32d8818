//! Points in time. The engine has no clock: each call is told the time.

use std::{
    ops::{Add, Sub},
    time::Duration,
};

/// Nanoseconds since the UNIX epoch, as the caller's clock or a recording has them. Lasts until
/// the year 2554; arithmetic saturates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(pub u64);

impl Time {
    /// This many whole seconds since the UNIX epoch.
    #[must_use]
    pub const fn from_secs(seconds: u64) -> Self {
        Self(seconds.saturating_mul(1_000_000_000))
    }

    /// How long ago `earlier` was; zero where it lies in the future.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// The day since the UNIX epoch, in UTC.
    #[must_use]
    pub const fn day(self) -> u32 {
        // The largest u64 of nanoseconds holds 213,503 days.
        (self.0 / 86_400_000_000_000) as u32
    }
}

impl Add<Duration> for Time {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(nanoseconds(duration)))
    }
}

impl Sub<Duration> for Time {
    type Output = Self;

    fn sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(nanoseconds(duration)))
    }
}

/// The duration in nanoseconds; `u64::MAX` for more than 584 years.
pub(crate) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
