//! When a line was written, in any of the forms that stand before a message.

use super::prefix::skip_colours;

/// The time at the beginning of a line, as it is written there: often without the year, mostly
/// without the time zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// `%b %e %T`, the default of Asterisk and syslog, has none.
    pub year: Option<i16>,
    /// 1 to 12.
    pub month: u8,
    /// 1 to 31.
    pub day: u8,
    /// 0 to 23.
    pub hour: u8,
    /// 0 to 59.
    pub minute: u8,
    /// 0 to 59; a leap second is the one before.
    pub second: u8,
    /// 0 to 999,999,999.
    pub nanosecond: u32,
    /// Seconds east of Greenwich, where the line says so.
    pub offset: Option<i32>,
}

/// Longest word before the time: a session of FreeSWITCH, a container's name.
const NAME: usize = 64;

impl Stamp {
    /// The time of a line: what syslog, the journal or a container runtime wrote, else the program's
    /// own. `None` where it has none or in a form that is not known here.
    ///
    /// Known are `Nov 22 18:55:31`, `2026-11-22 18:55:31`, the same with a `T`, with fractions of a
    /// second behind `.` or `,`, with `Z`, `+0100` or `+01:00`, and `11-22 18:55:31.5` of older
    /// FreeSWITCH.
    #[must_use]
    pub fn of(line: &[u8]) -> Option<Self> {
        let line = skip_colours(line);
        let line = line.strip_prefix(b"[").unwrap_or(line);
        at_start(line).or_else(|| {
            // Behind `pbx-1  | ` or a session's name.
            let end = line.iter().take(NAME).position(|&b| b == b' ')?;
            let rest = line.get(end..)?.trim_ascii_start();
            let rest = skip_colours(rest.strip_prefix(b"| ").unwrap_or(rest));
            at_start(rest.strip_prefix(b"[").unwrap_or(rest))
        })
    }
}

fn at_start(text: &[u8]) -> Option<Stamp> {
    let mut text = Cursor(text);
    let (year, month, day) = match text.0.first()? {
        b'0'..=b'9' if text.0.get(2) == Some(&b'-') => {
            let month = text.two()?;
            text.skip(b"-")?;
            (None, month, text.two()?)
        }
        b'0'..=b'9' => {
            let year = i16::from(text.two()?) * 100 + i16::from(text.two()?);
            text.skip(b"-")?;
            let month = text.two()?;
            text.skip(b"-")?;
            (Some(year), month, text.two()?)
        }
        _ => {
            let month = text.month()?;
            text.skip(b" ")?;
            let day = match text.skip(b" ") {
                Some(()) => text.digit()?,
                None => text.two()?,
            };
            (None, month, day)
        }
    };
    text.skip(b" ").or_else(|| text.skip(b"T"))?;
    let hour = text.two()?;
    text.skip(b":")?;
    let minute = text.two()?;
    text.skip(b":")?;
    let second = text.two()?.min(59);
    let nanosecond = match text.skip(b".").or_else(|| text.skip(b",")) {
        Some(()) => text.fraction()?,
        None => 0,
    };
    let fits = (1..=12).contains(&month) && (1..=31).contains(&day) && hour < 24 && minute < 60;
    fits.then_some(Stamp {
        year,
        month,
        day,
        hour,
        minute,
        second,
        nanosecond,
        offset: text.offset(),
    })
}

/// What is left to read.
struct Cursor<'a>(&'a [u8]);

impl Cursor<'_> {
    fn skip(&mut self, what: &[u8]) -> Option<()> {
        self.0 = self.0.strip_prefix(what)?;
        Some(())
    }

    fn digit(&mut self) -> Option<u8> {
        let (digit, rest) = self.0.split_first()?;
        self.0 = rest;
        digit.is_ascii_digit().then(|| digit - b'0')
    }

    fn two(&mut self) -> Option<u8> {
        Some(self.digit()? * 10 + self.digit()?)
    }

    fn month(&mut self) -> Option<u8> {
        const MONTHS: &[u8; 36] = b"JanFebMarAprMayJunJulAugSepOctNovDec";
        let (name, rest) = self.0.split_at_checked(3)?;
        let at = MONTHS.chunks(3).position(|month| month == name)?;
        self.0 = rest;
        u8::try_from(at + 1).ok()
    }

    /// Digits behind the point, at least one; those beyond nanoseconds are dropped.
    fn fraction(&mut self) -> Option<u32> {
        let mut nanoseconds = u32::from(self.digit()?) * 100_000_000;
        let mut unit = 10_000_000;
        while let Some(digit) = self.0.first().filter(|b| b.is_ascii_digit()) {
            nanoseconds += u32::from(digit - b'0') * unit;
            unit /= 10;
            self.digit()?;
        }
        Some(nanoseconds)
    }

    fn offset(&mut self) -> Option<i32> {
        let sign = match self.0.split_first()? {
            (b'Z', _) => return Some(0),
            (b'+', rest) => {
                self.0 = rest;
                1
            }
            (b'-', rest) => {
                self.0 = rest;
                -1
            }
            _ => return None,
        };
        let hours = i32::from(self.two()?);
        let _ = self.skip(b":");
        Some(sign * (hours * 3600 + i32::from(self.two()?) * 60))
    }
}
