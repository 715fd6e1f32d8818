//! How many lines of a log `sipward replay` judges in a second, beside `fail2ban-regex` with its
//! stock asterisk filter, in the same run over the same file; and how much memory it takes, for that
//! file and for a tenth of it.
//!
//! `cargo bench` measures 100 MB, which takes the other one a minute or two. `--gigabyte` measures
//! 1 GB, `--megabytes N` as many, `--keep FOLDER` keeps the log. `--quick`, or no `--bench` (as
//! `cargo test` runs it), checks with 1 MB that every line is read.
#![allow(clippy::print_stdout, reason = "the table is what it is for")]

#[path = "../common/mod.rs"]
mod common;
mod lines;

use std::{env, fs::File, io::BufWriter, path::Path, process::Command, time::Duration};

use anyhow::{Context as _, Result, ensure};
use common::{folder, is_quick, number, replay, replay_once, timed, value_of};
use nix::sys::resource::{UsageWho, getrusage};
use sipward_testkit::require::fail2ban;

const MEGABYTES: u64 = 100;
const GIGABYTE: u64 = 1_000;

fn main() -> Result<()> {
    let megabytes = match value_of("--megabytes") {
        Some(megabytes) => megabytes.parse()?,
        None if env::args().any(|word| word == "--gigabyte") => GIGABYTE,
        None if is_quick() => 1,
        None => MEGABYTES,
    };
    let temporary = tempfile::tempdir()?;
    let folder = folder(&temporary);
    let (tenth, whole) = (folder.join("tenth.log"), folder.join("messages.log"));
    lines::write(BufWriter::new(File::create(&tenth)?), megabytes * 100_000)?;
    let written = lines::write(BufWriter::new(File::create(&whole)?), megabytes * 1_000_000)?;

    // The peak of all children so far, so the smaller file comes first and the other program last.
    replay_once(&tenth)?;
    let memory_of_tenth = peak_of_children()?;
    // A child begins with the peak of its parent, which reads a large report after each.
    replay_once(&whole)?;
    let memory = peak_of_children()?;
    let (own, report) = replay(&whole)?;
    let read = number(&report, "log_lines")?;
    ensure!(read == written, "{read} of {written} lines");
    let per_second = |time: Duration| written as f64 / time.as_secs_f64();
    println!(
        "log of {megabytes} MB: {written} lines, sipward reads {} events and bans {} sources",
        number(&report, "log_events")?,
        report["bans"].as_array().context("no bans")?.len()
    );
    println!(
        "{:<24} {:>12} {:>10} {:>8}",
        "", "lines/s", "seconds", "ratio"
    );
    let seconds = own.as_secs_f64();
    println!(
        "{:<24} {:>12.0} {seconds:>10.2}",
        "sipward replay",
        per_second(own)
    );
    match fail2ban_regex(&whole)? {
        Some(theirs) => println!(
            "{:<24} {:>12.0} {:>10.2} {:>7.1}x   ({} lines matched)",
            "fail2ban-regex asterisk",
            per_second(theirs.time),
            theirs.time.as_secs_f64(),
            theirs.time.as_secs_f64() / seconds,
            theirs.lines
        ),
        None => println!(
            "{:<24} SKIPPED: it is not installed",
            "fail2ban-regex asterisk"
        ),
    }
    println!(
        "peak memory of sipward: {} kB, for a tenth of the log {} kB",
        memory, memory_of_tenth
    );
    Ok(())
}

/// Resident memory of the child that took the most, in kB.
fn peak_of_children() -> Result<i64> {
    Ok(getrusage(UsageWho::RUSAGE_CHILDREN)?.max_rss())
}

/// What the other program made of a log.
struct Matched {
    time: Duration,
    lines: u64,
}

/// None where it is not installed.
fn fail2ban_regex(file: &Path) -> Result<Option<Matched>> {
    let root = fail2ban();
    let program = root.join("usr/bin/fail2ban-regex");
    if !program.exists() {
        return Ok(None);
    }
    let mut command = Command::new("/usr/bin/python3");
    command
        .env("PYTHONPATH", root.join("usr/lib/python3/dist-packages"))
        .arg(program)
        .args(["--print-no-missed", "--print-no-ignored", "--config"])
        .arg(root.join("etc/fail2ban"))
        .arg(file)
        .arg("asterisk");
    let (time, output) = timed(&mut command)?;
    // `Lines: 163 lines, 0 ignored, 89 matched, 74 missed`
    let said = String::from_utf8_lossy(&output.stdout);
    let numbers = said.lines().find_map(|line| line.strip_prefix("Lines: "));
    let numbers = numbers.with_context(|| format!("it says no count:\n{said}"))?;
    let part = numbers.split(", ").find(|part| part.contains("matched"));
    let lines = part.and_then(|part| part.split(' ').next()?.parse().ok());
    Ok(Some(Matched {
        time,
        lines: lines.context("no matches")?,
    }))
}
