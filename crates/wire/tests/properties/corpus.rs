//! The fuzzers' seeds and findings, replayed.

use std::path::Path;

use crate::invariants;

/// Runs `check` over every file of a target's corpus.
fn replay(target: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fuzz/corpus")
        .join(target);
    let files = std::fs::read_dir(&folder).expect("the corpus is part of the repository");
    let mut count = 0;
    for file in files {
        let path = file.expect("a directory entry").path();
        let bytes = std::fs::read(&path).expect("a readable file");
        let checked = std::panic::catch_unwind(|| check(&bytes));
        assert!(checked.is_ok(), "{}", path.display());
        count += 1;
    }
    assert!(count > 0, "{} is empty", folder.display());
}

#[test]
fn packets_of_the_corpus_keep_the_invariants() {
    replay("packet", invariants::packet);
}

#[test]
fn messages_of_the_corpus_keep_the_invariants() {
    replay("sip_message", invariants::sip_message);
}

#[test]
fn streams_of_the_corpus_keep_the_invariants() {
    replay("sip_stream", invariants::sip_stream);
}
