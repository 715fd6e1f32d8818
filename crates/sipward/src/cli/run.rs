use std::{io, path::PathBuf};

use clap::Args;
use tracing_subscriber::EnvFilter;

use super::Daemon;
use crate::{
    config::{BackendChoice, Listen, XdpChoice},
    daemon,
    exit::{Answer, Failure},
};

/// Guard, in the foreground, until SIGTERM or SIGINT
///
/// Attaches to the interfaces, restores bans and allowlist, and logs to standard error. Killed
/// with SIGKILL, or ended with SIGQUIT, its bans go on, and the next start takes over; stopped with
/// SIGTERM or SIGINT, nothing of it stays behind.
/// SIGHUP reads the configuration again; one with a mistake changes nothing.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sipward run                                  the interfaces of the default routes
  sipward run --interface eth0 --observe       decide and count, but drop nothing
  SIPWARD_LOG=debug sipward run                log more (error, warn, info, debug, trace)")]
pub struct Arguments {
    /// Guard this interface (may be repeated) [default: those of the default routes]
    #[arg(long, short, value_name = "IF")]
    interface: Vec<String>,
    /// Decide and count everything, drop nothing
    #[arg(long)]
    observe: bool,
    /// What enforces [default: what the configuration says: auto]
    #[arg(long, value_name = "BACKEND")]
    backend: Option<BackendChoice>,
    /// How XDP is attached [default: what the configuration says: auto]
    #[arg(long, value_name = "MODE")]
    xdp_mode: Option<XdpChoice>,
    /// Show metrics there [default: what the configuration says: 127.0.0.1:8060]
    #[arg(long, value_name = "ADDR|off")]
    http: Option<Listen>,
    #[command(flatten)]
    daemon: Daemon,
}

impl Arguments {
    pub fn run(self) -> Result<Answer, Failure> {
        log();
        let Daemon {
            socket,
            state_dir,
            config,
        } = self.daemon;
        daemon::run(&daemon::Options {
            config,
            interfaces: self.interface,
            observe: self.observe,
            backend: self.backend,
            xdp_mode: self.xdp_mode,
            state_dir: absolute(state_dir),
            socket: absolute(socket),
            http: self.http,
        })?;
        Ok(Answer::data(""))
    }
}

/// The log goes to standard error; the journal adds the time itself.
fn log() {
    let filter = EnvFilter::try_from_env("SIPWARD_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_target(false)
        .with_ansi(io::IsTerminal::is_terminal(&io::stderr()));
    if std::env::var_os("JOURNAL_STREAM").is_some() {
        log.without_time().init();
    } else {
        log.init();
    }
}

fn absolute(path: PathBuf) -> PathBuf {
    std::path::absolute(&path).unwrap_or(path)
}
