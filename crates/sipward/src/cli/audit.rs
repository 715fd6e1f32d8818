use std::{
    io::{self, IsTerminal, Write},
    path::PathBuf,
};

use clap::Args;
use jiff::Timestamp;
use sipward_asterisk::{
    audit::{self, Patch, Report},
    config::{Disk, Files, Kind},
};

use crate::{
    apply::apply,
    exit::{Answer, Failure},
};

/// What an attacker would use in Asterisk's configuration, and how to mend it; ends with 1 where a
/// finding is high or medium
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sipward audit                          judge /etc/asterisk
  sipward audit --diff                   what --apply would change, as a patch
  sipward audit --apply                  ask, keep a backup, change
  sipward audit --sarif > audit.sarif    for code scanning

--apply makes only changes that cannot lock anybody out; passwords and what providers
depend on are left to you, with the lines to paste in the table.")]
pub struct Arguments {
    /// Asterisk's configuration directory
    #[arg(value_name = "DIR", default_value = "/etc/asterisk")]
    directory: PathBuf,
    /// Print one JSON document
    #[arg(long, conflicts_with_all = ["sarif", "diff"])]
    json: bool,
    /// Print SARIF 2.1.0
    #[arg(long, conflicts_with = "diff")]
    sarif: bool,
    /// Print what --apply changes, as a unified diff
    #[arg(long)]
    diff: bool,
    /// Make the changes that cannot lock anybody out, with a backup
    #[arg(long)]
    apply: bool,
    /// Do not ask before --apply changes files
    #[arg(long, requires = "apply")]
    yes: bool,
}

impl Arguments {
    pub(super) fn run(self) -> Result<Answer, Failure> {
        let directory = self.directory()?;
        let mut report = audit::audit(&Disk, &directory);
        if report.files.is_empty() {
            let text = format!(
                "{} holds no Asterisk configuration: name the directory that holds sip.conf, \
                 pjsip.conf or extensions.conf",
                directory.display()
            );
            return Err(Failure::input(text));
        }
        let patches = audit::patches(&report, &|path| Disk.read(path).ok());
        let mut notes = Vec::new();
        if self.apply && patches.is_empty() {
            notes.push("nothing to change".to_owned());
        } else if self.apply {
            self.ask(&patches)?;
            let backup = apply(&directory, &patches, Timestamp::now())?;
            let names: Vec<&str> = patches.iter().map(|p| p.shown.as_str()).collect();
            notes.push(format!("changed {}", names.join(", ")));
            notes.push(format!("the files as they were: {}", backup.display()));
            notes.push("now: asterisk -rx 'core reload'".to_owned());
            report = audit::audit(&Disk, &directory);
        }
        let mut answer = self.answer(&report, &patches)?;
        answer.notes = notes;
        Ok(if report.fails() {
            answer.negative()
        } else {
            answer
        })
    }

    fn directory(&self) -> Result<PathBuf, Failure> {
        let shown = self.directory.display();
        let path = std::path::absolute(&self.directory)
            .map_err(|error| Failure::input(format!("{shown}: {error}")))?;
        match Disk.kind(&path) {
            Kind::Directory => {}
            Kind::Missing => {
                let text = format!(
                    "{shown}: no such directory; name Asterisk's configuration directory, usually \
                     /etc/asterisk"
                );
                return Err(Failure::input(text));
            }
            Kind::Regular | Kind::Other => {
                return Err(Failure::input(format!(
                    "{shown} is no directory; name the one it is in"
                )));
            }
        }
        match std::fs::read_dir(&path) {
            Ok(_) => Ok(path),
            Err(error) => {
                let text = format!("cannot read {shown}: {error}; run it as root or as asterisk");
                Err(Failure::unsupported(text))
            }
        }
    }

    fn answer(&self, report: &Report, patches: &[Patch]) -> Result<Answer, Failure> {
        if self.json {
            return Answer::json(&audit::json(report));
        }
        if self.sarif {
            return Answer::json(&audit::sarif(report));
        }
        if self.diff {
            return Ok(Answer::data(audit::unified_diff(patches)));
        }
        let colour = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Ok(Answer::data(audit::table(report, colour)))
    }

    /// Shows the changes and waits for a yes.
    fn ask(&self, patches: &[Patch]) -> Result<(), Failure> {
        if self.yes {
            return Ok(());
        }
        if !io::stdin().is_terminal() {
            let text = "--apply asks before it changes files, and there is no terminal to ask on: \
                        add --yes";
            return Err(Failure::input(text));
        }
        let mut stderr = io::stderr();
        let diff = audit::unified_diff(patches);
        let mut answer = String::new();
        write!(
            stderr,
            "{diff}Make these changes to {} files? [y/N] ",
            patches.len()
        )
        .and_then(|()| stderr.flush())
        .and_then(|()| io::stdin().read_line(&mut answer))
        .map_err(|error| Failure::input(format!("cannot ask: {error}; add --yes")))?;
        match answer.trim().to_ascii_lowercase().as_str() {
            "y" | "yes" => Ok(()),
            _ => Err(Failure::input("nothing was changed")),
        }
    }
}
