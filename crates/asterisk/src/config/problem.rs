//! What Asterisk would stumble over while reading.

use std::fmt;

use super::Place;

/// Something in a file that Asterisk ignores, refuses or runs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Problem {
    /// `#include` of a file that is being read already.
    IncludeCycle(String),
    /// `#include` of a file that isn't there: Asterisk refuses the including file from here on.
    IncludeMissing(String),
    /// More than ten files deep: Asterisk stops here.
    IncludeTooDeep(String),
    /// The reader stopped following includes or inheritance to stay bounded.
    TooLarge,
    /// `#exec`: the output of a program is part of the configuration. Only the program is named.
    Exec(String),
    /// An include that leads out of the audited directory, as Asterisk would follow it.
    OutsideTree(String),
    /// The path is a directory, a device or a pipe: Asterisk ignores it.
    NotRegular(String),
    /// The file is there and can't be read.
    Unreadable(String),
    /// `[` without `]`: refused from here on.
    NoClosingBracket,
    /// `(` without `)`: refused from here on.
    NoClosingParenthesis,
    /// Inheritance from a section that isn't there: refused from here on.
    UnknownParent(String),
    /// `(+)` to a section that isn't there: refused from here on.
    AppendToUnknown(String),
    /// A value before the first section: refused from here on.
    NoSection,
    /// `\` before a blank at the start of a line: refused from here on.
    InvalidEscape,
    /// A line without `=`: ignored.
    NoEquals,
    /// A line that starts with `=`: ignored.
    NoName,
    /// `#something`: ignored. The word is not kept: it may be anything, a password too.
    UnknownDirective,
    /// `#include` without a file name: ignored.
    DirectiveWithoutArgument,
    /// A line of 8,190 bytes or more: ignored.
    LineTooLong,
    /// `;--` without `--;`: the rest of the file is a comment.
    UnterminatedComment,
    /// `--;` without `;--`: Asterisk takes the rest of the file as a comment.
    StrayCommentEnd,
}

impl Problem {
    /// Asterisk refuses the file from this line on.
    pub fn is_fatal(&self) -> bool {
        match self {
            Self::IncludeMissing(_)
            | Self::IncludeTooDeep(_)
            | Self::NoClosingBracket
            | Self::NoClosingParenthesis
            | Self::UnknownParent(_)
            | Self::AppendToUnknown(_)
            | Self::NoSection
            | Self::InvalidEscape => true,
            Self::IncludeCycle(_)
            | Self::TooLarge
            | Self::Exec(_)
            | Self::OutsideTree(_)
            | Self::NotRegular(_)
            | Self::Unreadable(_)
            | Self::NoEquals
            | Self::NoName
            | Self::UnknownDirective
            | Self::DirectiveWithoutArgument
            | Self::LineTooLong
            | Self::UnterminatedComment
            | Self::StrayCommentEnd => false,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::IncludeCycle(file) => write!(f, "{file} includes itself"),
            Self::IncludeMissing(file) => write!(f, "the included file {file} does not exist"),
            Self::IncludeTooDeep(file) => {
                write!(
                    f,
                    "{file} is included more than ten files deep, where Asterisk stops"
                )
            }
            Self::TooLarge => f.write_str(
                "includes and inheritance multiply here; the audit stopped following them",
            ),
            Self::Exec(program) => {
                write!(
                    f,
                    "the output of {program} is part of the configuration; it was not run"
                )
            }
            Self::OutsideTree(file) => write!(f, "{file} lies outside the audited directory"),
            Self::NotRegular(file) => write!(f, "{file} is not a regular file"),
            Self::Unreadable(file) => write!(f, "{file} cannot be read"),
            Self::NoClosingBracket => f.write_str("the section header has no closing ]"),
            Self::NoClosingParenthesis => f.write_str("the section header has no closing )"),
            Self::UnknownParent(name) => write!(f, "there is no section [{name}] to inherit from"),
            Self::AppendToUnknown(name) => write!(f, "there is no section [{name}] to add to"),
            Self::NoSection => f.write_str("a value stands before the first [section]"),
            Self::InvalidEscape => f.write_str("a backslash stands before a blank"),
            Self::NoEquals => f.write_str("the line has no = and is ignored"),
            Self::NoName => f.write_str("the line has no name before = and is ignored"),
            Self::UnknownDirective => f.write_str("# begins a directive that does not exist"),
            Self::DirectiveWithoutArgument => f.write_str("the directive names no file"),
            Self::LineTooLong => {
                f.write_str("the line has 8,190 bytes or more, which Asterisk ignores")
            }
            Self::UnterminatedComment => {
                f.write_str("the comment that ;-- opens is never closed with --;")
            }
            Self::StrayCommentEnd => f.write_str(
                "--; closes a comment that was never opened; Asterisk skips the rest of the file",
            ),
        }
    }
}

/// A problem and where it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Note {
    /// The line that holds it.
    pub at: Place,
    /// What is wrong.
    pub problem: Problem,
}
