//! Changes to files: one line replaced or added, every other byte kept.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::{Model, Report};
use crate::config::{Place, Section, Variable, is_false, is_true};

/// A change to one line of a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Change {
    /// The file.
    pub path: PathBuf,
    /// The line, from 1.
    pub line: u32,
    /// What happens to it.
    pub action: Action,
}

/// What happens to a line.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// The value after `key =` is replaced; blanks and a comment on the line stay.
    Replace {
        /// The variable's name.
        key: String,
        /// The value that it has.
        old: String,
        /// The value that it gets.
        new: String,
    },
    /// A line is added below.
    Add(String),
}

/// All changes to one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patch {
    /// The file.
    pub path: PathBuf,
    /// The path to show.
    pub shown: String,
    /// Its bytes before.
    pub before: Vec<u8>,
    /// Its bytes after.
    pub after: Vec<u8>,
    hunks: Vec<Hunk>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Hunk {
    line: usize,
    removed: Option<Vec<u8>>,
    added: Vec<u8>,
}

impl Model<'_> {
    /// Sets `key` in a section: on the line that decides today, else below the section's header.
    /// None where that file lies outside the tree.
    pub(super) fn set(
        &self,
        section: Option<&Section>,
        variable: Option<&Variable>,
        key: &str,
        new: &str,
    ) -> Option<Change> {
        let at: Place = variable.map(|v| v.at).or(section.map(|s| s.at))?;
        let file = self.tree.file(at)?;
        if !self.tree.holds(&file.path) {
            return None;
        }
        let action = match variable {
            Some(v) => Action::Replace {
                key: v.name.to_string(),
                old: v.value.to_string(),
                new: new.to_owned(),
            },
            None => Action::Add(format!("{key}={new}")),
        };
        Some(Change {
            path: file.path.clone(),
            line: at.line,
            action,
        })
    }
}

/// The files that a report's changes touch, before and after. A line that no longer holds what the
/// audit read there is left alone. `read` gives a file's bytes.
pub fn patches(report: &Report, read: &dyn Fn(&std::path::Path) -> Option<Vec<u8>>) -> Vec<Patch> {
    let mut by_file: BTreeMap<&PathBuf, (String, Vec<&Change>)> = BTreeMap::new();
    for finding in &report.findings {
        if let Some(change) = &finding.change {
            let entry = by_file.entry(&change.path);
            entry
                .or_insert_with(|| (finding.file.clone(), Vec::new()))
                .1
                .push(change);
        }
    }
    let mut patches = Vec::new();
    for (path, (shown, mut changes)) in by_file {
        changes.sort();
        changes.dedup();
        let Some(before) = read(path) else { continue };
        let patch = patch(path.clone(), shown, before, &changes);
        if !patch.hunks.is_empty() {
            patches.push(patch);
        }
    }
    patches
}

fn patch(path: PathBuf, shown: String, before: Vec<u8>, changes: &[&Change]) -> Patch {
    let mut hunks = Vec::new();
    let mut after = Vec::with_capacity(before.len() + 64);
    for (number, line) in (1_usize..).zip(before.split_inclusive(|&b| b == b'\n')) {
        let here = changes
            .iter()
            .filter(|c| usize::try_from(c.line) == Ok(number));
        let mut replaced = None;
        let mut added = Vec::new();
        for change in here {
            match &change.action {
                Action::Replace { key, old, new } => {
                    replaced = replaced.or_else(|| replace_value(line, key, old, new));
                }
                // Below a line that opens a comment it would be a part of the comment.
                Action::Add(_) if line.windows(3).any(|w| w == b";--") => {}
                Action::Add(text) => {
                    added.extend_from_slice(text.as_bytes());
                    added.extend_from_slice(end_of(line));
                }
            }
        }
        match replaced {
            Some(new) => {
                after.extend_from_slice(&new);
                hunks.push(Hunk {
                    line: number,
                    removed: Some(line.to_vec()),
                    added: new,
                });
            }
            None => after.extend_from_slice(line),
        }
        if !added.is_empty() {
            if !line.ends_with(b"\n") {
                after.push(b'\n');
            }
            after.extend_from_slice(&added);
            hunks.push(Hunk {
                line: number,
                removed: None,
                added,
            });
        }
    }
    Patch {
        path,
        shown,
        before,
        after,
        hunks,
    }
}

/// The line end that a file's line has: added lines get the same.
fn end_of(line: &[u8]) -> &'static [u8] {
    if line.ends_with(b"\r\n") {
        b"\r\n"
    } else {
        b"\n"
    }
}

/// The line with another value; None where it isn't the plain `key = old` that the audit read, or
/// where a block comment or an escape makes its value more than a run of bytes.
fn replace_value(line: &[u8], key: &str, old: &str, new: &str) -> Option<Vec<u8>> {
    let plain = |w: &[u8]| w != b";--" && w != b"--;" && !w.starts_with(b"\\;");
    if !line.windows(3).all(plain) {
        return None;
    }
    let equals = line.iter().position(|&b| b == b'=')?;
    let name = std::str::from_utf8(line.get(..equals)?).ok()?.trim();
    if !name.eq_ignore_ascii_case(key) {
        return None;
    }
    let mut start = equals + 1;
    if line.get(start) == Some(&b'>') {
        start += 1;
    }
    while line.get(start).is_some_and(|&b| b == b' ' || b == b'\t') {
        start += 1;
    }
    let rest = line.get(start..)?;
    let comment = rest.iter().position(|&b| b == b';').unwrap_or(rest.len());
    // The diff shows the whole line: a comment that may hold a password stays out of it.
    let remark = String::from_utf8_lossy(rest.get(comment..)?).to_ascii_lowercase();
    if ["secret", "pass", "pw", "pin"]
        .iter()
        .any(|word| remark.contains(word))
    {
        return None;
    }
    let value = rest.get(..comment)?.trim_ascii_end();
    if value != old.as_bytes() {
        return None;
    }
    let mut out = line.get(..start)?.to_vec();
    out.extend_from_slice(new.as_bytes());
    out.extend_from_slice(line.get(start + value.len()..)?);
    Some(out)
}

/// The patches as a unified diff without context lines: a line beside a change may hold a password,
/// and none is ever shown. `patch -p1` and `git apply --unidiff-zero` take it.
pub fn unified_diff(patches: &[Patch]) -> String {
    let mut out = String::new();
    for patch in patches {
        out.push_str(&format!("--- a/{}\n+++ b/{}\n", patch.shown, patch.shown));
        let mut shift = 0;
        for hunk in &patch.hunks {
            let lines: Vec<&[u8]> = hunk.added.split_inclusive(|&b| b == b'\n').collect();
            match &hunk.removed {
                Some(removed) => {
                    let new = hunk.line + shift;
                    out.push_str(&format!("@@ -{} +{new} @@\n", hunk.line));
                    push_line(&mut out, '-', removed);
                }
                None => {
                    let new = hunk.line + shift + 1;
                    let count = if lines.len() == 1 {
                        String::new()
                    } else {
                        format!(",{}", lines.len())
                    };
                    out.push_str(&format!("@@ -{},0 +{new}{count} @@\n", hunk.line));
                    shift += lines.len();
                }
            }
            for line in lines {
                push_line(&mut out, '+', line);
            }
        }
    }
    out
}

fn push_line(out: &mut String, sign: char, line: &[u8]) {
    out.push(sign);
    out.push_str(&String::from_utf8_lossy(line));
    if !line.ends_with(b"\n") {
        out.push_str("\n\\ No newline at end of file\n");
    }
}

/// Whether a value already says what a boolean fix would write.
pub(super) fn says(value: Option<&str>, wanted: bool) -> bool {
    value.is_some_and(|v| if wanted { is_true(v) } else { is_false(v) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use test_case::test_case;

    #[test_case("allowguest=yes\n", Some("allowguest=no\n"); "plain")]
    #[test_case("\tAllowGuest  => yes   ; why not\r\n", Some("\tAllowGuest  => no   ; why not\r\n"); "blanks, case and comment stay")]
    #[test_case("allowguest=yes", Some("allowguest=no"); "without a line end")]
    #[test_case("allowguest=no\n", None; "another value")]
    #[test_case("allowguests=yes\n", None; "another key")]
    #[test_case("allowguest=yes ; password x\n", None; "a comment that may hold a password")]
    #[test_case("allowguest=yes;-- x --;\n", None; "a block comment on the line")]
    fn replaces_only_the_value(line: &str, expected: Option<&str>) {
        let found = replace_value(line.as_bytes(), "allowguest", "yes", "no");
        assert_eq!(found.as_deref(), expected.map(str::as_bytes));
    }

    #[test]
    fn nothing_is_added_where_a_comment_opens() {
        let add = Change {
            path: "/x".into(),
            line: 1,
            action: Action::Add("a=1".into()),
        };
        let before = b"[general] ;-- why\n--;\n".to_vec();
        let patch = patch("/x".into(), "x".into(), before, &[&add]);
        assert_eq!(patch.before, patch.after);
    }

    #[test]
    fn the_diff_has_right_line_numbers_and_no_context() {
        let change = |line, action| Change {
            path: "/x".into(),
            line,
            action,
        };
        let replace = Action::Replace {
            key: "b".into(),
            old: "2".into(),
            new: "3".into(),
        };
        let changes = [change(1, Action::Add("a=1".into())), change(3, replace)];
        let before = b"[general]\nsecret=hunter2\nb=2\n".to_vec();
        let patch = patch(
            "/x".into(),
            "x".into(),
            before,
            &changes.iter().collect::<Vec<_>>(),
        );
        assert_eq!(patch.after, b"[general]\na=1\nsecret=hunter2\nb=3\n");
        let expected = "--- a/x\n+++ b/x\n@@ -1,0 +2 @@\n+a=1\n@@ -3 +4 @@\n-b=2\n+b=3\n";
        assert_eq!(unified_diff(&[patch]), expected);
    }
}
