//! The signatures in force: the built-in ones and the files that the configuration names.

use std::{fs, path::Path};

use sipward_signature::{SignatureSet, Tables};

use crate::{config, exit::Failure};

/// The built-in signatures and those of the files, a later one of a name in place of an earlier.
///
/// # Errors
/// Exit code 2, with file and line.
pub fn load(config: &config::Signatures) -> Result<SignatureSet, Failure> {
    let mut set = SignatureSet::builtin();
    for file in &config.files {
        set.merge(read(file)?);
    }
    Ok(set)
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

/// What the kernel walks for this configuration.
///
/// # Errors
/// As [`load`], or a set that does not fit.
pub fn compile(config: &config::Signatures) -> Result<Tables, Failure> {
    load(config)?
        .compile(config.profile.into(), &[])
        .map_err(|error| Failure::input(error.to_string()))
}
