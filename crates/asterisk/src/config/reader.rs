//! The parser: lines to sections.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::files::{Files, Kind};
use super::glob;
use super::line::{Comments, Line, Lines, trim};
use super::problem::{Note, Problem};
use super::tree::File;
use super::{Config, Place, Section, Variable};

/// Files deep, the first one included (Asterisk's own limit).
const MAX_DEPTH: usize = 10;
/// Files read for one configuration. Asterisk has no limit; the reader must end.
const MAX_FILES: usize = 200_000;
/// Variables copied by inheritance in one configuration.
const MAX_INHERITED: usize = 4_000_000;
/// Bytes of a section name that Asterisk keeps.
const MAX_NAME: usize = 79;

/// Reads one configuration and all that it includes.
pub(super) struct Reader<'a> {
    pub(super) source: &'a dyn Files,
    /// The directory that relative paths start from.
    pub(super) root: &'a Path,
    /// The same with links resolved, to tell what lies outside.
    pub(super) real_root: &'a Path,
    pub(super) files: &'a mut Vec<File>,
    pub(super) notes: &'a mut Vec<Note>,
    pub(super) numbers: &'a mut HashMap<PathBuf, u32>,
    pub(super) noted: &'a mut HashSet<Note>,
    pub(super) config: Config,
    /// The section that an included file continues.
    pub(super) current: Option<usize>,
    pub(super) stack: Vec<PathBuf>,
    pub(super) read: usize,
    pub(super) inherited: usize,
}

/// Asterisk refuses the rest of the file.
struct Refused;

impl Reader<'_> {
    /// Reads the files that `name` stands for; false where there is none.
    pub(super) fn load(&mut self, name: &str, from: Option<Place>) -> bool {
        let pattern = match name.starts_with('/') {
            true => name.to_owned(),
            false => format!("{}/{name}", self.root.display()),
        };
        // The state that Asterisk keeps from one file of a pattern to the next.
        let mut comments = Comments::default();
        let mut section = self.current;
        let mut found = false;
        for path in glob::expand(self.source, &pattern) {
            match self.source.kind(&path) {
                Kind::Missing => continue,
                Kind::Directory | Kind::Other => {
                    self.note(from, Problem::NotRegular(self.shown(&path)));
                    continue;
                }
                Kind::Regular => {}
            }
            let real = self.source.real(&path);
            if self.stack.contains(&real) {
                self.note(from, Problem::IncludeCycle(self.shown(&path)));
                found = true;
                continue;
            }
            if self.read >= MAX_FILES {
                self.note(from, Problem::TooLarge);
                return true;
            }
            self.read += 1;
            if !real.starts_with(self.real_root) {
                self.note(from, Problem::OutsideTree(self.shown(&path)));
            }
            let Ok(bytes) = self.source.read(&path) else {
                self.note(from, Problem::Unreadable(self.shown(&path)));
                continue;
            };
            found = true;
            let file = self.file(&path);
            self.stack.push(real);
            let outcome = self.file_text(&bytes, file, &mut section, &mut comments);
            self.stack.pop();
            if outcome.is_err() {
                break;
            }
        }
        found
    }

    fn file_text(
        &mut self,
        bytes: &[u8],
        file: u32,
        section: &mut Option<usize>,
        comments: &mut Comments,
    ) -> Result<(), Refused> {
        let mut lines = Lines::new(bytes);
        loop {
            let before = comments.depth();
            let Some((line, text)) = lines.next(comments) else {
                break;
            };
            let at = Place { file, line };
            comments.passed(before, at);
            match text {
                Line::TooLong => self.note(Some(at), Problem::LineTooLong),
                Line::Text(text) if text.is_empty() => {}
                Line::Text(text) => self.line(&text, at, section)?,
            }
        }
        let at = comments.opened();
        match comments.depth() {
            0 => {}
            1.. => self.note(at, Problem::UnterminatedComment),
            _ => self.note(at, Problem::StrayCommentEnd),
        }
        Ok(())
    }

    fn line(&mut self, text: &[u8], at: Place, cat: &mut Option<usize>) -> Result<(), Refused> {
        match text {
            [b'[', rest @ ..] => self.header(rest, at, cat),
            [b'#', rest @ ..] => self.directive(rest, at),
            _ => self.variable(text, at, *cat),
        }
    }

    /// `name](options)`, the bracket already gone.
    fn header(&mut self, text: &[u8], at: Place, cat: &mut Option<usize>) -> Result<(), Refused> {
        let Some((name, rest)) = split(text, b']') else {
            return self.refuse(at, Problem::NoClosingBracket);
        };
        let name = string(name.get(..MAX_NAME).unwrap_or(name));
        let full_name = string(text.split(|&b| b == b']').next().unwrap_or_default());
        let mut fresh = Some(Section {
            name: name.as_str().into(),
            at,
            template: false,
            variables: Vec::new(),
        });
        let mut added_to = None;
        if let [b'(', options @ ..] = rest {
            let Some((options, _)) = split(options, b')') else {
                return self.refuse(at, Problem::NoClosingParenthesis);
            };
            for option in options.split(|&b| b == b',') {
                match option {
                    b"!" => match (added_to, &mut fresh) {
                        (Some(i), _) => self.section(i, |s| s.template = true),
                        (None, Some(new)) => new.template = true,
                        (None, None) => {}
                    },
                    [b'+', filter @ ..] => {
                        let Some(target) = self.config.find(&full_name, &string(filter)) else {
                            return self.refuse(at, Problem::AppendToUnknown(full_name));
                        };
                        added_to = Some(target);
                        if let Some(new) = fresh.take() {
                            self.current = Some(target);
                            self.section(target, |s| {
                                s.template |= new.template;
                                s.variables.extend(new.variables);
                            });
                        }
                    }
                    parent => {
                        let parent = string(parent);
                        let copies = self
                            .config
                            .find(&parent, "TEMPLATES=include")
                            .and_then(|i| self.config.sections.get(i))
                            .map(|base| base.variables.clone());
                        let Some(mut copies) = copies else {
                            return self.refuse(at, Problem::UnknownParent(parent));
                        };
                        self.inherited += copies.len();
                        if self.inherited > MAX_INHERITED {
                            self.note(Some(at), Problem::TooLarge);
                            continue;
                        }
                        copies.iter_mut().for_each(|v| v.inherited = true);
                        match (added_to, &mut fresh) {
                            (Some(i), _) => self.section(i, |s| s.variables.extend(copies)),
                            (None, Some(new)) => new.variables.extend(copies),
                            (None, None) => {}
                        }
                    }
                }
            }
        }
        *cat = added_to;
        if let Some(new) = fresh {
            let index = self.config.push(new);
            self.current = Some(index);
            *cat = Some(index);
        }
        Ok(())
    }

    /// `include "file"`, the `#` already gone.
    fn directive(&mut self, text: &[u8], at: Place) -> Result<(), Refused> {
        let end = text.iter().position(|&b| b <= 32).unwrap_or(text.len());
        let (name, argument) = text.split_at(end);
        let name = string(name);
        let (include, must_exist) = match name.to_ascii_lowercase().as_str() {
            "include" => (true, true),
            "tryinclude" => (true, false),
            "exec" => (false, false),
            _ => {
                self.note(Some(at), Problem::UnknownDirective);
                return Ok(());
            }
        };
        let argument = trim(argument);
        if argument.is_empty() {
            self.note(Some(at), Problem::DirectiveWithoutArgument);
            return Ok(());
        }
        let target = string(unquote(argument));
        if !include {
            let program = target
                .split_whitespace()
                .next()
                .unwrap_or_default()
                .to_owned();
            self.note(Some(at), Problem::Exec(program));
            return Ok(());
        }
        if self.stack.len() >= MAX_DEPTH {
            self.note(Some(at), Problem::IncludeTooDeep(target));
            return if must_exist { Err(Refused) } else { Ok(()) };
        }
        if !self.load(&target, Some(at)) && must_exist {
            return self.refuse(at, Problem::IncludeMissing(target));
        }
        Ok(())
    }

    /// `name = value`, `name => value` or `name += value`.
    fn variable(&mut self, text: &[u8], at: Place, cat: Option<usize>) -> Result<(), Refused> {
        let Some(cat) = cat else {
            return self.refuse(at, Problem::NoSection);
        };
        let (escaped, text) = match text {
            [b'\\', rest @ ..] => (1, rest),
            _ => (0, text),
        };
        if escaped == 1 && text.first().is_none_or(|&b| b < 33) {
            return self.refuse(at, Problem::InvalidEscape);
        }
        let equals = text
            .iter()
            .skip(escaped)
            .position(|&b| b == b'=')
            .map(|i| i + escaped);
        let Some(equals) = equals else {
            self.note(Some(at), Problem::NoEquals);
            return Ok(());
        };
        let (mut name, mut value) = (
            text.get(..equals).unwrap_or_default(),
            text.get(equals + 1..).unwrap_or_default(),
        );
        let appends = equals > escaped && name.ends_with(b"+");
        if appends {
            name = name.get(..name.len() - 1).unwrap_or_default();
        } else if let [b'>', rest @ ..] = value {
            value = rest;
        }
        let name = string(trim(name));
        if appends && self.append(cat, &name, value) {
            return Ok(());
        }
        if name.is_empty() {
            self.note(Some(at), Problem::NoName);
            return Ok(());
        }
        let value = Arc::from(string(trim(value)));
        let variable = Variable {
            name: name.into(),
            value,
            at,
            inherited: false,
        };
        self.section(cat, |s| s.variables.push(variable));
        Ok(())
    }

    /// `+=`: the last variable of exactly this name lends its value, the first one whose name and
    /// value fit it without case is rewritten (that is what Asterisk's update does).
    fn append(&mut self, cat: usize, name: &str, more: &[u8]) -> bool {
        let Some(section) = self.config.sections.get_mut(cat) else {
            return false;
        };
        let Some(last) = section
            .variables
            .iter()
            .rev()
            .find(|v| &*v.name == name)
            .cloned()
        else {
            return false;
        };
        let joined = format!("{}{}", last.value, string(more));
        let value: Arc<str> = joined.trim_matches(|c: char| c <= ' ').into();
        let target = section.variables.iter_mut().find(|v| {
            v.name.eq_ignore_ascii_case(name)
                && (last.value.is_empty() || v.value.eq_ignore_ascii_case(&last.value))
        });
        if let Some(variable) = target {
            variable.name = name.into();
            variable.value = value;
        }
        true
    }

    fn section(&mut self, index: usize, change: impl FnOnce(&mut Section)) {
        if let Some(section) = self.config.sections.get_mut(index) {
            change(section);
        }
    }

    fn file(&mut self, path: &Path) -> u32 {
        if let Some(&number) = self.numbers.get(path) {
            return number;
        }
        let number = u32::try_from(self.files.len()).unwrap_or(u32::MAX);
        self.numbers.insert(path.to_path_buf(), number);
        self.files.push(File {
            path: path.to_path_buf(),
            shown: self.shown(path),
            mode: self.source.mode(path),
        });
        number
    }

    /// Relative to the tree where it lies in it.
    fn shown(&self, path: &Path) -> String {
        path.strip_prefix(self.root)
            .unwrap_or(path)
            .display()
            .to_string()
    }

    fn note(&mut self, at: Option<Place>, problem: Problem) {
        let at = at.unwrap_or(Place { file: 0, line: 0 });
        let note = Note { at, problem };
        if self.noted.insert(note.clone()) {
            self.notes.push(note);
        }
    }

    fn refuse(&mut self, at: Place, problem: Problem) -> Result<(), Refused> {
        self.note(Some(at), problem);
        Err(Refused)
    }
}

fn split(text: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let i = text.iter().position(|&b| b == at)?;
    Some((text.get(..i)?, text.get(i + 1..)?))
}

/// Without the `"…"` or `<…>` around a file name.
fn unquote(text: &[u8]) -> &[u8] {
    match text {
        [b'"', inner @ .., b'"'] | [b'<', inner @ .., b'>'] => inner,
        _ => text,
    }
}

fn string(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
