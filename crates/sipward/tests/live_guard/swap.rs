//! Thousands of signatures swapped by reloads of the running daemon: what is genuine arrives, what
//! a scanner sends does not.

use std::{collections::BTreeMap, fs, net::UdpSocket, path::Path, time::Duration};

use sipward_testkit::{
    crossfire::{crossfire, signature_file},
    guard::Guard,
    lab::{ATTACKER, Lab, PBX},
    process::wait_until,
    require::{Need, require},
};
use tempfile::TempDir;

const SIGNATURES: usize = 2_000;
const RELOADS: usize = 9;
const PATIENCE: Duration = Duration::from_secs(60);

/// Limits that no traffic of the test reaches.
const LIMITS: &str = "
[limits.sip]
rate = \"100000/s\"
burst = 1000000
[limits.unknown]
rate = \"100000/s\"
burst = 1000000
";

#[test]
fn reloads_of_two_thousand_signatures_drop_nothing_genuine_and_let_no_scanner_through() {
    if !require(&[Need::Root]) {
        return;
    }
    let folder = TempDir::new().unwrap();
    let names = ["one", "two"];
    let configurations = names.map(|name| {
        let file = folder.path().join(format!("{name}.toml"));
        fs::write(&file, signature_file(name, SIGNATURES)).unwrap();
        format!(
            "[signatures]\nfiles = [{:?}]\n{LIMITS}",
            file.display().to_string()
        )
    });
    let lab = Lab::new().unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_sipward"));
    let mut guard = Guard::start_with(program, &lab.pbx, &configurations[0]).unwrap();
    let receiver = lab.pbx.enter(|| UdpSocket::bind((PBX, 5060))).unwrap();
    let sender = lab
        .attacker
        .enter(|| UdpSocket::bind((ATTACKER, 5060)))
        .unwrap();
    sender.connect((PBX, 5060)).unwrap();

    let counts = crossfire(&sender, &receiver, |counts| {
        for reload in 1..=RELOADS {
            let name = names[reload % 2];
            guard.reload(&configurations[reload % 2])?;
            let before = hits(&guard, name);
            // Some reloads follow each other at once, some meet more traffic, and it is the list's
            // own signature then that hits.
            if reload % 3 == 0 {
                counts.one_more_round()?;
                wait_until("a hit of the new list", PATIENCE, || {
                    hits(&guard, name) > before
                })?;
            }
        }
        Ok(())
    })
    .unwrap();

    println!(
        "{RELOADS} reloads of {SIGNATURES} signatures: of {} genuine messages {} arrived, of {} of a \
         scanner {}",
        counts.genuine_sent(),
        counts.genuine(),
        counts.scanner_sent(),
        counts.scanner(),
    );
    assert_eq!(counts.genuine(), counts.genuine_sent());
    assert_eq!(counts.scanner(), 0);
}

/// Packets that the signature of the scanner in this list hit so far, as `status` has it.
fn hits(guard: &Guard, list: &str) -> u64 {
    let status = guard.json(&["status"]).unwrap();
    let signatures = status["signatures"].as_array().unwrap();
    let counts: BTreeMap<&str, u64> = signatures
        .iter()
        .map(|one| {
            (
                one["name"].as_str().unwrap(),
                one["packets"].as_u64().unwrap(),
            )
        })
        .collect();
    counts.get(&*format!("{list}-0")).copied().unwrap_or(0)
}
