//! `[[signatures.feed]]`: the lists that the daemon fetches by itself.

use std::{collections::BTreeSet, path::PathBuf, time::Duration};

use hyper::Uri;
use serde::Deserialize;
use sipward_engine::escape_at_most;

use super::Problem;
use crate::{
    feeds::{Key, OPEN, Terms, is_loopback, is_name, is_open, name_of},
    span::Span,
};

/// How often a server on another machine is asked at most.
const SHORTEST: Duration = Duration::from_secs(300);

/// `[[signatures.feed]]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Feed {
    /// Where it is: `https://` or `http://`.
    pub url: String,
    /// What its signatures' names begin with; absent: what the server is called.
    pub name: Option<String>,
    /// How often it is asked for.
    #[serde(default = "Feed::every")]
    pub every: Span,
    /// How long what it says is in force without being confirmed by it.
    #[serde(default = "Feed::keep")]
    pub keep: Span,
    /// How long addresses on it are banned.
    #[serde(default = "Feed::ban_for")]
    pub ban_for: Span,
    /// Who must have signed it.
    pub key: Option<Key>,
    /// Whether what no genuine device sends is `certain`.
    #[serde(default)]
    pub promote: bool,
    /// In PEM: whom to believe instead of the authorities of the system.
    pub ca_file: Option<PathBuf>,
}

impl Feed {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> String {
        self.name.clone().unwrap_or_else(|| name_of(&self.url))
    }

    /// How often a list is asked for where nobody says.
    #[must_use]
    pub fn every() -> Span {
        Span::of_seconds(6 * 3_600)
    }

    /// How long what a list says is in force where nobody says.
    #[must_use]
    pub fn keep() -> Span {
        Span::of_seconds(30 * 86_400)
    }

    /// How long a list's addresses are banned where nobody says.
    #[must_use]
    pub fn ban_for() -> Span {
        Span::of_seconds(2 * 86_400)
    }

    fn check(&self, problem: &mut impl FnMut(&str, String)) {
        let shown = escape_at_most(self.url.as_bytes(), 80);
        let uri = match self.url.parse::<Uri>() {
            Ok(uri) if matches!(uri.scheme_str(), Some("http" | "https")) => uri,
            Ok(_) | Err(_) => {
                let mend = "as \"https://lists.example.org/scanners.txt\"";
                return problem("url", format!("\"{shown}\" is no web address: {mend}"));
            }
        };
        let name = self.name();
        if !is_name(&name) {
            let name = escape_at_most(name.as_bytes(), 80);
            problem(
                "name",
                format!(
                    "\"{name}\" is no name of a list: 1 to 20 letters, digits and dashes, as \
                     name = \"apiban\""
                ),
            );
        }
        let here = uri.host().is_some_and(is_loopback);
        if self.every.duration() < SHORTEST && !here {
            let shortest = Span::of_seconds(SHORTEST.as_secs());
            problem(
                "every",
                format!(
                    "{} is too often for somebody else's server: at least {shortest}",
                    self.every
                ),
            );
        }
        for (key, span) in [("keep", self.keep), ("ban-for", self.ban_for)] {
            if span <= self.every {
                problem(
                    key,
                    format!("{span} is over before the list is fetched again: more than every"),
                );
            }
        }
        if self.promote && is_open(&self.url, &Terms::of(self)) {
            problem("promote", OPEN.to_owned());
        }
    }
}

/// What is wrong with the feeds of a configuration.
pub(super) fn check(feeds: &[Feed], problems: &mut Vec<Problem>) {
    let mut names = BTreeSet::new();
    for feed in feeds {
        feed.check(&mut |key, message| {
            problems.push(Problem::new(format!("signatures.feed.{key}"), message));
        });
        if !names.insert(feed.name()) {
            let name = escape_at_most(feed.name().as_bytes(), 80).to_string();
            problems.push(Problem::new(
                "signatures.feed.name",
                format!("\"{name}\" is the name of two lists: give one of them another name"),
            ));
        }
    }
}
