//! File name patterns as in `#include "sip.d/*.conf"`: `* ? [a-z] [!a-z] {a,b}` and `\`.

use std::path::{Path, PathBuf};

use super::files::{Files, Kind};

/// Alternatives of `{…}` that are expanded at most.
const MAX_BRANCHES: usize = 64;
/// Paths that one pattern yields at most.
const MAX_PATHS: usize = 200_000;

/// The files that an absolute pattern names, sorted within each alternative. A pattern without any
/// special character names itself, whether it exists or not. A leading dot must be written out.
pub fn expand(files: &dyn Files, pattern: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for branch in braces(pattern) {
        found.extend(walk(files, &branch));
        found.truncate(MAX_PATHS);
    }
    found
}

fn walk(files: &dyn Files, pattern: &str) -> Vec<PathBuf> {
    let mut paths = vec![PathBuf::from("/")];
    let mut parts = pattern.split('/').filter(|p| !p.is_empty()).peekable();
    while let Some(part) = parts.next() {
        let last = parts.peek().is_none();
        if !is_pattern(part) {
            let name = part.replace('\\', "");
            paths.iter_mut().for_each(|p| p.push(&name));
            continue;
        }
        let mut next = Vec::new();
        for dir in &paths {
            for name in files.list(dir) {
                let Some(text) = name.to_str() else { continue };
                if !matches(part.as_bytes(), text.as_bytes()) {
                    continue;
                }
                let path = dir.join(text);
                if last || files.kind(&path) == Kind::Directory {
                    next.push(path);
                }
                if next.len() >= MAX_PATHS {
                    return next;
                }
            }
        }
        paths = next;
    }
    if is_pattern(pattern) {
        paths.retain(|p| files.kind(Path::new(p)) != Kind::Missing);
    }
    paths
}

fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

/// `a{b,c}d` to `abd`, `acd`, outermost braces first.
fn braces(pattern: &str) -> Vec<String> {
    let mut done = Vec::new();
    let mut todo = vec![pattern.to_owned()];
    while let Some(text) = todo.pop() {
        let group = (done.len() + todo.len() < MAX_BRANCHES)
            .then(|| first_group(&text))
            .flatten();
        let Some((start, end, alternatives)) = group else {
            done.push(text);
            continue;
        };
        let (head, tail) = (
            text.get(..start).unwrap_or_default(),
            text.get(end..).unwrap_or_default(),
        );
        todo.extend(
            alternatives
                .iter()
                .rev()
                .map(|middle| format!("{head}{middle}{tail}")),
        );
    }
    done
}

/// The first `{…}`: where it starts, where it ends, what it offers.
fn first_group(text: &str) -> Option<(usize, usize, Vec<String>)> {
    let start = text.find('{')?;
    let mut depth = 0_u32;
    let mut alternatives = vec![String::new()];
    for (at, c) in text.char_indices().skip_while(|&(at, _)| at < start) {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 1 => {
                alternatives.push(String::new());
                continue;
            }
            _ => {}
        }
        if depth == 0 {
            return Some((start, at + 1, alternatives));
        }
        let outermost = c == '{' && depth == 1;
        if let (false, Some(last)) = (outermost, alternatives.last_mut()) {
            last.push(c);
        }
    }
    None
}

/// One name against one pattern without `/`.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    if name.starts_with(b".") && !pattern.starts_with(b".") {
        return false;
    }
    // Where the last `*` stood and what it has swallowed so far: going back there is enough.
    let (mut p, mut n) = (pattern, name);
    let mut star: Option<(&[u8], &[u8])> = None;
    loop {
        let step = match (p.split_first(), n.split_first()) {
            (None, None) => return true,
            (Some((b'*', rest)), _) => {
                star = Some((rest, n));
                p = rest;
                continue;
            }
            (Some((b'?', rest)), Some((_, after))) => Some((rest, after)),
            (Some((b'[', set)), Some((c, after))) => {
                in_set(set, *c).and_then(|(hit, rest)| hit.then_some((rest, after)))
            }
            (Some((b'\\', [c, rest @ ..])), Some((d, after))) if c == d => Some((rest, after)),
            (Some((c, rest)), Some((d, after))) if c == d => Some((rest, after)),
            (_, _) => None,
        };
        if let Some(next) = step {
            (p, n) = next;
            continue;
        }
        let Some((after_star, [_, rest @ ..])) = star else {
            return false;
        };
        (p, n) = (after_star, rest);
        star = Some((after_star, rest));
    }
}

/// Whether `c` is in the set that begins after `[`, and the pattern after its `]`.
fn in_set(set: &[u8], c: u8) -> Option<(bool, &[u8])> {
    let (negated, body) = match set {
        [b'!' | b'^', rest @ ..] => (true, rest),
        _ => (false, set),
    };
    let end = body.iter().skip(1).position(|&b| b == b']')? + 1;
    let (mut members, rest) = (body.get(..end)?, body.get(end + 1..)?);
    let mut hit = false;
    while let [first, tail @ ..] = members {
        members = match tail {
            [b'-', last, after @ ..] => {
                hit |= (*first..=*last).contains(&c);
                after
            }
            _ => {
                hit |= *first == c;
                tail
            }
        };
    }
    Some((hit != negated, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Memory;
    use test_case::test_case;

    #[test_case("/etc/asterisk/*.conf", &["a.conf", "b.conf"]; "star")]
    #[test_case("/etc/asterisk/?.conf", &["a.conf", "b.conf"]; "one character")]
    #[test_case("/etc/asterisk/[!a].conf", &["b.conf"]; "negated set")]
    #[test_case("/etc/asterisk/[a-b].conf", &["a.conf", "b.conf"]; "range")]
    #[test_case("/etc/asterisk/{b,a}.conf", &["b.conf", "a.conf"]; "alternatives keep their order")]
    #[test_case("/etc/asterisk/*.d/*", &["x.d/1", "x.d/2"]; "in directories")]
    #[test_case("/etc/asterisk/nothing*", &[]; "nothing")]
    #[test_case("/etc/asterisk/absent", &["absent"]; "a plain name is itself")]
    fn patterns(pattern: &str, expected: &[&str]) {
        let names = [
            "a.conf",
            "b.conf",
            ".hidden.conf",
            "x.d/1",
            "x.d/2",
            "x.d/.3",
        ];
        let files = Memory::with(names.map(|n| (n, "")));
        let expected: Vec<PathBuf> = expected
            .iter()
            .map(|e| Path::new(Memory::ROOT).join(e))
            .collect();
        assert_eq!(expand(&files, pattern), expected);
    }
}
