//! A set of signatures, and what a profile does with each.

use std::collections::HashMap;

use serde::Serialize;

use crate::compile::compile;
use crate::format::{Confidence, Error, Field, Signature, parse};
use crate::tables::{ScanMode, Tables};

/// The list that sipward ships.
pub const BUILTIN: &str = include_str!("../signatures.toml");

/// Signatures with distinct names, in the order of their files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SignatureSet {
    signatures: Vec<Signature>,
}

/// How much is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Profile {
    /// What hardly any genuine device sends.
    #[default]
    Standard,
    /// Also what genuine devices send, as the lists on the web do.
    Strict,
}

/// What a signature leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Nothing matched.
    None,
    /// Counted against the source, passed on.
    Evidence,
    /// Dropped in the kernel.
    Drop,
}

/// A signature that matched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Match {
    /// The signature's name.
    pub name: String,
    /// Who else sends it.
    pub confidence: Confidence,
    /// What the administrator wants done instead of what the profile does.
    #[serde(skip)]
    pub action: Option<Action>,
}

impl Profile {
    /// What this profile does with a signature of that confidence.
    pub fn action(self, confidence: Confidence) -> Action {
        match (self, confidence) {
            (_, Confidence::Certain | Confidence::Likely) | (Self::Strict, Confidence::Shared) => {
                Action::Drop
            }
            (Self::Standard, Confidence::Shared) => Action::Evidence,
        }
    }

    /// What this profile does with a message that matched all of these.
    pub fn action_for(self, matches: &[Match]) -> Action {
        let actions = matches
            .iter()
            .map(|found| found.action.unwrap_or(self.action(found.confidence)));
        actions.max().unwrap_or(Action::None)
    }

    /// What is done with a message that matches the signature.
    pub fn action_of(self, signature: &Signature) -> Action {
        signature
            .action
            .unwrap_or_else(|| self.action(signature.confidence))
    }
}

impl SignatureSet {
    /// Reads a signature file; `file` is the name that errors give.
    ///
    /// # Errors
    /// [`Error::Syntax`] or [`Error::Invalid`]; nothing of the file is used then.
    pub fn parse(file: &str, text: &str) -> Result<Self, Error> {
        let signatures = parse(file, text)?;
        Ok(Self { signatures })
    }

    /// The list that sipward ships.
    pub fn builtin() -> Self {
        // A test parses the list; a list that does not parse is never shipped.
        Self::parse("signatures.toml", BUILTIN).unwrap_or_default()
    }

    /// The signatures that are there, changed or left out (None).
    pub fn map(&mut self, mut change: impl FnMut(Signature) -> Option<Signature>) {
        let all = std::mem::take(&mut self.signatures);
        self.signatures = all.into_iter().filter_map(&mut change).collect();
    }

    /// Adds the signatures of a later file. One with a name that is there already replaces it.
    pub fn merge(&mut self, later: Self) {
        let named = self.signatures.iter().enumerate();
        let mut at: HashMap<String, usize> = named
            .map(|(at, signature)| (signature.name.clone(), at))
            .collect();
        for signature in later.signatures {
            let place = *at
                .entry(signature.name.clone())
                .or_insert(self.signatures.len());
            match self.signatures.get_mut(place) {
                Some(earlier) => *earlier = signature,
                None => self.signatures.push(signature),
            }
        }
    }

    /// The signatures, in the order of their files.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Signature> {
        self.signatures.iter()
    }

    /// The signatures as a signature file.
    ///
    /// # Errors
    /// A text that TOML cannot hold.
    pub fn to_toml(&self) -> Result<String, toml::ser::Error> {
        #[derive(Serialize)]
        struct File<'a> {
            signature: &'a [Signature],
        }
        toml::to_string(&File {
            signature: &self.signatures,
        })
    }

    /// Compiles what the profile drops. A `shared` signature on the User-Agent does not fire on a
    /// value that is one of `exempt_user_agents` (those with which a login succeeded here).
    ///
    /// # Errors
    /// [`Error::TooMany`], [`Error::TooLarge`] or [`Error::Regex`].
    pub fn compile(
        &self,
        profile: Profile,
        exempt_user_agents: &[String],
    ) -> Result<Tables, Error> {
        let dropped = |s: &&Signature| profile.action_of(s) == Action::Drop;
        compile(self.signatures.iter().filter(dropped), exempt_user_agents)
    }

    /// All signatures that a message with this User-Agent, and nothing else, matches.
    pub fn match_user_agent(&self, user_agent: &str) -> Vec<Match> {
        let one_line: String = user_agent
            .chars()
            .map(|c| if matches!(c, '\r' | '\n') { ' ' } else { c })
            .collect();
        let header = format!("User-Agent: {one_line}\r\n\r\n");
        self.signatures
            .iter()
            .filter(|signature| signature.field == Field::UserAgent)
            .filter(|signature| signature.matches(header.as_bytes()))
            .map(|signature| Match {
                name: signature.name.clone(),
                confidence: signature.confidence,
                action: signature.action,
            })
            .collect()
    }
}

/// Of several with one name the last stays, in the place of the first.
impl FromIterator<Signature> for SignatureSet {
    fn from_iter<I: IntoIterator<Item = Signature>>(signatures: I) -> Self {
        let mut set = Self::default();
        set.merge(Self {
            signatures: signatures.into_iter().collect(),
        });
        set
    }
}

impl Signature {
    /// Whether a datagram matches this signature, judged by the automaton that the kernel walks.
    pub(crate) fn matches(&self, datagram: &[u8]) -> bool {
        compile([self].into_iter(), &[])
            .is_ok_and(|tables| tables.scan(datagram, ScanMode::DATAGRAM).is_some())
    }
}
