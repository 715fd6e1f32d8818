//! Scripts of iptables rules: what `--string` looks for, and whom `-s` and `--src-range` stop.

use crate::{Format, List, Text, lines, prefix, text::Place};

/// Whether a line is a rule that says something to us.
pub(crate) fn is_rule(line: &str) -> bool {
    let words = words(line);
    let drops = words.windows(2).any(|pair| {
        let [key, value] = pair else { return false };
        (key == "-j" || key == "--jump") && stops(value)
    });
    drops && options(&words).next().is_some()
}

pub(crate) fn read(text: &str) -> List {
    let mut list = List::of(Format::Rules);
    for (number, line) in lines::entries(text) {
        if !is_rule(line) {
            continue;
        }
        let words = words(line);
        for (key, value) in options(&words) {
            match key {
                Key::String => list.texts.push(Text::new(number, value, Place::Packet)),
                Key::Source => match prefix::read(value) {
                    Some(prefixes) => list.prefixes.extend(prefixes),
                    None => list.unread.add(number, || {
                        format!("{:?} is no address", lines::short(value))
                    }),
                },
            }
        }
    }
    list
}

#[derive(Clone, Copy)]
enum Key {
    String,
    Source,
}

/// The options that say something, each with its value. What a rule excepts (`! -s`) is not what
/// it stops, and what it deletes (`-D`) is no rule.
fn options(words: &[String]) -> impl Iterator<Item = (Key, &str)> {
    let deletes = words.iter().any(|word| word == "-D" || word == "--delete");
    let triples = words.windows(3).filter_map(|triple| {
        let [before, key, value] = triple else {
            return None;
        };
        let key = match key.as_str() {
            "--string" => Key::String,
            "-s" | "--source" | "--src" | "--src-range" => Key::Source,
            _ => return None,
        };
        (before != "!").then_some((key, value.as_str()))
    });
    triples.filter(move |_| !deletes)
}

fn stops(target: &str) -> bool {
    target == "DROP" || target == "REJECT"
}

/// The words of a line as a shell splits it; nothing in it is expanded. The last word may lack its
/// quote.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some(open), _) if c == open => quote = None,
            (Some('"') | None, '\\') => word.get_or_insert_default().extend(chars.next()),
            (Some(_), _) => word.get_or_insert_default().push(c),
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, '#') if word.is_none() => break,
            (None, _) if c.is_whitespace() || c == ';' => words.extend(word.take()),
            (None, _) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}
