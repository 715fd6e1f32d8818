//! Replays the fuzz target's corpus, and makes its seeds from the rules' examples.

mod invariants;

use std::path::{Path, PathBuf};

use sipward_asterisk::audit;

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/asterisk_config")
}

#[test]
fn the_corpus_holds_what_every_configuration_must() {
    let mut count = 0;
    for entry in std::fs::read_dir(corpus()).expect("the corpus") {
        let path = entry.expect("an entry").path();
        invariants::check(&std::fs::read(&path).expect("a corpus file"));
        count += 1;
    }
    assert!(count > 50, "{count} files in {}", corpus().display());
}

#[test]
fn the_examples_hold_what_every_configuration_must() {
    for rule in audit::rules() {
        for text in [rule.bad, rule.good] {
            // Bodies only, in the order of the target's files: most rules get the right one.
            let bodies = text
                .split("== ")
                .filter_map(|part| part.split_once(" ==\n"));
            let order = ["sip.conf", "extensions.conf", "pjsip.conf"];
            let mut input = Vec::new();
            for name in order {
                for (file, body) in bodies.clone() {
                    if file == name {
                        input.extend_from_slice(body.as_bytes());
                    }
                }
                input.push(0xFF);
            }
            invariants::check(&input);
        }
    }
}
