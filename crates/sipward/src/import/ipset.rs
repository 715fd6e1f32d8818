//! Output of `ipset save` (ipset(8)): `create NAME TYPE …`, `add NAME ELEMENT …`.

use std::{collections::BTreeMap, time::Duration};

use ipnet::IpNet;
use sipward_engine::overlap;

use super::{Kind, Reader, Why, quoted};
use crate::address::Address;

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

pub(super) fn read(text: &str, reader: &mut Reader<'_>) -> Kind {
    let mut sets = BTreeMap::new();
    let exceptions = exceptions(text);
    for (number, line) in (1..).zip(text.lines()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["create" | "-N", name, kind, ..] => {
                sets.insert(*name, *kind);
            }
            ["add" | "-A", name, element, options @ ..] => {
                let kind = sets.get(name).copied().unwrap_or("hash:net");
                if !matches!(kind, "hash:ip" | "hash:net" | "bitmap:ip") {
                    reader.skip(Some(number), quoted(element.as_bytes()), Why::OtherSet);
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
    Kind::Ipset
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
