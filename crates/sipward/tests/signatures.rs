//! `sipward signatures lint`: of the guide's own script, and of what the ledger says was never hit.

use std::{collections::BTreeMap, process::Command, time::Duration};

use serde_json::Value;
use sipward::{
    clock,
    ledger::{Entry, Ledger},
};
use tempfile::TempDir;

const RULES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/guide-rules.sh");

/// The rules that are as good as such a rule can be: what they look for gives a scanner away, and
/// no other rule does the same. All others are broken.
const SOUND: &[&str] = &[
    "friendly-scanner",
    "VaxSIPUserAgent",
    "sundayddr",
    "sipsak",
    "sipvicious",
    "iWar",
    "sip-scan",
    "sipcli",
    "ppslip",
    "sip:nm2@nm2",
    "sip:n@n",
    "sip:nm@nm",
    "SIVuS",
    "Gulp",
    "smap",
    "friendly-request",
    "VaxIPUserAgent",
    "siparmyknife",
    "User-Agent: Nmap NSE",
    "From: sipp <sip:",
    "ppIsip",
    "pplsip",
    "sip:carol@chicago.com",
    "sipfurious",
    "Linksys-SPA942",
    "erafsadfasfa",
    "A2billingPBXooooPoPcisco",
    "Zed-1.5",
    "OpenEndPBX",
    "Mm-21.3",
];

fn lint(arguments: &[&str]) -> (i32, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_sipward"))
        .args(["signatures", "lint", RULES, "--state-dir", "/nonexistent"])
        .args(arguments)
        .output()
        .expect("sipward runs");
    let text = String::from_utf8(output.stdout).expect("as it should be");
    (output.status.code().expect("as it should be"), text)
}

/// Line to what `--string` looks for there.
fn rules() -> BTreeMap<usize, String> {
    let text = std::fs::read_to_string(RULES).expect("as it should be");
    let pattern = |line: &str| line.split('"').nth(1).expect("as it should be").to_owned();
    (1..).zip(text.lines().map(pattern)).collect()
}

#[test]
fn the_guides_own_script_is_taken_apart() {
    let (code, json) = lint(&["--json"]);
    assert_eq!(code, 1);
    let findings: Vec<Value> = serde_json::from_str(&json).unwrap();
    let mut flagged = BTreeMap::new();
    for finding in &findings {
        let name = finding["signature"].as_str().unwrap();
        let line: usize = name.split('-').nth(1).unwrap().parse().unwrap();
        assert!(!finding["fix"].as_str().unwrap().is_empty(), "{finding}");
        flagged.insert(line, finding["message"].as_str().unwrap().to_owned());
    }

    let rules = rules();
    assert_eq!(rules.len(), 78);
    let mut unseen: Vec<&str> = SOUND.to_vec();
    for (line, pattern) in &rules {
        let sound = unseen.iter().position(|sound| sound == pattern);
        if let Some(sound) = sound {
            unseen.remove(sound);
        }
        assert_eq!(
            flagged.contains_key(line),
            sound.is_none(),
            "{line}: {pattern}: {:?}",
            flagged.get(line)
        );
        // The first of those that are repeated.
        let encoded = pattern.contains("%20") && !flagged[line].starts_with("says the same");
        assert_eq!(
            encoded,
            flagged
                .get(line)
                .is_some_and(|why| why.contains("percent-encoded")),
            "{line}: {pattern}"
        );
    }
    assert!(unseen.is_empty(), "{unseen:?}");
    assert_eq!(flagged.len(), 78 - SOUND.len());
}

#[test]
fn each_finding_is_a_line_with_the_pattern_the_reason_and_the_mend() {
    let (code, text) = lint(&[]);
    assert_eq!(code, 1);
    assert_eq!(text.lines().count(), 78 - SOUND.len());
    for line in [
        r#"error: line-61 "-": matches too much: "-" is a part of nearly any value; match = "exact""#,
        r#"error: line-46 "Avaya%20one-X%20Deskphone": never matches: the pattern is percent-encoded, as copied from a web address; pattern = "Avaya one-X Deskphone", match = "prefix", confidence = "shared", or match = "exact""#,
        r#"error: line-32 "sipp <sip:": says the same as "line-31"; remove one of them"#,
        r#"warning: line-16 "sipcli/v1.8": adds nothing: "line-08" matches whatever it matches; remove it"#,
    ] {
        let line = line.replace("line-08", "line-8");
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
}

#[test]
fn what_the_ledger_has_seen_no_hit_of_for_ninety_days_is_noted_and_is_no_fault() {
    let days = |n: u64| clock::now() - Duration::from_secs(n * 86_400);
    let folder = TempDir::new().unwrap();
    let looked_for = |name: &str, since| Entry::LookFor(name.to_owned(), days(since));
    let mut ledger = Ledger::open(folder.path()).unwrap();
    ledger
        .write(&[
            looked_for("iwar", 91),
            looked_for("gulp", 89),
            looked_for("sipcli", 200),
            Entry::Hits("sipcli".to_owned(), 7, days(95)),
            looked_for("sipsak", 200),
            Entry::Hits("sipsak".to_owned(), 7, days(1)),
        ])
        .unwrap();
    drop(ledger);
    let config = folder.path().join("sipward.toml");
    std::fs::write(&config, "").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_sipward"))
        .args(["signatures", "lint", "--json", "--state-dir"])
        .args([folder.path(), "--config".as_ref(), &config])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "a note is no fault");
    let findings: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    let mut noted: Vec<[&str; 3]> = findings
        .iter()
        .map(|one| ["signature", "severity", "message"].map(|key| one[key].as_str().unwrap()))
        .collect();
    noted.sort_unstable();
    assert_eq!(noted[0], ["iwar", "note", "never hit in 90 days"]);
    assert_eq!(noted[1][..2], ["sipcli", "note"]);
    assert!(noted[1][2].starts_with("not hit in 90 days, the last time on "));
    assert_eq!(noted.len(), 2);
}
