//! Text for people: tables, counts, lengths of time.

use jiff::Timestamp;

use crate::clock;

/// Lines up columns, two blanks apart; the last one is as long as it is.
pub fn columns<const N: usize>(header: [&str; N], rows: &[[String; N]]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        let longest = cells.map(|cell| cell.chars().count()).max().unwrap_or(0);
        longest.max(header.get(column).map_or(0, |name| name.len()))
    };
    let widths: Vec<usize> = (0..N).map(width).collect();
    let line = |cells: Vec<&str>| {
        let padded: Vec<String> = cells
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        format!("{}\n", padded.join("  ").trim_end())
    };
    let head = line(header.to_vec());
    let body = rows
        .iter()
        .map(|row| line(row.iter().map(String::as_str).collect()));
    std::iter::once(head).chain(body).collect()
}

/// A number with its thousands apart.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let first = digits.len() % 3;
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && index % 3 == first {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A length of time, by its two largest units.
pub fn seconds(seconds: u64) -> String {
    let units = [("d", 86_400, 3_600), ("h", 3_600, 60), ("m", 60, 1)];
    let small = [("h", 3_600), ("m", 60), ("s", 1)];
    for ((name, unit, rest), (rest_name, _)) in units.into_iter().zip(small) {
        if seconds >= unit {
            let left = seconds % unit / rest;
            return match left {
                0 => format!("{}{name}", seconds / unit),
                left => format!("{}{name} {left}{rest_name}", seconds / unit),
            };
        }
    }
    format!("{seconds}s")
}

/// The end of a ban: `for ever`, or the moment and how far it is.
pub fn until(until: Option<Timestamp>, now: Timestamp) -> String {
    let Some(until) = until else {
        return "for ever".to_owned();
    };
    let left = until.duration_since(now).as_secs().max(0);
    format!(
        "{} ({} left)",
        clock::local(until),
        seconds(left.unsigned_abs())
    )
}

#[cfg(test)]
mod tests {
    use test_case::test_case;

    #[test_case(0, "0")]
    #[test_case(999, "999")]
    #[test_case(1_000, "1,000")]
    #[test_case(12_345_678, "12,345,678")]
    fn thousands_are_apart(number: u64, text: &str) {
        assert_eq!(super::count(number), text);
    }

    #[test_case(0, "0s")]
    #[test_case(59, "59s")]
    #[test_case(60, "1m")]
    #[test_case(3_725, "1h 2m")]
    #[test_case(90_000, "1d 1h")]
    fn a_length_of_time_has_two_units(number: u64, text: &str) {
        assert_eq!(super::seconds(number), text);
    }
}
