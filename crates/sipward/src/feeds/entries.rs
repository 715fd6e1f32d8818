//! What a list's entries become: signatures that the lint has nothing against, as sure as the
//! administrator allows and the lint can prove.

use std::collections::HashSet;

use sipward_feed::{Format, List, Text};
use sipward_signature::{
    Confidence, Field, MAX_SIGNATURES, Profile, ScanMode, Severity, Signature, SignatureSet, lint,
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

/// Reads the entries of the list of this name. What a stranger says is `shared`. To be promoted it
/// takes the User-Agents of those who have logged in here: then a signature file's entry is what its
/// author says, and a User-Agent `certain`, where no genuine device sends it and none of them did.
///
/// # Errors
/// More than there is room for.
pub fn of(name: &str, list: &List, promote: Option<&[Vec<u8>]>) -> Result<Entries, String> {
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
    if let Some(logged_in) = promote {
        // The lint refuses a `certain` that a genuine device sends, and says so of no other.
        let certain = with_confidence(&asked, |_| Confidence::Certain);
        let mut disproved = refused(&certain);
        disproved.extend(sent_by(logged_in, certain)?);
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

/// The names of those that one of these User-Agents matches.
fn sent_by(user_agents: &[Vec<u8>], mut set: SignatureSet) -> Result<HashSet<String>, String> {
    let mut found = HashSet::new();
    loop {
        let tables = set.compile(Profile::Standard, &[]);
        let tables = tables.map_err(|error| error.to_string())?;
        let hit = user_agents.iter().find_map(|user_agent| {
            let message = [b"User-Agent: ", &user_agent[..], b"\r\n\r\n"].concat();
            let slot = tables.scan(&message, ScanMode::DATAGRAM)?;
            Some(tables.signature(slot)?.name.clone())
        });
        // It shows one of those that match, the others once that is out of the way.
        let Some(name) = hit else {
            return Ok(found);
        };
        set.map(|signature| (signature.name != name).then_some(signature));
        found.insert(name);
    }
}

fn names(set: &SignatureSet) -> HashSet<String> {
    set.iter().map(|signature| signature.name.clone()).collect()
}

#[cfg(test)]
mod tests {
    use sipward_signature::Confidence;

    use super::of;

    #[test]
    fn what_somebody_who_logged_in_here_sends_is_not_promoted() {
        let list = sipward_feed::read(b"evil-1\nOur Phone 1.0\nevil-2\nOur Phone 2.0\n").unwrap();
        let here = ["our phone 2.0", "snom", "Our Phone 1.0"].map(Vec::from);
        let promoted = |here: &[Vec<u8>]| -> Vec<String> {
            let entries = of("web", &list, Some(here)).unwrap();
            assert_eq!(entries.taken.iter().len(), 4);
            let certain = entries.taken.iter();
            let certain = certain.filter(|it| it.confidence == Confidence::Certain);
            let patterns: Vec<String> = certain.map(|it| it.pattern.clone()).collect();
            assert_eq!(entries.promoted, patterns.len());
            patterns
        };
        assert_eq!(promoted(&here), ["evil-1", "evil-2"]);
        let all = ["evil-1", "Our Phone 1.0", "evil-2", "Our Phone 2.0"];
        assert_eq!(promoted(&[]), all);
        assert_eq!(of("web", &list, None).unwrap().promoted, 0);
    }

    #[test]
    fn more_than_there_is_room_for_is_refused_before_it_is_linted() {
        let names: String = (0..9_000)
            .map(|number| format!("evil-{number}\n"))
            .collect();
        let list = sipward_feed::read(names.as_bytes()).unwrap();
        let refused = of("web", &list, None).unwrap_err();
        assert_eq!(refused, "9000 signatures, and there is room for 8192");
    }
}
