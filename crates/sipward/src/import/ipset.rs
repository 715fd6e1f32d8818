//! Output of `ipset save` (ipset(8)): `create NAME TYPE …`, `add NAME ELEMENT …`.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use ipnet::IpNet;
use sipward_engine::overlap;

use super::{Kind, Reader, Why, quoted};
use crate::address::Address;

/// Parts of the names of sets that are not of bans.
const LETS_THROUGH: [&str; 5] = ["accept", "allow", "permit", "trust", "white"];

/// Whether the first line that is no comment is one of a saved set.
pub(super) fn is(text: &str) -> bool {
    let lines = text.lines().map(str::trim);
    let mut lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.next().is_some_and(|line| {
        let mut words = line.split_whitespace();
        matches!(words.next(), Some("create" | "add" | "-N" | "-A"))
            && words.nth(1).is_some()
            && !line.contains(" -j ")
    })
}

/// # Errors
/// Sets of which nobody says whether they are bans, with their names and how to say it.
pub(super) fn read(text: &str, reader: &mut Reader<'_>) -> Result<Kind, String> {
    let mut sets = BTreeMap::new();
    let banned = banned(text, reader.context.sets)?;
    let exceptions = exceptions(text);
    for (number, line) in (1..).zip(text.lines()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["create" | "-N", name, kind, ..] => {
                sets.insert(*name, *kind);
            }
            ["add" | "-A", name, element, options @ ..] => {
                let kind = sets.get(name).copied().unwrap_or("hash:net");
                if !is_of_addresses(kind) {
                    reader.skip(Some(number), quoted(element.as_bytes()), Why::OtherSet);
                } else if !banned.contains(name) {
                    reader.skip(Some(number), quoted(element.as_bytes()), Why::UnnamedSet);
                } else {
                    let exceptions = exceptions.get(name).map_or(&[][..], Vec::as_slice);
                    add(number, element, options, exceptions, reader);
                }
            }
            [] | [_] | [_, _] | [_, _, ..] => {
                let is_comment = line.trim_start().starts_with('#');
                if !words.is_empty() && !is_comment {
                    let what = quoted(line.as_bytes());
                    let mend = "expected \"create\" or \"add\"".to_owned();
                    reader.skip(Some(number), what, Why::Garbage(mend));
                }
            }
        }
    }
    Ok(Kind::Ipset)
}

/// The sets that are bans. A saved set does not say what it is for: one of those let through looks
/// like one of bans.
fn banned<'a>(text: &'a str, asked: &[String]) -> Result<BTreeSet<&'a str>, String> {
    let mut names = BTreeSet::new();
    let mut others = BTreeSet::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["create" | "-N", name, kind, ..] if !is_of_addresses(kind) => others.insert(*name),
            ["create" | "-N" | "add" | "-A", name, _, ..] => names.insert(*name),
            _ => false,
        };
    }
    let names: BTreeSet<&str> = names.difference(&others).copied().collect();
    let chosen: BTreeSet<&str> = names
        .iter()
        .copied()
        .filter(|name| asked.iter().any(|asked| asked == name))
        .collect();
    let lets_through = |name: &str| {
        let name = name.to_ascii_lowercase();
        LETS_THROUGH.iter().any(|word| name.contains(word))
    };
    if !chosen.is_empty() {
        return Ok(chosen);
    }
    if asked.is_empty() && names.len() <= 1 && !names.iter().any(|name| lets_through(name)) {
        return Ok(names);
    }
    let shown: Vec<String> = names.iter().map(|name| quoted(name.as_bytes())).collect();
    Err(format!(
        "which of its sets are bans? Say it with --set NAME; it has: {}",
        shown.join(", ")
    ))
}

fn is_of_addresses(kind: &str) -> bool {
    matches!(kind, "hash:ip" | "hash:net" | "bitmap:ip")
}

fn add(
    number: usize,
    element: &str,
    options: &[&str],
    exceptions: &[IpNet],
    reader: &mut Reader<'_>,
) {
    let Ok(address) = element.parse::<Address>() else {
        return reader.garbage(number, element);
    };
    // An element that an exception is cut out of would ban what was let through.
    let hits = |net: &IpNet| exceptions.iter().any(|except| overlap(net, except));
    if address.prefixes().iter().any(hits) {
        return reader.skip(Some(number), quoted(element.as_bytes()), Why::Withdrawn);
    }
    let mut words = options.iter();
    let timeout = words
        .find(|word| **word == "timeout")
        .and_then(|_| words.next())
        .and_then(|seconds| seconds.parse().ok())
        .filter(|seconds| *seconds > 0);
    let left = timeout.map(Duration::from_secs);
    let until = left.and_then(|left| reader.context.now.checked_add(left).ok());
    let until = until.or_else(|| reader.end());
    reader.take_all(number, address.prefixes(), until, None);
}

/// The elements with `nomatch`, of each set.
fn exceptions(text: &str) -> BTreeMap<&str, Vec<IpNet>> {
    let mut exceptions: BTreeMap<&str, Vec<IpNet>> = BTreeMap::new();
    for line in text.lines().filter(|line| line.contains("nomatch")) {
        let mut words = line.split_whitespace();
        let (Some("add" | "-A"), Some(name), Some(element)) =
            (words.next(), words.next(), words.next())
        else {
            continue;
        };
        if let Ok(address) = element.parse::<Address>()
            && words.any(|word| word == "nomatch")
        {
            let prefixes = address.prefixes().iter().copied();
            exceptions.entry(name).or_default().extend(prefixes);
        }
    }
    exceptions
}
