//! Which moment the time in front of a line is: mostly without a time zone, often without a year.

use jiff::{
    Timestamp,
    civil::{Date, Time as TimeOfDay},
    tz::{Offset, TimeZone},
};
use sipward_asterisk::log::Stamp;
use sipward_engine::Time;

use crate::clock;

/// How much later than the last change of its file a line may claim to be: clocks differ.
const TOLERANCE_SECONDS: i64 = 86_400;

/// Reads the times of one file, in order.
#[derive(Clone, Debug)]
pub struct Calendar {
    zone: TimeZone,
    /// When the file was changed last: no line is from later.
    changed: Timestamp,
    /// Of the line before, where lines have no year.
    last: Option<Date>,
}

impl Calendar {
    /// For a file that begins with `first` and was changed last at `changed`, on a machine in
    /// `zone`. Where its lines have no year, the last of them is from the year before that change,
    /// and `years` tells of the others.
    #[must_use]
    pub fn new(zone: TimeZone, changed: Timestamp, first: Stamp, years: Years) -> Self {
        let mut calendar = Self {
            zone,
            changed,
            last: None,
        };
        if first.year.is_some() && calendar.time(first).is_none() {
            // That change is no guide: its clock was wrong.
            calendar.changed = Timestamp::MAX;
        }
        if let Some((first, last)) = years.range {
            let year = calendar.changed.to_zoned(calendar.zone.clone()).year();
            // A leap day may be seven years back.
            let dates = (0..9).filter_map(|back| date(year + 1 - back, years.stamp?));
            let newest = dates
                .filter(|date| {
                    years
                        .stamp
                        .is_some_and(|stamp| calendar.moment(*date, stamp).is_some())
                })
                .max();
            let shift = newest.map(|newest| newest.year() - last.year());
            calendar.last =
                shift.and_then(|shift| first.with().year(first.year() + shift).build().ok());
        }
        calendar
    }

    /// The moment of a line, to the nanosecond. `None` for a date that does not exist, and for one
    /// that is more than a day later than the file's last change: nobody but a stranger writes
    /// such a line.
    pub fn time(&mut self, stamp: Stamp) -> Option<Time> {
        let date = match stamp.year {
            Some(year) => date(year, stamp)?,
            None => nearest(self.last?, stamp)?,
        };
        let moment = self.moment(date, stamp)?;
        self.last = Some(date);
        Some(clock::time(moment))
    }

    fn moment(&self, date: Date, stamp: Stamp) -> Option<Timestamp> {
        let part = |number: u8| i8::try_from(number).ok();
        let nanosecond = i32::try_from(stamp.nanosecond).ok()?;
        let time = TimeOfDay::new(
            part(stamp.hour)?,
            part(stamp.minute)?,
            part(stamp.second)?,
            nanosecond,
        );
        let local = date.to_datetime(time.ok()?);
        let zone = match stamp.offset {
            Some(seconds) => Offset::from_seconds(seconds).ok()?.to_time_zone(),
            None => self.zone.clone(),
        };
        let moment = zone.to_ambiguous_timestamp(local).compatible().ok()?;
        let latest = self.changed.as_second().saturating_add(TOLERANCE_SECONDS);
        (moment.as_second() <= latest).then_some(moment)
    }
}

/// The days of a file's lines without a year, as if it began in a year of its own.
#[derive(Clone, Copy, Debug, Default)]
pub struct Years {
    /// Of the first and of the last line.
    range: Option<(Date, Date)>,
    /// Of the last line.
    stamp: Option<Stamp>,
}

impl Years {
    /// A leap year, so that each day exists.
    const FIRST: i16 = 2000;

    /// The next line.
    pub fn note(&mut self, stamp: Stamp) {
        let found = match self.range {
            Some((first, last)) => nearest(last, stamp).map(|last| (first, last)),
            None => date(Self::FIRST, stamp).map(|first| (first, first)),
        };
        if found.is_some() {
            self.range = found;
            self.stamp = Some(stamp);
        }
    }
}

/// The day of a line without a year, next to the day of the line before.
fn nearest(last: Date, stamp: Stamp) -> Option<Date> {
    let distance = |date: &Date| date.duration_since(last).as_secs().abs();
    (-1..=1)
        .filter_map(|years| date(last.year() + years, stamp))
        .min_by_key(distance)
}

fn date(year: i16, stamp: Stamp) -> Option<Date> {
    let part = |number: u8| i8::try_from(number).ok();
    Date::new(year, part(stamp.month)?, part(stamp.day)?).ok()
}

#[cfg(test)]
mod tests {
    use super::{Calendar, Years};
    use crate::clock;
    use jiff::{Timestamp, tz::TimeZone};
    use sipward_asterisk::log::Stamp;
    use test_case::test_case;

    const CHANGED: &str = "2026-03-02T12:00:00Z";

    fn times(zone: &str, lines: &[&str]) -> Vec<String> {
        let stamps: Vec<Stamp> = lines
            .iter()
            .map(|line| Stamp::of(line.as_bytes()).unwrap())
            .collect();
        let mut years = Years::default();
        let without = stamps.iter().filter(|stamp| stamp.year.is_none());
        without.for_each(|stamp| years.note(*stamp));
        let zone = TimeZone::get(zone).unwrap();
        let changed: Timestamp = CHANGED.parse().unwrap();
        let mut calendar = Calendar::new(zone, changed, stamps[0], years);
        let time = |stamp: &Stamp| calendar.time(*stamp);
        stamps
            .iter()
            .map(time)
            .map(|time| time.map_or("-".to_owned(), |at| clock::timestamp(at).to_string()))
            .collect()
    }

    #[test_case("UTC", &["Mar  2 11:59:00"], &["2026-03-02T11:59:00Z"]; "this year")]
    #[test_case("UTC", &["Mar  4 11:59:00"], &["2025-03-04T11:59:00Z"]; "later in the year than the file")]
    #[test_case("UTC", &["Dec 31 23:59:59", "Jan  1 00:00:00"], &["2025-12-31T23:59:59Z", "2026-01-01T00:00:00Z"]; "new year")]
    #[test_case("UTC", &["Jun  1 00:00:00", "Nov  1 00:00:00", "May  1 00:00:00", "Oct  1 00:00:00", "Feb  1 00:00:00"],
        &["2024-06-01T00:00:00Z", "2024-11-01T00:00:00Z", "2025-05-01T00:00:00Z", "2025-10-01T00:00:00Z", "2026-02-01T00:00:00Z"]; "a file of two years")]
    #[test_case("UTC", &["Feb 29 10:00:00"], &["2024-02-29T10:00:00Z"]; "a leap day")]
    #[test_case("UTC", &["Mar  1 00:00:05", "Feb 28 23:59:59"], &["2026-03-01T00:00:05Z", "2026-02-28T23:59:59Z"]; "lines out of order")]
    #[test_case("Europe/Berlin", &["2026-03-01 12:00:00.25"], &["2026-03-01T11:00:00.25Z"]; "local time")]
    #[test_case("Europe/Berlin", &["2026-03-01T12:00:00+0530"], &["2026-03-01T06:30:00Z"]; "a zone in the line")]
    #[test_case("Europe/Berlin", &["2025-10-26 02:30:00"], &["2025-10-26T00:30:00Z"]; "an hour that was there twice is the first")]
    #[test_case("UTC", &["2027-03-01 00:00:00"], &["2027-03-01T00:00:00Z"]; "but where the file is from the past")]
    #[test_case("UTC", &["2026-03-01 00:00:00", "2099-01-01 00:00:00", "2026-03-01 00:00:01"],
        &["2026-03-01T00:00:00Z", "-", "2026-03-01T00:00:01Z"]; "no line is from the future")]
    fn a_line_is_from(zone: &str, lines: &[&str], expected: &[&str]) {
        assert_eq!(times(zone, lines), expected);
    }
}
