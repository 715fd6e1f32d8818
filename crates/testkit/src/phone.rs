//! Phones: sipp with scenarios of our own.
//!
//! Unless told otherwise they do not retransmit. A packet that is lost on the way is a phone that
//! fails, so "all phones succeeded" means that not a packet was dropped.

use std::fmt::Write;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::asterisk::Asterisk;
use crate::namespace::Namespace;
use crate::process::{Finished, Process};

/// What each phone does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    /// Registers with a digest.
    Register,
    /// Registers, calls the echo extension, listens for half a second, hangs up.
    Call,
}

/// Phones with extensions of [`Asterisk`], each on a port of its own.
#[derive(Debug, Clone)]
pub struct Phones {
    /// The address behind which they all are.
    pub source: IpAddr,
    /// The PBX.
    pub server: SocketAddr,
    /// What they do.
    pub task: Task,
    /// How many, with the extensions from `first` on.
    pub count: u16,
    /// The extension of the first.
    pub first: u16,
    /// The time within which all of them begin.
    pub within: Duration,
    /// What they call themselves.
    pub user_agent: &'static str,
    /// Whether they send again what is not answered, as RFC 3261 wants it (timer E).
    pub retransmit: bool,
}

impl Phones {
    /// One phone with extension 101.
    #[must_use]
    pub fn one(source: IpAddr, server: SocketAddr, task: Task) -> Self {
        Self {
            source,
            server,
            task,
            count: 1,
            first: 101,
            within: Duration::from_millis(100),
            user_agent: "Yealink SIP-T46S 66.86.0.15",
            retransmit: false,
        }
    }

    /// Starts them.
    ///
    /// # Errors
    /// If sipp cannot be started.
    pub fn start(&self, namespace: &Namespace) -> Result<RunningPhones> {
        let scenario = match self.task {
            Task::Register => include_str!("../scenarios/register.xml"),
            Task::Call => include_str!("../scenarios/call.xml"),
        };
        let folder = TempDir::new()?;
        fs::write(folder.path().join("scenario.xml"), scenario)?;
        fs::write(folder.path().join("phones.csv"), self.fields())?;
        let count = self.count.to_string();
        let mut command = namespace.command("sipp");
        command
            .current_dir(folder.path())
            .args(["-sf", "scenario.xml", "-inf", "phones.csv"])
            .args([
                "-i",
                &self.source.to_string(),
                "-t",
                "un",
                "-max_socket",
                "1000",
            ])
            .args(["-m", &count, "-l", &count, "-r", &count])
            .args(["-rp", &self.within.as_millis().max(1).to_string()])
            .args(["-nostdin", "-timer_resol", "1", "-recv_timeout", "20000"])
            .args(["-trace_err", "-error_file", "errors.log"])
            .arg(self.server.to_string());
        if !self.retransmit {
            command.arg("-nr");
        }
        let process = Process::spawn(&mut command)?;
        Ok(RunningPhones {
            process,
            folder,
            count: self.count,
        })
    }

    fn fields(&self) -> String {
        let mut lines = String::from("SEQUENTIAL\n");
        for extension in self.first..self.first + self.count {
            let password = Asterisk::password(extension);
            let _ = writeln!(
                lines,
                "{extension};[authentication username={extension} password={password}];{}",
                self.user_agent
            );
        }
        lines
    }
}

/// Phones at work.
#[derive(Debug)]
pub struct RunningPhones {
    process: Process,
    folder: TempDir,
    count: u16,
}

impl RunningPhones {
    /// Waits until all are done; how many succeeded.
    ///
    /// # Errors
    /// If they are not done after `timeout`.
    pub fn successes(self, timeout: Duration) -> Result<u16> {
        successes(&self.process.finish(timeout)?)
    }

    /// Waits until all are done.
    ///
    /// # Errors
    /// If one did not succeed, or they are not done after `timeout`; with what sipp says about
    /// the first.
    pub fn finish(self, timeout: Duration) -> Result<()> {
        let finished = self.process.finish(timeout)?;
        let errors = crate::process::read_lossy(&self.folder.path().join("errors.log"));
        let said: String = errors
            .chars()
            .chain(finished.stderr.chars())
            .take(2000)
            .collect();
        ensure!(
            finished.status.success(),
            "of {} phones not all succeeded ({}): {said}",
            self.count,
            finished.status
        );
        let successful = successes(&finished)?;
        ensure!(
            successful == self.count,
            "sipp counts {successful} of {}",
            self.count
        );
        Ok(())
    }
}

/// What sipp's last statistics say.
fn successes(finished: &Finished) -> Result<u16> {
    let line = finished
        .stdout
        .lines()
        .rfind(|line| line.contains("Successful call"));
    let line = line.context("sipp printed no statistics")?;
    let counted = line.rsplit('|').next().unwrap_or_default().trim();
    counted.parse().with_context(|| line.to_owned())
}
