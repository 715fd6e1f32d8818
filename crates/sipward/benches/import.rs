//! A long list of bans through the whole program: `sipward import`, the orders of an administrator
//! while they are in force, and the start with them; with XDP and with nftables.
//!
//! The import's time is that of the command, from the file to the last acknowledgement; of it, apart,
//! until the kernel had the bans, and until the ledger had them on disk. The start is that of the
//! daemon until it is ready and answers `status`: after `kill -9`, with the bans in the kernel, and
//! after a reboot, with none there. While the bans are listed, `status` is asked for again and again:
//! the slowest answer is the longest that the daemon's loop was away. Memory is the daemon's peak.
//!
//! Beside them, in the same run and from the same list, what one of the tools takes for a part of it:
//! `ipset` and `nft` to load and to list a set, `sqlite3` to write the prefixes into one table.
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
    namespace::Namespace,
    prefixes,
    process::Process,
    require::{Need, require},
};

/// Nothing here takes longer.
const PATIENCE: Duration = Duration::from_secs(600);

const BACKENDS: [Backend; 2] = [
    Backend {
        name: "XDP",
        configuration: "backend = \"xdp\"\n",
        count: 1_000_000,
        others: &[
            ("ipset restore", "ipset restore -file LIST.ipset"),
            ("ipset save", "ipset save bans"),
            ("sqlite3 .import", SQLITE),
        ],
    },
    Backend {
        name: "nftables",
        configuration: "backend = \"nftables\"\n",
        count: 100_000,
        others: &[
            ("nft -f", "nft -f LIST.nft"),
            ("nft list set", "nft list set ip bench bans"),
            (
                "nft add element",
                "nft add element ip bench bans { 240.0.0.1 }",
            ),
            ("sqlite3 .import", SQLITE),
        ],
    },
];
/// As durable as the ledger, and in one transaction.
const SQLITE: &str = "sqlite3 LIST.db -cmd PRAGMA\u{a0}journal_mode=wal; \
                      -cmd PRAGMA\u{a0}synchronous=full; \
                      -cmd CREATE\u{a0}TABLE\u{a0}ban(prefix\u{a0}TEXT\u{a0}PRIMARY\u{a0}KEY); \
                      .import\u{a0}LIST\u{a0}ban";
const QUICK: usize = 10_000;

/// What is measured.
struct Backend {
    name: &'static str,
    configuration: &'static str,
    /// Prefixes.
    count: usize,
    /// What other tools do, and the command lines, with LIST for the list's path. What is one word
    /// has no-break spaces.
    others: &'static [(&'static str, &'static str)],
}

fn main() -> Result<()> {
    let programs = ["ip", "nft", "ipset", "sqlite3"].map(Need::Program);
    if !require(&[&[Need::Root], &programs[..]].concat()) {
        return Ok(());
    }
    let asked_for = |flag: &str| env::args().any(|argument| argument == flag);
    let is_quick = !asked_for("--bench") || asked_for("--quick");
    for backend in BACKENDS {
        let count = if is_quick { QUICK } else { backend.count };
        let figures = measure(&backend, count).context(backend.name)?;
        println!("{}", backend.name);
        for (what, figure) in figures {
            println!("  {what:<40}{figure:>14}");
        }
    }
    if is_quick {
        println!("A check that it works: the figures mean nothing.");
    }
    Ok(())
}

fn measure(backend: &Backend, count: usize) -> Result<Vec<(&'static str, String)>> {
    let lab = Lab::new()?;
    let mut guard = Guard::start_with(
        Path::new(env!("CARGO_BIN_EXE_sipward")),
        &lab.pbx,
        backend.configuration,
    )?;
    let folder = tempfile::tempdir()?;
    let list = folder.path().join("list");
    write_lists(&list, count)?;

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
        ("bans", "bans"),
        ("export for ipset", "export --format ipset"),
        ("ban of one more", "ban 203.0.113.200"),
        ("why of it", "why 203.0.113.200"),
        ("unban of it", "unban 203.0.113.200"),
    ] {
        let words: Vec<&str> = order.split(' ').collect();
        let (took, _) = asked(&guard, &words)?;
        figures.push((what, seconds(took)));
    }

    let (took, slowest) = listed(&guard)?;
    figures.push(("bans, as JSON", seconds(took)));
    figures.push(("  slowest status meanwhile", seconds(slowest)));
    figures.push(("  peak memory", peak(&guard)?));

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
    for (what, line) in backend.others {
        figures.push((what, seconds(other(&lab.attacker, line, &list)?)));
    }
    Ok(figures)
}

/// The list as each tool reads it.
fn write_lists(list: &Path, count: usize) -> Result<()> {
    let mut text = String::new();
    let mut ipset = "create bans hash:net maxelem 1100000 hashsize 524288\n".to_owned();
    let mut elements = Vec::new();
    for prefix in prefixes::list(count) {
        writeln!(text, "{prefix}")?;
        writeln!(ipset, "add bans {prefix}")?;
        elements.push(prefix.to_string());
    }
    let nft = format!(
        "table ip bench {{\nset bans {{\ntype ipv4_addr\nflags interval\nelements = {{ {} }}\n}}\n}}\n",
        elements.join(", ")
    );
    fs::write(list, text)?;
    fs::write(list.with_extension("ipset"), ipset)?;
    fs::write(list.with_extension("nft"), nft)?;
    Ok(())
}

/// How long it takes to list the bans as JSON, and the slowest answer to `status` meanwhile.
fn listed(guard: &Guard<'_>) -> Result<(Duration, Duration)> {
    let began = Instant::now();
    let mut listing = guard.spawn(&["bans", "--json"])?;
    let mut slowest = Duration::ZERO;
    while listing.is_running() {
        slowest = slowest.max(asked(guard, &["status"])?.0);
    }
    let took = began.elapsed();
    let finished = listing.finish(PATIENCE)?;
    ensure!(finished.status.success(), "{}", finished.stderr);
    Ok((took, slowest))
}

/// How long another tool takes.
fn other(namespace: &Namespace, line: &str, list: &Path) -> Result<Duration> {
    let line = line.replace("LIST", &list.to_string_lossy());
    let mut words = line.split(' ').map(|word| word.replace('\u{a0}', " "));
    let program = words.next().context("an empty command line")?;
    let began = Instant::now();
    let finished = Process::run(namespace.command(program).args(words), PATIENCE)?;
    let took = began.elapsed();
    ensure!(finished.status.success(), "{line}: {}", finished.stderr);
    Ok(took)
}

/// How long a command takes that succeeds, and what it prints.
fn asked(guard: &Guard<'_>, words: &[&str]) -> Result<(Duration, String)> {
    let began = Instant::now();
    let finished = guard.spawn(words)?.finish(PATIENCE)?;
    let took = began.elapsed();
    ensure!(finished.status.success(), "{words:?}: {}", finished.stderr);
    Ok((took, finished.stdout))
}

/// How long it takes until the daemon answers.
fn started(guard: &mut Guard<'_>) -> Result<String> {
    let began = Instant::now();
    guard.run()?;
    asked(guard, &["status"])?;
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
