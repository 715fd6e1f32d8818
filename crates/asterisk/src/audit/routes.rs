//! Where calls leave the house: every extension from which a trunk can be dialled, found by walking
//! the dialplan with sample numbers as a caller would dial them.

use std::collections::HashMap;

use crate::config::{Application, Dialplan, Element, Extension, Place, elements, split_arguments};

/// What a caller may try behind the prefix. 883-51 belongs to no subscriber.
const NATIONAL: [&str; 5] = [
    "03012345678",
    "3012345678",
    "12025550123",
    "2025550123",
    "12345678",
];
const INTERNATIONAL: [&str; 3] = ["0088351000123456", "+88351000123456", "01188351000123456"];
const PREMIUM: [&str; 4] = ["09001234567", "19005550123", "01371234567", "1189912"];

/// Digits of a secret prefix that are tried at most.
const LONGEST_PREFIX: usize = 16;
/// Steps of one sample call.
const STEPS: u32 = 300;
/// Steps of all of them: a dialplan beyond that is followed in part, and the audit says so.
const ALL_STEPS: u64 = 3_000_000;

/// An extension from which a trunk is dialled.
#[derive(Clone, Debug)]
pub(super) struct Exit {
    pub(super) context: String,
    /// With its `_`; holds the prefix: never to be shown where the prefix is a secret.
    pub(super) pattern: String,
    /// The extension's first step.
    pub(super) at: Place,
    /// The `Dial`.
    pub(super) dial: Place,
    /// The digits dialled before the number that goes out. Never to be shown.
    pub(super) prefix: String,
    pub(super) international: bool,
    pub(super) premium: bool,
    /// A PIN stands before it on every way.
    pub(super) hurdle: bool,
    /// `TIMEOUT(absolute)`, `L()` or `S()` ends the call on every way.
    pub(super) limited: bool,
}

impl Exit {
    /// The prefix is something to keep: two digits or more.
    pub(super) fn secret_prefix(&self) -> bool {
        self.prefix.len() > 1
    }

    /// The pattern where it may be shown, else only that there is one.
    pub(super) fn shown(&self) -> String {
        match self.secret_prefix() {
            true => "an extension with a prefix".to_owned(),
            false => format!("extension {}", self.pattern),
        }
    }
}

/// All exits of a dialplan.
#[derive(Debug, Default)]
pub(super) struct Routes {
    pub(super) exits: Vec<Exit>,
    /// The dialplan was too large to be followed whole.
    pub(super) truncated: bool,
}

impl Routes {
    pub(super) fn find(plan: &Dialplan) -> Self {
        let mut routes = Self::default();
        let mut budget = ALL_STEPS;
        for context in &plan.contexts {
            for extension in context.extensions.iter().filter(|e| e.is_pattern()) {
                if budget == 0 {
                    routes.truncated = true;
                    return routes;
                }
                let Some(first) = extension.steps.first() else {
                    continue;
                };
                let mut exit: Option<Exit> = None;
                for number in numbers(extension) {
                    let cost = context.extensions.len() as u64 / 16 + 1;
                    budget = budget.saturating_sub(cost);
                    let hit = context
                        .find(&number)
                        .is_some_and(|e| e.pattern == extension.pattern);
                    if !hit {
                        continue;
                    }
                    let mut walk = Walk {
                        plan,
                        steps: STEPS,
                        calls: Vec::new(),
                        dialled: &number,
                    };
                    let start = State {
                        context: context.name.clone(),
                        number: number.clone(),
                        ..State::default()
                    };
                    walk.extension(extension, 0, start, 0);
                    budget = budget.saturating_sub(u64::from(STEPS - walk.steps));
                    for call in walk.calls {
                        let new = call.exit(&context.name, &extension.pattern, first.at);
                        exit = Some(match exit.take() {
                            Some(old) => merged(old, new),
                            None => new,
                        });
                    }
                }
                routes.exits.extend(exit);
            }
        }
        routes
    }

    /// The exits that a caller in `context` reaches, by includes.
    pub(super) fn reached<'r>(&'r self, plan: &Dialplan, context: &str) -> Vec<&'r Exit> {
        if self.exits.is_empty() {
            return Vec::new();
        }
        let names: Vec<&str> = plan
            .closure(context)
            .iter()
            .map(|c| c.name.as_str())
            .collect();
        self.exits
            .iter()
            .filter(|e| names.contains(&e.context.as_str()))
            .collect()
    }
}

fn merged(old: Exit, new: Exit) -> Exit {
    let shorter = if new.prefix.len() < old.prefix.len() {
        new.prefix
    } else {
        old.prefix
    };
    Exit {
        prefix: shorter,
        international: old.international || new.international,
        premium: old.premium || new.premium,
        hurdle: old.hurdle && new.hurdle,
        limited: old.limited && new.limited,
        ..old
    }
}

/// Numbers that fit a pattern: each sample behind each length of prefix.
fn numbers(extension: &Extension) -> Vec<String> {
    let elements = elements(&extension.pattern);
    let literal = |e: &&Element| matches!(e, Element::One(set) if set.len() == 1);
    let fixed = elements.iter().take_while(literal).count();
    let samples = NATIONAL.iter().chain(&INTERNATIONAL).chain(&PREMIUM);
    let mut found: Vec<String> = samples
        .flat_map(|sample| {
            (0..=fixed.clamp(1, LONGEST_PREFIX)).filter_map(|n| instance(&elements, n, sample))
        })
        .collect();
    found.sort();
    found.dedup();
    found
}

/// The first `prefix` elements at their first choice, then the sample; cut off where the pattern
/// has a fixed length that still holds most of it.
fn instance(elements: &[Element], prefix: usize, sample: &str) -> Option<String> {
    const SHORTEST: usize = 7;
    let mut number = String::new();
    let mut digits = sample.chars();
    for (i, element) in elements.iter().enumerate() {
        match element {
            Element::One(set) if i < prefix => number.push(*set.first()?),
            Element::Rest | Element::Any => {
                number.extend(digits);
                return Some(number);
            }
            Element::One(_) => {
                let digit = digits.next()?;
                if !element.admits(digit) {
                    return None;
                }
                number.push(digit);
            }
        }
    }
    (elements.len() >= prefix + SHORTEST).then_some(number)
}

/// What a sample call has met so far.
#[derive(Clone, Debug, Default)]
struct State {
    context: String,
    number: String,
    variables: HashMap<String, String>,
    /// Variables that hold what the caller typed at a `Read`.
    typed: Vec<String>,
    hurdle: bool,
    limited: bool,
}

/// A trunk was dialled.
struct Call {
    dial: Place,
    prefix: String,
    sent: String,
    hurdle: bool,
    limited: bool,
}

impl Call {
    fn exit(self, context: &str, pattern: &str, at: Place) -> Exit {
        let begins = |samples: &[&str]| {
            samples.iter().any(|s| {
                self.sent.len() > 4 && (s.starts_with(&self.sent) || self.sent.starts_with(s))
            })
        };
        Exit {
            context: context.to_owned(),
            pattern: pattern.to_owned(),
            at,
            dial: self.dial,
            international: begins(&INTERNATIONAL),
            premium: begins(&PREMIUM),
            prefix: self.prefix,
            hurdle: self.hurdle,
            limited: self.limited,
        }
    }
}

struct Walk<'a> {
    plan: &'a Dialplan,
    steps: u32,
    calls: Vec<Call>,
    dialled: &'a str,
}

impl Walk<'_> {
    fn extension(&mut self, extension: &Extension, from: usize, mut state: State, depth: u32) {
        for step in extension.steps.iter().skip(from) {
            if self.steps == 0 || depth > 12 {
                return;
            }
            self.steps -= 1;
            if !self.run(&step.application, extension, step.at, &mut state, depth) {
                return;
            }
        }
    }

    /// Runs one application; false where the walk ends here.
    fn run(
        &mut self,
        application: &Application,
        extension: &Extension,
        at: Place,
        state: &mut State,
        depth: u32,
    ) -> bool {
        let parts = application.split();
        let argument = |i: usize| parts.get(i).copied().unwrap_or_default();
        match application.name.to_ascii_lowercase().as_str() {
            "hangup" | "congestion" | "busy" => return false,
            "authenticate" | "vmauthenticate" => state.hurdle = true,
            "read" => state.typed.push(argument(0).trim().to_owned()),
            "set" | "mset" => {
                for assignment in &parts {
                    self.assign(assignment, state);
                }
            }
            "goto" => {
                self.jump(&parts, extension, state, depth);
                return false;
            }
            "gotoif" | "gotoiftime" => {
                self.branch(&application.arguments, extension, state, depth);
            }
            "execif" => {
                let (_, actions) = split_once(&application.arguments, '?');
                for action in split_arguments(actions, ':') {
                    let (name, rest) = action.split_once('(').unwrap_or((action, ""));
                    let inner = Application {
                        name: name.trim().to_owned(),
                        arguments: rest.strip_suffix(')').unwrap_or(rest).to_owned(),
                    };
                    // Conditional: what it ends or guards holds on one way only.
                    let mut branch = state.clone();
                    self.run(&inner, extension, at, &mut branch, depth + 1);
                }
            }
            "gosub" | "macro" => self.subroutine(application, &parts, state, depth),
            "dial" => self.dial(&parts, at, state, depth),
            // Everything else neither leads on nor out.
            _ => {}
        }
        true
    }

    fn assign(&self, assignment: &str, state: &mut State) {
        let Some((name, value)) = assignment.split_once('=') else {
            return;
        };
        let name = name.trim();
        if name.eq_ignore_ascii_case("TIMEOUT(absolute)") {
            state.limited =
                value.trim().parse::<u32>().is_ok_and(|n| n > 0) || value.contains("${");
            return;
        }
        let value = self.fill(value, state);
        state
            .variables
            .insert(name.trim_start_matches('_').to_owned(), value);
    }

    /// `[[context,]extension,]priority`.
    fn jump(&mut self, parts: &[&str], extension: &Extension, state: &State, depth: u32) {
        let mut state = state.clone();
        let filled: Vec<String> = parts
            .iter()
            .map(|p| self.fill(p, &state).trim().to_owned())
            .collect();
        let (context, number, priority) = match filled.as_slice() {
            [priority] => (None, None, priority),
            [number, priority] => (None, Some(number), priority),
            [context, number, priority, ..] => (Some(context), Some(number), priority),
            [] => return,
        };
        if let Some(context) = context.filter(|c| !c.is_empty()) {
            state.context.clone_from(context);
        }
        let Some(number) = number.filter(|n| !n.is_empty()) else {
            let Some(step) = extension.step(priority) else {
                return;
            };
            return self.extension(extension, step, state, depth + 1);
        };
        state.number.clone_from(number);
        let plan = self.plan;
        let Some((_, target)) = plan.lookup(&state.context, &state.number) else {
            return;
        };
        let Some(step) = target.step(priority) else {
            return;
        };
        self.extension(target, step, state, depth + 1);
    }

    /// Follows each target of `condition?a:b`; the walk goes on behind it as well.
    fn branch(&mut self, arguments: &str, extension: &Extension, state: &mut State, depth: u32) {
        let (condition, targets) = split_once(arguments, '?');
        let asked = state
            .typed
            .iter()
            .any(|v| !v.is_empty() && condition.contains(v.as_str()));
        // One side of the comparison with a typed PIN is the refusal: what matters is that the way
        // out leads past it.
        state.hurdle |= asked;
        for target in split_arguments(targets, ':') {
            let target = target.trim();
            if !target.is_empty() {
                self.jump(&split_arguments(target, ','), extension, state, depth);
            }
        }
    }

    fn subroutine(
        &mut self,
        application: &Application,
        parts: &[&str],
        state: &mut State,
        depth: u32,
    ) {
        let mut inner = state.clone();
        let mut target: Vec<String> = parts.iter().map(|p| (*p).to_owned()).collect();
        let arguments: Vec<String>;
        if application.is("macro") {
            arguments = target.split_off(1.min(target.len()));
            let Some(name) = target.first() else { return };
            target = vec![
                format!("macro-{}", name.trim()),
                "s".to_owned(),
                "1".to_owned(),
            ];
        } else {
            let Some(last) = target.last_mut() else {
                return;
            };
            let (priority, rest) = match last.split_once('(') {
                Some((p, rest)) => (
                    p.to_owned(),
                    rest.strip_suffix(')').unwrap_or(rest).to_owned(),
                ),
                None => (last.clone(), String::new()),
            };
            *last = priority;
            arguments = split_arguments(&rest, ',')
                .iter()
                .map(|a| (*a).to_owned())
                .collect();
        }
        for (i, value) in arguments.iter().enumerate() {
            let value = self.fill(value, state);
            inner.variables.insert(format!("ARG{}", i + 1), value);
        }
        inner
            .variables
            .insert("MACRO_EXTEN".to_owned(), state.number.clone());
        let empty = Extension {
            pattern: String::new(),
            caller: None,
            steps: Vec::new(),
        };
        let target: Vec<&str> = target.iter().map(String::as_str).collect();
        self.jump(&target, &empty, &inner, depth + 1);
    }

    fn dial(&mut self, parts: &[&str], at: Place, state: &State, depth: u32) {
        let options = parts.get(2).copied().unwrap_or_default();
        let limited = state.limited || options.contains("L(") || options.contains("S(");
        let targets = self.fill(parts.first().copied().unwrap_or_default(), state);
        for target in targets.split('&') {
            let (technology, resource) = split_once(target, '/');
            if technology.eq_ignore_ascii_case("local") {
                let (number, context) = split_once(resource, '@');
                let context = context.split('/').next().unwrap_or_default();
                let mut inner = State {
                    limited,
                    ..state.clone()
                };
                context.clone_into(&mut inner.context);
                number.clone_into(&mut inner.number);
                let plan = self.plan;
                if let Some((_, extension)) = plan.lookup(context, number) {
                    self.extension(extension, 0, inner, depth + 1);
                }
                continue;
            }
            let Some(sent) = sent_number(technology, resource) else {
                continue;
            };
            let tail = common_tail(self.dialled, &sent);
            if tail < 4 {
                // A fixed number, or the caller's digits don't go out.
                continue;
            }
            let prefix = self
                .dialled
                .get(..self.dialled.len() - tail)
                .unwrap_or_default();
            self.calls.push(Call {
                dial: at,
                prefix: prefix.to_owned(),
                sent,
                hurdle: state.hurdle,
                limited,
            });
        }
    }

    /// The text with its variables filled in; what is unknown becomes `?`.
    fn fill(&self, text: &str, state: &State) -> String {
        let mut text = self.plan.fill(text);
        for _ in 0..40 {
            let Some(end) = text.find('}') else { break };
            let Some(start) = text.get(..end).and_then(|head| head.rfind("${")) else {
                break;
            };
            let inner = text.get(start + 2..end).unwrap_or_default();
            let value = Self::variable(inner, state);
            text.replace_range(start..=end, &value);
            if text.len() > 4096 {
                break;
            }
        }
        text
    }

    fn variable(inner: &str, state: &State) -> String {
        if let Some(rest) = inner.strip_prefix("FILTER(") {
            // Only which digits go out matters here.
            let (_, value) = split_once(rest.strip_suffix(')').unwrap_or(rest), ',');
            return value.to_owned();
        }
        let mut parts = inner.split(':');
        let name = parts.next().unwrap_or_default();
        let value = match name {
            "EXTEN" => Some(state.number.as_str()),
            name => state.variables.get(name).map(String::as_str),
        };
        let Some(value) = value else {
            return "?".to_owned();
        };
        let chars: Vec<char> = value.chars().collect();
        let number = |t: Option<&str>| t.and_then(|t| t.trim().parse::<i64>().ok());
        let index = |n: i64| match n {
            0.. => usize::try_from(n).unwrap_or(usize::MAX).min(chars.len()),
            _ => chars
                .len()
                .saturating_sub(usize::try_from(-n).unwrap_or(usize::MAX)),
        };
        let start = index(number(parts.next()).unwrap_or(0));
        let end = match number(parts.next()) {
            Some(n @ 0..) => start.saturating_add(index(n)).min(chars.len()),
            Some(n) => index(n),
            None => chars.len(),
        };
        chars.get(start..end).unwrap_or_default().iter().collect()
    }
}

/// The number that a dial string sends to another server; None where it rings a phone here.
fn sent_number(technology: &str, resource: &str) -> Option<String> {
    let number = match technology.to_ascii_lowercase().as_str() {
        "sip" | "pjsip" => match resource.split_once('/') {
            Some((_, uri)) => uri.rsplit(':').next()?.split('@').next()?,
            None => resource.split_once('@')?.0,
        },
        "iax2" => resource.rsplit_once('/')?.1,
        // Lines and unknown drivers: `g1/number`.
        _ => resource.rsplit_once('/')?.1.split('@').next()?,
    };
    Some(number.trim().to_owned()).filter(|n| !n.is_empty())
}

fn common_tail(a: &str, b: &str) -> usize {
    a.bytes()
        .rev()
        .zip(b.bytes().rev())
        .take_while(|(x, y)| x == y)
        .count()
}

/// Both sides of the first separator; the right one empty where there is none.
fn split_once(text: &str, separator: char) -> (&str, &str) {
    text.split_once(separator).unwrap_or((text, ""))
}
