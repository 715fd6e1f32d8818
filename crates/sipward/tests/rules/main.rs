//! What other tools take of sipward and what sipward takes of them, with the tools themselves, in
//! network namespaces. Needs root.
#![expect(
    clippy::unwrap_used,
    reason = "a test ends where what it stands on is not there"
)]

mod export;
mod import;
mod static_rules;

use std::path::Path;

use sipward_testkit::process::Finished;

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_sipward"))
}

/// The command ended well.
fn done(finished: Finished) -> Finished {
    assert!(finished.status.success(), "{finished:?}");
    finished
}
