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
    numbers: File,
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
        let numbers = File::create(folder.path().join("numbers"))?;
        let clock = Self { folder, numbers };
        clock.set(0)?;
        clock.write(1, 0)?;
        Ok(clock)
    }

    /// Sets it so many seconds ahead of the machine's.
    ///
    /// # Errors
    /// What the file system says.
    pub fn set(&self, seconds: i64) -> Result<()> {
        self.write(0, seconds)
    }

    /// From now on the kernel says that somebody keeps it right, as after NTP has set it.
    ///
    /// # Errors
    /// What the file system says.
    pub fn is_kept_right(&self) -> Result<()> {
        self.write(1, 1)
    }

    fn write(&self, number: u64, value: i64) -> Result<()> {
        let at = number * u64::from(i64::BITS / 8);
        Ok(self.numbers.write_all_at(&value.to_ne_bytes(), at)?)
    }

    /// Has a program go by it.
    pub fn give_to(&self, command: &mut Command) {
        command
            .env("LD_PRELOAD", self.folder.path().join("clock.so"))
            .env("SIPWARD_TEST_CLOCK", self.folder.path().join("numbers"));
    }
}
