//! What the benches of `sipward replay` share: their options, and a timed run.

use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

/// The best of so many.
pub const ROUNDS: usize = 3;

/// The word behind an option.
pub fn value_of(option: &str) -> Option<String> {
    env::args().skip_while(|word| word != option).nth(1)
}

/// Whether this is a check that it works: `--quick`, or no `--bench` (as `cargo test` runs it).
pub fn is_quick() -> bool {
    let is_given = |option: &str| env::args().any(|word| word == option);
    is_given("--quick") || !is_given("--bench")
}

/// Where the files go that are measured: `--keep FOLDER`, or one that ends with the bench.
pub fn folder(temporary: &tempfile::TempDir) -> PathBuf {
    value_of("--keep").map_or(temporary.path().to_owned(), PathBuf::from)
}

/// How long a program takes that succeeds, and what it said.
pub fn timed(command: &mut Command) -> Result<(Duration, Output)> {
    let start = Instant::now();
    let output = command
        .output()
        .with_context(|| format!("{command:?} did not start"))?;
    let time = start.elapsed();
    ensure!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok((time, output))
}

/// The fastest of [`ROUNDS`] runs of `sipward replay`, and its report.
pub fn replay(file: &Path) -> Result<(Duration, Value)> {
    let rounds = (0..ROUNDS)
        .map(|_| replay_once(file))
        .collect::<Result<Vec<_>>>()?;
    let best = rounds.into_iter().min_by_key(|(time, _)| *time);
    best.context("no round")
}

/// One of these.
pub fn replay_once(file: &Path) -> Result<(Duration, Value)> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sipward"));
    let (time, output) = timed(command.args(["replay", "--json"]).arg(file))?;
    Ok((time, serde_json::from_slice(&output.stdout)?))
}

/// A figure of a report.
pub fn number(report: &Value, name: &str) -> Result<u64> {
    let number = report[name].as_u64();
    number.with_context(|| format!("the report has no {name}"))
}
