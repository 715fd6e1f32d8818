use std::io;

use clap::{Args, CommandFactory};
use clap_mangen::Man;

use super::Cli;
use crate::exit::{Answer, Failure};

/// Print the manual page
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sipward man | man -l -
  sipward man > /usr/share/man/man8/sipward.8")]
pub struct Arguments {}

impl Arguments {
    pub fn run(self) -> Result<Answer, Failure> {
        page()
            .map(Answer::data)
            .map_err(|error| Failure::input(format!("cannot write the manual page: {error}")))
    }
}

/// One page: the program, then each command with its options and examples.
pub(super) fn page() -> io::Result<String> {
    let mut page = Vec::new();
    let mut program = Cli::command();
    program.build();
    Man::new(program.clone()).section("8").render(&mut page)?;
    for command in program.get_subcommands() {
        let name = format!("sipward {}", command.get_name());
        let man = Man::new(command.clone().display_name(name));
        man.render_name_section(&mut page)?;
        man.render_synopsis_section(&mut page)?;
        man.render_description_section(&mut page)?;
        man.render_options_section(&mut page)?;
        man.render_extra_section(&mut page)?;
    }
    Ok(String::from_utf8_lossy(&page).into_owned())
}
