//! The signature file: what it may say, and what is said about what it may not.

use sipward_signature::{Case, Field, MatchKind, Profile, ScanMode, SignatureSet};
use test_case::test_case;

const GOOD: &str = r#"
[[signature]]
name       = "one"
field      = "user-agent"
match      = "prefix"
pattern    = "Scanner"
confidence = "likely"
source     = "test"

[[signature]]
name       = "two"
field      = "request-uri"
match      = "exact"
pattern    = "sip:a@b"
case       = "sensitive"
confidence = "certain"
source     = "test"
reason     = "seen"
note       = "once"
"#;

#[test]
fn a_file_is_read_as_written() {
    let set = SignatureSet::parse("good.toml", GOOD).unwrap();
    let [one, two] = set.iter().collect::<Vec<_>>()[..] else {
        panic!("{set:?}");
    };
    assert_eq!(
        (one.field, one.kind, one.case),
        (Field::UserAgent, MatchKind::Prefix, Case::Insensitive)
    );
    assert_eq!(
        (two.field, two.kind, two.case),
        (Field::RequestUri, MatchKind::Exact, Case::Sensitive)
    );
    assert_eq!(two.reason.as_deref(), Some("seen"));
    assert_eq!(
        SignatureSet::parse("empty.toml", "").unwrap().iter().len(),
        0
    );
}

#[test]
fn a_later_file_replaces_signatures_of_the_same_name() {
    let mut set = SignatureSet::parse("good.toml", GOOD).unwrap();
    let later = GOOD
        .replace("Scanner", "Other")
        .replace("\"two\"", "\"three\"");
    set.merge(SignatureSet::parse("later.toml", &later).unwrap());
    let names: Vec<&str> = set
        .iter()
        .map(|signature| signature.name.as_str())
        .collect();
    assert_eq!(names, ["one", "two", "three"]);

    let tables = set.compile(Profile::Standard, &[]).unwrap();
    assert!(
        tables
            .scan(b"User-Agent: other", ScanMode::DATAGRAM)
            .is_some()
    );
    assert!(
        tables
            .scan(b"User-Agent: scanner", ScanMode::DATAGRAM)
            .is_none()
    );
}

fn replaced(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from));
    GOOD.replacen(from, to, 1)
}

#[test_case("[[signature]]", "[[signature", "f.toml:2: "; "no TOML")]
#[test_case("\"prefix\"", "\"substring\"", "f.toml:5: unknown variant `substring`, expected one of `exact`, `prefix`, `contains`, `regex`"; "unknown match")]
#[test_case("\"user-agent\"", "\"subject\"", "f.toml:4: unknown variant `subject`, expected one of `user-agent`"; "unknown field")]
#[test_case("\"likely\"", "\"sure\"", "f.toml:7: unknown variant `sure`, expected one of `certain`, `likely`, `shared`"; "unknown confidence")]
#[test_case("reason ", "action ", "f.toml:18: unknown field `action`, expected one of"; "unknown key")]
#[test_case("pattern    = \"Scanner\"\n", "", "f.toml:2: missing field `pattern`"; "missing key")]
#[test_case("\"two\"", "\"one\"", "f.toml:10: signature \"one\": the name is used twice in this file: give each signature its own"; "name used twice")]
#[test_case("\"two\"", "\"\\u001b[2J\"", "f.toml:10: signature \"\\u{1b}[2J\": a name is 1 to 64 letters"; "name with an escape sequence")]
#[test_case("\"Scanner\"", "\" \"", "f.toml:2: signature \"one\": the pattern is empty"; "empty pattern")]
fn a_fault_is_named_with_its_line_and_remedy(from: &str, to: &str, says: &str) {
    let error = SignatureSet::parse("f.toml", &replaced(from, to))
        .unwrap_err()
        .to_string();
    assert!(error.starts_with(says), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
}

#[test_case("(", "not a regular expression: unclosed group"; "unclosed")]
#[test_case(")|(", "not a regular expression: unopened group"; "closes what it did not open")]
#[test_case("x*", "the regular expression matches the empty value"; "matches nothing")]
#[test_case("(a|b)*a(a|b){40}", "too large"; "too large")]
#[test_case("a{1000000}", "too large"; "too long")]
fn a_regular_expression_is_checked_when_it_is_read(pattern: &str, says: &str) {
    let text = replaced("\"prefix\"", "\"regex\"").replace("Scanner", pattern);
    let error = SignatureSet::parse("f.toml", &text)
        .unwrap_err()
        .to_string();
    let says = format!("f.toml:2: signature \"one\": {says}");
    assert!(error.starts_with(&says), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
}
