//! `extensions.conf`: contexts, extensions, priorities, patterns.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::Arc;

use super::{Config, Place};

/// One application call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Application {
    /// Its name as written; Asterisk compares without case.
    pub name: String,
    /// What stands between the outermost parentheses.
    pub arguments: String,
}

/// One step of an extension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Priority {
    /// Its number, from 1; hints are not steps and are left out.
    pub number: u32,
    /// Its label.
    pub label: Option<String>,
    /// What it runs.
    pub application: Application,
    /// Where it is written.
    pub at: Place,
}

/// An extension of a context: a number or a pattern, with its steps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extension {
    /// The number, or the pattern with its `_`.
    pub pattern: String,
    /// The caller that it is for (`exten => 100/200,…`).
    pub caller: Option<String>,
    /// Its steps in the order written.
    pub steps: Vec<Priority>,
}

/// `include => other`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Include {
    /// The context included, without its time condition.
    pub context: String,
    /// Where it is written.
    pub at: Place,
}

/// One context, all its sections together.
#[derive(Clone, Debug, Default)]
pub struct Context {
    /// Its name as written first.
    pub name: String,
    /// Where its first section begins.
    pub at: Option<Place>,
    /// Its extensions in the order written.
    pub extensions: Vec<Extension>,
    /// The contexts it includes, in the order of search.
    pub includes: Vec<Include>,
    /// `switch`, `lswitch` and `eswitch`: extensions that live elsewhere.
    pub switches: Vec<Include>,
    index: HashMap<(String, Option<String>), usize>,
}

/// A dialplan as `pbx_config` builds it.
#[derive(Clone, Debug, Default)]
pub struct Dialplan {
    /// The contexts in the order of their first section.
    pub contexts: Vec<Context>,
    /// `[globals]`.
    pub globals: HashMap<String, String>,
    index: HashMap<String, usize>,
}

impl Dialplan {
    /// Reads the sections of `extensions.conf`.
    pub fn new(config: &Config) -> Self {
        let mut plan = Self::default();
        if let Some(globals) = config.section("globals") {
            let pairs = globals.variables.iter();
            plan.globals = pairs
                .map(|v| (v.name.to_string(), v.value.to_string()))
                .collect();
        }
        let general = ["general", "globals"];
        let sections = config
            .live()
            .filter(|s| !general.iter().any(|g| s.name.eq_ignore_ascii_case(g)));
        for section in sections {
            let number = *plan
                .index
                .entry(section.name.to_string())
                .or_insert_with(|| {
                    plan.contexts.push(Context {
                        name: section.name.to_string(),
                        at: Some(section.at),
                        ..Context::default()
                    });
                    plan.contexts.len() - 1
                });
            let Some(context) = plan.contexts.get_mut(number) else {
                continue;
            };
            let mut last = Last::default();
            for v in &section.variables {
                let include = || Include {
                    context: v
                        .value
                        .split([',', '|'])
                        .next()
                        .unwrap_or_default()
                        .trim()
                        .to_owned(),
                    at: v.at,
                };
                match v.name.to_ascii_lowercase().as_str() {
                    "exten" => context.extension(&v.value, v.at, &plan.globals, &mut last),
                    "same" => context.step(&v.value, v.at, &mut last),
                    "include" => context.includes.push(include()),
                    "switch" | "lswitch" | "eswitch" => context.switches.push(include()),
                    // ignorepat, autohints, and what Asterisk warns about: nothing to dial.
                    _ => {}
                }
            }
        }
        plan
    }

    /// The context of this name; names differ by case.
    pub fn context(&self, name: &str) -> Option<&Context> {
        self.contexts.get(*self.index.get(name)?)
    }

    /// What a call to `number` in `context` runs: the context's own extensions first, then the
    /// included contexts in order, each with theirs.
    pub fn lookup(&self, context: &str, number: &str) -> Option<(&Context, &Extension)> {
        self.lookup_in(context, number, &mut Vec::new())
    }

    fn lookup_in<'a>(
        &'a self,
        context: &str,
        number: &str,
        seen: &mut Vec<&'a str>,
    ) -> Option<(&'a Context, &'a Extension)> {
        let context = self.context(context)?;
        if seen.contains(&context.name.as_str()) {
            return None;
        }
        seen.push(&context.name);
        if let Some(extension) = context.find(number) {
            return Some((context, extension));
        }
        context
            .includes
            .iter()
            .find_map(|i| self.lookup_in(&i.context, number, seen))
    }

    /// The context and all that it includes, itself first.
    pub fn closure(&self, context: &str) -> Vec<&Context> {
        let mut found: Vec<&Context> = Vec::new();
        let mut todo: Vec<&str> = vec![context];
        while let Some(name) = todo.pop() {
            let Some(context) = self.context(name) else {
                continue;
            };
            if found.iter().any(|c| c.name == context.name) {
                continue;
            }
            found.push(context);
            todo.extend(context.includes.iter().rev().map(|i| i.context.as_str()));
        }
        found
    }

    /// `text` with `${NAME}` of known globals filled in; others stay.
    pub fn fill(&self, text: &str) -> String {
        let mut out = text.to_owned();
        // Globals may name globals; Asterisk fills in at most this deep.
        for _ in 0..15 {
            let mut changed = false;
            for (name, value) in &self.globals {
                let plain = format!("${{{name}}}");
                if out.contains(&plain) && !value.contains(&plain) && out.len() < 8192 {
                    out = out.replace(&plain, value);
                    changed = true;
                }
            }
            if !changed {
                break;
            }
        }
        out
    }
}

/// What `same`, `n` and `s` refer to.
#[derive(Default)]
struct Last {
    extension: Option<usize>,
    priority: Option<u32>,
}

impl Context {
    /// The extension that a call to `number` runs here: the number itself, else the most specific
    /// pattern that fits.
    pub fn find(&self, number: &str) -> Option<&Extension> {
        let exact = self.index.get(&(number.to_owned(), None));
        if let Some(&i) = exact {
            return self.extensions.get(i);
        }
        self.extensions
            .iter()
            .filter(|e| e.caller.is_none() && e.is_pattern() && matches(&e.pattern, number))
            .min_by(|a, b| specificity(&a.pattern, &b.pattern))
    }

    fn extension(
        &mut self,
        value: &str,
        at: Place,
        globals: &HashMap<String, String>,
        last: &mut Last,
    ) {
        let (name, rest) = split_extension(value);
        let mut name = name.trim().to_owned();
        for (global, content) in globals {
            if name.contains("${") {
                name = name.replace(&format!("${{{global}}}"), content);
            }
        }
        let (pattern, caller) = match name.split_once('/') {
            Some((pattern, caller)) => (pattern.to_owned(), Some(caller.to_owned())),
            None => (name, None),
        };
        let key = (pattern.clone(), caller.clone());
        let number = *self.index.entry(key).or_insert_with(|| {
            self.extensions.push(Extension {
                pattern,
                caller,
                steps: Vec::new(),
            });
            self.extensions.len() - 1
        });
        last.extension = Some(number);
        self.step(rest, at, last);
    }

    /// `priority(label),application(arguments)`.
    fn step(&mut self, value: &str, at: Place, last: &mut Last) {
        let Some(extension) = last.extension.and_then(|i| self.extensions.get_mut(i)) else {
            return;
        };
        let (priority, application) = value.split_once(',').unwrap_or((value, ""));
        let (priority, label) = match priority.split_once('(') {
            Some((p, l)) => (
                p,
                Some(l.split(')').next().unwrap_or_default().trim().to_owned()),
            ),
            None => (priority, None),
        };
        let (base, plus) = priority.split_once('+').unwrap_or((priority, "0"));
        let offset: u32 = plus.trim().parse().unwrap_or(0);
        let number = match base.trim().to_ascii_lowercase().as_str() {
            "hint" => return,
            "n" | "next" => last.priority.map(|p| p.saturating_add(1)),
            "s" | "same" => last.priority,
            number => number.parse().ok(),
        };
        let Some(number) = number.map(|n: u32| n.saturating_add(offset)) else {
            return;
        };
        last.priority = Some(number);
        extension.steps.push(Priority {
            number,
            label,
            application: Application::parse(application),
            at,
        });
    }
}

impl Extension {
    /// It begins with `_`.
    pub fn is_pattern(&self) -> bool {
        self.pattern.starts_with('_')
    }

    /// The step of a number or a label.
    pub fn step(&self, priority: &str) -> Option<usize> {
        let number: Option<u32> = priority.parse().ok();
        self.steps.iter().position(|s| match number {
            Some(n) => s.number == n,
            None => s.label.as_deref() == Some(priority),
        })
    }
}

impl Application {
    fn parse(text: &str) -> Self {
        let text = text.trim();
        let (name, arguments) = match text.split_once('(') {
            Some((name, rest)) => (name, rest.strip_suffix(')').unwrap_or(rest)),
            None => (text, ""),
        };
        Self {
            name: name.trim().to_owned(),
            arguments: arguments.to_owned(),
        }
    }

    /// It is this application.
    pub fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }

    /// The arguments: split at the commas outside parentheses, brackets and quotes.
    pub fn split(&self) -> Vec<&str> {
        split_arguments(&self.arguments, ',')
    }
}

/// Splits at `separator` outside parentheses, brackets, braces and quotes.
pub(crate) fn split_arguments(text: &str, separator: char) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut depth, mut quoted, mut escaped, mut start) = (0_i32, false, false, 0);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => {
                escaped = false;
                continue;
            }
            '\\' => escaped = true,
            '"' => quoted = !quoted,
            '(' | '[' | '{' if !quoted => depth += 1,
            ')' | ']' | '}' if !quoted => depth -= 1,
            c if c == separator && depth <= 0 && !quoted => {
                parts.push(text.get(start..at).unwrap_or_default());
                start = at + c.len_utf8();
            }
            _ => {}
        }
    }
    parts.push(text.get(start..).unwrap_or_default());
    parts
}

/// The extension ends at the first comma outside `[…]`.
fn split_extension(value: &str) -> (&str, &str) {
    let mut depth = 0_u32;
    for (at, c) in value.char_indices() {
        match c {
            '[' => depth += 1,
            ']' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                return (
                    value.get(..at).unwrap_or_default(),
                    value.get(at + 1..).unwrap_or_default(),
                );
            }
            _ => {}
        }
    }
    (value, "")
}

/// One element of a pattern.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Element {
    /// One of these characters.
    One(Arc<[char]>),
    /// `.`: one or more of anything.
    Rest,
    /// `!`: none or more of anything.
    Any,
}

impl Element {
    pub(crate) fn admits(&self, c: char) -> bool {
        match self {
            Self::One(set) => set.contains(&c),
            Self::Rest | Self::Any => true,
        }
    }
}

/// The elements of a pattern with its `_`, or of a plain number. Dashes and blanks don't count.
pub(crate) fn elements(pattern: &str) -> Vec<Element> {
    let Some(body) = pattern.strip_prefix('_') else {
        return pattern.chars().map(|c| Element::One([c].into())).collect();
    };
    let mut found = Vec::new();
    let mut chars = body.chars();
    let range = |from: char, to: char| (from..=to).take(256).collect::<Vec<char>>();
    while let Some(c) = chars.next() {
        let set = match c {
            '-' | ' ' => continue,
            'X' | 'x' => range('0', '9'),
            'Z' | 'z' => range('1', '9'),
            'N' | 'n' => range('2', '9'),
            '.' => {
                found.push(Element::Rest);
                break;
            }
            '!' => {
                found.push(Element::Any);
                break;
            }
            '[' => {
                let inner: Vec<char> = chars.by_ref().take_while(|&c| c != ']').collect();
                let mut set = Vec::new();
                let mut rest = inner.as_slice();
                while let [first, tail @ ..] = rest {
                    rest = match tail {
                        ['-', last, after @ ..] => {
                            set.extend(range(*first, *last));
                            after
                        }
                        _ => {
                            set.push(*first);
                            tail
                        }
                    };
                }
                set
            }
            literal => vec![literal],
        };
        found.push(Element::One(set.into()));
    }
    found
}

/// Whether a number fits a pattern.
pub(crate) fn matches(pattern: &str, number: &str) -> bool {
    let mut digits = number.chars().filter(|&c| c != '-');
    for element in elements(pattern) {
        match element {
            Element::Any => return true,
            Element::Rest => return digits.next().is_some(),
            Element::One(set) => {
                if !digits.next().is_some_and(|d| set.contains(&d)) {
                    return false;
                }
            }
        }
    }
    digits.next().is_none()
}

/// Asterisk's order of patterns: element by element, fewer admitted characters first, `.` and `!`
/// last.
fn specificity(a: &str, b: &str) -> Ordering {
    let weight = |e: &Element| match e {
        Element::One(set) => (set.len(), set.first().copied()),
        Element::Rest => (1000, None),
        Element::Any => (2000, None),
    };
    let (a, b) = (elements(a), elements(b));
    for pair in a.iter().map(weight).zip(b.iter().map(weight)) {
        let order = pair.0.cmp(&pair.1);
        if order != Ordering::Equal {
            return order;
        }
    }
    b.len().cmp(&a.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Memory, Tree};
    use std::path::Path;
    use test_case::test_case;

    fn plan(text: &str) -> Dialplan {
        let files = Memory::with([("extensions.conf", text)]);
        let mut tree = Tree::new(&files, Path::new(Memory::ROOT));
        Dialplan::new(&tree.read("extensions.conf").unwrap())
    }

    #[test_case("_X.", "12", true)]
    #[test_case("_X.", "1", false)]
    #[test_case("_X!", "1", true)]
    #[test_case("_NXX", "199", false; "n begins at two")]
    #[test_case("_[1-3]Z", "31", true)]
    #[test_case("_[1-3]Z", "41", false; "outside the set")]
    #[test_case("_0-49X", "0491", true; "dashes do not count")]
    #[test_case("100", "100", true)]
    fn numbers_and_patterns(pattern: &str, number: &str, expected: bool) {
        assert_eq!(matches(pattern, number), expected);
    }

    #[test]
    fn priorities_labels_and_same() {
        let plan = plan(
            "[c]\nexten => _[1-3,5]X,1(start),NoOp(a,b)\n same => n,Dial(SIP/${EXTEN},30)\n \
             same => n+10(end),Hangup\nexten => 100,hint,SIP/100\n",
        );
        let context = plan.context("c").unwrap();
        let extension = context.find("15").unwrap();
        let steps: Vec<_> = extension
            .steps
            .iter()
            .map(|s| (s.number, s.label.as_deref()))
            .collect();
        assert_eq!(steps, [(1, Some("start")), (2, None), (13, Some("end"))]);
        assert_eq!(
            extension.steps[1].application.split(),
            ["SIP/${EXTEN}", "30"]
        );
        assert_eq!(extension.step("end"), Some(2));
    }

    #[test]
    fn the_most_specific_pattern_wins_and_includes_come_last() {
        let plan = plan(
            "[a]\nexten => _0.,1,NoOp(open)\nexten => _000.,1,NoOp(blocked)\ninclude => b\n\
             [b]\nexten => _000.,1,NoOp(b)\nexten => 200,1,NoOp(b)\ninclude => a\n",
        );
        let first = |number| {
            let (context, extension) = plan.lookup("a", number).unwrap();
            (context.name.as_str(), extension.pattern.as_str())
        };
        assert_eq!(first("0004912"), ("a", "_000."));
        assert_eq!(first("0301"), ("a", "_0."));
        assert_eq!(first("200"), ("b", "200"));
        assert!(plan.lookup("a", "300").is_none());
    }
}
