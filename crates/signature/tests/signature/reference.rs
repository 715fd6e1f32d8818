//! The automaton against a reader that does one thing after the other: cuts the message into
//! lines, undoes folds, finds the colon, decodes, compares.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::LazyLock;

use proptest::prelude::*;
use sipward_signature::{
    Case, Field, MatchKind, Profile, ScanMode, Signature, SignatureSet, Tables,
};

const SIGNATURES: &str = r#"
signature = [
    { name = "ua-contains", field = "user-agent", match = "contains", pattern = "bad scan", confidence = "certain", source = "t" },
    { name = "ua-short", field = "user-agent", match = "contains", pattern = "can", confidence = "shared", source = "t" },
    { name = "ua-prefix", field = "user-agent", match = "prefix", pattern = "bad", confidence = "likely", source = "t" },
    { name = "ua-exact", field = "user-agent", match = "exact", pattern = "bad scan", confidence = "shared", source = "t" },
    { name = "ua-dash", field = "user-agent", match = "exact", pattern = "-", confidence = "certain", source = "t" },
    { name = "ua-cased", field = "user-agent", match = "contains", pattern = "Scan", case = "sensitive", confidence = "likely", source = "t" },
    { name = "ua-regex", field = "user-agent", match = "regex", pattern = "^scan( |/|$)", confidence = "certain", source = "t" },
    { name = "from-uri", field = "from", match = "exact", pattern = "sip:n@n", confidence = "certain", source = "t" },
    { name = "from-prefix", field = "from", match = "prefix", pattern = "n <sip:", confidence = "likely", source = "t" },
    { name = "from-contains", field = "from", match = "contains", pattern = "scan", confidence = "certain", source = "t" },
    { name = "contact-uri", field = "contact", match = "exact", pattern = "sip:N@n", case = "sensitive", confidence = "shared", source = "t" },
    { name = "uri-exact", field = "request-uri", match = "exact", pattern = "sip:n@n", confidence = "likely", source = "t" },
    { name = "uri-contains", field = "request-uri", match = "contains", pattern = "scan", confidence = "certain", source = "t" },
]
"#;

struct Compiled {
    together: Tables,
    alone: Vec<(Signature, Tables)>,
}

static COMPILED: LazyLock<Compiled> = LazyLock::new(|| {
    let set = SignatureSet::parse("reference.toml", SIGNATURES).unwrap();
    let alone = set.iter().map(|signature| {
        let others = set
            .iter()
            .filter(|other| other.name != signature.name)
            .count();
        assert_eq!(others + 1, set.iter().len());
        let one = only(&signature.name);
        (
            signature.clone(),
            one.compile(Profile::Strict, &[]).unwrap(),
        )
    });
    Compiled {
        together: set.compile(Profile::Strict, &[]).unwrap(),
        alone: alone.collect(),
    }
});

fn only(name: &str) -> SignatureSet {
    let line = SIGNATURES
        .lines()
        .find(|line| line.contains(&format!("\"{name}\"")))
        .unwrap();
    SignatureSet::parse("one.toml", &format!("signature = [\n{line}\n]")).unwrap()
}

/// A byte of the message. NULs are not bytes here: they are remembered at the byte before them.
#[derive(Clone, Copy)]
struct Byte {
    value: u8,
    nul_follows: bool,
}

/// A line without its folds.
struct Line {
    bytes: Vec<Byte>,
    first: bool,
    /// What follows shows that the line does not go on.
    ended: bool,
}

fn is_line_end(byte: Byte) -> bool {
    matches!(byte.value, b'\r' | b'\n')
}

fn is_blank(byte: u8) -> bool {
    (1..=b' ').contains(&byte) && !matches!(byte, b'\r' | b'\n')
}

fn without_nuls(payload: &[u8]) -> Vec<Byte> {
    let mut bytes: Vec<Byte> = Vec::new();
    for &value in payload {
        match (value, bytes.last_mut()) {
            (0, Some(last)) => last.nul_follows = true,
            (0, None) => {}
            _ => bytes.push(Byte {
                value,
                nul_follows: false,
            }),
        }
    }
    bytes
}

fn lines(payload: &[u8], mode: ScanMode) -> Vec<Line> {
    let bytes = without_nuls(payload);
    let mut lines = Vec::new();
    let mut rest = &bytes[..];
    loop {
        let begins = rest
            .iter()
            .position(|&b| !is_line_end(b) && !is_blank(b.value));
        let Some(begins) = begins else {
            return lines;
        };
        rest = &rest[begins..];
        rest = headers(rest, mode, &mut lines);
        if !mode.stream {
            return lines;
        }
    }
}

/// Reads the lines of one message up to the end of its headers and returns what comes after.
fn headers<'a>(mut rest: &'a [Byte], mode: ScanMode, lines: &mut Vec<Line>) -> &'a [Byte] {
    let mut line = Line {
        bytes: Vec::new(),
        first: true,
        ended: false,
    };
    loop {
        let text = rest
            .iter()
            .position(|&b| is_line_end(b))
            .unwrap_or(rest.len());
        line.bytes.extend(&rest[..text]);
        rest = &rest[text..];

        let run = rest
            .iter()
            .position(|&b| !is_line_end(b))
            .unwrap_or(rest.len());
        let mut line_feeds = (0..run).filter(|&at| rest[at].value == b'\n');
        let second = line_feeds.nth(1);
        if let Some(second) = second {
            line.ended = true;
            lines.push(line);
            return &rest[second + 1..];
        }
        rest = &rest[run..];
        match rest.first() {
            None => {
                line.ended = mode.complete;
                lines.push(line);
                return rest;
            }
            Some(next) if matches!(next.value, b' ' | b'\t') => {}
            Some(_) => {
                line.ended = true;
                lines.push(line);
                line = Line {
                    bytes: Vec::new(),
                    first: false,
                    ended: false,
                };
            }
        }
    }
}

/// The field of a line, its value, and whether the value has ended.
fn field(line: &Line) -> Option<(Field, Vec<Byte>, bool)> {
    let word = line
        .bytes
        .iter()
        .position(|b| is_blank(b.value) || b.value == b':')
        .unwrap_or(line.bytes.len());
    let (word, after) = line.bytes.split_at(word);
    let next = after.iter().position(|b| !is_blank(b.value))?;
    if after[next].value == b':' {
        let name: Vec<u8> = word.iter().map(|b| b.value.to_ascii_lowercase()).collect();
        let of = |field: &Field| field.header_names().iter().any(|n| n.as_bytes() == name);
        let field = Field::ALL.into_iter().find(of)?;
        return Some((field, after[next + 1..].to_vec(), line.ended));
    }
    if !line.first {
        return None;
    }
    let uri = &after[next..];
    let length = uri.iter().position(|b| is_blank(b.value));
    let token = uri[..length.unwrap_or(uri.len())].to_vec();
    Some((Field::RequestUri, token, line.ended || length.is_some()))
}

/// The texts that a reader may take for the value: all of it, and what is before each NUL.
fn texts(value: &[Byte], ended: bool) -> Vec<(Vec<u8>, bool)> {
    let bytes = |value: &[Byte]| value.iter().map(|b| b.value).collect::<Vec<u8>>();
    let mut texts = vec![(bytes(value), ended)];
    for (at, byte) in value.iter().enumerate() {
        if byte.nul_follows {
            texts.push((bytes(&value[..=at]), true));
        }
    }
    texts
}

fn single_blanks(text: &[u8]) -> Vec<u8> {
    let mut single: Vec<u8> = Vec::new();
    for &byte in text {
        match (is_blank(byte), single.last()) {
            (true, None | Some(b' ')) => {}
            (true, Some(_)) => single.push(b' '),
            (false, _) => single.push(byte),
        }
    }
    single
}

/// Each byte, and whether it was percent-encoded.
fn percent_decoded(text: &[u8]) -> Vec<(u8, bool)> {
    let mut decoded = Vec::new();
    let mut at = 0;
    while at < text.len() {
        let digits = text
            .get(at + 1..at + 3)
            .and_then(|d| std::str::from_utf8(d).ok());
        let byte = digits
            .filter(|d| text[at] == b'%' && d.bytes().all(|d| d.is_ascii_hexdigit()))
            .and_then(|d| u8::from_str_radix(d, 16).ok());
        decoded.push((byte.unwrap_or(text[at]), byte.is_some()));
        at += if byte.is_some() { 3 } else { 1 };
    }
    decoded
}

/// The URIs that an address may be: before and in its brackets, each if it has ended.
fn address_uris(value: &[(u8, bool)], ended: bool) -> Vec<Vec<u8>> {
    let ends = |&(byte, encoded): &(u8, bool)| !encoded && b";?,> ".contains(&byte);
    let bytes = |part: &[(u8, bool)]| part.iter().map(|b| b.0).collect::<Vec<u8>>();
    let mut uris = Vec::new();

    let bare = value
        .iter()
        .position(|b| ends(b) || matches!(b, (b'<' | b'"', false)));
    match bare {
        Some(at) if ends(&value[at]) => uris.push(bytes(&value[..at])),
        None if ended => uris.push(bytes(value)),
        Some(_) | None => {}
    }

    let mut quoted = false;
    let mut escaped = false;
    for (at, &(byte, encoded)) in value.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            _ if encoded => {}
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b';' | b'?' | b',' | b'>' if !quoted => break,
            b'<' if !quoted => {
                let inside = &value[at + 1..];
                let blanks = inside.iter().take_while(|b| **b == (b' ', false)).count();
                let inside = &inside[blanks..];
                match inside.iter().position(ends) {
                    Some(end) => uris.push(bytes(&inside[..end])),
                    None if ended => uris.push(bytes(inside)),
                    None => {}
                }
                break;
            }
            _ => {}
        }
    }
    uris
}

fn token_uris(value: &[(u8, bool)], ended: bool) -> Vec<Vec<u8>> {
    let end = value
        .iter()
        .position(|&(b, encoded)| !encoded && matches!(b, b';' | b'?'));
    match end {
        Some(at) => vec![value[..at].iter().map(|b| b.0).collect()],
        None if ended => vec![value.iter().map(|b| b.0).collect()],
        None => vec![],
    }
}

fn matches(signature: &Signature, text: &[u8], ended: bool) -> bool {
    let single = single_blanks(text);
    let trimmed = single.strip_suffix(b" ").unwrap_or(&single);
    let fold = |text: &[u8]| match signature.case {
        Case::Insensitive => text.to_ascii_lowercase(),
        Case::Sensitive => text.to_vec(),
    };
    let pattern = fold(signature.pattern.as_bytes());
    let decoded = if signature.field.holds_uri() {
        percent_decoded(&single)
    } else {
        single.iter().map(|&byte| (byte, false)).collect()
    };
    let has_names = matches!(signature.field, Field::From | Field::To | Field::Contact);
    let said = |&&(byte, encoded): &&(u8, bool)| !has_names || encoded || byte != b'\\';
    let value = fold(
        &decoded
            .iter()
            .filter(said)
            .map(|b| b.0)
            .collect::<Vec<u8>>(),
    );
    match signature.kind {
        MatchKind::Exact if signature.field == Field::RequestUri => token_uris(&decoded, ended)
            .iter()
            .any(|uri| fold(uri) == pattern),
        MatchKind::Exact if signature.field.holds_uri() => address_uris(&decoded, ended)
            .iter()
            .any(|uri| fold(uri) == pattern),
        MatchKind::Exact => ended && fold(trimmed) == pattern,
        MatchKind::Prefix => value.starts_with(&pattern),
        MatchKind::Contains => value.windows(pattern.len()).any(|part| part == pattern),
        // The only one: ^scan( |/|$). It is reported with the byte after it.
        MatchKind::Regex => {
            let word = value.starts_with(b"scan ") || value.starts_with(b"scan/");
            (word && (ended || value.len() > 5)) || (ended && trimmed.eq_ignore_ascii_case(b"scan"))
        }
    }
}

fn expected<'a>(payload: &[u8], mode: ScanMode, set: &'a Compiled) -> BTreeSet<&'a str> {
    let mut names = BTreeSet::new();
    for line in lines(payload, mode) {
        let Some((field, value, ended)) = field(&line) else {
            continue;
        };
        for (text, ended) in texts(&value, ended) {
            for (signature, _) in &set.alone {
                if signature.field == field && matches(signature, &text, ended) {
                    names.insert(signature.name.as_str());
                }
            }
        }
    }
    names
}

/// Bits of messages in which readers disagree.
const PIECES: &[&str] = &[
    "\r\n",
    "\r\n",
    "\r\n",
    "\n",
    "\r",
    "\r\n\r\n",
    "\n\r\n",
    "\n\r",
    " ",
    "\t",
    "  ",
    "\0",
    "\x01",
    "\x0b",
    "\r\n ",
    "\r\n\t",
    "\r\n \r\n",
    "\n \r ",
    ":",
    " :",
    ": ",
    "-",
    "%",
    "%7",
    "%2",
    "<",
    ">",
    "\"",
    "\\",
    ";",
    "?",
    ",",
    "=",
    "/",
    "x",
    "n",
    "N",
    "F",
    "m",
    "User-Agent",
    "user-agent",
    "USER-AGENT:",
    "User-Agent: ",
    "User-Agents: ",
    "User-",
    "Agent: ",
    "From: ",
    "from",
    "f:",
    "f : ",
    "Fr",
    "To: ",
    "t:",
    "Contact: ",
    "m: ",
    "M:",
    "Server: ",
    "OPTIONS ",
    "options\t",
    "SIP/2.0",
    " SIP/2.0\r\n",
    "sip:",
    "sips:",
    "bad",
    "BAD ",
    "bad scan",
    "scan",
    "Scan",
    "sCaN",
    "can",
    " scan",
    "scanner",
    "%73can",
    "s%63AN",
    "sc%61",
    "sip:n@n",
    "sip:N@n",
    "sip:n@nx",
    "sip:n@n:5060",
    "<sip:n@n>",
    "<sip:N@n>",
    "%6e@n",
    "%4E@n",
    "n <sip:",
    "N\t<sip:",
    "\"n\" <",
    "\"a\\\"<sip:x@y>\" ",
    "%20",
    "%0a",
    "%00",
    "%3c",
    "%22",
    "%5c",
    "\u{ff}",
    "Content-Length: 0\r\n\r\n",
];

fn payload() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        30 => proptest::sample::select(PIECES).prop_map(|piece| piece.as_bytes().to_vec()),
        1 => any::<u8>().prop_map(|byte| vec![byte]),
    ];
    proptest::collection::vec(piece, 0..28).prop_map(|pieces| pieces.concat())
}

/// A message of a known shape, so that deep states are reached often.
fn message() -> impl Strategy<Value = Vec<u8>> {
    let name = proptest::sample::select(vec![
        "User-Agent:",
        "uSER-aGENT : ",
        "User-Agent\r\n :",
        "f: ",
        "From :",
        "Contact:",
        "m:\r\n ",
        "OPTIONS ",
    ]);
    let line_end = proptest::sample::select(vec![
        "\r\n", "\n", "\r", "\n\r", "\r\r\n", "\r\n\r\n", "\0\r\n", "",
    ]);
    let value = proptest::collection::vec(proptest::sample::select(PIECES), 0..6);
    let line = (name, value, line_end)
        .prop_map(|(name, value, end)| format!("{name}{}{end}", value.concat()));
    proptest::collection::vec(line, 0..6).prop_map(|lines| lines.concat().into_bytes())
}

fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(cases(20_000))]

    #[test]
    fn the_automaton_reads_as_the_reference_does(
        payload in prop_oneof![payload(), message()],
        stream in any::<bool>(),
        complete in any::<bool>(),
    ) {
        let mode = ScanMode { stream, complete, trusted: false };
        let expected = expected(&payload, mode, &COMPILED);
        let text = String::from_utf8_lossy(&payload);

        for (signature, tables) in &COMPILED.alone {
            let found = tables.scan(&payload, mode).is_some();
            prop_assert_eq!(found, expected.contains(signature.name.as_str()), "{} in {:?}", &signature.name, text);
        }

        // Together, of those that end at the same byte only the strongest is found.
        let tables = &COMPILED.together;
        let mut found = BTreeSet::new();
        tables.walk(&payload, mode, |slot| {
            found.insert(tables.signature(slot).unwrap().name.as_str());
            ControlFlow::Continue(())
        });
        prop_assert!(found.is_subset(&expected), "{:?} in {:?}", found, text);
        prop_assert_eq!(found.is_empty(), expected.is_empty(), "{:?}", text);

        let certain = |name: &&str| ["ua-contains", "ua-dash", "ua-regex", "from-uri", "from-contains", "uri-contains"].contains(name);
        let trusted = tables.scan(&payload, ScanMode { trusted: true, ..mode });
        prop_assert_eq!(trusted.is_some(), expected.iter().any(certain), "{:?}", text);
    }

}

proptest! {
    #![proptest_config(cases(100))]

    #[test]
    fn an_exempt_user_agent_is_spared_and_no_other(
        pieces in proptest::collection::vec(
            proptest::sample::select(vec!["bad", " ", "\t", "\r\n ", "scan", "Scan", "x", "-", "can"]), 0..6),
        exempt in proptest::collection::vec(
            proptest::sample::select(vec!["bad scan", "can", "scan", "x", "scan x", "Scan  Scan", "cans"]), 0..3),
    ) {
        let exempt: Vec<String> = exempt.iter().map(|&value| value.to_owned()).collect();
        let value = pieces.concat();
        let message = format!("User-Agent:{value}\r\n\r\n");
        let plain = |value: &str| {
            let single = single_blanks(&value.replace(['\r', '\n'], "").to_ascii_lowercase().into_bytes());
            single.strip_suffix(b" ").unwrap_or(&single).to_vec()
        };
        let spared = exempt.iter().any(|exempt| plain(exempt) == plain(&value));
        for name in ["ua-short", "ua-exact", "ua-prefix", "ua-contains", "ua-cased", "ua-regex"] {
            let set = only(name);
            let shared = ["ua-short", "ua-exact"].contains(&name);
            let matches = |exempt: &[String]| {
                let tables = set.compile(Profile::Strict, exempt).unwrap();
                tables.scan(message.as_bytes(), ScanMode::DATAGRAM).is_some()
            };
            prop_assert_eq!(matches(&exempt), matches(&[]) && !(shared && spared), "{} {:?} {:?}", name, message, exempt);
        }
    }
}
