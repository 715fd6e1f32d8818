//! Replays the corpora of the fuzz targets, and more seeds from the rules' examples.

#[path = "invariants/ami.rs"]
mod ami_invariants;
mod invariants;
#[path = "invariants/log.rs"]
mod log_invariants;

use std::path::Path;

use sipward_asterisk::audit;

fn replay(target: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fuzz/corpus")
        .join(target);
    let mut count = 0;
    for entry in std::fs::read_dir(&folder).expect("the corpus") {
        let path = entry.expect("an entry").path();
        check(&std::fs::read(&path).expect("a corpus file"));
        count += 1;
    }
    assert!(count > 50, "{count} files in {}", folder.display());
}

#[test]
fn the_corpus_holds_what_every_configuration_must() {
    replay("asterisk_config", invariants::check);
}

#[test]
fn the_corpus_holds_what_every_log_must() {
    replay("asterisk_log", log_invariants::check);
}

#[test]
fn the_corpus_holds_what_every_manager_connection_must() {
    replay("asterisk_ami", ami_invariants::check);
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
