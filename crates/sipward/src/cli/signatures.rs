use std::{path::PathBuf, time::Duration};

use clap::{Args, Subcommand};
use serde::Serialize;
use sipward_engine::Time;
use sipward_engine::escape;
use sipward_signature::{
    Action, Confidence, Field, Finding, MatchKind, ROW_UNIT, Severity, Signature, SignatureSet,
    TABLE_UNITS, lint,
};

use super::{DEFAULT_STATE_DIR, table, update};
use crate::{
    clock,
    config::{Config, Profile},
    control::api::FeedView,
    exit::{Answer, Failure},
    feeds,
    ledger::{Hits, Ledger},
    signatures,
};

/// What was not hit for so long is worth a word.
const UNUSED: Duration = Duration::from_secs(90 * 86_400);

/// The signatures of known scanners: list, try and check them
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sipward signatures list
  sipward signatures match --user-agent 'friendly-scanner'
  sipward signatures lint /etc/sipward/own.toml
  sipward signatures lint iptables-sip.sh
  sipward signatures update --from https://lists.example.org/scanners.txt")]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the signatures and what the profile does with each
    List {
        #[command(flatten)]
        source: Source,
        /// Print one JSON document
        #[arg(long)]
        json: bool,
    },
    /// What would be done with a message of this User-Agent; ends with 1 where nothing matches
    Match {
        /// The value of the header User-Agent
        #[arg(long, value_name = "TEXT")]
        user_agent: String,
        #[command(flatten)]
        source: Source,
        /// Print one JSON document
        #[arg(long)]
        json: bool,
    },
    /// What is wrong with a list of signatures; ends with 1 where something is
    Lint {
        /// A signature file, a script of iptables rules, a list of User-Agents [default: the
        /// signatures in force]
        file: Option<PathBuf>,
        #[command(flatten)]
        source: Source,
        /// Print one JSON document
        #[arg(long)]
        json: bool,
    },
    /// Take in a list of User-Agents, addresses, iptables rules or signatures
    Update(Box<update::Arguments>),
}

#[derive(Debug, Args)]
struct Source {
    /// The configuration that names profile and files; its default may be absent
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Judge by this profile [default: what the configuration says]
    #[arg(long)]
    profile: Option<Profile>,
    /// The daemon's state folder: the lists that were taken in, and what was never hit; it may be
    /// absent
    #[arg(long, value_name = "DIR", default_value = DEFAULT_STATE_DIR)]
    state_dir: PathBuf,
}

/// An element of `signatures list`.
#[derive(Debug, Serialize)]
struct SignatureView<'a> {
    name: &'a str,
    field: Field,
    #[serde(rename = "match")]
    kind: MatchKind,
    pattern: &'a str,
    confidence: Confidence,
    action: Action,
    source: &'a str,
}

/// `signatures match`
#[derive(Debug, Serialize)]
struct MatchView<'a> {
    user_agent: &'a str,
    matches: Vec<OneMatch>,
    action: Action,
}

#[derive(Debug, Serialize)]
struct OneMatch {
    name: String,
    confidence: Confidence,
    action: Action,
}

/// The signatures in force.
struct Loaded {
    set: SignatureSet,
    profile: sipward_signature::Profile,
    complaints: Vec<String>,
    /// Lists that cannot be had, and would lapse one day; a line each.
    failing: Vec<String>,
}

impl Source {
    fn load(&self) -> Result<Loaded, Failure> {
        let mut config = Config::load_or_default(self.config.as_deref())?;
        config.signatures.feeds_folder = Some(feeds::folder(&self.state_dir));
        let (set, complaints) = signatures::load(&config.signatures)?;
        Ok(Loaded {
            set,
            profile: self.profile.unwrap_or(config.signatures.profile).into(),
            complaints: complaints.lines(),
            failing: feeds::views(&config.signatures)
                .iter()
                .filter_map(failing)
                .collect(),
        })
    }
}

fn failing(feed: &FeedView) -> Option<String> {
    let why = escape(feed.error.as_ref()?.as_bytes()).to_string();
    let until = feed.lapses.map_or_else(String::new, |lapses| {
        format!("; what it said is in force until {}", clock::local(lapses))
    });
    Some(format!("feed {}: {why}{until}", feed.name))
}

impl Arguments {
    pub fn run(self) -> Result<Answer, Failure> {
        match self.command {
            Command::Update(arguments) => arguments.run(),
            Command::List { source, json } => list(&source, json),
            Command::Match {
                user_agent,
                source,
                json,
            } => find(&user_agent, &source, json),
            Command::Lint { file, source, json } => {
                let (set, complaints) = match file {
                    Some(file) => (signatures::read_as_written(&file)?, Vec::new()),
                    None => {
                        let loaded = source.load()?;
                        let lines = [loaded.complaints, loaded.failing].concat();
                        (loaded.set, lines)
                    }
                };
                let answer = check(&set, &Ledger::hits_in(&source.state_dir)?, json)?;
                Ok(answer.with_notes(complaints))
            }
        }
    }
}

fn list(source: &Source, json: bool) -> Result<Answer, Failure> {
    let Loaded {
        set,
        profile,
        complaints,
        ..
    } = source.load()?;
    let views: Vec<SignatureView<'_>> = set
        .iter()
        .map(|signature| SignatureView {
            name: &signature.name,
            field: signature.field,
            kind: signature.kind,
            pattern: &signature.pattern,
            confidence: signature.confidence,
            action: profile.action_of(signature),
            source: &signature.source,
        })
        .collect();
    if json {
        return Ok(Answer::json(&views)?.with_notes(complaints));
    }
    let rows: Vec<_> = views
        .iter()
        .map(|view| {
            [
                view.name.to_owned(),
                view.field.to_string(),
                view.kind.to_string(),
                escape(view.pattern.as_bytes()).to_string(),
                view.confidence.to_string(),
                action(view.action).to_owned(),
            ]
        })
        .collect();
    let header = ["NAME", "FIELD", "MATCH", "PATTERN", "CONFIDENCE", "ACTION"];
    Ok(Answer::data(table::columns(header, &rows)).with_notes(complaints))
}

fn find(user_agent: &str, source: &Source, json: bool) -> Result<Answer, Failure> {
    let Loaded {
        set,
        profile,
        complaints,
        ..
    } = source.load()?;
    let found = set.match_user_agent(user_agent);
    let overall = profile.action_for(&found);
    let matches: Vec<OneMatch> = found
        .into_iter()
        .map(|found| OneMatch {
            action: profile.action_for(std::slice::from_ref(&found)),
            name: found.name,
            confidence: found.confidence,
        })
        .collect();
    let matched = !matches.is_empty();
    let answer = if json {
        Answer::json(&MatchView {
            user_agent,
            matches,
            action: overall,
        })?
    } else {
        let rows: Vec<_> = matches
            .iter()
            .map(|one| {
                [
                    one.name.clone(),
                    one.confidence.to_string(),
                    action(one.action).to_owned(),
                ]
            })
            .collect();
        let table = if matched {
            table::columns(["NAME", "CONFIDENCE", "ACTION"], &rows)
        } else {
            String::new()
        };
        Answer::data(format!("{table}action: {}\n", action(overall)))
    };
    let answer = answer.with_notes(complaints);
    Ok(if matched { answer } else { answer.negative() })
}

fn check(set: &SignatureSet, hits: &[Hits], json: bool) -> Result<Answer, Failure> {
    let mut findings = lint(set);
    let clean = findings.is_empty();
    findings.extend(unused(set, hits, clock::now()));
    let answer = if json {
        Answer::json(&findings)?
    } else {
        let lines = findings.iter().map(|finding| {
            let severity = match finding.severity {
                Severity::Error => "error",
                Severity::Warning => "warning",
                Severity::Note => "note",
            };
            let pattern = set
                .iter()
                .find(|signature| signature.name == finding.signature)
                .map_or("", |signature| &signature.pattern);
            let text = format!(
                "{} {pattern:?}: {}; {}",
                finding.signature, finding.message, finding.fix
            );
            format!("{severity}: {}\n", escape(text.as_bytes()))
        });
        let mut notes = Vec::new();
        if clean {
            notes.push(format!(
                "{} signatures, nothing wrong with them",
                set.iter().len()
            ));
        }
        notes.extend(size(set));
        Answer {
            notes,
            ..Answer::data(lines.collect::<String>())
        }
    };
    Ok(if clean { answer } else { answer.negative() })
}

/// What the list takes of the kernel's table. Where it does not fit, the findings say so.
fn size(set: &SignatureSet) -> Option<String> {
    let tables = set.compile(sipward_signature::Profile::Strict, &[]).ok()?;
    Some(format!(
        "compiled they take {} of {TABLE_UNITS} units of the kernel's table ({} kB)",
        tables.units(),
        tables.units() * ROW_UNIT / 1000
    ))
}

/// Signatures that were looked for all this time and hit nothing.
fn unused(set: &SignatureSet, hits: &[Hits], now: Time) -> Vec<Finding> {
    let idle = |name: &str| {
        let hits = hits.iter().find(|hits| hits.name == name)?;
        let idle = now.since(hits.last.unwrap_or(hits.since));
        (idle >= UNUSED).then_some(hits)
    };
    let finding = |signature: &Signature| {
        let hits = idle(&signature.name)?;
        Some(Finding {
            signature: signature.name.clone(),
            severity: Severity::Note,
            message: match hits.last {
                None => "never hit in 90 days".to_owned(),
                Some(last) => format!("not hit in 90 days, the last time on {}", clock::day(last)),
            },
            fix: format!(
                "leave it, or [signatures.override.\"{}\"] enabled = false",
                signature.name
            ),
        })
    };
    set.iter().filter_map(finding).collect()
}

const fn action(action: Action) -> &'static str {
    match action {
        Action::None => "none",
        Action::Evidence => "evidence",
        Action::Drop => "drop",
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use sipward_engine::Time;
    use sipward_signature::{Severity, SignatureSet};

    use super::{size, unused};
    use crate::ledger::Hits;

    const DAY: Duration = Duration::from_secs(86_400);
    const NOW: Time = Time(1_795_348_085_000_000_000);

    #[test]
    fn what_was_looked_for_in_vain_for_ninety_days_is_noted() {
        let hits = |name: &str, since: u32, last: Option<u32>| Hits {
            name: name.to_owned(),
            packets: last.is_some().into(),
            since: NOW - DAY * since,
            last: last.map(|days| NOW - DAY * days),
        };
        let hits = [
            hits("iwar", 90, None),
            hits("sipcli", 300, Some(91)),
            hits("sipsak", 300, Some(89)),
            hits("gulp", 89, None),
            hits("of-a-list-that-is-gone", 300, None),
        ];
        let found = unused(&SignatureSet::builtin(), &hits, NOW);
        let mut texts: Vec<String> = found
            .iter()
            .map(|finding| format!("{}: {}", finding.signature, finding.message))
            .collect();
        texts.sort();
        assert_eq!(
            texts,
            [
                "iwar: never hit in 90 days",
                "sipcli: not hit in 90 days, the last time on 2026-08-23"
            ]
        );
        assert!(found.iter().all(|it| it.severity == Severity::Note));
    }

    #[test]
    fn the_size_of_the_compiled_list_is_told() {
        let text = size(&SignatureSet::builtin()).unwrap();
        let words: Vec<&str> = text.split(' ').collect();
        let units: usize = words[3].parse().unwrap();
        assert!(units > 1_000, "{text}");
        assert!(text.contains("of 65536 units"), "{text}");
    }
}
