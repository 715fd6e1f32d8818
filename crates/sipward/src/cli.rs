//! The commands: one file each, with its arguments and what it does with them.

mod allow;
mod audit;
mod ban;
mod bans;
mod check_config;
mod completions;
mod config;
mod doctor;
mod explain;
mod export;
mod import;
mod man;
mod replay;
mod rules;
mod run;
mod signatures;
mod status;
mod suspects;
mod table;
mod trusted;
mod unban;
mod update;
mod watch;
mod why;

use std::{
    error::Error,
    io::{self, IsTerminal, Write},
    path::PathBuf,
    process::ExitCode,
};

use clap::{Args, Parser, Subcommand, error::ErrorKind};

use crate::{
    control::{self, client::Client},
    exit::{Answer, Exit, Failure},
};

/// Keeps scanners, password guessers and floods away from a SIP server
#[derive(Debug, Parser)]
#[command(
    name = "sipward",
    version,
    disable_help_subcommand = true,
    arg_required_else_help = true,
    after_help = "Exit codes: 0 done, 1 a negative answer, 2 bad usage or input, 3 the daemon \
                  cannot be reached,\n4 missing privilege or kernel support, 78 bad configuration.",
    after_long_help = "\
Examples:
  sipward run --interface eth0           guard one interface, in the foreground
  sipward status                         is it guarding, and what has it dropped?
  sipward doctor                         is anything in the way, and what to do about it?
  sipward bans                           who is banned, until when, and why
  sipward suspects                       who is on the way to a ban?
  sipward why 203.0.113.7                what did this address do?
  sipward watch                          what happens, live
  sipward unban 203.0.113.7              let it in again
  sipward allow 198.51.100.0/24          never drop anything from there

Exit codes:
  0   done
  1   a negative answer: not banned, findings
  2   bad usage or bad input
  3   the daemon cannot be reached
  4   missing privilege or kernel support
  78  bad configuration"
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Arguments),
    Status(status::Arguments),
    Ban(ban::Arguments),
    Unban(unban::Arguments),
    Bans(bans::Arguments),
    Suspects(suspects::Arguments),
    Why(why::Arguments),
    Watch(watch::Arguments),
    Allow(allow::AllowArguments),
    Disallow(allow::DisallowArguments),
    Allowed(allow::AllowedArguments),
    Trusted(trusted::Arguments),
    Signatures(signatures::Arguments),
    Replay(replay::Arguments),
    Explain(explain::Arguments),
    Rules(rules::Arguments),
    Export(export::Arguments),
    Import(import::Arguments),
    Audit(audit::Arguments),
    Doctor(doctor::Arguments),
    CheckConfig(check_config::Arguments),
    Config(config::Arguments),
    Completions(completions::Arguments),
    Man(man::Arguments),
}

impl Command {
    fn run(self) -> Result<Answer, Failure> {
        match self {
            Self::Run(arguments) => arguments.run(),
            Self::Status(arguments) => arguments.run(),
            Self::Ban(arguments) => arguments.run(),
            Self::Unban(arguments) => arguments.run(),
            Self::Bans(arguments) => arguments.run(),
            Self::Suspects(arguments) => arguments.run(),
            Self::Why(arguments) => arguments.run(),
            Self::Watch(arguments) => arguments.run(),
            Self::Allow(arguments) => arguments.run(),
            Self::Disallow(arguments) => arguments.run(),
            Self::Allowed(arguments) => arguments.run(),
            Self::Trusted(arguments) => arguments.run(),
            Self::Signatures(arguments) => arguments.run(),
            Self::Replay(arguments) => arguments.run(),
            Self::Explain(arguments) => arguments.run(),
            Self::Rules(arguments) => arguments.run(),
            Self::Export(arguments) => arguments.run(),
            Self::Import(arguments) => arguments.run(),
            Self::Audit(arguments) => arguments.run(),
            Self::Doctor(arguments) => arguments.run(),
            Self::CheckConfig(arguments) => arguments.run(),
            Self::Config(arguments) => arguments.run(),
            Self::Completions(arguments) => arguments.run(),
            Self::Man(arguments) => arguments.run(),
        }
    }
}

/// Where the daemon is.
#[derive(Clone, Debug, Args)]
pub struct Daemon {
    /// The daemon's control socket
    #[arg(long, value_name = "PATH", default_value = control::DEFAULT_SOCKET, help_heading = "Daemon")]
    pub socket: PathBuf,
    /// The daemon's state folder, which holds the ledger
    #[arg(long, value_name = "DIR", default_value = DEFAULT_STATE_DIR, help_heading = "Daemon")]
    pub state_dir: PathBuf,
    /// The configuration; its default may be absent
    #[arg(
        long,
        value_name = "FILE",
        help_heading = "Daemon",
        long_help = "The configuration [default: /etc/sipward/sipward.toml; absent: the defaults]"
    )]
    pub config: Option<PathBuf>,
}

/// The state folder when nobody says otherwise.
pub const DEFAULT_STATE_DIR: &str = "/var/lib/sipward";

impl Daemon {
    /// Calls it.
    #[must_use]
    pub fn client(&self) -> Client {
        Client::new(&self.socket)
    }
}

/// The program: reads the command line, runs the command, prints its answer.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    match cli.command.run() {
        Ok(answer) => print(&answer).into(),
        Err(failure) => {
            complain(&failure.text);
            failure.exit.into()
        }
    }
}

/// Help and version are answers; everything else is bad usage.
fn usage(error: &clap::Error) -> ExitCode {
    #[expect(clippy::wildcard_enum_match_arm, reason = "clap may add kinds")]
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            // Nothing is left to do where the terminal is gone.
            let _ = error.print();
            Exit::Done.into()
        }
        // Our own parsers say all there is to say in one line.
        ErrorKind::ValueValidation => {
            complain(
                &error
                    .source()
                    .map_or_else(|| error.to_string(), ToString::to_string),
            );
            Exit::Input.into()
        }
        _ => {
            let _ = error.print();
            Exit::Input.into()
        }
    }
}

fn print(answer: &Answer) -> Exit {
    for note in &answer.notes {
        // As in `usage`.
        let _ = writeln!(io::stderr(), "{note}");
    }
    let mut stdout = io::stdout().lock();
    match stdout
        .write_all(answer.data.as_bytes())
        .and_then(|()| stdout.flush())
    {
        Ok(()) => answer.exit,
        // A reader such as `head` has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => answer.exit,
        Err(error) => {
            complain(&format!("cannot write the answer: {error}"));
            Exit::Input
        }
    }
}

fn complain(text: &str) {
    let (on, off) = if io::stderr().is_terminal() {
        ("\x1b[1;31m", "\x1b[0m")
    } else {
        ("", "")
    };
    for line in text.lines() {
        // As in `usage`.
        let _ = writeln!(io::stderr(), "{on}error:{off} {line}");
    }
}

#[cfg(test)]
mod tests;
