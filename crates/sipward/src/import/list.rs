//! Plain lists: one address, prefix or range a line, and what follows it is a comment.

use super::{Kind, Reader};
use crate::address::Address;

/// Whether more lines begin with an address than not.
pub(super) fn is(text: &str) -> bool {
    let (mut addresses, mut others) = (0_usize, 0_usize);
    for (_, word) in words(text) {
        if word.parse::<Address>().is_ok() {
            addresses += 1;
        } else {
            others += 1;
        }
    }
    addresses > others
}

pub(super) fn read(text: &str, reader: &mut Reader<'_>) -> Kind {
    let end = reader.end();
    for (line, word) in words(text) {
        reader.take(line, &word, end);
    }
    Kind::List
}

/// The first thing of each line that has any, and the line's number.
fn words(text: &str) -> impl Iterator<Item = (usize, String)> {
    (1..).zip(text.lines()).filter_map(|(number, line)| {
        let line = line
            .split(['#', ';', ','])
            .next()
            .unwrap_or_default()
            .trim();
        // A range may have blanks around its dash.
        let mut words = line.split_whitespace();
        let word = match (words.next()?, words.next(), words.next()) {
            (first, Some("-"), Some(last)) => format!("{first}-{last}"),
            (first, _, _) => first.trim_matches('"').to_owned(),
        };
        Some((number, word))
    })
}
