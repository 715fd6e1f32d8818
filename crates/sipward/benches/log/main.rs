//! How many lines of a log `sipward replay` judges in a second, beside `fail2ban-regex` with its
//! stock asterisk filter, in the same run over the same file; and how much memory it takes, for that
//! file and for a tenth of it.
//!
//! `cargo bench` measures 100 MB, which takes the other one a minute or two. `--gigabyte` measures
//! 1 GB, `--megabytes N` as many, `--keep FOLDER` keeps the log. `--quick`, or no `--bench` (as
//! `cargo test` runs it), checks with 1 MB that every line is read.
#![allow(clippy::print_stdout, reason = "the table is what it is for")]

mod lines;

use std::{
    env,
    fs::File,
    io::BufWriter,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use nix::sys::resource::{UsageWho, getrusage};
use sipward_testkit::require::fail2ban;

const MEGABYTES: u64 = 100;
const GIGABYTE: u64 = 1_000;
/// The best of so many.
const ROUNDS: usize = 3;

fn main() -> Result<()> {
    let is_bench = env::args().any(|word| word == "--bench");
    let is_quick = env::args().any(|word| word == "--quick") || !is_bench;
    let megabytes = match value_of("--megabytes") {
        Some(megabytes) => megabytes.parse()?,
        None if env::args().any(|word| word == "--gigabyte") => GIGABYTE,
        None if is_quick => 1,
        None => MEGABYTES,
    };
    let temporary = tempfile::tempdir()?;
    let folder = value_of("--keep").map_or(temporary.path().to_owned(), PathBuf::from);
    let (tenth, whole) = (folder.join("tenth.log"), folder.join("messages.log"));
    lines::write(BufWriter::new(File::create(&tenth)?), megabytes * 100_000)?;
    let written = lines::write(BufWriter::new(File::create(&whole)?), megabytes * 1_000_000)?;

    // The peak of all children so far, so the smaller file comes first and the other program last.
    sipward(&tenth)?;
    let memory_of_tenth = peak_of_children()?;
    let rounds = (0..ROUNDS)
        .map(|_| sipward(&whole))
        .collect::<Result<Vec<_>>>()?;
    let own = rounds.into_iter().min_by_key(|run| run.time);
    let own = own.context("no round")?;
    let memory = peak_of_children()?;
    ensure!(own.lines == written, "{} of {written} lines", own.lines);
    let per_second = |time: Duration| written as f64 / time.as_secs_f64();
    println!(
        "log of {megabytes} MB: {written} lines, sipward reads {} events and bans {} sources",
        own.found, own.bans
    );
    println!(
        "{:<24} {:>12} {:>10} {:>8}",
        "", "lines/s", "seconds", "ratio"
    );
    let seconds = own.time.as_secs_f64();
    println!(
        "{:<24} {:>12.0} {seconds:>10.2}",
        "sipward replay",
        per_second(own.time)
    );
    match fail2ban_regex(&whole)? {
        Some(theirs) => println!(
            "{:<24} {:>12.0} {:>10.2} {:>7.1}x   ({} lines matched)",
            "fail2ban-regex asterisk",
            per_second(theirs.time),
            theirs.time.as_secs_f64(),
            theirs.time.as_secs_f64() / seconds,
            theirs.found
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

/// The word behind an option.
fn value_of(option: &str) -> Option<String> {
    env::args().skip_while(|word| word != option).nth(1)
}

/// Resident memory of the child that took the most, in kB.
fn peak_of_children() -> Result<i64> {
    Ok(getrusage(UsageWho::RUSAGE_CHILDREN)?.max_rss())
}

/// What a program made of a log.
struct Run {
    time: Duration,
    lines: u64,
    found: u64,
    bans: usize,
}

fn sipward(file: &Path) -> Result<Run> {
    let start = Instant::now();
    let output = Command::new(env!("CARGO_BIN_EXE_sipward"))
        .args(["replay", "--json"])
        .arg(file)
        .output()?;
    let time = start.elapsed();
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let report: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let number = |name: &str| report[name].as_u64().context("no number");
    Ok(Run {
        time,
        lines: number("log_lines")?,
        found: number("log_events")?,
        bans: report["bans"].as_array().context("no bans")?.len(),
    })
}

/// None where it is not installed.
fn fail2ban_regex(file: &Path) -> Result<Option<Run>> {
    let root = fail2ban();
    let program = root.join("usr/bin/fail2ban-regex");
    if !program.exists() {
        return Ok(None);
    }
    let start = Instant::now();
    let output = Command::new("/usr/bin/python3")
        .env("PYTHONPATH", root.join("usr/lib/python3/dist-packages"))
        .arg(program)
        .args(["--print-no-missed", "--print-no-ignored", "--config"])
        .arg(root.join("etc/fail2ban"))
        .arg(file)
        .arg("asterisk")
        .output()?;
    let time = start.elapsed();
    ensure!(
        output.status.success(),
        "fail2ban-regex: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    // `Lines: 163 lines, 0 ignored, 89 matched, 74 missed`
    let said = String::from_utf8_lossy(&output.stdout);
    let numbers = said.lines().find_map(|line| line.strip_prefix("Lines: "));
    let numbers = numbers.with_context(|| format!("it says no count:\n{said}"))?;
    let count = |word: &str| {
        let part = numbers.split(", ").find(|part| part.contains(word))?;
        part.split(' ').next()?.parse().ok()
    };
    Ok(Some(Run {
        time,
        lines: count("lines").context("no lines")?,
        found: count("matched").context("no matches")?,
        bans: 0,
    }))
}
