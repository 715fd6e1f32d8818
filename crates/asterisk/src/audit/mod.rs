//! The audit: what an attacker would use in this configuration, and how to mend it.
//!
//! A [`Rule`] is data (what it is called, what an attacker gains, what to paste) beside one small
//! function. Rules live in one file per family. No finding ever shows a secret: rules speak of a
//! password, a PIN or a secret prefix by its line only.

mod accounts;
mod dialplan;
mod edit;
mod files;
mod iax;
mod logger;
mod manager_http;
mod model;
mod nat;
mod page;
mod pjsip;
mod pjsip_global;
mod render;
mod routes;
mod rtp;
mod secrets;
mod sip_general;
mod sip_security;
mod strength;
mod transports;

use std::path::Path;

use serde::Serialize;

pub use edit::{Change, Patch, patches, unified_diff};
pub use model::Model;
pub use page::{index, page};
pub use render::{json, sarif, table};

use crate::config::{Files, Place, Tree, Variable};

/// How bad a finding is. `high` and `medium` make the command fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Good to know; nothing to do by itself.
    Info,
    /// Makes an attack cheaper or its damage larger.
    Low,
    /// One mistake more and the attacker is in.
    Medium,
    /// An attacker gets in, places calls or runs commands.
    High,
}

impl Severity {
    /// All of them, worst first.
    pub const ALL: [Self; 4] = [Self::High, Self::Medium, Self::Low, Self::Info];

    /// Its name as in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::High => "high",
            Self::Medium => "medium",
            Self::Low => "low",
            Self::Info => "info",
        }
    }
}

/// One thing that the audit looks for.
pub struct Rule {
    /// Its name: fixed, what `--json` and `--sarif` show.
    pub id: &'static str,
    /// How bad it is at worst.
    pub severity: Severity,
    /// What is wrong, in a few words.
    pub title: &'static str,
    /// What an attacker gains: whole sentences.
    pub risk: &'static str,
    /// Lines to paste, the file named in a comment.
    pub fix: &'static str,
    /// When and how to apply the fix: whole sentences for the rule's page.
    pub advice: &'static str,
    /// A configuration that triggers it: `== file ==` before each file, `; <<` on the line that the
    /// finding names. Shown on the page and run by the tests.
    pub bad: &'static str,
    /// The same, mended.
    pub good: &'static str,
    check: fn(&Model<'_>, &mut Findings<'_>),
}

/// The families of rules, each a file of this module.
pub const FAMILIES: &[(&str, &[Rule])] = &[
    ("General settings of sip.conf", sip_general::RULES),
    ("Security settings of sip.conf", sip_security::RULES),
    ("Secrets", secrets::RULES),
    ("Accounts", accounts::RULES),
    ("PJSIP endpoints", pjsip::RULES),
    ("PJSIP as a whole", pjsip_global::RULES),
    ("Transports", transports::RULES),
    ("Dialplan", dialplan::RULES),
    ("Manager interface, HTTP and ARI", manager_http::RULES),
    ("Logging", logger::RULES),
    ("RTP", rtp::RULES),
    ("NAT", nat::RULES),
    ("IAX2", iax::RULES),
    ("Files", files::RULES),
];

/// All rules, family by family.
pub fn rules() -> impl Iterator<Item = &'static Rule> {
    FAMILIES.iter().flat_map(|(_, rules)| rules.iter())
}

/// One place that a rule objects to.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// The rule.
    pub id: &'static str,
    /// How bad it is here; never worse than the rule says.
    pub severity: Severity,
    /// The file, relative to the directory where it lies in it.
    pub file: String,
    /// The line, from 1; 0 where the file as a whole is meant.
    pub line: u32,
    /// The section that it is about.
    pub section: String,
    /// What is wrong and what an attacker gains.
    pub message: String,
    /// What to do or paste.
    pub fix: String,
    /// The change that `--apply` makes: only where it cannot lock anybody out.
    #[serde(skip)]
    pub change: Option<Change>,
}

/// Findings by severity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// How many are `high`.
    pub high: usize,
    /// How many are `medium`.
    pub medium: usize,
    /// How many are `low`.
    pub low: usize,
    /// How many are `info`.
    pub info: usize,
}

/// The outcome of an audit.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The directory audited.
    pub directory: String,
    /// Every file read.
    pub files: Vec<String>,
    /// What was found, worst first, then by file and line.
    pub findings: Vec<Finding>,
    /// The findings counted.
    pub summary: Summary,
}

impl Report {
    /// A finding is `high` or `medium`.
    pub fn fails(&self) -> bool {
        self.summary.high + self.summary.medium > 0
    }
}

/// Audits the configuration in `directory`, an absolute path.
pub fn audit(source: &dyn Files, directory: &Path) -> Report {
    let mut tree = Tree::new(source, directory);
    let model = Model::read(&mut tree);
    let mut findings = Vec::new();
    for rule in rules() {
        (rule.check)(
            &model,
            &mut Findings {
                rule,
                model: &model,
                found: &mut findings,
            },
        );
    }
    findings.sort_by(|a, b| {
        (b.severity, &a.file, a.line, a.id).cmp(&(a.severity, &b.file, b.line, b.id))
    });
    let count = |s: Severity| findings.iter().filter(|f| f.severity == s).count();
    let summary = Summary {
        high: count(Severity::High),
        medium: count(Severity::Medium),
        low: count(Severity::Low),
        info: count(Severity::Info),
    };
    Report {
        directory: directory.display().to_string(),
        files: model.tree.files.iter().map(|f| f.shown.clone()).collect(),
        findings,
        summary,
    }
}

/// What a rule's function writes to.
struct Findings<'a> {
    rule: &'static Rule,
    model: &'a Model<'a>,
    found: &'a mut Vec<Finding>,
}

impl Findings<'_> {
    /// A finding at a place: `what` is put before the rule's risk.
    fn add(&mut self, at: Place, section: &str, what: impl AsRef<str>) -> &mut Finding {
        let file = self
            .model
            .tree
            .file(at)
            .map_or_else(String::new, |f| f.shown.clone());
        self.add_in(file, at.line, section, what)
    }

    /// A finding about a file that need not exist.
    fn add_in(
        &mut self,
        file: impl Into<String>,
        line: u32,
        section: &str,
        what: impl AsRef<str>,
    ) -> &mut Finding {
        self.found.push(Finding {
            id: self.rule.id,
            severity: self.rule.severity,
            file: file.into(),
            line,
            section: section.to_owned(),
            message: format!("{}. {}", what.as_ref(), self.rule.risk),
            fix: self.rule.fix.to_owned(),
            change: None,
        });
        let last = self.found.len() - 1;
        &mut self.found[last]
    }

    /// One finding for each place, naming the sections that a value at that place reaches.
    fn add_grouped<'v>(
        &mut self,
        hits: impl IntoIterator<Item = (Place, &'v str)>,
        what: impl Fn(&str) -> String,
    ) {
        let mut groups: Vec<(Place, Vec<&str>)> = Vec::new();
        let mut index = std::collections::HashMap::new();
        for (at, name) in hits {
            let i = *index.entry(at).or_insert_with(|| {
                groups.push((at, Vec::new()));
                groups.len() - 1
            });
            if let Some((_, names)) = groups.get_mut(i) {
                names.push(name);
            }
        }
        for (at, names) in groups {
            let first = names.first().copied().unwrap_or_default();
            self.add(at, first, what(&listed(&names)));
        }
    }
}

impl Finding {
    fn grade(&mut self, severity: Severity) -> &mut Self {
        self.severity = severity;
        self
    }

    fn mend(&mut self, fix: impl Into<String>) -> &mut Self {
        self.fix = fix.into();
        self
    }

    fn change(&mut self, change: Option<Change>) -> &mut Self {
        self.change = change;
        self
    }
}

/// `a`, `a and b`, `a, b and c`, `a, b, c, d and 17 more`.
fn listed(names: &[&str]) -> String {
    const SHOWN: usize = 4;
    match names {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [head @ .., last] if names.len() <= SHOWN + 1 => format!("{} and {last}", head.join(", ")),
        _ => {
            let head = names.get(..SHOWN).unwrap_or(names).join(", ");
            format!("{head} and {} more", names.len() - SHOWN)
        }
    }
}

/// A setting of one section as a rule sees it.
struct Setting<'a> {
    /// The variable, where it is set.
    variable: Option<&'a Variable>,
    /// Its line, or the section's header, or the file.
    at: Place,
    key: &'a str,
}

impl<'a> Setting<'a> {
    fn value(&self) -> Option<&'a str> {
        self.variable.map(|v| &*v.value)
    }

    /// `allowguest=yes` or `allowguest is not set`.
    fn shown(&self) -> String {
        match self.variable {
            Some(v) => format!("{}={}", v.name, v.value),
            None => format!("{} is not set", self.key),
        }
    }
}
