//! Programs under test: their output in files, waiting by condition, an end that is certain.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

/// The longest pause between two looks at a condition.
const POLL: Duration = Duration::from_millis(20);

/// Waits until the condition holds.
///
/// # Errors
/// After `timeout`, naming what was waited for.
pub fn wait_until(
    what: &str,
    timeout: Duration,
    mut condition: impl FnMut() -> bool,
) -> Result<()> {
    let end = Instant::now() + timeout;
    // What happens at once is seen at once; what takes its time costs no CPU.
    let mut pause = Duration::from_micros(50);
    while !condition() {
        if Instant::now() >= end {
            bail!("waited {timeout:?} in vain for {what}");
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(POLL);
    }
    Ok(())
}

/// A running program, killed when dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    folder: TempDir,
}

/// A program that came to its end.
#[derive(Debug, Clone)]
pub struct Finished {
    /// How it ended.
    pub status: ExitStatus,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
}

impl Process {
    /// Starts the command with a folder of its own for its output, which is also its `HOME`.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn spawn(command: &mut Command) -> Result<Self> {
        let name = describe(command);
        let folder = TempDir::new()?;
        let child = command
            .env("HOME", folder.path())
            .stdin(Stdio::null())
            .stdout(File::create(folder.path().join("stdout"))?)
            .stderr(File::create(folder.path().join("stderr"))?)
            .spawn()
            .with_context(|| format!("starting {name}"))?;
        Ok(Self {
            name,
            child,
            folder,
        })
    }

    /// Runs the command to its end.
    ///
    /// # Errors
    /// If it cannot be started or has not ended after `timeout`; then it is killed.
    pub fn run(command: &mut Command, timeout: Duration) -> Result<Finished> {
        Self::spawn(command)?.finish(timeout)
    }

    /// Waits for the end.
    ///
    /// # Errors
    /// If it has not ended after `timeout`; then it is killed.
    pub fn finish(mut self, timeout: Duration) -> Result<Finished> {
        let status = self.wait(timeout)?;
        Ok(Finished {
            status,
            stdout: self.stdout(),
            stderr: self.stderr(),
        })
    }

    /// Waits for the end and keeps the output readable.
    ///
    /// # Errors
    /// If it has not ended after `timeout`.
    pub fn wait(&mut self, timeout: Duration) -> Result<ExitStatus> {
        let mut status = None;
        let what = format!("the end of {}", self.name);
        let waited = wait_until(&what, timeout, || {
            status = self.child.try_wait().ok().flatten();
            status.is_some()
        });
        waited.with_context(|| self.tail())?;
        status.context("ended without a status")
    }

    /// Waits until standard output and standard error together fulfil the condition.
    ///
    /// # Errors
    /// If the program ends or the time is over before; with the end of its output.
    pub fn wait_for(
        &mut self,
        what: &str,
        timeout: Duration,
        condition: impl Fn(&str) -> bool,
    ) -> Result<()> {
        let mut ended = false;
        wait_until(what, timeout, || {
            // Looked at before the output, so that the last words are not missed.
            ended = self.child.try_wait().is_ok_and(|status| status.is_some());
            ended || condition(&self.output())
        })
        .with_context(|| self.tail())?;
        if ended && !condition(&self.output()) {
            bail!("{} ended before {what}: {}", self.name, self.tail());
        }
        Ok(())
    }

    /// What it wrote to standard output so far.
    #[must_use]
    pub fn stdout(&self) -> String {
        read_lossy(&self.folder.path().join("stdout"))
    }

    /// What it wrote to standard error so far.
    #[must_use]
    pub fn stderr(&self) -> String {
        read_lossy(&self.folder.path().join("stderr"))
    }

    /// Both, standard output first.
    #[must_use]
    pub fn output(&self) -> String {
        self.stdout() + &self.stderr()
    }

    /// True while it runs.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|status| status.is_none())
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its private folder, removed with it.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Sends a signal; nothing happens if it has ended already.
    pub fn signal(&mut self, signal: Signal) {
        // Until it is waited for, the id cannot belong to another process.
        if self.is_running() {
            let _ = kill(Pid::from_raw(self.child.id().cast_signed()), signal);
        }
    }

    fn tail(&self) -> String {
        let output = self.output();
        let lines: Vec<&str> = output.lines().collect();
        format!(
            "{} said:\n{}",
            self.name,
            lines[lines.len().saturating_sub(15)..].join("\n")
        )
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads a file that another program is writing: absent is empty, any bytes are text.
#[must_use]
pub fn read_lossy(path: &Path) -> String {
    fs::read(path)
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .unwrap_or_default()
}

fn describe(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<_> = words
        .map(|word| PathBuf::from(word).display().to_string())
        .collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_is_seen_while_the_program_runs() {
        let mut process =
            Process::spawn(Command::new("sh").args(["-c", "echo ready; exec sleep 60"])).unwrap();
        process
            .wait_for("ready", Duration::from_secs(5), |output| {
                output == "ready\n"
            })
            .unwrap();
        assert!(process.is_running());
    }

    #[test]
    fn an_early_end_is_an_error_with_the_last_words() {
        let mut process =
            Process::spawn(Command::new("sh").args(["-c", "echo no such device >&2"])).unwrap();
        let error = process
            .wait_for("ready", Duration::from_secs(5), |_| false)
            .unwrap_err();
        assert!(format!("{error:#}").contains("no such device"), "{error:#}");
    }

    #[test]
    fn a_dropped_process_is_gone() {
        let process = Process::spawn(Command::new("sleep").arg("60")).unwrap();
        let pid = process.pid();
        drop(process);
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
    }
}
