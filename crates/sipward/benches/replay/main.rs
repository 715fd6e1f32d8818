//! How many packets of a recording `sipward replay` judges in a second, beside what
//! `tshark -Y sip` only filters, in the same run over the same files.
//!
//! `cargo bench` measures a million packets of each kind. `--quick`, or no `--bench` (as
//! `cargo test` runs it), checks with twenty thousand that both find the same messages.
//! `--packets N` measures as many, `--keep FOLDER` keeps the recordings.
#![allow(clippy::print_stdout, reason = "the table is what it is for")]

#[path = "../common/mod.rs"]
mod common;
mod traffic;

use std::{fs::File, io::BufWriter, path::Path, process::Command, time::Duration};

use anyhow::{Result, ensure};
use common::{folder, is_quick, number, replay, timed, value_of};
use traffic::Kind;

const PACKETS: u64 = 1_000_000;
const QUICK: u64 = 20_000;

fn main() -> Result<()> {
    let packets = match value_of("--packets") {
        Some(packets) => packets.parse()?,
        None if is_quick() => QUICK,
        None => PACKETS,
    };
    let temporary = tempfile::tempdir()?;
    let folder = folder(&temporary);
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
        let (own, report) = replay(&file)?;
        let read = number(&report, "packets")?;
        let messages = number(&report, "sip_messages")?;
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

/// How long it takes, once, and how many messages it finds; none where it is not installed.
fn tshark(file: &Path) -> Result<Option<(Duration, u64)>> {
    if Command::new("tshark").arg("--version").output().is_err() {
        return Ok(None);
    }
    let (time, output) = timed(Command::new("tshark").args(["-Y", "sip", "-r"]).arg(file))?;
    let lines = output.stdout.iter().filter(|byte| **byte == b'\n').count();
    Ok(Some((time, lines as u64)))
}
