//! The passwords that every guesser tries first, made by rules, and the digests that they give.
//!
//! A refused digest (RFC 2617, as RFC 3261 section 22.4 uses it) with its own nonce tells which of
//! these passwords it was made of, if any. The password itself is never kept: only a keyed hash,
//! to tell two of them apart.

use sipward_wire::sip::{Digest, Method};

use crate::hash::HashKey;

/// How many passwords the list has, beside those made of the username.
pub(crate) const LISTED: usize = 1_000;

/// The list, made once.
#[derive(Debug)]
pub(crate) struct Dictionary {
    passwords: Vec<String>,
}

impl Dictionary {
    pub fn new() -> Self {
        Self {
            passwords: listed(),
        }
    }

    /// Hash of the listed password that these credentials were made of.
    pub fn find(&self, digest: &Digest<'_>, method: Method, key: HashKey) -> Option<u64> {
        let is_md5 = digest
            .algorithm()
            .is_none_or(|algorithm| algorithm.eq_ignore_ascii_case(b"MD5"));
        if !is_md5 {
            return None;
        }
        let response = hex(digest.response()?)?;
        let username = digest.username()?;
        let answer = Answer::new(digest, method)?;
        let of_username = of_username(username);
        let found = self
            .passwords
            .iter()
            .map(String::as_bytes)
            .chain(of_username.iter().map(Vec::as_slice))
            .find(|password| answer.to(username, password) == response)?;
        Some(key.of(&[found]))
    }
}

/// All of a digest but the password.
struct Answer<'a> {
    realm: &'a [u8],
    /// What follows the first hash: nonce, quality of protection, second hash.
    tail: Vec<u8>,
}

impl<'a> Answer<'a> {
    fn new(digest: &Digest<'a>, method: Method) -> Option<Self> {
        let ha2 = md5_hex(&[method.name()?.as_bytes(), digest.uri()?]);
        let nonce = digest.nonce()?;
        let tail = match (digest.qop(), digest.nc(), digest.cnonce()) {
            (Some(qop), Some(nc), Some(cnonce)) => [nonce, nc, cnonce, qop, &ha2].join(&b':'),
            (Some(_) | None, _, _) => [nonce, &ha2].join(&b':'),
        };
        Some(Self {
            realm: digest.realm()?,
            tail,
        })
    }

    fn to(&self, username: &[u8], password: &[u8]) -> [u8; 16] {
        let ha1 = md5_hex(&[username, self.realm, password]);
        md5(&[&ha1, &self.tail])
    }
}

/// What people make of an extension: itself, reversed, doubled.
fn of_username(username: &[u8]) -> [Vec<u8>; 3] {
    let reversed = username.iter().rev().copied().collect();
    [username.to_vec(), reversed, [username, username].concat()]
}

/// Words that stand for phones, for their makers and for nothing at all.
const WORDS: [&str; 44] = [
    "password",
    "passwort",
    "secret",
    "geheim",
    "admin",
    "root",
    "test",
    "guest",
    "user",
    "default",
    "changeme",
    "welcome",
    "letmein",
    "hello",
    "hallo",
    "phone",
    "telefon",
    "sip",
    "sipphone",
    "voip",
    "voice",
    "asterisk",
    "freepbx",
    "pbx",
    "trixbox",
    "elastix",
    "snom",
    "yealink",
    "grandstream",
    "cisco",
    "polycom",
    "gigaset",
    "fritzbox",
    "extension",
    "office",
    "call",
    "master",
    "server",
    "login",
    "pass",
    "abc",
    "abcd",
    "qwe",
    "temp",
];

fn listed() -> Vec<String> {
    let mut passwords: Vec<String> = Vec::with_capacity(LISTED);
    for password in words()
        .chain(digits())
        .chain(keyboard())
        .chain(years_and_extensions())
    {
        if passwords.len() == LISTED {
            break;
        }
        if !passwords.contains(&password) {
            passwords.push(password);
        }
    }
    passwords
}

fn words() -> impl Iterator<Item = String> {
    const ENDS: [&str; 9] = ["", "1", "12", "123", "1234", "12345", "!", "01", "2024"];
    WORDS.into_iter().flat_map(|word| {
        let capital = word
            .chars()
            .take(1)
            .map(|first| first.to_ascii_uppercase())
            .chain(word.chars().skip(1))
            .collect();
        ENDS.into_iter()
            .map(move |end| format!("{word}{end}"))
            .chain([capital])
    })
}

fn digits() -> impl Iterator<Item = String> {
    let repeated = ('0'..='9').flat_map(|digit| (3..=8).map(move |n| digit.to_string().repeat(n)));
    let rising = (3..=10).flat_map(|n| {
        ["1234567890", "0123456789", "9876543210"]
            .into_iter()
            .map(move |row| row.chars().take(n).collect())
    });
    let pairs = ["12", "13", "21", "69", "77", "99", "10", "01", "42"]
        .into_iter()
        .flat_map(|pair| (2..=4).map(move |n| pair.repeat(n)));
    repeated.chain(rising).chain(pairs)
}

fn keyboard() -> impl Iterator<Item = String> {
    [
        "qwertyuiop",
        "qwertzuiop",
        "asdfghjkl",
        "1q2w3e4r5t",
        "1qaz2wsx3edc",
    ]
    .into_iter()
    .flat_map(|row| (4..=row.len()).map(move |n| row.chars().take(n).collect()))
}

fn years_and_extensions() -> impl Iterator<Item = String> {
    (1960..=2026)
        .chain(100..=299)
        .chain(1000..=1099)
        .chain(300..=999)
        .map(|number: u32| number.to_string())
}

fn md5(parts: &[&[u8]]) -> [u8; 16] {
    let mut context = md5::Context::new();
    for (index, part) in parts.iter().enumerate() {
        if index > 0 {
            context.consume(b":");
        }
        context.consume(part);
    }
    context.finalize().0
}

fn md5_hex(parts: &[&[u8]]) -> [u8; 32] {
    let mut text = [0; 32];
    for (pair, byte) in text.chunks_exact_mut(2).zip(md5(parts)) {
        if let [high, low] = pair {
            *high = hex_digit(byte >> 4);
            *low = hex_digit(byte & 15);
        }
    }
    text
}

fn hex_digit(value: u8) -> u8 {
    match value {
        0..=9 => b'0' + value,
        _ => b'a' + value - 10,
    }
}

/// The 16 bytes of 32 hexadecimal digits.
fn hex(text: &[u8]) -> Option<[u8; 16]> {
    let text = std::str::from_utf8(text)
        .ok()
        .filter(|text| text.len() == 32)?;
    u128::from_str_radix(text, 16).ok().map(u128::to_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use sipward_wire::sip::Digest;

    fn find(header: &str, method: Method) -> bool {
        let digest = Digest::parse(header.as_bytes());
        Dictionary::new()
            .find(&digest, method, HashKey::new(1))
            .is_some()
    }

    #[test]
    fn the_list_has_a_thousand_different_passwords() {
        let passwords = listed();
        assert_eq!(passwords.len(), LISTED);
        for common in [
            "1234",
            "123456",
            "password",
            "Secret",
            "asterisk1",
            "qwerty",
            "100",
            "1001",
        ] {
            assert!(passwords.iter().any(|p| p == common), "{common}");
        }
    }

    /// The example of RFC 2617 section 3.5 (password `Circle Of Life`).
    #[test]
    fn the_digest_is_that_of_rfc_2617() {
        let header = br#"Digest username="Mufasa", realm="testrealm@host.com", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", uri="/dir/index.html", qop=auth, nc=00000001, cnonce="0a4f113b", response="6629fae49393a05397450978507c4ef1""#;
        let digest = Digest::parse(header);
        let ha2 = md5_hex(&[b"GET", b"/dir/index.html"]);
        let answer = Answer {
            realm: digest.realm().unwrap(),
            tail: [
                digest.nonce().unwrap(),
                b"00000001",
                b"0a4f113b",
                b"auth",
                &ha2,
            ]
            .join(&b':'),
        };
        let response = answer.to(b"Mufasa", b"Circle Of Life");
        assert_eq!(Some(response), hex(digest.response().unwrap()));
    }

    #[test]
    fn listed_passwords_and_those_made_of_the_extension_are_found() {
        let respond = |username: &str, password: &str| {
            let ha1 = md5_hex(&[username.as_bytes(), b"asterisk", password.as_bytes()]);
            let ha2 = md5_hex(&[b"REGISTER", b"sip:pbx"]);
            let response = md5_hex(&[&ha1, b"abc", &ha2]);
            let response = std::str::from_utf8(&response).unwrap();
            format!(
                "Digest username=\"{username}\", realm=\"asterisk\", nonce=\"abc\", uri=\"sip:pbx\", response=\"{response}\", algorithm=MD5"
            )
        };
        for password in ["123456", "Passwort", "473", "374", "473473"] {
            assert!(
                find(&respond("473", password), Method::Register),
                "{password}"
            );
            assert!(
                !find(&respond("473", password), Method::Invite),
                "{password}"
            );
        }
        assert!(!find(&respond("473", "k7Gq-0pz"), Method::Register));
    }
}
