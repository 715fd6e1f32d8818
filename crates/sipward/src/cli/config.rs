use clap::{Args, Subcommand};

use crate::{
    config::DEFAULT_TEXT,
    exit::{Answer, Failure},
};

/// The configuration file
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sipward config default > /etc/sipward/sipward.toml")]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print the whole file with every key, its default and a comment
    Default,
}

impl Arguments {
    pub fn run(self) -> Result<Answer, Failure> {
        match self.command {
            Command::Default => Ok(Answer::data(DEFAULT_TEXT)),
        }
    }
}
