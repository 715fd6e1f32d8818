//! The machine's clock as one process sees it, to be set without setting the machine's. Boot time
//! and the times of packets stay what they are.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt as _,
    process::Command,
};

use anyhow::{Result, ensure};
use tempfile::TempDir;

const SOURCE: &str = include_str!("clock.c");

/// A clock that a test sets.
#[derive(Debug)]
pub struct Clock {
    folder: TempDir,
    seconds: File,
}

impl Clock {
    /// The machine's time, for now. Compiled with `cc`.
    ///
    /// # Errors
    /// What the compiler says.
    pub fn new() -> Result<Self> {
        let folder = TempDir::new()?;
        let source = folder.path().join("clock.c");
        fs::write(&source, SOURCE)?;
        let compiled = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .arg(folder.path().join("clock.so"))
            .arg(&source)
            .output()?;
        let complaints = String::from_utf8_lossy(&compiled.stderr);
        ensure!(compiled.status.success(), "cc: {complaints}");
        let seconds = File::create(folder.path().join("seconds"))?;
        let clock = Self { folder, seconds };
        clock.set(0)?;
        Ok(clock)
    }

    /// Sets it so many seconds ahead of the machine's.
    ///
    /// # Errors
    /// What the file system says.
    pub fn set(&self, seconds: i64) -> Result<()> {
        Ok(self.seconds.write_all_at(&seconds.to_ne_bytes(), 0)?)
    }

    /// Has a program go by it.
    pub fn give_to(&self, command: &mut Command) {
        command
            .env("LD_PRELOAD", self.folder.path().join("clock.so"))
            .env("SIPWARD_TEST_CLOCK", self.folder.path().join("seconds"));
    }
}
