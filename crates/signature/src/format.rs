//! The signature file: one `[[signature]]` table per signature.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::compile::regex;
use crate::set::Action;

/// Why a signature file, or a set of signatures, can't be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file is no TOML, or a key or a value is not one that a signature has.
    #[error("{file}:{line}: {message}")]
    Syntax {
        /// The file's name, as the caller gave it.
        file: String,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong there.
        message: String,
    },
    /// One signature can't be what it says.
    #[error("{file}:{line}: signature \"{name}\": {problem}")]
    Invalid {
        /// The file's name, as the caller gave it.
        file: String,
        /// The line at which the signature begins, counted from 1.
        line: usize,
        /// The signature's name.
        name: String,
        /// What is wrong and how to mend it.
        problem: String,
    },
    /// More signatures than the kernel's event can number.
    #[error("{count} signatures, {limit} at most: remove the ones that others already cover")]
    TooMany {
        /// How many there are.
        count: usize,
        /// How many there may be.
        limit: usize,
    },
    /// More regular expressions than one automaton is built of.
    #[error("{count} regular expressions, {limit} at most: use `contains`, `prefix` or `exact`")]
    TooManyRegexes {
        /// How many there are.
        count: usize,
        /// How many there may be.
        limit: usize,
    },
    /// The compiled automaton does not fit into the kernel's table.
    #[error(
        "the compiled signatures need {units} units of the kernel's table, which has {limit}; \
         \"{costliest}\" costs most: shorten its pattern, or match it as `prefix`"
    )]
    TooLarge {
        /// Units needed, or built when the compiler gave up.
        units: usize,
        /// Units that there are.
        limit: usize,
        /// The signature whose removal saves most.
        costliest: String,
    },
    /// The regular expressions of one field are too large together.
    #[error("the regular expressions on {field} can't be compiled: {message}")]
    Regex {
        /// The field.
        field: Field,
        /// What the regex compiler says.
        message: String,
    },
}

/// A pattern that gives a scanner away, and how far it can be relied upon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signature {
    /// Unique; shown in bans, logs and counters.
    pub name: String,
    /// Where the pattern is looked for.
    pub field: Field,
    /// How it is compared.
    #[serde(rename = "match")]
    pub kind: MatchKind,
    /// What is looked for. Runs of blanks count as one blank, as they do in the message.
    pub pattern: String,
    /// Whether letters match in any case.
    #[serde(default)]
    pub case: Case,
    /// Who else sends it.
    pub confidence: Confidence,
    /// What the administrator wants done instead of what the profile does. No file has it.
    #[serde(skip)]
    pub action: Option<Action>,
    /// Where the pattern was taken from.
    pub source: String,
    /// Why it has this field, match and confidence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Anything else that the next reader should know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

impl Signature {
    /// Bytes of a pattern beyond which it can't match: the kernel reads 2,048 of a message.
    pub(crate) const MAX_PATTERN: usize = 1024;

    /// Whether no message can match, so that the compiler leaves it out; the lint says why.
    pub(crate) fn can_never_match(&self) -> bool {
        let literal = match self.kind {
            MatchKind::Exact | MatchKind::Prefix | MatchKind::Contains => true,
            MatchKind::Regex => false,
        };
        let control = |c: char| c.is_ascii_control() && c != '\t';
        literal && (self.pattern.contains(control) || self.pattern.len() > Self::MAX_PATTERN)
    }
}

/// A header field, or the request URI. Header names are compared in any case and in compact form
/// (RFC 3261 section 7.3.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Field {
    /// `User-Agent`
    UserAgent,
    /// `Server`
    Server,
    /// `From`, `f`
    From,
    /// `To`, `t`
    To,
    /// `Contact`, `m`
    Contact,
    /// `Call-ID`, `i`
    CallId,
    /// `Via`, `v`
    Via,
    /// The second word of a request line.
    RequestUri,
}

impl Field {
    /// All fields, in the order of their numbers.
    pub const ALL: [Self; 8] = [
        Self::UserAgent,
        Self::Server,
        Self::From,
        Self::To,
        Self::Contact,
        Self::CallId,
        Self::Via,
        Self::RequestUri,
    ];

    /// The names of the header, in lower case, the full one first. None for the request URI.
    pub fn header_names(self) -> &'static [&'static str] {
        match self {
            Self::UserAgent => &["user-agent"],
            Self::Server => &["server"],
            Self::From => &["from", "f"],
            Self::To => &["to", "t"],
            Self::Contact => &["contact", "m"],
            Self::CallId => &["call-id", "i"],
            Self::Via => &["via", "v"],
            Self::RequestUri => &[],
        }
    }

    /// Whether the value holds a URI, so that `%73` is an `s` and `exact` means the URI.
    pub fn holds_uri(self) -> bool {
        match self {
            Self::From | Self::To | Self::Contact | Self::RequestUri => true,
            Self::UserAgent | Self::Server | Self::CallId | Self::Via => false,
        }
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UserAgent => "user-agent",
            Self::Server => "server",
            Self::From => "from",
            Self::To => "to",
            Self::Contact => "contact",
            Self::CallId => "call-id",
            Self::Via => "via",
            Self::RequestUri => "request-uri",
        })
    }
}

/// How a pattern is compared with a value. Before it is compared, the value's folds are undone,
/// its leading blanks removed and its other runs of blanks and tabs made one blank; in fields that
/// hold a URI percent-encoded bytes are decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MatchKind {
    /// The whole value without its trailing blanks.
    ///
    /// In `from`, `to`, `contact` and `request-uri`: the whole URI up to its parameters and
    /// headers, not the display name. `sip:nm@nm` is matched by `"x" <sip:nm@nm;lr>;tag=1` and by
    /// `sip:nm@nm;tag=1`, but not by `<sip:nm@nm:5060>`, which is another URI. Of a list
    /// of contacts it is the first one's.
    Exact,
    /// The value begins with the pattern; in `from`, `to` and `contact` the value begins with the
    /// display name, if there is one, or with `<`.
    Prefix,
    /// The pattern is somewhere in the value.
    Contains,
    /// A regular expression (Rust's syntax, on bytes) matches somewhere in the value.
    Regex,
}

impl fmt::Display for MatchKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Exact => "exact",
            Self::Prefix => "prefix",
            Self::Contains => "contains",
            Self::Regex => "regex",
        })
    }
}

/// Whether letters match in any case (ASCII letters only).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Case {
    /// In any case.
    #[default]
    Insensitive,
    /// As written.
    Sensitive,
}

/// Who else sends the pattern; the strongest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Confidence {
    /// No genuine product.
    Certain,
    /// Hardly any; never held against a source that has logged in.
    Likely,
    /// Genuine devices.
    Shared,
}

impl fmt::Display for Confidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Certain => "certain",
            Self::Likely => "likely",
            Self::Shared => "shared",
        })
    }
}

/// Reads a signature file. `file` is the name that errors give.
///
/// # Errors
/// [`Error::Syntax`] and [`Error::Invalid`], each with the line.
pub(crate) fn parse(file: &str, text: &str) -> Result<Vec<Signature>, Error> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct File {
        #[serde(default)]
        signature: Vec<toml::Spanned<Signature>>,
    }

    let parsed: File = toml::from_str(text).map_err(|error| Error::Syntax {
        file: file.to_owned(),
        line: error.span().map_or(1, |span| line_at(text, span.start)),
        message: error.message().trim().replace('\n', "; "),
    })?;

    let mut names = BTreeSet::new();
    let mut signatures = Vec::with_capacity(parsed.signature.len());
    for spanned in parsed.signature {
        let start = spanned.span().start;
        let signature = spanned.into_inner();
        let problem = if names.insert(signature.name.clone()) {
            problem_of(&signature)
        } else {
            Some("the name is used twice in this file: give each signature its own".to_owned())
        };
        if let Some(problem) = problem {
            return Err(Error::Invalid {
                file: file.to_owned(),
                line: line_at(text, start),
                name: signature.name.escape_debug().to_string(),
                problem,
            });
        }
        signatures.push(signature);
    }
    Ok(signatures)
}

fn problem_of(signature: &Signature) -> Option<String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if signature.name.is_empty() || signature.name.len() > 64 || !signature.name.chars().all(plain)
    {
        return Some("a name is 1 to 64 letters, digits, dashes, dots or underscores".to_owned());
    }
    if signature.pattern.trim().is_empty() {
        return Some("the pattern is empty: it would match every message; remove it".to_owned());
    }
    match signature.kind {
        MatchKind::Regex => regex::check(signature).err(),
        MatchKind::Exact | MatchKind::Prefix | MatchKind::Contains => None,
    }
}

fn line_at(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|&b| b == b'\n').count() + 1
}
