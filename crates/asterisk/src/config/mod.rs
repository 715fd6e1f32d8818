//! The grammar of Asterisk's configuration files.
//!
//! Every rule here follows what Asterisk 16.28 does with the same bytes: a test asks a running
//! Asterisk (`GetConfig` over its manager interface) and wants the same sections, names and values
//! in the same order. Where Asterisk gives up on a file, so does the reader, and says where.

mod dialplan;
mod files;
mod glob;
mod line;
mod problem;
mod reader;
mod tree;

use std::collections::HashMap;
use std::sync::Arc;

pub use dialplan::{Application, Context, Dialplan, Extension, Include, Priority};
pub(crate) use dialplan::{Element, elements, split_arguments};
pub use files::{Disk, Files, Kind, Memory};
pub use glob::expand;
pub use problem::{Note, Problem};
pub use tree::{File, Tree};

/// A line of a file of the tree. Lines count from 1; line 0 means the file as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// The file's number in [`Tree::files`].
    pub file: u32,
    /// The line, from 1.
    pub line: u32,
}

/// One `name = value` of a section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    /// The name as written; Asterisk compares names without case.
    pub name: Arc<str>,
    /// The value, without comment, surrounding blanks and escapes of `;`.
    pub value: Arc<str>,
    /// Where it is written: in the template's file where it was inherited.
    pub at: Place,
    /// It came from a template or a parent section.
    pub inherited: bool,
}

/// One `[section]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// The name as written; Asterisk compares names without case.
    pub name: Arc<str>,
    /// Where the header is written.
    pub at: Place,
    /// `(!)`: only there to be inherited.
    pub template: bool,
    /// The variables in force, inherited ones first, in the order in which Asterisk hands them out.
    pub variables: Vec<Variable>,
}

impl Section {
    /// The last variable of this name: what counts where a module walks all of them (`sip.conf`,
    /// `pjsip.conf`, `iax.conf`, `manager.conf`).
    pub fn last(&self, name: &str) -> Option<&Variable> {
        self.variables
            .iter()
            .rev()
            .find(|v| v.name.eq_ignore_ascii_case(name))
    }

    /// The first variable of this name: what counts where a module asks for a single one
    /// (`rtp.conf`, `type=` in `sip.conf`).
    pub fn first(&self, name: &str) -> Option<&Variable> {
        self.variables
            .iter()
            .find(|v| v.name.eq_ignore_ascii_case(name))
    }

    /// All variables of this name, in order.
    pub fn all<'a>(&'a self, name: &'a str) -> impl DoubleEndedIterator<Item = &'a Variable> {
        self.variables
            .iter()
            .filter(move |v| v.name.eq_ignore_ascii_case(name))
    }
}

/// One configuration (`sip.conf` and all that it includes).
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// All sections in order, templates among them.
    pub sections: Vec<Section>,
    index: HashMap<String, Vec<usize>>,
}

impl Config {
    /// The sections that are in force: no templates.
    pub fn live(&self) -> impl Iterator<Item = &Section> {
        self.sections.iter().filter(|s| !s.template)
    }

    /// The first section of this name that is no template: the only one that Asterisk asks.
    pub fn section(&self, name: &str) -> Option<&Section> {
        self.named(name).find(|s| !s.template)
    }

    /// All sections of this name, templates among them.
    pub fn named(&self, name: &str) -> impl Iterator<Item = &Section> {
        let found = self
            .index
            .get(&name.to_ascii_lowercase())
            .map_or(&[][..], Vec::as_slice);
        found.iter().filter_map(|&i| self.sections.get(i))
    }

    fn push(&mut self, section: Section) -> usize {
        let at = self.sections.len();
        self.index
            .entry(section.name.to_ascii_lowercase())
            .or_default()
            .push(at);
        self.sections.push(section);
        at
    }

    /// The first section of this name that the filter of `(+filter)` takes.
    fn find(&self, name: &str, filter: &str) -> Option<usize> {
        let found = self.index.get(&name.to_ascii_lowercase())?;
        found
            .iter()
            .copied()
            .find(|&i| self.sections.get(i).is_some_and(|s| s.passes(filter)))
    }
}

impl Section {
    /// `name=value&name=value`: each pair fits some variable. `TEMPLATES=include` lets templates in
    /// as well, `TEMPLATES=restrict` only them. Asterisk takes the words as regular expressions;
    /// here they are plain text, anchored where `^` and `$` say so.
    fn passes(&self, filter: &str) -> bool {
        let fits = |pattern: &str, text: &str| {
            let (pattern, start) = pattern
                .strip_prefix('^')
                .map_or((pattern, false), |p| (p, true));
            let (pattern, end) = pattern
                .strip_suffix('$')
                .map_or((pattern, false), |p| (p, true));
            match (start, end) {
                (true, true) => text == pattern,
                (true, false) => text.starts_with(pattern),
                (false, true) => text.ends_with(pattern),
                (false, false) => text.contains(pattern),
            }
        };
        let mut templates = false;
        for pair in filter.split('&').map(str::trim).filter(|p| !p.is_empty()) {
            let Some((name, value)) = pair.split_once('=') else {
                return false;
            };
            let (name, value) = (name.trim(), value.trim());
            if name == "TEMPLATES" {
                templates |= self.template;
                if value.eq_ignore_ascii_case("restrict") && !self.template {
                    return false;
                }
            } else if !self
                .variables
                .iter()
                .any(|v| fits(name, &v.name) && fits(value, &v.value))
            {
                return false;
            }
        }
        !self.template || templates
    }
}

/// `yes`, as Asterisk reads a boolean: `yes true y t 1 on`, in any case.
pub fn is_true(value: &str) -> bool {
    ["yes", "true", "y", "t", "1", "on"]
        .iter()
        .any(|t| value.eq_ignore_ascii_case(t))
}

/// `no`, as Asterisk reads a boolean: `no false n f 0 off`, in any case.
pub fn is_false(value: &str) -> bool {
    ["no", "false", "n", "f", "0", "off"]
        .iter()
        .any(|t| value.eq_ignore_ascii_case(t))
}
