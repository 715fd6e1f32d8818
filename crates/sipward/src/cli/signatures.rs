use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde::Serialize;
use sipward_engine::escape;
use sipward_signature::{Action, Confidence, Field, MatchKind, Severity, SignatureSet, lint};

use super::table;
use crate::{
    config::{Config, Profile},
    exit::{Answer, Failure},
    signatures,
};

/// The signatures of known scanners: list, try and check them
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sipward signatures list
  sipward signatures match --user-agent 'friendly-scanner'
  sipward signatures lint /etc/sipward/own.toml")]
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
        /// A signature file [default: the signatures in force]
        file: Option<PathBuf>,
        #[command(flatten)]
        source: Source,
        /// Print one JSON document
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Args)]
struct Source {
    /// The configuration that names profile and files; its default may be absent
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Judge by this profile [default: what the configuration says]
    #[arg(long)]
    profile: Option<Profile>,
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

impl Source {
    fn load(&self) -> Result<(SignatureSet, sipward_signature::Profile), Failure> {
        let config = Config::load_or_default(self.config.as_deref())?;
        let set = signatures::load(&config.signatures)?;
        Ok((
            set,
            self.profile.unwrap_or(config.signatures.profile).into(),
        ))
    }
}

impl Arguments {
    pub fn run(self) -> Result<Answer, Failure> {
        match self.command {
            Command::List { source, json } => list(&source, json),
            Command::Match {
                user_agent,
                source,
                json,
            } => find(&user_agent, &source, json),
            Command::Lint { file, source, json } => {
                let set = match file {
                    Some(file) => signatures::read(&file)?,
                    None => source.load()?.0,
                };
                check(&set, json)
            }
        }
    }
}

fn list(source: &Source, json: bool) -> Result<Answer, Failure> {
    let (set, profile) = source.load()?;
    let views: Vec<SignatureView<'_>> = set
        .iter()
        .map(|signature| SignatureView {
            name: &signature.name,
            field: signature.field,
            kind: signature.kind,
            pattern: &signature.pattern,
            confidence: signature.confidence,
            action: profile.action(signature.confidence),
            source: &signature.source,
        })
        .collect();
    if json {
        return Answer::json(&views);
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
    Ok(Answer::data(table::columns(header, &rows)))
}

fn find(user_agent: &str, source: &Source, json: bool) -> Result<Answer, Failure> {
    let (set, profile) = source.load()?;
    let found = set.match_user_agent(user_agent);
    let overall = profile.action_for(&found);
    let matches: Vec<OneMatch> = found
        .into_iter()
        .map(|found| OneMatch {
            action: profile.action(found.confidence),
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
    Ok(if matched { answer } else { answer.negative() })
}

fn check(set: &SignatureSet, json: bool) -> Result<Answer, Failure> {
    let findings = lint(set);
    let clean = findings.is_empty();
    let answer = if json {
        Answer::json(&findings)?
    } else {
        let lines = findings.iter().map(|finding| {
            let severity = match finding.severity {
                Severity::Error => "error",
                Severity::Warning => "warning",
            };
            let text = format!(
                "{}: {}; {}",
                finding.signature, finding.message, finding.fix
            );
            format!("{severity}: {}\n", escape(text.as_bytes()))
        });
        let note = if clean {
            vec![format!("{} signatures, nothing found", set.iter().len())]
        } else {
            Vec::new()
        };
        Answer {
            notes: note,
            ..Answer::data(lines.collect::<String>())
        }
    };
    Ok(if clean { answer } else { answer.negative() })
}

const fn action(action: Action) -> &'static str {
    match action {
        Action::None => "none",
        Action::Evidence => "evidence",
        Action::Drop => "drop",
    }
}
