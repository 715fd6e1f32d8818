//! Messages, and what the compiled built-in list finds in them.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::LazyLock;

use sipward_signature::{Profile, ScanMode, SignatureSet, Tables};

pub static STANDARD: LazyLock<Tables> = LazyLock::new(|| compiled(Profile::Standard));
pub static STRICT: LazyLock<Tables> = LazyLock::new(|| compiled(Profile::Strict));

fn compiled(profile: Profile) -> Tables {
    SignatureSet::builtin().compile(profile, &[]).unwrap()
}

/// A genuine REGISTER in which one line is replaced: `name` is a header's, or `request-uri`.
pub fn register_with(name: &str, value: &str) -> Vec<u8> {
    let mut uri = "sip:pbx.example.com";
    let mut headers = vec![
        (
            "Via",
            "SIP/2.0/UDP 192.0.2.21:5060;branch=z9hG4bK-524287-1;rport",
        ),
        ("From", "\"Anna\" <sip:1001@pbx.example.com>;tag=1b2c3d4e"),
        ("To", "\"Anna\" <sip:1001@pbx.example.com>"),
        ("Contact", "<sip:1001@192.0.2.21:5060;ob>"),
        ("Call-ID", "98765432NjY3ZDA5ZmYxNzUzYjQ5ZjA1ZTk5"),
        ("CSeq", "2 REGISTER"),
        ("User-Agent", "Yealink SIP-T46S 66.86.0.15"),
        ("Content-Length", "0"),
    ];
    if name == "request-uri" {
        uri = value;
    }
    for header in &mut headers {
        if header.0.eq_ignore_ascii_case(name) {
            header.1 = value;
        }
    }
    let lines = headers
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"));
    format!(
        "REGISTER {uri} SIP/2.0\r\n{}\r\n",
        lines.collect::<String>()
    )
    .into_bytes()
}

/// The name of the first signature found.
pub fn first<'a>(tables: &'a Tables, payload: &[u8], mode: ScanMode) -> Option<&'a str> {
    let slot = tables.scan(payload, mode)?;
    Some(&tables.signature(slot).unwrap().name)
}

/// The names of all signatures found.
pub fn all<'a>(tables: &'a Tables, payload: &[u8], mode: ScanMode) -> BTreeSet<&'a str> {
    let mut names = BTreeSet::new();
    tables.walk(payload, mode, |slot| {
        names.insert(tables.signature(slot).unwrap().name.as_str());
        ControlFlow::Continue(())
    });
    names
}
