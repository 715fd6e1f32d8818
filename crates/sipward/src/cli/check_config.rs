use std::path::PathBuf;

use clap::Args;

use crate::{
    config::{Config, DEFAULT_PATH},
    exit::{Answer, Exit, Failure},
    signatures,
};

/// Check a configuration, and the files of signatures and of the secret that it names
///
/// Each mistake is one line with file, line, column and key. Ends with 78 where there is
/// one, and with 1 where the daemon would start and leave something out.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sipward check-config
  sipward check-config ./sipward.toml && systemctl reload sipward")]
pub struct Arguments {
    /// The configuration
    #[arg(value_name = "FILE", default_value = DEFAULT_PATH)]
    file: PathBuf,
}

impl Arguments {
    pub fn run(self) -> Result<Answer, Failure> {
        let config = Config::load(&self.file)?;
        let (_, complaints) =
            signatures::compile(&config.signatures).map_err(|failure| Failure {
                exit: Exit::Config,
                ..failure
            })?;
        if config.asterisk.ami.user.is_some() {
            config.asterisk.ami.secret()?;
        }
        let is_whole = complaints.leave_nothing_out();
        let mut notes = complaints.lines();
        let exit = if is_whole {
            notes.push(format!("{}: no mistakes", self.file.display()));
            Exit::Done
        } else {
            Exit::Negative
        };
        Ok(Answer {
            data: String::new(),
            notes,
            exit,
        })
    }
}
