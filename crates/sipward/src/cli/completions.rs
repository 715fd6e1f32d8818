use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::Cli;
use crate::exit::{Answer, Failure};

/// Print completions for a shell
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sipward completions bash > /usr/share/bash-completion/completions/sipward
  sipward completions zsh > /usr/share/zsh/vendor-completions/_sipward
  sipward completions fish > /usr/share/fish/vendor_completions.d/sipward.fish")]
pub struct Arguments {
    /// The shell
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

impl Arguments {
    pub fn run(self) -> Result<Answer, Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "sipward", &mut script);
        Ok(Answer::data(String::from_utf8_lossy(&script)))
    }
}
