//! `sipward signatures update` and the feeds that the daemon fetches, from web servers, honest and
//! hostile ones.
#![expect(clippy::unwrap_used, reason = "a helper that fails fails its test")]

use std::{fs, path::Path, process::Command};

mod apiban;
mod hostile;
mod overtaken;
mod promoted;
mod scheduled;
mod server;
mod signed;
mod taken;

struct Run {
    code: i32,
    out: String,
    err: String,
}

fn update(state: &Path, from: &str, more: &[&str]) -> Run {
    let state = state.to_str().unwrap();
    let alone = [
        "--state-dir",
        state,
        "--socket",
        "/nonexistent/sipward.sock",
    ];
    signatures(
        &[
            &["update", "--name", "web", "--from", from],
            &alone[..],
            more,
        ]
        .concat(),
    )
}

/// `sipward signatures` with these arguments.
fn signatures(arguments: &[&str]) -> Run {
    let output = Command::new(env!("CARGO_BIN_EXE_sipward"))
        .arg("signatures")
        .args(arguments)
        .output()
        .unwrap();
    Run {
        code: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

fn taken(state: &Path) -> Option<String> {
    fs::read_to_string(state.join("feeds/web.toml")).ok()
}

const NAMES: &str = "Evil%20Scanner\nsundial\nevil-2\nevil-3\n-\n";
