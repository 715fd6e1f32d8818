//! What holds for every configuration, however broken: shared by the fuzz target and the replay of
//! its corpus.

use std::path::Path;

use sipward_asterisk::audit::{self, Finding};
use sipward_asterisk::config::{Files, Memory};

/// The files that the pieces of an input become, in this order.
const NAMES: [&str; 10] = [
    "sip.conf",
    "extensions.conf",
    "pjsip.conf",
    "part/a.conf",
    "part/b.conf",
    "pjsip_wizard.conf",
    "iax.conf",
    "manager.conf",
    "../outside.conf",
    "voicemail.conf",
];

/// Reads and audits an input whose pieces end at 0xFF bytes, and checks what must hold.
pub fn check(input: &[u8]) {
    let pieces = input.split(|&b| b == 0xFF);
    let mut files = Memory::default();
    for (name, text) in NAMES.iter().zip(pieces) {
        let path = files.real(&Path::new(Memory::ROOT).join(name));
        files.0.insert(path, text.to_vec());
    }
    let root = Path::new(Memory::ROOT);
    let report = audit::audit(&files, root);
    for finding in &report.findings {
        place_exists(&files, root, finding);
    }
    assert!(audit::sarif(&report).is_object() && audit::json(&report).is_object());
    let table = audit::table(&report, false);
    assert!(
        !table.chars().any(|c| c.is_control() && c != '\n'),
        "control characters: {table:?}"
    );

    let patches = audit::patches(&report, &|path| files.read(path).ok());
    let diff = audit::unified_diff(&patches);
    assert_eq!(diff.is_empty(), patches.is_empty());
    for patch in &patches {
        assert!(
            patch.path.starts_with(root),
            "{} lies outside",
            patch.path.display()
        );
        assert_ne!(patch.before, patch.after);
        files.0.insert(patch.path.clone(), patch.after.clone());
    }
    let again = audit::audit(&files, root);
    let second = audit::patches(&again, &|path| files.read(path).ok());
    assert!(
        second.is_empty(),
        "a second --apply changes: {}",
        audit::unified_diff(&second)
    );
}

fn place_exists(files: &Memory, root: &Path, finding: &Finding) {
    if finding.line == 0 {
        return;
    }
    let text = files
        .read(&root.join(&finding.file))
        .expect("a finding names a file that exists");
    let lines = text.split_inclusive(|&b| b == b'\n').count();
    assert!(
        usize::try_from(finding.line).expect("32 bits") <= lines,
        "{finding:?}"
    );
}
