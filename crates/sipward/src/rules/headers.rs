//! Signatures as texts in a packet. A header is anchored by the line end before its name, so that
//! no display name and no body is taken for it; of a value only the beginning, or all of it, can be
//! asked for.

use sipward_signature::{Case, Field, MatchKind, Signature};

/// Bytes that iptables looks for at most (`XT_STRING_MAX_PATTERN_SIZE`, with its final zero).
const LONGEST: usize = 127;

/// The texts of which one is in every packet of the signature that can be said; or why none can.
pub(super) fn texts(signature: &Signature) -> Result<Vec<Vec<u8>>, &'static str> {
    if signature.case == Case::Sensitive {
        return Err("the header's name would have to be in one case, too");
    }
    let pattern = signature.pattern.trim();
    let texts = match (signature.field, signature.kind) {
        (_, MatchKind::Regex) => return Err("a regular expression"),
        (Field::RequestUri, MatchKind::Exact) => vec![format!(" {pattern} SIP/2.0\r\n")],
        (Field::RequestUri, MatchKind::Prefix | MatchKind::Contains) => {
            return Err("a part of the request URI, which nothing marks");
        }
        (Field::From | Field::To | Field::Contact, MatchKind::Exact) => [">", ";"]
            .map(|end| header(signature.field, &format!("<{pattern}{end}")))
            .to_vec(),
        (Field::From | Field::To | Field::Contact, MatchKind::Contains) => {
            let before = if pattern.contains(':') { "<" } else { "\"" };
            [before, ""]
                .map(|before| header(signature.field, &format!("{before}{pattern}")))
                .to_vec()
        }
        (Field::UserAgent | Field::Server | Field::CallId | Field::Via, MatchKind::Exact) => {
            vec![header(signature.field, &format!("{pattern}\r\n"))]
        }
        (
            Field::UserAgent | Field::Server | Field::CallId | Field::Via,
            MatchKind::Prefix | MatchKind::Contains,
        )
        | (Field::From | Field::To | Field::Contact, MatchKind::Prefix) => {
            vec![header(signature.field, pattern)]
        }
    };
    if texts.iter().any(|text| text.len() > LONGEST) {
        return Err("longer than iptables can look for");
    }
    Ok(texts.into_iter().map(String::into_bytes).collect())
}

/// A line that begins with this value of the header.
fn header(field: Field, value: &str) -> String {
    let name = match field {
        Field::UserAgent => "User-Agent",
        Field::Server => "Server",
        Field::From => "From",
        Field::To => "To",
        Field::Contact => "Contact",
        Field::CallId => "Call-ID",
        Field::Via => "Via",
        Field::RequestUri => "",
    };
    format!("\n{name}: {value}")
}
