//! A web page: the column of its first table that is called User-Agent, or IP address.

use crate::{
    Error, Format, List,
    lines::{Column, add_cell, column},
    prefix,
};

pub(crate) fn read(text: &str) -> Result<List, Error> {
    let mut list = List::of(Format::Html);
    let mut wanted: Option<(usize, Column)> = None;
    for row in rows(text) {
        let line = row.line;
        let named = row
            .cells
            .iter()
            .enumerate()
            .find_map(|(at, name)| Some((at, column(name)?)));
        match (wanted, named) {
            // A heading, of this table or of the next one.
            (_, Some((at, what))) => {
                let user_agent = row
                    .cells
                    .iter()
                    .position(|name| column(name) == Some(Column::UserAgent));
                wanted = Some(user_agent.map_or((at, what), |at| (at, Column::UserAgent)));
            }
            (Some((at, what)), None) => {
                if let Some(cell) = row.cells.get(at) {
                    add_cell(&mut list, line, what, cell);
                }
            }
            // A table without headings: addresses are known by themselves.
            (None, None) => {
                let prefixes = row.cells.iter().find_map(|cell| prefix::read(cell.trim()));
                list.prefixes.extend(prefixes.into_iter().flatten());
            }
        }
    }
    if list.is_empty() {
        return Err(Error::Page);
    }
    Ok(list)
}

struct Row {
    line: usize,
    cells: Vec<String>,
}

/// The rows of all tables, each cell as its text. Scripts and styles are no text.
fn rows(text: &str) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    let mut in_cell = false;
    let (mut line, mut hidden) = (1, false);
    let mut rest = text;
    while !rest.is_empty() {
        let (before, after) = rest.split_once('<').unwrap_or((rest, ""));
        if in_cell && !hidden {
            let cell = rows.last_mut().and_then(|row| row.cells.last_mut());
            if let Some(cell) = cell {
                cell.push_str(&decoded(before));
            }
        }
        line += before.matches('\n').count();
        let (tag, next) = after.split_once('>').unwrap_or((after, ""));
        match name_of(tag).as_str() {
            "tr" => {
                rows.push(Row {
                    line,
                    cells: Vec::new(),
                });
                in_cell = false;
            }
            "td" | "th" => {
                if let Some(row) = rows.last_mut() {
                    row.cells.push(String::new());
                    in_cell = true;
                }
            }
            "/td" | "/th" | "/tr" | "/table" => in_cell = false,
            "script" | "style" => hidden = true,
            "/script" | "/style" => hidden = false,
            _ => {}
        }
        line += tag.matches('\n').count();
        rest = next;
    }
    rows
}

fn name_of(tag: &str) -> String {
    let end = tag
        .char_indices()
        .find(|(at, c)| !(c.is_ascii_alphanumeric() || *at == 0 && *c == '/'))
        .map_or(tag.len(), |(at, _)| at);
    tag.get(..end.min(8))
        .unwrap_or_default()
        .to_ascii_lowercase()
}

/// Text with its character references read: the five of XML, the blank that does not break, and
/// numbers.
fn decoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('&') {
        out.push_str(before);
        let reference = after.split_once(';').filter(|(name, _)| name.len() <= 8);
        match reference.and_then(|(name, after)| Some((character(name)?, after))) {
            Some((c, after)) => {
                out.push(c);
                rest = after;
            }
            None => {
                out.push('&');
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

fn character(name: &str) -> Option<char> {
    match name {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        "nbsp" => Some(' '),
        _ => {
            let number = name.strip_prefix('#')?;
            let hex = number.strip_prefix(['x', 'X']);
            let code = match hex {
                Some(hex) => u32::from_str_radix(hex, 16).ok()?,
                None => number.parse().ok()?,
            };
            char::from_u32(code)
        }
    }
}
