//! What holds for any message, any stream, and any spelling of a header.

use proptest::collection::vec;
use proptest::prelude::*;
use sipward_wire::sip::{Anomalies, Message};

use crate::invariants;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn any_bytes_are_a_message(bytes in vec(any::<u8>(), 0..300)) {
        invariants::sip_message(&bytes);
    }

    #[test]
    fn any_sequence_of_pieces_is_a_message(pieces in vec(piece(), 0..40)) {
        invariants::sip_message(&pieces.concat());
    }

    #[test]
    fn any_mutant_is_a_message(bytes in mutant()) {
        invariants::sip_message(&bytes);
    }

    #[test]
    fn a_stream_is_split_the_same_in_any_segments(
        size in 1u8..90,
        messages in vec(prop_oneof![mutant(), valid(), Just(b"\r\n\r\n".to_vec())], 1..5),
    ) {
        invariants::sip_stream(&[vec![size], messages.concat()].concat());
    }

    #[test]
    fn valid_messages_come_out_of_a_stream_as_they_went_in(
        size in 1usize..90,
        messages in vec(valid(), 1..5),
        keep_alives in 0usize..3,
    ) {
        let stream = messages.join("\r\n".repeat(keep_alives).as_bytes());
        prop_assert_eq!(invariants::messages(&stream, size), messages);
    }

    #[test]
    fn a_header_has_the_same_value_in_every_spelling(
        case in vec(any::<bool>(), 10),
        compact in any::<bool>(),
        before_colon in blanks(),
        after_colon in blanks(),
        between in blanks(),
        at_end in blanks(),
        line_end in line_end(),
        other_line_end in line_end(),
    ) {
        let name = if compact { "f" } else { "from" };
        let name: String = name
            .chars()
            .zip(case.iter().cycle())
            .map(|(letter, upper)| if *upper { letter.to_ascii_uppercase() } else { letter })
            .collect();
        let start = format!("REGISTER sip:example.com SIP/2.0{other_line_end}");
        let header = format!(
            "{name}{before_colon}:{after_colon}Fog Horn{between}<sip:horn@example.com>;tag=7\
             {at_end}{line_end}"
        );
        let text = format!("{start}Via: x{other_line_end}{header}Subject: end\n\n");
        let message = Message::parse(text.as_bytes());
        let from = message.from().expect("From is seen");
        prop_assert_eq!(from.display, Some(b"Fog Horn".as_slice()));
        prop_assert_eq!(from.uri.raw, b"sip:horn@example.com");
        prop_assert_eq!(from.tag(), Some(b"7".as_slice()));
        prop_assert_eq!(message.headers().count(), 3);
        let fold_before_colon = before_colon.contains(['\r', '\n']);
        prop_assert_eq!(
            message.anomalies().contains(Anomalies::FOLD_BEFORE_COLON),
            fold_before_colon
        );
    }
}

/// Nothing, blanks, or folds.
fn blanks() -> impl Strategy<Value = String> {
    let blank = prop::sample::select(vec![" ", "\t", "\r\n ", "\n\t", "\r ", "\r\r\n  ", "\n\r "]);
    vec(blank, 0..4).prop_map(|blanks| blanks.concat())
}

fn line_end() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["\r\n", "\n", "\r", "\r\r\n", "\n\r", "\r\n\r"])
}

/// Bytes that mean something somewhere.
fn piece() -> impl Strategy<Value = &'static [u8]> {
    let pieces: Vec<&'static [u8]> = vec![
        b"\r",
        b"\n",
        b"\r\n",
        b"\r\n\r\n",
        b" ",
        b"\t",
        b"\0",
        b"\xff",
        b":",
        b";",
        b",",
        b"=",
        b"\"",
        b"\\",
        b"<",
        b">",
        b"@",
        b"?",
        b"%41",
        b"[::1]",
        b"INVITE ",
        b"sip:",
        b"tel:",
        b" SIP/2.0",
        b"SIP/2.0 200 OK",
        b"Via:",
        b"v:SIP/2.0/UDP ",
        b"From: ",
        b"l: 3",
        b"CSeq: 1 ",
        b"Content-Length:",
        b"Authorization: Digest ",
        b"username=",
        b"tag=",
        b"branch=",
        b"-999",
        b"Contact:",
        b"a",
        b"99999999999999999999",
    ];
    prop::sample::select(pieces)
}

fn valid() -> impl Strategy<Value = Vec<u8>> {
    ("[a-z]{1,9}", vec(0x20u8..0x7f, 0..60), any::<u32>(), any::<bool>()).prop_map(
        |(user, body, sequence, compact)| {
            let length = if compact { "l" } else { "Content-Length" };
            let head = format!(
                "REGISTER sip:example.com SIP/2.0\r\n\
                 Via: SIP/2.0/TCP 192.0.2.7:5061;branch=z9hG4bK{sequence};rport\r\n\
                 From: \"{user}\" <sip:{user}@example.com>;tag={sequence}\r\n\
                 To: <sip:{user}@example.com>\r\n\
                 Call-ID: {sequence}@192.0.2.7\r\n\
                 CSeq: {sequence} REGISTER\r\n\
                 Contact: <sip:{user}@192.0.2.7:5061;transport=tcp>;expires=60, <sip:b@[::1]>\r\n\
                 Authorization: Digest username=\"{user}\", realm=\"a,b\", nonce=\"{sequence}\",\r\n \
                 uri=\"sip:example.com\", response=\"0123456789abcdef0123456789abcdef\"\r\n\
                 {length}: {}\r\n\r\n",
                body.len()
            );
            [head.into_bytes(), body].concat()
        },
    )
}

/// A valid message in which a few pieces were put in or over others.
fn mutant() -> impl Strategy<Value = Vec<u8>> {
    let change = (any::<prop::sample::Index>(), 0usize..4, piece());
    (valid(), vec(change, 1..6)).prop_map(|(mut bytes, changes)| {
        for (index, removed, piece) in changes {
            let at = index.index(bytes.len());
            let end = bytes.len().min(at + removed);
            bytes.splice(at..end, piece.iter().copied());
        }
        bytes
    })
}
