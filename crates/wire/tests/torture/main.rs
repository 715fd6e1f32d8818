//! A message of our own for every case of RFC 4475, "SIP Torture Test Messages".
//!
//! The section numbers name the case; what a message is made to show is what that section shows.
//! Whether a server should accept it is not the question here: all of it must be seen.

mod application;
mod invalid;
mod valid;

use sipward_wire::sip::{Anomalies, Message, Method, StartLine};

/// One message and what is to be read in it.
struct Case {
    /// Section of RFC 4475 and what it is about.
    section: &'static str,
    /// The lines before the empty one. `{length}` stands for the length of the body, `{long}` for
    /// a thousand letters.
    head: &'static [&'static str],
    body: &'static [u8],
    start: Start,
    /// Header lines.
    headers: usize,
    anomalies: Anomalies,
    /// What else is to be read.
    facts: fn(&Message<'_>),
}

#[derive(Debug, PartialEq)]
enum Start {
    Request(Method),
    Response(Option<u16>),
}

impl Case {
    fn bytes(&self) -> Vec<u8> {
        let head = self.head.join("\r\n");
        let head = head.replace("{length}", &self.body.len().to_string());
        let head = head.replace("{long}", &"beaconlamp".repeat(100));
        [head.as_bytes(), b"\r\n\r\n", self.body].concat()
    }
}

fn cases() -> impl Iterator<Item = &'static Case> {
    valid::CASES
        .iter()
        .chain(invalid::CASES)
        .chain(application::CASES)
}

#[test]
fn every_case_is_read_to_its_end() {
    for case in cases() {
        let bytes = case.bytes();
        let message = Message::parse(&bytes);
        let section = case.section;

        let start = match message.start_line() {
            StartLine::Request(request) => Start::Request(request.method),
            StartLine::Response(response) => Start::Response(response.status),
            StartLine::Unrecognised(line) => panic!("{section}: {}", line.escape_ascii()),
        };
        assert_eq!(start, case.start, "{section}");
        assert_eq!(message.headers().count(), case.headers, "{section}");
        assert_eq!(message.anomalies(), case.anomalies, "{section}");
        // Shown where a fact below fails: the facts do not know their case.
        eprintln!("{section}");
        (case.facts)(&message);
    }
}

#[test]
fn every_section_has_its_case() {
    let sections = |prefix: &str, count: usize| {
        (1..=count)
            .map(|number| format!("{prefix}.{number}"))
            .collect::<Vec<_>>()
    };
    let expected = [
        sections("3.1.1", 13),
        sections("3.1.2", 19),
        sections("3.2", 1),
        sections("3.3", 15),
        sections("3.4", 1),
    ]
    .concat();
    let present: Vec<_> = cases()
        .map(|case| case.section.split(' ').next().unwrap_or_default())
        .collect();
    assert_eq!(present, expected);
}

/// No facts beyond those of the table.
fn nothing_more(_: &Message<'_>) {}

/// The `tag` and so on as text, for comparison.
fn text(bytes: Option<&[u8]>) -> Option<&str> {
    bytes.map(|bytes| std::str::from_utf8(bytes).expect("text"))
}
