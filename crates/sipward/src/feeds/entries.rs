//! What a list's entries become: signatures that the lint has nothing against, as sure as the
//! administrator allows and the lint can prove.

use std::{collections::HashSet, iter};

use sipward_feed::{Format, List, Text};
use sipward_signature::{
    Confidence, Field, Finding, MAX_SIGNATURES, Profile, ScanMode, Severity, Signature,
    SignatureSet, Tables, lint,
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

/// What is known of this site and of a list that the administrator wants promoted.
#[derive(Clone, Debug, Default)]
pub struct Promotion {
    /// The User-Agents of those who have logged in here.
    pub logged_in: Vec<Vec<u8>>,
    /// Whether its author has signed it. Without that it promotes User-Agents only: what else the
    /// devices of this site send is not known.
    pub signed: bool,
}

/// Reads the entries of the list of this name. What a stranger says is `shared`. Promoted, a signature
/// file's entry is what its author says, and a User-Agent `certain`, where no genuine device sends it
/// and nobody did who has logged in here.
///
/// # Errors
/// More than there is room for.
pub fn of(name: &str, list: &List, promote: Option<&Promotion>) -> Result<Entries, String> {
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
    if let Some(promotion) = promote {
        let taken: HashSet<&str> = entries.taken.iter().map(|it| it.name.as_str()).collect();
        let sound = asked.iter().filter(|it| taken.contains(it.name.as_str()));
        entries.taken = promotion.judge(&sound.cloned().collect())?;
        entries.promoted = promoted(&entries.taken);
    }
    Ok(entries)
}

/// How many are more than evidence.
#[must_use]
pub fn promoted(set: &SignatureSet) -> usize {
    let sure = |signature: &&Signature| signature.confidence != Confidence::Shared;
    set.iter().filter(sure).count()
}

impl Promotion {
    /// These signatures, as evidence where they must not be more.
    ///
    /// # Errors
    /// They cannot be compiled.
    pub fn judge(&self, asked: &SignatureSet) -> Result<SignatureSet, String> {
        let may = |signature: &Signature| {
            let known = self.signed || signature.field == Field::UserAgent;
            known && signature.confidence != Confidence::Shared
        };
        let hopeful: SignatureSet = asked.iter().filter(|it| may(it)).cloned().collect();
        // The lint refuses a `certain` that a genuine device sends, and says so of no other.
        let mut certain = with_confidence(&hopeful, |_| Confidence::Certain);
        let mut disproved = refused(&lint(&certain));
        certain.map(|signature| (!disproved.contains(&signature.name)).then_some(signature));
        disproved.extend(sent_by(&self.logged_in, &certain)?);
        Ok(with_confidence(asked, |signature| {
            if may(signature) && !disproved.contains(&signature.name) {
                signature.confidence
            } else {
                Confidence::Shared
            }
        }))
    }
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
    let refused = refused(&findings);
    set.map(|signature| (!refused.contains(&signature.name)).then_some(signature));
    Entries {
        taken: set,
        refused: refused.len(),
        refused_first,
        promoted: 0,
    }
}

fn refused(findings: &[Finding]) -> HashSet<String> {
    findings
        .iter()
        .filter(|finding| finding.severity == Severity::Error)
        .map(|finding| finding.signature.clone())
        .collect()
}

/// The names of those that one of these User-Agents matches.
fn sent_by(user_agents: &[Vec<u8>], set: &SignatureSet) -> Result<HashSet<String>, String> {
    let compile = |set: &SignatureSet| {
        let tables = set.compile(Profile::Standard, &[]);
        tables.map_err(|error| error.to_string())
    };
    let hits = |tables: &Tables, message: &[u8]| tables.scan(message, ScanMode::DATAGRAM).is_some();
    let all = compile(set)?;
    let mut hit: Vec<Vec<u8>> = user_agents
        .iter()
        .map(|user_agent| [b"User-Agent: ", &user_agent[..], b"\r\n\r\n"].concat())
        .collect();
    hit.retain(|message| hits(&all, message));
    if hit.is_empty() {
        return Ok(HashSet::new());
    }
    // Of several that match, it shows one only.
    let mut found = HashSet::new();
    for signature in set.iter() {
        let alone = compile(&iter::once(signature.clone()).collect())?;
        if hit.iter().any(|message| hits(&alone, message)) {
            found.insert(signature.name.clone());
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use sipward_signature::Confidence;
    use test_case::test_case;

    use super::{Promotion, of, promoted};

    fn here(user_agents: &[&str]) -> Promotion {
        Promotion {
            logged_in: user_agents
                .iter()
                .map(|it| it.as_bytes().to_vec())
                .collect(),
            signed: false,
        }
    }

    #[test]
    fn what_somebody_who_logged_in_here_sends_is_not_promoted() {
        let list = sipward_feed::read(b"evil-1\nOur Phone 1.0\nevil-2\nOur Phone 2.0\n").unwrap();
        let promoted = |logged_in: &[&str]| -> Vec<String> {
            let entries = of("web", &list, Some(&here(logged_in))).unwrap();
            assert_eq!(entries.taken.iter().len(), 4);
            let certain = entries.taken.iter();
            let certain = certain.filter(|it| it.confidence == Confidence::Certain);
            let patterns: Vec<String> = certain.map(|it| it.pattern.clone()).collect();
            assert_eq!(entries.promoted, patterns.len());
            patterns
        };
        let ours = ["our phone 2.0", "snom", "Our Phone 1.0"];
        assert_eq!(promoted(&ours), ["evil-1", "evil-2"]);
        let all = ["evil-1", "Our Phone 1.0", "evil-2", "Our Phone 2.0"];
        assert_eq!(promoted(&[]), all);
        assert_eq!(of("web", &list, None).unwrap().promoted, 0);
    }

    #[test]
    fn who_logs_in_later_ends_the_promotion_of_its_user_agent() {
        let list = sipward_feed::read(b"evil-1\nOur Phone 1.0\n").unwrap();
        let taken = of("web", &list, Some(&here(&[]))).unwrap().taken;
        assert_eq!(promoted(&taken), 2);
        let judged = here(&["Our Phone 1.0"]).judge(&taken).unwrap();
        assert_eq!(promoted(&judged), 1);
        assert_eq!(here(&["Our Phone 1.0"]).judge(&judged).unwrap(), judged);
    }

    /// A file of parts of one name, each of which matches.
    #[test]
    fn parts_of_one_name_are_each_found() {
        let list: String = (0..500).map(|number| format!("Our {number}\n")).collect();
        let name: String = (0..500).map(|number| format!("Our {number} ")).collect();
        let text: String = list
            .lines()
            .enumerate()
            .map(|(number, part)| {
                format!(
                    "[[signature]]\nname = \"n{number}\"\nfield = \"user-agent\"\n\
                     match = \"contains\"\npattern = \"{part}\"\nconfidence = \"certain\"\n\
                     source = \"a test\"\n"
                )
            })
            .collect();
        let list = sipward_feed::read(text.as_bytes()).unwrap();
        assert_eq!(of("web", &list, Some(&here(&[]))).unwrap().promoted, 500);
        assert_eq!(of("web", &list, Some(&here(&[&name]))).unwrap().promoted, 0);
    }

    #[test_case(false, 0; "unsigned")]
    #[test_case(true, 1; "signed")]
    fn what_is_no_user_agent_is_promoted_of_a_signed_list_only(signed: bool, expected: usize) {
        let text = "[[signature]]\nname = \"pbx\"\nfield = \"request-uri\"\nmatch = \"contains\"\n\
                    pattern = \"pbx.customer.example\"\nconfidence = \"certain\"\nsource = \"a test\"\n";
        let list = sipward_feed::read(text.as_bytes()).unwrap();
        let promotion = Promotion {
            signed,
            ..Promotion::default()
        };
        let entries = of("web", &list, Some(&promotion)).unwrap();
        assert_eq!(
            (entries.taken.iter().len(), entries.promoted),
            (1, expected)
        );
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
