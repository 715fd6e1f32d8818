//! The exit codes that scripts rely on, and the one way in which a command ends.

use std::process::ExitCode;

/// How the program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// A negative answer: not banned, findings.
    Negative = 1,
    /// Bad usage or bad input: an option, an address, a file.
    Input = 2,
    /// The daemon cannot be reached.
    Unreachable = 3,
    /// Missing privilege or kernel support.
    Unsupported = 4,
    /// Bad configuration (`EX_CONFIG` of sysexits.h).
    Config = 78,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command could not do what it was asked: one line that names what, where and how to mend
/// it, and the exit code.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Failure {
    /// The code the program ends with.
    pub exit: Exit,
    /// What to tell the user, without a final period. Text from the network is escaped in it.
    pub text: String,
}

impl Failure {
    /// A failure with exit code 2.
    pub fn input(text: impl Into<String>) -> Self {
        Self {
            exit: Exit::Input,
            text: text.into(),
        }
    }

    /// A failure with exit code 3.
    pub fn unreachable(text: impl Into<String>) -> Self {
        Self {
            exit: Exit::Unreachable,
            text: text.into(),
        }
    }

    /// A failure with exit code 4.
    pub fn unsupported(text: impl Into<String>) -> Self {
        Self {
            exit: Exit::Unsupported,
            text: text.into(),
        }
    }

    /// A failure with exit code 78.
    pub fn config(text: impl Into<String>) -> Self {
        Self {
            exit: Exit::Config,
            text: text.into(),
        }
    }
}

/// What a command answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The data, for stdout.
    pub data: String,
    /// Remarks for the reader, for stderr, one a line.
    pub notes: Vec<String>,
    /// [`Exit::Done`], [`Exit::Negative`], or [`Exit::Input`] where the data is not all that was asked
    /// for.
    pub exit: Exit,
}

impl Answer {
    /// Data, and nothing to remark.
    pub fn data(data: impl Into<String>) -> Self {
        Self {
            data: data.into(),
            notes: Vec::new(),
            exit: Exit::Done,
        }
    }

    /// No data, and why.
    pub fn note(text: impl Into<String>) -> Self {
        Self {
            notes: vec![text.into()],
            ..Self::data("")
        }
    }

    /// One JSON document.
    pub fn json<T: serde::Serialize>(value: &T) -> Result<Self, Failure> {
        let mut text = serde_json::to_string_pretty(value)
            .map_err(|error| Failure::input(format!("cannot write JSON: {error}")))?;
        text.push('\n');
        Ok(Self::data(text))
    }

    /// The same answer, with remarks before its own.
    #[must_use]
    pub fn with_notes(mut self, notes: Vec<String>) -> Self {
        self.notes.splice(..0, notes);
        self
    }

    /// The same answer as a negative one.
    #[must_use]
    pub fn negative(mut self) -> Self {
        self.exit = Exit::Negative;
        self
    }
}

impl From<sipward_shield::Error> for Failure {
    fn from(error: sipward_shield::Error) -> Self {
        use sipward_shield::Error as Shield;
        let text = error.to_string();
        match error {
            Shield::NotPermitted
            | Shield::NoBpf(_)
            | Shield::Interfaces(_)
            | Shield::Occupied { .. }
            | Shield::NotEthernet(_)
            | Shield::Port { .. }
            | Shield::Attach { .. }
            | Shield::Load(_)
            | Shield::Map { .. }
            | Shield::Pin { .. }
            | Shield::Nftables { .. }
            | Shield::NoNft
            | Shield::Raw(_)
            | Shield::Tap { .. } => Self::unsupported(text),
            Shield::NoInterface(_)
            | Shield::AlreadyGuarded(_)
            | Shield::LogGroup(_)
            | Shield::Full(_)
            | Shield::PortOfPrefix(_)
            | Shield::TooManySignatures { .. }
            | Shield::TooManyPorts(_) => Self::input(text),
        }
    }
}
