//! A long list of bans through the whole program: `sipward import`, the orders of an administrator
//! while they are in force, and the start with them; with XDP and with nftables.
//!
//! The import's time is that of the command, from the file to the last acknowledgement; of it, apart,
//! until the kernel had the bans, and until the ledger had them on disk. The start is that of the
//! daemon until it is ready: after `kill -9`, with the bans in the kernel, and after a reboot, with
//! none there. Memory is the daemon's peak.
//!
//! `cargo bench` measures with 1,000,000 prefixes, and 100,000 for nftables. `--quick`, or no
//! `--bench` (as `cargo test` runs it), only checks that everything works, with some thousands.
#![allow(clippy::print_stdout, reason = "the table is what it is for")]

use std::{
    env,
    fmt::Write as _,
    fs,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use sipward_testkit::{
    guard::Guard,
    lab::Lab,
    prefixes,
    require::{Need, require},
};

/// Nothing here takes longer.
const PATIENCE: Duration = Duration::from_secs(600);

const BACKENDS: [(&str, &str, usize); 2] = [
    ("XDP", "backend = \"xdp\"\n", 1_000_000),
    ("nftables", "backend = \"nftables\"\n", 100_000),
];
const QUICK: usize = 10_000;

fn main() -> Result<()> {
    if !require(&[Need::Root, Need::Program("ip"), Need::Program("nft")]) {
        return Ok(());
    }
    let asked_for = |flag: &str| env::args().any(|argument| argument == flag);
    let is_quick = !asked_for("--bench") || asked_for("--quick");
    for (name, configuration, count) in BACKENDS {
        let count = if is_quick { QUICK } else { count };
        let figures = measure(configuration, count).context(name)?;
        println!("{name}");
        for (what, figure) in figures {
            println!("  {what:<40}{figure:>14}");
        }
    }
    if is_quick {
        println!("A check that it works: the figures mean nothing.");
    }
    Ok(())
}

fn measure(configuration: &str, count: usize) -> Result<Vec<(&'static str, String)>> {
    let lab = Lab::new()?;
    let mut guard = Guard::start_with(
        Path::new(env!("CARGO_BIN_EXE_sipward")),
        &lab.pbx,
        configuration,
    )?;
    let folder = tempfile::tempdir()?;
    let list = folder.path().join("list");
    let mut text = String::new();
    for prefix in prefixes::list(count) {
        writeln!(text, "{prefix}")?;
    }
    fs::write(&list, text)?;

    let mut figures = Vec::new();
    let (_, report) = asked(&guard, &["import", &list.to_string_lossy(), "--json"])?;
    let report: Value = serde_json::from_str(&report)?;
    let banned = report["banned"].as_u64().context("no number of bans")?;
    figures.push(("prefixes banned", banned.to_string()));
    for (what, name) in [
        ("import", "all"),
        ("  until the kernel had them", "kernel"),
        ("  until the ledger had them", "ledger"),
    ] {
        let taken = report["seconds"][name].as_f64().context("no seconds")?;
        figures.push((what, seconds(Duration::from_secs_f64(taken))));
    }
    figures.push(("  peak memory", peak(&guard)?));
    for (what, order) in [
        ("status", "status"),
        ("bans, as JSON", "bans --json"),
        ("ban of one more", "ban 203.0.113.200"),
        ("why of it", "why 203.0.113.200"),
        ("unban of it", "unban 203.0.113.200"),
    ] {
        let words: Vec<&str> = order.split(' ').collect();
        let (took, _) = asked(&guard, &words)?;
        figures.push((what, seconds(took)));
    }

    guard.kill();
    figures.push(("start after kill -9", started(&mut guard)?));
    figures.push(("  peak memory", peak(&guard)?));
    let (_, status) = asked(&guard, &["status", "--json"])?;
    let status: Value = serde_json::from_str(&status)?;
    let in_force = status["bans"].as_u64().context("no bans in status")?;
    ensure!(in_force == banned, "{in_force} bans of {banned}");
    // What a stop leaves is what a reboot leaves: the ledger alone.
    guard.stop()?;
    figures.push(("start after a reboot", started(&mut guard)?));
    figures.push(("  peak memory", peak(&guard)?));
    Ok(figures)
}

/// How long a command takes that succeeds, and what it prints.
fn asked(guard: &Guard<'_>, words: &[&str]) -> Result<(Duration, String)> {
    let began = Instant::now();
    let finished = guard.spawn(words)?.finish(PATIENCE)?;
    let took = began.elapsed();
    ensure!(finished.status.success(), "{words:?}: {}", finished.stderr);
    Ok((took, finished.stdout))
}

fn started(guard: &mut Guard<'_>) -> Result<String> {
    let began = Instant::now();
    guard.run()?;
    Ok(seconds(began.elapsed()))
}

fn seconds(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}

/// The most memory that the daemon has had so far.
fn peak(guard: &Guard<'_>) -> Result<String> {
    let pid = guard.pid().context("it does not run")?;
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes: u64 = line
        .and_then(|line| line.split_whitespace().next())
        .context("no VmHWM")?
        .parse()?;
    Ok(format!("{} MiB", kilobytes / 1024))
}
