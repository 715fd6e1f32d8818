//! Mistakes in the configuration, each with its place: one line that names file, line, column,
//! key, and how to mend it.

use std::{fmt, io, ops::Range, path::Path};

use toml::de::DeTable;

use sipward_engine::escape;

use crate::exit::Failure;

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The key, as `limits.sip.rate`; empty where the file is no TOML.
    pub key: String,
    /// What is wrong and how to mend it.
    pub message: String,
    /// Byte offset in the file, where known.
    offset: Option<usize>,
}

impl Problem {
    /// A mistake in the value of a key; its place is looked up when it is shown.
    pub fn new(key: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            message: message.into(),
            offset: None,
        }
    }

    /// What the TOML reader found.
    pub(super) fn of_toml(text: &str, error: &toml::de::Error) -> Self {
        let offset = error.span().map(|span| span.start);
        let key = offset
            .and_then(|offset| key_at(text, offset))
            .unwrap_or_default();
        // The reader may explain itself over several lines.
        let mut message = error.message().trim_end().replace('\n', "; ");
        if message.starts_with("unknown field") {
            message.push_str("; `sipward config default` explains every key");
        }
        Self {
            key,
            message,
            offset,
        }
    }
}

/// Every mistake of one file. Shown as one line each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(Vec<String>);

impl Problems {
    pub(super) fn unreadable(path: &Path, error: &io::Error) -> Self {
        Self(vec![format!(
            "{}: cannot read the configuration: {error}",
            path.display()
        )])
    }

    pub(super) fn of(path: &Path, text: &str, problems: Vec<Problem>) -> Self {
        let show = |problem: Problem| {
            let offset = problem
                .offset
                .or_else(|| offset_of(text, &problem.key))
                .unwrap_or(0);
            let (line, column) = place(text, offset);
            let key = if problem.key.is_empty() {
                String::new()
            } else {
                format!("{}: ", problem.key)
            };
            let place = format!("{}:{line}:{column}", path.display());
            format!(
                "{place}: {}",
                escape(format!("{key}{}", problem.message).as_bytes())
            )
        };
        Self(problems.into_iter().map(show).collect())
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl From<Problems> for Failure {
    fn from(problems: Problems) -> Self {
        Self::config(problems.to_string())
    }
}

/// Line and column of a byte offset, both from 1, the column in characters.
fn place(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (
        before.matches('\n').count() + 1,
        before[line_start..].chars().count() + 1,
    )
}

/// The dotted key whose name or value holds `offset`.
fn key_at(text: &str, offset: usize) -> Option<String> {
    fn walk(table: &DeTable<'_>, offset: usize, path: &str) -> Option<String> {
        table.iter().find_map(|(name, value)| {
            let path = join(path, name.get_ref());
            let inside = value
                .get_ref()
                .as_table()
                .and_then(|table| walk(table, offset, &path));
            let here = |span: Range<usize>| span.contains(&offset);
            inside.or_else(|| (here(name.span()) || here(value.span())).then_some(path))
        })
    }
    let (table, _) = DeTable::parse_recoverable(text);
    walk(table.get_ref(), offset, "")
}

/// Where the value of a dotted key stands; where the key is absent, its nearest table.
fn offset_of(text: &str, key: &str) -> Option<usize> {
    let (table, _) = DeTable::parse_recoverable(text);
    let mut table = table.get_ref();
    let mut offset = None;
    for name in key.split('.') {
        let Some((_, value)) = table.iter().find(|(key, _)| key.get_ref() == name) else {
            break;
        };
        offset = Some(value.span().start);
        let Some(inner) = value.get_ref().as_table() else {
            break;
        };
        table = inner;
    }
    offset
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}
