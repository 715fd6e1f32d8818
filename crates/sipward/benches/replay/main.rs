//! How many packets of a recording `sipward replay` judges in a second, beside what
//! `tshark -Y sip` only filters, in the same run over the same files.
//!
//! `cargo bench` measures a million packets of each kind. `--quick`, or no `--bench` (as
//! `cargo test` runs it), checks with twenty thousand that both find the same messages.
//! `--packets N` measures as many, `--keep FOLDER` keeps the recordings.
#![allow(clippy::print_stdout, reason = "the table is what it is for")]

mod traffic;

use std::{
    env,
    fs::File,
    io::BufWriter,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use traffic::Kind;

const PACKETS: u64 = 1_000_000;
const QUICK: u64 = 20_000;
/// The best of so many; the other one runs once, which takes longer than all of these.
const ROUNDS: usize = 3;

fn main() -> Result<()> {
    let is_bench = env::args().any(|word| word == "--bench");
    let is_quick = env::args().any(|word| word == "--quick") || !is_bench;
    let packets = match value_of("--packets") {
        Some(packets) => packets.parse()?,
        None if is_quick => QUICK,
        None => PACKETS,
    };
    let temporary = tempfile::tempdir()?;
    let folder = value_of("--keep").map_or(temporary.path().to_owned(), PathBuf::from);
    println!(
        "{:<28} {:>12} {:>14} {:>14} {:>8}",
        "recording", "SIP messages", "sipward, /s", "tshark, /s", "ratio"
    );
    for (name, kind) in [
        ("phones, calls and speech", Kind::Mixed),
        ("SIP only", Kind::SipOnly),
    ] {
        let file = folder.join(format!("{}.pcap", name.replace([' ', ','], "-")));
        traffic::write(BufWriter::new(File::create(&file)?), kind, packets)?;
        let rounds = (0..ROUNDS)
            .map(|_| sipward(&file))
            .collect::<Result<Vec<_>>>()?;
        let (own, read, messages) = rounds
            .into_iter()
            .min_by_key(|(time, _, _)| *time)
            .context("no round")?;
        let per_second = |time: Duration| read as f64 / time.as_secs_f64();
        let other = tshark(&file)?;
        let (theirs, ratio) = match other {
            Some((time, found)) => {
                ensure!(
                    found == messages,
                    "tshark finds {found} messages, sipward {messages}"
                );
                let ratio = per_second(own) / per_second(time);
                (format!("{:.0}", per_second(time)), format!("{ratio:.1}x"))
            }
            None => ("SKIPPED".to_owned(), "-".to_owned()),
        };
        println!(
            "{name:<28} {messages:>12} {:>14.0} {theirs:>14} {ratio:>8}",
            per_second(own)
        );
    }
    Ok(())
}

/// The word behind an option.
fn value_of(option: &str) -> Option<String> {
    env::args().skip_while(|word| word != option).nth(1)
}

/// How long it takes, how many packets there are, and how many messages.
fn sipward(file: &Path) -> Result<(Duration, u64, u64)> {
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
    Ok((time, number("packets")?, number("sip_messages")?))
}

/// None where it is not installed.
fn tshark(file: &Path) -> Result<Option<(Duration, u64)>> {
    let start = Instant::now();
    let output = Command::new("tshark")
        .args(["-Y", "sip", "-r"])
        .arg(file)
        .stderr(Stdio::null())
        .output();
    let Ok(output) = output else {
        return Ok(None);
    };
    let time = start.elapsed();
    ensure!(output.status.success(), "tshark failed");
    let lines = output.stdout.iter().filter(|byte| **byte == b'\n').count();
    Ok(Some((time, lines as u64)))
}
