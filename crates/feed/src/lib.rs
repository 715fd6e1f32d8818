//! Reads the lists that others publish: addresses, User-Agents, scripts of iptables rules, and
//! signature files.
//!
//! ```text
//! bytes ─► read ─► List { texts, prefixes, signatures }
//!                     │
//!                     ├─► Text::as_written   what lint judges
//!                     └─► Text::as_evidence  what an update takes, decoded and `shared`
//! ```
//!
//! Nobody says what format a list has, and what a web server answers may be anything, so the
//! format is told from the text itself. A line that says nothing is counted, never guessed at; text
//! that is no list at all is refused in one line that says what it is instead.
//!
//! ```
//! use sipward_feed::{Format, read};
//!
//! let list = read(b"# last week\n192.0.2.7\n198.51.100.0/24 ; SBL1\n")?;
//! assert_eq!(list.format, Format::Addresses);
//! assert_eq!(list.prefixes.len(), 2);
//! # Ok::<(), sipward_feed::Error>(())
//! ```

#![forbid(unsafe_code)]

mod guard;
mod html;
mod json;
mod lines;
mod prefix;
mod rules;
mod text;

use ipnet::IpNet;
use sipward_signature::SignatureSet;

pub use guard::{Extent, Guarded, grows, guard, shrinks};
pub use text::{Place, Text};

/// Bytes of a list at most: VoIPBL's has 2 MB.
pub const LARGEST: usize = 32 << 20;
/// Entries of a list at most; the kernel has room for a million bans, and a feed is not alone.
pub const MOST_ENTRIES: usize = 250_000;

/// What a list says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct List {
    /// What the text looked like.
    pub format: Format,
    /// Texts that scanners send.
    pub texts: Vec<Text>,
    /// Addresses and prefixes.
    pub prefixes: Vec<IpNet>,
    /// Signatures, where it is a signature file.
    pub signatures: SignatureSet,
    /// Of APIBAN: the list goes on behind this.
    pub next: Option<String>,
    /// What said nothing.
    pub unread: Unread,
}

/// Lines or elements that said nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unread {
    /// How many.
    pub count: usize,
    /// The first one: its line, counted from 1, and what is wrong with it.
    pub first: Option<(usize, String)>,
}

/// What a text looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One of sipward's own signature files.
    Signatures,
    /// Calls of `iptables` with `--string`, `-s` or `--src-range`.
    Rules,
    /// A web page with a table.
    Html,
    /// A page of APIBAN, or an array of strings.
    Json,
    /// An address, prefix or range on each line, comments behind `#`, `;` or `//`.
    Addresses,
    /// A User-Agent on each line, or in a column of a CSV file.
    UserAgents,
}

/// Why a text is no list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// There is nothing in it.
    #[error("the list is empty")]
    Empty,
    /// Larger than [`LARGEST`].
    #[error("the list has more than {} MB", LARGEST >> 20)]
    TooLarge,
    /// More than [`MOST_ENTRIES`].
    #[error("the list has more than {MOST_ENTRIES} entries")]
    TooMany,
    /// Not UTF-8.
    #[error("line {line} is not text (UTF-8)")]
    NotText {
        /// The line, counted from 1.
        line: usize,
    },
    /// A web page, and no table of addresses or User-Agents in it.
    #[error("a web page without a table of addresses or User-Agents, not a list")]
    Page,
    /// JSON of some other kind.
    #[error("JSON that is neither APIBAN's nor an array of strings: {0}")]
    Json(String),
    /// The server says why it gives no list.
    #[error("the server says: {0:?}")]
    Refused(String),
    /// A signature file with a mistake.
    #[error("{0}")]
    Signatures(String),
}

/// Reads a list of whatever format.
///
/// # Errors
/// The text is no list.
pub fn read(bytes: &[u8]) -> Result<List, Error> {
    if bytes.len() > LARGEST {
        return Err(Error::TooLarge);
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let before = bytes.get(..error.valid_up_to()).unwrap_or_default();
        let line = before.iter().filter(|&&byte| byte == b'\n').count() + 1;
        Error::NotText { line }
    })?;
    let text = text.trim_start_matches('\u{feff}');
    let list = match format_of(text) {
        Some(Format::Signatures) => signatures(text)?,
        Some(Format::Rules) => rules::read(text),
        Some(Format::Html) => html::read(text)?,
        Some(Format::Json) => json::read(text)?,
        Some(Format::Addresses) => lines::addresses(text),
        Some(Format::UserAgents) => lines::user_agents(text),
        None => return Err(Error::Empty),
    };
    if list.texts.len() + list.prefixes.len() + list.signatures.iter().len() > MOST_ENTRIES {
        return Err(Error::TooMany);
    }
    Ok(list)
}

impl List {
    fn of(format: Format) -> Self {
        Self {
            format,
            texts: Vec::new(),
            prefixes: Vec::new(),
            signatures: SignatureSet::default(),
            next: None,
            unread: Unread::default(),
        }
    }

    /// Whether it says nothing at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.texts.is_empty() && self.prefixes.is_empty() && self.signatures.iter().len() == 0
    }

    /// How much it says.
    #[must_use]
    pub fn len(&self) -> usize {
        self.texts.len() + self.prefixes.len() + self.signatures.iter().len()
    }
}

impl Unread {
    fn add(&mut self, line: usize, problem: impl FnOnce() -> String) {
        self.count += 1;
        self.first.get_or_insert_with(|| (line, problem()));
    }
}

/// What the text looks like; none where nothing is in it but blanks and comments.
fn format_of(text: &str) -> Option<Format> {
    let start = text.trim_start();
    if start.starts_with('<') {
        return Some(Format::Html);
    }
    let first = lines::entries(text).next()?.1;
    if first.starts_with('{') || first.starts_with('[') && !first.starts_with("[[") {
        return Some(Format::Json);
    }
    if first.starts_with("[[signature]]") {
        return Some(Format::Signatures);
    }
    if lines::entries(text).any(|(_, line)| rules::is_rule(line)) {
        return Some(Format::Rules);
    }
    if lines::are_addresses(text) {
        return Some(Format::Addresses);
    }
    Some(Format::UserAgents)
}

fn signatures(text: &str) -> Result<List, Error> {
    let set = SignatureSet::parse("signatures", text)
        .map_err(|error| Error::Signatures(error.to_string()))?;
    Ok(List {
        signatures: set,
        ..List::of(Format::Signatures)
    })
}
