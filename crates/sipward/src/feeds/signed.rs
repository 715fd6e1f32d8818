//! Detached signatures of minisign, beside a list as `LIST.minisig`: Ed25519 over the list itself
//! (`Ed`) or over its BLAKE2b-512 (`ED`), and over signature and trusted comment once more.

use std::{fmt, str::FromStr};

use minisign_verify::{Error, PublicKey, Signature};
use serde::{Deserialize, Serialize};

/// A public key, as the second line of minisign's `.pub` file has it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Key {
    text: String,
    key: PublicKey,
}

impl Key {
    /// Whether this key's owner has signed these bytes, and the trusted comment; returns what that
    /// says.
    ///
    /// # Errors
    /// One line: what is wrong with the signature.
    pub fn verify(&self, bytes: &[u8], signature: &[u8]) -> Result<Signed, String> {
        let text = std::str::from_utf8(signature).map_err(|_| NO_SIGNATURE)?;
        let signature = Signature::decode(text).map_err(|_| NO_SIGNATURE)?;
        let verified = self.key.verify(bytes, &signature, true);
        verified.map_err(|error| why(&error).to_owned())?;
        let fields = || signature.trusted_comment().split('\t');
        let field = |name| fields().find_map(|field| field.strip_prefix(name));
        Ok(Signed {
            at: field("timestamp:").and_then(|at| at.parse().ok()),
            file: field("file:").map(str::to_owned),
        })
    }
}

/// What a trusted comment says where it is as minisign writes it by itself, fields divided by tabs:
/// `timestamp:1555779966`, `file:list.txt`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Signed {
    /// When it was signed, in UNIX seconds.
    pub at: Option<u32>,
    /// How the file was called.
    pub file: Option<String>,
}

const NO_SIGNATURE: &str = "that is no signature of minisign";

fn why(error: &Error) -> &'static str {
    match error {
        Error::UnexpectedKeyId => "it was made with another key",
        Error::InvalidSignature => {
            "the list, the signature or its trusted comment is not what was signed"
        }
        Error::InvalidEncoding
        | Error::UnexpectedAlgorithm
        | Error::UnsupportedAlgorithm
        | Error::UnsupportedLegacyMode
        | Error::IoError(_) => NO_SIGNATURE,
    }
}

impl FromStr for Key {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let key = PublicKey::from_base64(text).map_err(|_| {
            "this is no public key of minisign: the second line of its .pub file is one, 56 letters \
             that begin with RW"
                .to_owned()
        })?;
        Ok(Self {
            text: text.to_owned(),
            key,
        })
    }
}

impl TryFrom<String> for Key {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Key> for String {
    fn from(key: Key) -> Self {
        key.text
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
