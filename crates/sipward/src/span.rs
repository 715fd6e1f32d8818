//! Lengths of time as people write them: `30s`, `10m`, `1h`, `10d`, `1h30m`.

use std::{fmt, str::FromStr, time::Duration};

use serde::Deserialize;

/// A length of time, at least one second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(Duration);

/// Units from the longest to the shortest, with their seconds.
const UNITS: [(char, u64); 5] = [
    ('w', 604_800),
    ('d', 86_400),
    ('h', 3_600),
    ('m', 60),
    ('s', 1),
];

/// Ten years. A longer ban is one for ever, and meant as such.
const LONGEST: u64 = 3_650 * 86_400;

impl Span {
    /// A span of so many seconds; at least one.
    #[must_use]
    pub const fn of_seconds(seconds: u64) -> Self {
        assert!(seconds > 0 && seconds <= LONGEST);
        Self(Duration::from_secs(seconds))
    }

    /// As the standard library's type.
    #[must_use]
    pub const fn duration(self) -> Duration {
        self.0
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("{text:?} is no length of time: write it as 30s, 10m, 1h, 10d or 1h30m");
        let mut seconds = 0_u64;
        let mut rest = text;
        let mut larger_than = u64::MAX;
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
            let (number, tail) = rest.split_at(digits);
            let letter = tail.chars().next().ok_or_else(wrong)?;
            let unit = UNITS
                .iter()
                .find(|(name, _)| *name == letter)
                .ok_or_else(wrong)?
                .1;
            if unit >= larger_than {
                return Err(wrong());
            }
            larger_than = unit;
            let number: u64 = number.parse().map_err(|_| wrong())?;
            seconds = number
                .checked_mul(unit)
                .and_then(|part| seconds.checked_add(part))
                .ok_or_else(wrong)?;
            rest = &tail[letter.len_utf8()..];
        }
        if seconds == 0 {
            return Err(wrong());
        }
        if seconds > LONGEST {
            return Err(format!("{text:?} is longer than ten years"));
        }
        Ok(Self(Duration::from_secs(seconds)))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0.as_secs();
        for (name, unit) in UNITS.into_iter().filter(|(name, _)| *name != 'w') {
            if rest >= unit {
                write!(f, "{}{name}", rest / unit)?;
                rest %= unit;
            }
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::Span;
    use test_case::test_case;

    #[test_case("30s", 30)]
    #[test_case("10m", 600)]
    #[test_case("1h", 3_600)]
    #[test_case("10d", 864_000)]
    #[test_case("1h30m", 5_400)]
    #[test_case("2w", 1_209_600)]
    fn a_span_is_read(text: &str, seconds: u64) {
        assert_eq!(text.parse(), Ok(Span::of_seconds(seconds)));
    }

    #[test_case(""; "nothing")]
    #[test_case("10"; "no unit")]
    #[test_case("m"; "no number")]
    #[test_case("0s"; "no time at all")]
    #[test_case("-5m"; "negative")]
    #[test_case("1.5h"; "a fraction")]
    #[test_case("5m1h"; "units out of order")]
    #[test_case("5m5m"; "a unit twice")]
    #[test_case("1x"; "an unknown unit")]
    #[test_case("5 m"; "a blank")]
    #[test_case("99999999999999999999d"; "too many digits")]
    #[test_case("999999999999999999d"; "an overflow")]
    #[test_case("4000d"; "more than ten years")]
    #[test_case("1µ"; "a letter of two bytes")]
    fn what_is_no_span_is_refused(text: &str) {
        assert!(text.parse::<Span>().is_err(), "{text:?}");
    }

    #[test_case(5_400, "1h30m")]
    #[test_case(864_000, "10d")]
    #[test_case(59, "59s")]
    fn a_span_is_shown(seconds: u64, text: &str) {
        assert_eq!(Span::of_seconds(seconds).to_string(), text);
    }
}
