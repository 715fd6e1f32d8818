//! Lists with an entry on each line.

use crate::{Format, List, Text, prefix, text::Place};

/// Lines that a list is told by.
const TELLING: usize = 200;

/// Names of the column that holds the User-Agent, in a CSV file or a table.
const USER_AGENT_COLUMNS: &[&str] = &["user-agent", "user agent", "useragent", "user_agent", "ua"];
/// Names of the column that holds the address.
const ADDRESS_COLUMNS: &[&str] = &[
    "ip",
    "ip address",
    "ip-address",
    "ipaddress",
    "ip_address",
    "address",
    "source",
    "source ip",
    "source_ip",
    "src",
    "network",
    "cidr",
    "prefix",
];

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Column {
    UserAgent,
    Address,
}

/// What a column of this name holds; `User Agent Used` and the like count.
pub(crate) fn column(name: &str) -> Option<Column> {
    let name = name.trim().to_ascii_lowercase();
    let user_agent = |known: &&str| name == **known || name.starts_with(&format!("{known} "));
    if USER_AGENT_COLUMNS.iter().any(user_agent) {
        Some(Column::UserAgent)
    } else if ADDRESS_COLUMNS.contains(&name.as_str()) {
        Some(Column::Address)
    } else {
        None
    }
}

/// The lines that say something, trimmed, each with its number from 1: a whole line of comment
/// begins with `#`, `;` or `//`.
pub(crate) fn entries(text: &str) -> impl Iterator<Item = (usize, &str)> {
    (1..).zip(text.lines()).filter_map(|(number, line)| {
        let line = line.trim();
        let comment = ["#", ";", "//"].iter().any(|sign| line.starts_with(sign));
        (!line.is_empty() && !comment).then_some((number, line))
    })
}

/// Whether at least half of the first lines begin with an address.
pub(crate) fn are_addresses(text: &str) -> bool {
    let (mut addresses, mut others) = (0, 0);
    for (_, line) in entries(text).take(TELLING) {
        if prefix::read(first_word(line)).is_some() {
            addresses += 1;
        } else {
            others += 1;
        }
    }
    addresses > 0 && addresses >= others
}

/// An address list: the first word of each line.
pub(crate) fn addresses(text: &str) -> List {
    let mut list = List::of(Format::Addresses);
    for (number, line) in entries(text) {
        match prefix::read(first_word(line)) {
            Some(prefixes) => list.prefixes.extend(prefixes),
            None if names_a_column(line) => {}
            None => list
                .unread
                .add(number, || format!("{:?} is no address", short(line))),
        }
    }
    list
}

/// A list of User-Agents: whole lines, or, where the first line names columns, one of them.
pub(crate) fn user_agents(text: &str) -> List {
    let mut list = List::of(Format::UserAgents);
    let mut lines = entries(text).peekable();
    let columns = lines.peek().and_then(|(_, first)| csv_columns(first));
    if columns.is_some() {
        lines.next();
    }
    for (number, line) in lines {
        let Some((column, what)) = columns else {
            list.texts
                .push(Text::new(number, unquoted(line), Place::UserAgent));
            continue;
        };
        let Some(cell) = cells(line).into_iter().nth(column) else {
            list.unread.add(number, || "a column is missing".to_owned());
            continue;
        };
        add_cell(&mut list, number, what, &cell);
    }
    list
}

/// Adds what stands in a cell of a CSV file or a table.
pub(crate) fn add_cell(list: &mut List, number: usize, what: Column, cell: &str) {
    let cell = cell.trim();
    match what {
        _ if cell.is_empty() => {}
        Column::UserAgent => list.texts.push(Text::new(number, cell, Place::UserAgent)),
        Column::Address => match prefix::read(cell) {
            Some(prefixes) => list.prefixes.extend(prefixes),
            None => list
                .unread
                .add(number, || format!("{:?} is no address", short(cell))),
        },
    }
}

/// The column to read where the line names columns, one of them known. A single word is a name
/// like any other.
fn csv_columns(line: &str) -> Option<(usize, Column)> {
    let cells = cells(line);
    if cells.len() < 2 {
        return None;
    }
    let known = |wanted: Column| {
        let mut named = cells.iter().enumerate();
        named.find_map(|(at, name)| (column(name) == Some(wanted)).then_some((at, wanted)))
    };
    known(Column::UserAgent).or_else(|| known(Column::Address))
}

fn names_a_column(line: &str) -> bool {
    cells(line).iter().any(|cell| column(cell).is_some())
}

/// The cells of a line of CSV (RFC 4180), between commas, semicolons or tabs.
fn cells(line: &str) -> Vec<String> {
    let mut cells = vec![String::new()];
    let mut quoted = false;
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        let Some(cell) = cells.last_mut() else { break };
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                cell.push('"');
            }
            '"' if quoted => quoted = false,
            '"' if cell.trim().is_empty() => quoted = true,
            ',' | ';' | '\t' if !quoted => cells.push(String::new()),
            _ => cell.push(c),
        }
    }
    cells
}

/// The word that may be an address: up to a blank, a comma, a semicolon or a comment; a range may
/// have blanks around its dash.
fn first_word(line: &str) -> &str {
    let line = line
        .split(['#', ';', ',', '\t'])
        .next()
        .unwrap_or_default()
        .trim();
    let line = line.trim_matches('"');
    if line.split('-').count() == 2 && prefix::read(line).is_some() {
        return line;
    }
    line.split_whitespace().next().unwrap_or_default()
}

fn unquoted(line: &str) -> &str {
    let inner = line
        .strip_prefix('"')
        .and_then(|line| line.strip_suffix('"'));
    inner.filter(|inner| !inner.contains('"')).unwrap_or(line)
}

/// As much of a text as a message has room for.
pub(crate) fn short(text: &str) -> String {
    text.chars().take(40).collect()
}
