//! What a list's entries become: signatures that the lint has nothing against, as sure as the
//! administrator allows and the lint can prove.

use std::collections::HashSet;

use sipward_feed::{Format, List, Text};
use sipward_signature::{
    Confidence, Field, MAX_SIGNATURES, Severity, Signature, SignatureSet, lint,
};

/// Bytes of a signature's name at most.
const LONGEST_NAME: usize = 64;

/// The signatures of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entries {
    /// Those taken.
    pub taken: SignatureSet,
    /// How many the lint refused.
    pub refused: usize,
    /// The first of those, and why.
    pub refused_first: Option<String>,
    /// How many are more than evidence.
    pub promoted: usize,
}

/// Reads the entries of the list of this name. What a stranger says is `shared`; with `promote` a
/// signature file's entry is what its author says, and a User-Agent `certain`, where no genuine
/// device sends it.
///
/// # Errors
/// More than there is room for.
pub fn of(name: &str, list: &List, promote: bool) -> Result<Entries, String> {
    let count = list.texts.len() + list.signatures.iter().len();
    if count > MAX_SIGNATURES {
        // The lint would take hours for what the kernel's table has no room for.
        return Err(format!(
            "{count} signatures, and there is room for {MAX_SIGNATURES}"
        ));
    }
    let asked: SignatureSet = match list.format {
        Format::Signatures => list
            .signatures
            .iter()
            .map(|signature| Signature {
                name: format!("{name}.{}", signature.name)
                    .chars()
                    .take(LONGEST_NAME)
                    .collect(),
                ..signature.clone()
            })
            .collect(),
        Format::Rules | Format::Html | Format::Json | Format::Addresses | Format::UserAgents => {
            list.texts
                .iter()
                .flat_map(|text: &Text| text.as_evidence(name))
                .map(|signature| Signature {
                    confidence: match signature.field {
                        Field::UserAgent => Confidence::Certain,
                        Field::Server
                        | Field::From
                        | Field::To
                        | Field::Contact
                        | Field::CallId
                        | Field::Via
                        | Field::RequestUri => Confidence::Shared,
                    },
                    ..signature
                })
                .collect()
        }
    };
    let mut entries = sound(with_confidence(&asked, |_| Confidence::Shared));
    if promote {
        // The lint refuses a `certain` that a genuine device sends, and says so of no other.
        let certain = with_confidence(&asked, |_| Confidence::Certain);
        let disproved = refused(&certain);
        let wanted = with_confidence(&asked, |signature| {
            if disproved.contains(&signature.name) {
                Confidence::Shared
            } else {
                signature.confidence
            }
        });
        let taken: HashSet<String> = names(&entries.taken);
        entries.taken = wanted;
        entries
            .taken
            .map(|signature| taken.contains(&signature.name).then_some(signature));
        let sure = |signature: &&Signature| signature.confidence != Confidence::Shared;
        entries.promoted = entries.taken.iter().filter(sure).count();
    }
    Ok(entries)
}

fn with_confidence(
    set: &SignatureSet,
    confidence: impl Fn(&Signature) -> Confidence,
) -> SignatureSet {
    set.iter()
        .map(|signature| Signature {
            confidence: confidence(signature),
            ..signature.clone()
        })
        .collect()
}

/// What the lint finds no error in.
fn sound(mut set: SignatureSet) -> Entries {
    let findings = lint(&set);
    let first = findings
        .iter()
        .find(|finding| finding.severity == Severity::Error);
    let refused_first = first.map(|first| format!("{}: {}", first.signature, first.message));
    let refused = refused(&set);
    set.map(|signature| (!refused.contains(&signature.name)).then_some(signature));
    Entries {
        taken: set,
        refused: refused.len(),
        refused_first,
        promoted: 0,
    }
}

fn refused(set: &SignatureSet) -> HashSet<String> {
    let findings = lint(set).into_iter();
    findings
        .filter(|finding| finding.severity == Severity::Error)
        .map(|finding| finding.signature)
        .collect()
}

fn names(set: &SignatureSet) -> HashSet<String> {
    set.iter().map(|signature| signature.name.clone()).collect()
}
