//! The signatures in force: the built-in ones, the files that the configuration names, and the feeds
//! that were taken. What an administrator wrote must be right; what came from elsewhere is left out
//! where it is not, and never keeps the daemon from starting.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use sipward_engine::escape;
use sipward_feed::{Format, Text};
use sipward_signature::{Action, Signature, SignatureSet, Tables};

use crate::{
    clock,
    config::{self, Override, OverrideAction},
    exit::Failure,
    feeds::{self, Terms},
};

/// What is wrong, and does not keep the rest from being in force; a line each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Complaints {
    /// Feeds that are left out.
    pub skipped: Vec<String>,
    /// Overrides of signatures that are not there: misspelled, or no longer in a feed.
    pub unknown: Vec<String>,
    /// Feeds that anybody on the way could write.
    pub open: Vec<String>,
}

impl Complaints {
    /// Whether all that was asked for is in force.
    #[must_use]
    pub const fn leave_nothing_out(&self) -> bool {
        self.skipped.is_empty() && self.unknown.is_empty()
    }

    /// Tells the log.
    pub fn log(&self) {
        for line in &self.skipped {
            tracing::error!("{line}");
        }
        for line in self.unknown.iter().chain(&self.open) {
            tracing::warn!("{line}");
        }
    }

    /// All lines.
    #[must_use]
    pub fn lines(self) -> Vec<String> {
        let lines = self.skipped.into_iter().chain(self.unknown);
        lines.chain(self.open).collect()
    }
}

/// The signatures of a feed, and its file.
type Feed = (PathBuf, SignatureSet);

/// The built-in signatures, those of the files and those of the feeds, a later one of a name in
/// place of an earlier, with what the configuration says of single ones.
///
/// # Errors
/// Exit code 2, with file and line, where a file of the configuration cannot be read.
pub fn load(config: &config::Signatures) -> Result<(SignatureSet, Complaints), Failure> {
    let files = files(config)?;
    let (feeds, mut complaints) = feeds(config);
    let (set, unknown) = assemble(config, &files, &feeds);
    complaints.unknown = unknown;
    Ok((set, complaints))
}

/// What the kernel walks for this configuration. A feed that does not fit with those before it is
/// left out.
///
/// # Errors
/// As [`load`], or a set that does not fit even without feeds.
pub fn compile(config: &config::Signatures) -> Result<(Tables, Complaints), Failure> {
    let files = files(config)?;
    let (feeds, mut complaints) = feeds(config);
    let fitting = fit(config, &files, feeds)?;
    complaints.skipped.extend(fitting.skipped);
    complaints.unknown = fitting.compiled.unknown;
    Ok((fitting.compiled.tables, complaints))
}

/// Whether this configuration would compile with these signatures as the feed in this file, beside
/// the feeds that are in force now.
///
/// # Errors
/// As [`compile`]; or they keep it from being compiled.
pub fn try_feed(config: &config::Signatures, file: &Path, text: &str) -> Result<(), Failure> {
    let tried = SignatureSet::parse(&file.display().to_string(), text).map_err(invalid)?;
    let files = files(config)?;
    let (mut others, _) = feeds(config);
    others.retain(|(other, _)| other != file);
    let with = |others: &[Feed]| {
        let mut feeds = others.to_vec();
        feeds.push((file.to_owned(), tried.clone()));
        compiled(config, &files, &feeds)
    };
    if with(&others).is_err() {
        // It may be another one's fault.
        let fitting = fit(config, &files, others)?;
        with(&fitting.feeds).map_err(invalid)?;
    }
    Ok(())
}

/// Signatures as the kernel walks them, and what the configuration says of others that are not
/// there.
struct Compiled {
    tables: Tables,
    unknown: Vec<String>,
}

/// The feeds that can be in force together, with what becomes of them.
struct Fitting {
    feeds: Vec<Feed>,
    compiled: Compiled,
    /// Why the others cannot; a line each.
    skipped: Vec<String>,
}

/// All feeds, which nearly always fit; else one after the other, without those that do not fit with
/// the ones before.
fn fit(
    config: &config::Signatures,
    files: &SignatureSet,
    feeds: Vec<Feed>,
) -> Result<Fitting, Failure> {
    if let Ok(compiled) = compiled(config, files, &feeds) {
        return Ok(Fitting {
            feeds,
            compiled,
            skipped: Vec::new(),
        });
    }
    let mut fitting = Fitting {
        feeds: Vec::new(),
        compiled: compiled(config, files, &[]).map_err(invalid)?,
        skipped: Vec::new(),
    };
    for feed in feeds {
        let file = feed.0.clone();
        fitting.feeds.push(feed);
        match compiled(config, files, &fitting.feeds) {
            Ok(compiled) => fitting.compiled = compiled,
            Err(error) => {
                fitting.feeds.pop();
                fitting.skipped.push(format!(
                    "{}: this feed is left out, for the signatures cannot be compiled with it: \
                     {error}",
                    file.display()
                ));
            }
        }
    }
    Ok(fitting)
}

fn compiled(
    config: &config::Signatures,
    files: &SignatureSet,
    feeds: &[Feed],
) -> Result<Compiled, sipward_signature::Error> {
    let (set, unknown) = assemble(config, files, feeds);
    let tables = set.compile(config.profile.into(), &[])?;
    Ok(Compiled { tables, unknown })
}

fn invalid(error: sipward_signature::Error) -> Failure {
    Failure::input(error.to_string())
}

fn files(config: &config::Signatures) -> Result<SignatureSet, Failure> {
    let mut set = SignatureSet::builtin();
    for file in &config.files {
        set.merge(read(file)?);
    }
    Ok(set)
}

fn feeds(config: &config::Signatures) -> (Vec<Feed>, Complaints) {
    let mut complaints = Complaints {
        open: open(config),
        ..Complaints::default()
    };
    let mut feeds = Vec::new();
    match feeds::in_force(config, clock::now()) {
        Err(error) => complaints.skipped.push(format!(
            "no feed is in force, for they cannot be listed: {error}"
        )),
        Ok(in_force) => {
            complaints.skipped = in_force.left_out;
            for file in in_force.files {
                match read(&file) {
                    Ok(set) => feeds.push((file, set)),
                    Err(error) => complaints.skipped.push(format!(
                        "{error}; this feed is left out: `sipward signatures update --force` takes \
                         it anew"
                    )),
                }
            }
        }
    }
    (feeds, complaints)
}

fn open(config: &config::Signatures) -> Vec<String> {
    let is_open = |feed: &&config::Feed| feeds::is_open(&feed.url, &Terms::of(feed));
    let open = config.feeds.iter().filter(is_open);
    open.map(|feed| {
        format!(
            "signatures.feed \"{}\": over http:// and without a key anybody on the way could have \
             anybody's address banned: https://, or key",
            feed.name()
        )
    })
    .collect()
}

/// Everything together, and what the configuration says of signatures that are not there.
fn assemble(
    config: &config::Signatures,
    files: &SignatureSet,
    feeds: &[Feed],
) -> (SignatureSet, Vec<String>) {
    let mut set = files.clone();
    for (_, feed) in feeds {
        set.merge(feed.clone());
    }
    let mut unknown: BTreeSet<&String> = config.overrides.keys().collect();
    set.map(|signature| {
        let Some(said) = config.overrides.get(&signature.name) else {
            return Some(signature);
        };
        unknown.remove(&signature.name);
        overridden(signature, said)
    });
    let unknown = unknown.into_iter().map(|name| {
        format!(
            "signatures.override.\"{}\": no signature has this name; `sipward signatures list` has \
             them all",
            escape(name.as_bytes())
        )
    });
    (set, unknown.collect())
}

fn overridden(signature: Signature, said: &Override) -> Option<Signature> {
    let action = said.action.map(|action| match action {
        OverrideAction::Drop => Action::Drop,
        OverrideAction::Evidence => Action::Evidence,
    });
    (said.enabled != Some(false)).then(|| Signature {
        confidence: said.confidence.unwrap_or(signature.confidence),
        action: action.or(signature.action),
        ..signature
    })
}

/// The signatures of one file.
///
/// # Errors
/// Exit code 2, with file and line.
pub fn read(file: &Path) -> Result<SignatureSet, Failure> {
    let name = file.display().to_string();
    let text = fs::read_to_string(file)
        .map_err(|error| Failure::input(format!("{name}: cannot read the signatures: {error}")))?;
    SignatureSet::parse(&name, &text).map_err(invalid)
}

/// As [`read`]; what is no signature file is read as a list of others' making, each text as a
/// signature that does what the list's author wanted: `certain`, faults and all.
///
/// # Errors
/// As [`read`]; or it is no list at all.
pub fn read_as_written(file: &Path) -> Result<SignatureSet, Failure> {
    let name = file.display().to_string();
    let bytes = fs::read(file)
        .map_err(|error| Failure::input(format!("{name}: cannot read the signatures: {error}")))?;
    if file
        .extension()
        .is_some_and(|extension| extension == "toml")
    {
        return read(file);
    }
    match sipward_feed::read(&bytes) {
        // Read again for errors with the file's name and line.
        Err(sipward_feed::Error::Signatures(_)) => read(file),
        Err(error) => Err(Failure::input(format!("{name}: {error}"))),
        Ok(list) if list.format == Format::Signatures => Ok(list.signatures),
        Ok(list) if list.texts.is_empty() => Err(Failure::input(format!(
            "{name}: a list of addresses has no signatures"
        ))),
        Ok(list) => Ok(list.texts.iter().flat_map(Text::as_written).collect()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use sipward_signature::{Action, Confidence, Profile, Tables};
    use test_case::test_case;

    use super::{Complaints, compile, load, try_feed};
    use crate::{config, feeds::tests::take_for_test};

    fn signatures(overrides: &str) -> config::Signatures {
        toml::from_str(overrides).unwrap()
    }

    fn action_of(signatures: &config::Signatures, name: &str) -> Option<(Confidence, Action)> {
        let (set, _) = load(signatures).unwrap();
        let found = set.iter().find(|signature| signature.name == name)?;
        let action = Profile::from(signatures.profile).action_of(found);
        let (compiled, _) = compile(signatures).unwrap();
        let dropped = compiled.signatures.iter().any(|it| it.name == name);
        assert_eq!(dropped, action == Action::Drop, "{name}");
        Some((found.confidence, action))
    }

    #[test_case("", Some((Confidence::Shared, Action::Evidence)); "nothing")]
    #[test_case("action = \"drop\"", Some((Confidence::Shared, Action::Drop)); "an action")]
    #[test_case("confidence = \"likely\"", Some((Confidence::Likely, Action::Drop)); "a confidence")]
    #[test_case("confidence = \"certain\"\naction = \"evidence\"", Some((Confidence::Certain, Action::Evidence)); "both")]
    #[test_case("enabled = false", None; "switched off")]
    #[test_case("enabled = true", Some((Confidence::Shared, Action::Evidence)); "left on")]
    fn what_the_configuration_says_of_one_signature_is_done(
        said: &str,
        expected: Option<(Confidence, Action)>,
    ) {
        let signatures = signatures(&format!("[override.eyebeam]\n{said}"));
        assert_eq!(action_of(&signatures, "eyebeam"), expected);
        let other = (Confidence::Likely, Action::Drop);
        assert_eq!(action_of(&signatures, "sipcli"), Some(other));
    }

    #[test]
    fn a_signature_that_is_not_there_is_not_overridden_in_silence() {
        let signatures = signatures("[override.\"no\\u001Bsuch\"]\nenabled = false");
        let said = [
            "signatures.override.\"no\\x1bsuch\": no signature has this name; \
                    `sipward signatures list` has them all",
        ];
        let (_, complaints) = load(&signatures).unwrap();
        assert_eq!(complaints.lines(), said);
        let (_, complaints) = compile(&signatures).unwrap();
        assert_eq!(complaints.lines(), said);
    }

    fn feed(names: impl IntoIterator<Item = String>) -> String {
        let signature = |name: String| {
            format!(
                "[[signature]]\nname = \"{name}\"\nfield = \"user-agent\"\nmatch = \"exact\"\n\
                 pattern = \"{name}\"\nconfidence = \"likely\"\nsource = \"a test\"\n"
            )
        };
        names.into_iter().map(signature).collect()
    }

    fn has(tables: &Tables, name: &str) -> bool {
        tables.signatures.iter().any(|it| it.name == name)
    }

    #[test]
    fn a_feed_that_anybody_on_the_way_could_write_is_told_of() {
        let feed = |url: &str| format!("[[feed]]\nname = \"x\"\nurl = \"{url}\"");
        let told = |text: &str| compile(&signatures(text)).unwrap().1;
        let open = told(&feed("http://lists.example.org/x"));
        assert!(open.leave_nothing_out());
        let [line] = &open.lines()[..] else {
            panic!("one line");
        };
        assert!(
            line.starts_with("signatures.feed \"x\": over http://"),
            "{line}"
        );
        for closed in ["https://lists.example.org/x", "http://127.0.0.1/x"] {
            assert_eq!(told(&feed(closed)), Complaints::default());
        }
    }

    #[test]
    fn a_feed_that_cannot_be_used_is_left_out_and_the_others_are_in_force() {
        let folder = tempfile::tempdir().unwrap();
        let signatures = config::Signatures {
            feeds_folder: Some(folder.path().to_owned()),
            ..config::Signatures::default()
        };
        let (builtin, _) = compile(&config::Signatures::default()).unwrap();
        let file = |name: &str| folder.path().join(name);
        let take = |name: &str, text: &str| take_for_test(folder.path(), name, text);
        take("a", &feed(["a.scanner".to_owned()]));
        take("b", "");
        fs::write(file("b.toml"), b"[[signature]]\nname = \xff\n").unwrap();
        take("c", "[[signature]]\nname = 5\n");
        take("d", "");
        fs::remove_file(file("d.toml")).unwrap();
        fs::create_dir(file("d.toml")).unwrap();
        let most = sipward_signature::MAX_SIGNATURES - builtin.signatures.len();
        let too_many = feed((0..most).map(|number| format!("e.{number}")));
        take("e", &too_many);
        take("f", &feed(["f.scanner".to_owned()]));

        let (tables, complaints) = compile(&signatures).unwrap();
        assert!(has(&tables, "a.scanner") && has(&tables, "f.scanner"));
        assert_eq!(tables.signatures.len(), builtin.signatures.len() + 2);
        for (line, name) in complaints.skipped.iter().zip(["b", "c", "d", "e"]) {
            let file = file(name).with_extension("toml");
            assert!(line.contains(&file.display().to_string()), "{line}");
            assert!(line.contains("this feed is left out"), "{line}");
        }
        assert_eq!(complaints.skipped.len(), 4, "{complaints:?}");

        // What would be left out is not taken.
        let tried = |text: &str| try_feed(&signatures, &file("e.toml"), text);
        assert!(tried(&too_many).is_err());
        assert!(tried("[[signature]]").is_err());
        tried(&feed(["e.scanner".to_owned()])).unwrap();
        let new = |text: &str| try_feed(&signatures, &file("g.toml"), text);
        new(&feed(["g.scanner".to_owned()])).unwrap();
        // Nor is what would push out another that is in force now.
        let all_but_one = feed((0..most - 1).map(|number| format!("g.{number}")));
        assert!(new(&all_but_one).is_err());
    }
}
