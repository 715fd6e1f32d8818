//! What a reader of `why` wants to see of a packet with a signature besides its first line: the
//! header that hit, and the User-Agent.

use sipward_engine::{Alert, Detector, Evidence, Place, escape_at_most};
use sipward_signature::Field;
use sipward_wire::sip::{HeaderName, Message};

/// Bytes of a header that are shown.
const SHOWN: usize = 200;

/// Adds the headers of the packet that raised the alert; `field` is where its signature hit.
pub fn add_headers(alert: &mut Alert, sample: &[u8], field: Field) {
    if alert.detector != Detector::ScannerSignature {
        return;
    }
    let at = alert.at;
    let evidence = headers(sample, field).into_iter();
    alert.evidence.extend(evidence.map(|summary| Evidence {
        at,
        place: Place::Kernel,
        summary,
    }));
}

fn headers(sample: &[u8], field: Field) -> Vec<String> {
    let message = Message::parse(sample);
    let hit = header_name(field);
    let agent = Some(HeaderName::UserAgent).filter(|agent| hit != Some(*agent));
    hit.into_iter()
        .chain(agent)
        .filter_map(|name| {
            let value = message.header(name)?.unfold();
            Some(format!(
                "{}: {}",
                name.name()?,
                escape_at_most(&value, SHOWN)
            ))
        })
        .collect()
}

/// The header of a field; the request URI has none.
const fn header_name(field: Field) -> Option<HeaderName> {
    match field {
        Field::UserAgent => Some(HeaderName::UserAgent),
        Field::Server => Some(HeaderName::Server),
        Field::From => Some(HeaderName::From),
        Field::To => Some(HeaderName::To),
        Field::Contact => Some(HeaderName::Contact),
        Field::CallId => Some(HeaderName::CallId),
        Field::Via => Some(HeaderName::Via),
        Field::RequestUri => None,
    }
}

#[cfg(test)]
mod tests {
    use super::headers;
    use sipward_signature::Field;
    use test_case::test_case;

    const SCAN: &[u8] =
        b"OPTIONS sip:100@192.0.2.1 SIP/2.0\r\nt: \"sipvicious\"<sip:100@1.1.1.1>\r\n\
        User-Agent: friendly\r\n -scanner\x1b[2J\r\n\r\n";

    #[test_case(Field::To, &["To: \"sipvicious\"<sip:100@1.1.1.1>", "User-Agent: friendly -scanner\\x1b[2J"]; "another header hit")]
    #[test_case(Field::UserAgent, &["User-Agent: friendly -scanner\\x1b[2J"]; "the user agent hit")]
    #[test_case(Field::RequestUri, &["User-Agent: friendly -scanner\\x1b[2J"]; "the first line hit")]
    fn shown_are_the_header_that_hit_and_the_user_agent(field: Field, shown: &[&str]) {
        assert_eq!(headers(SCAN, field), shown);
    }

    #[test]
    fn a_packet_without_headers_shows_none() {
        assert!(headers(b"OPTIONS", Field::From).is_empty());
    }
}
