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
        let mut page = Vec::new();
        render(&mut page)
            .map_err(|error| Failure::input(format!("cannot write the manual page: {error}")))?;
        Ok(Answer::data(String::from_utf8_lossy(&page)))
    }
}

/// One page: the program, then each command with its options and examples.
fn render(page: &mut Vec<u8>) -> io::Result<()> {
    let mut program = Cli::command();
    program.build();
    let man = Man::new(program.clone()).section("8");
    man.render(page)?;
    for command in program.get_subcommands() {
        let man = Man::new(
            command
                .clone()
                .display_name(format!("sipward {}", command.get_name())),
        );
        man.render_name_section(page)?;
        man.render_synopsis_section(page)?;
        man.render_description_section(page)?;
        man.render_options_section(page)?;
        man.render_extra_section(page)?;
    }
    Ok(())
}
