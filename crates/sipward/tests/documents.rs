//! What the documents tell people to type is what the program takes.
#![allow(clippy::unwrap_used, reason = "a test that fails to set up has failed")]

use std::{fs, path::Path, process::Command};

const SIPWARD: &str = env!("CARGO_BIN_EXE_sipward");

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .parent()
        .unwrap()
}

fn document(name: &str) -> String {
    fs::read_to_string(repository().join(name)).unwrap()
}

/// The lines of the document's `sh` blocks, without comments.
fn shell_lines(document: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut inside = false;
    for line in document.lines() {
        match line {
            "```sh" => inside = true,
            "```" => inside = false,
            _ if inside => lines.push(line.split(" #").next().unwrap().trim().to_owned()),
            _ => {}
        }
    }
    lines
}

/// Words as a shell splits them, single quotes included.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (number, part) in line.split('\'').enumerate() {
        if number % 2 == 1 {
            words.push(part.to_owned());
        } else {
            words.extend(part.split_whitespace().map(str::to_owned));
        }
    }
    words
}

#[test]
fn every_command_of_the_readme_is_understood() {
    let mut commands = 0;
    for line in shell_lines(&document("README.md")) {
        let words = words(&line);
        if words[0] != "sipward" {
            continue;
        }
        // With --help at the end nothing is done, but everything before it is parsed.
        let output = Command::new(SIPWARD)
            .args(&words[1..])
            .arg("--help")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success(),
            "{line}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        assert!(said.contains("Usage: sipward"), "{line}: {said}");
        for flag in words.iter().filter(|word| word.starts_with("--")) {
            assert!(
                said.contains(flag.as_str()),
                "{line}: no {flag} in the help"
            );
        }
        commands += 1;
    }
    assert!(commands >= 9, "only {commands} commands in the README");
}

#[test]
fn every_make_target_that_is_named_exists() {
    let makefile = document("Makefile");
    for name in [
        "README.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "ARCHITECTURE.md",
    ] {
        let text = document(name);
        for (at, _) in text.match_indices("make ") {
            let before = text[..at].chars().next_back();
            if !matches!(before, Some('`' | '\n')) {
                continue;
            }
            let rest = &text[at + "make ".len()..];
            let target: String = rest
                .chars()
                .take_while(|c| c.is_ascii_lowercase())
                .collect();
            assert!(
                makefile.contains(&format!("\n{target}:")),
                "{name}: make {target}"
            );
        }
    }
}

#[test]
fn every_link_to_a_file_leads_to_one() {
    for name in ["README.md", "CONTRIBUTING.md", "ARCHITECTURE.md"] {
        let text = document(name);
        for part in text.split("](").skip(1) {
            let target = part.split(')').next().unwrap();
            if !target.starts_with("http") {
                assert!(repository().join(target).exists(), "{name}: {target}");
            }
        }
    }
}
