//! The signatures in force: the built-in ones and the files that the configuration names.

use std::{collections::BTreeSet, fs, path::Path};

use sipward_engine::escape;
use sipward_feed::{Format, Text};
use sipward_signature::{Action, Signature, SignatureSet, Tables};

use crate::{
    config::{self, Override, OverrideAction},
    exit::Failure,
    feeds,
};

/// The built-in signatures and those of the files, a later one of a name in place of an earlier,
/// with what the configuration says of single ones.
///
/// # Errors
/// Exit code 2, with file and line; or a name that no signature has.
pub fn load(config: &config::Signatures) -> Result<SignatureSet, Failure> {
    let mut set = SignatureSet::builtin();
    for file in &config.files {
        set.merge(read(file)?);
    }
    if let Some(folder) = &config.feeds {
        let files = feeds::files(folder)
            .map_err(|error| Failure::input(format!("{}: {error}", folder.display())))?;
        for file in files {
            set.merge(read(&file)?);
        }
    }
    let mut unknown: BTreeSet<&String> = config.overrides.keys().collect();
    set.map(|signature| {
        let Some(said) = config.overrides.get(&signature.name) else {
            return Some(signature);
        };
        unknown.remove(&signature.name);
        overridden(signature, said)
    });
    match unknown.first() {
        None => Ok(set),
        Some(name) => Err(Failure::input(format!(
            "signatures.override.\"{}\": no signature has this name; `sipward signatures list` has \
             them all",
            escape(name.as_bytes())
        ))),
    }
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
/// As [`load`].
pub fn read(file: &Path) -> Result<SignatureSet, Failure> {
    let name = file.display().to_string();
    let text = fs::read_to_string(file)
        .map_err(|error| Failure::input(format!("{name}: cannot read the signatures: {error}")))?;
    SignatureSet::parse(&name, &text).map_err(|error| Failure::input(error.to_string()))
}

/// As [`read`]; what is no signature file is read as a list of others' making, each text as a
/// signature that does what the list's author wanted: `certain`, faults and all.
///
/// # Errors
/// As [`load`]; or it is no list at all.
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

/// What the kernel walks for this configuration.
///
/// # Errors
/// As [`load`], or a set that does not fit.
pub fn compile(config: &config::Signatures) -> Result<Tables, Failure> {
    load(config)?
        .compile(config.profile.into(), &[])
        .map_err(|error| Failure::input(error.to_string()))
}

#[cfg(test)]
mod tests {
    use sipward_signature::{Action, Confidence, Profile};
    use test_case::test_case;

    use super::{compile, load};
    use crate::config;

    fn signatures(overrides: &str) -> config::Signatures {
        toml::from_str(overrides).unwrap()
    }

    fn action_of(signatures: &config::Signatures, name: &str) -> Option<(Confidence, Action)> {
        let set = load(signatures).unwrap();
        let found = set.iter().find(|signature| signature.name == name)?;
        let action = Profile::from(signatures.profile).action_of(found);
        let compiled = compile(signatures).unwrap();
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
        assert_eq!(
            load(&signatures).unwrap_err().to_string(),
            "signatures.override.\"no\\x1bsuch\": no signature has this name; \
             `sipward signatures list` has them all"
        );
    }
}
