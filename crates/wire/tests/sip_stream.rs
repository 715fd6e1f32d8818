//! SIP over TCP: where messages end, keep-alives, captures that begin in the middle, and caps.

use sipward_wire::sip::{Frame, MAX_FRAME, Message, Splitter};

fn message(body: &str) -> Vec<u8> {
    let length = body.len();
    format!("NOTIFY sip:h SIP/2.0\r\nCSeq: 1 NOTIFY\r\nContent-Length: {length}\r\n\r\n{body}")
        .into_bytes()
}

/// The frames of what is buffered, as far as they are complete.
fn frames(splitter: &mut Splitter, mut buffered: &[u8]) -> Vec<Frame> {
    let mut frames = Vec::new();
    loop {
        let frame = splitter.next_frame(buffered);
        frames.push(frame);
        match frame {
            Frame::Message(length) | Frame::Skip(length) => buffered = &buffered[length..],
            Frame::Incomplete => return frames,
        }
    }
}

#[test]
fn messages_and_keep_alives_follow_each_other() {
    let (first, second) = (message("a=1"), message(""));
    let stream = [b"\r\n\r\n".as_slice(), &first, &second, b"\r\n"].concat();
    assert_eq!(
        frames(&mut Splitter::new(), &stream),
        [
            Frame::Skip(4),
            Frame::Message(first.len()),
            Frame::Message(second.len()),
            Frame::Skip(2),
            Frame::Incomplete,
        ]
    );
}

#[test]
fn a_message_waits_for_the_last_byte_of_its_body() {
    let message = message("a=1");
    let mut splitter = Splitter::new();
    for length in 0..message.len() {
        assert_eq!(
            splitter.next_frame(&message[..length]),
            Frame::Incomplete,
            "{length}"
        );
    }
    assert_eq!(splitter.next_frame(&message), Frame::Message(message.len()));
}

#[test]
fn a_line_of_blanks_does_not_end_the_head() {
    let head = b"NOTIFY sip:h SIP/2.0\r\nCSeq: 1\r\n \r\n\t\r\n NOTIFY\r\n\r\n".as_slice();
    assert_eq!(
        Splitter::new().next_frame(&[head, b"INVITE"].concat()),
        Frame::Message(head.len())
    );
}

#[test]
fn without_a_content_length_there_is_no_body() {
    let head = b"NOTIFY sip:h SIP/2.0\r\nCSeq: 1 NOTIFY\r\n\r\n".as_slice();
    let stream = [head, head].concat();
    let both = [
        Frame::Message(head.len()),
        Frame::Message(head.len()),
        Frame::Incomplete,
    ];
    assert_eq!(frames(&mut Splitter::new(), &stream), both);
}

#[test]
fn a_negative_content_length_is_none() {
    let head = b"NOTIFY sip:h SIP/2.0\r\nl: -20\r\n\r\n".as_slice();
    assert_eq!(
        Splitter::new().next_frame(&[head, head].concat()),
        Frame::Message(head.len())
    );
}

#[test]
fn the_first_of_two_content_lengths_counts() {
    let head = b"NOTIFY sip:h SIP/2.0\r\nl: 2\r\nContent-Length: 0\r\n\r\n".as_slice();
    assert_eq!(
        Splitter::new().next_frame(&[head, b"ab"].concat()),
        Frame::Message(head.len() + 2)
    );
}

#[test]
fn a_capture_may_begin_in_the_middle_of_a_body() {
    let message = message("a=1");
    let tail = b"=audio 4000 RTP/AVP 8\r\na=sendrecv\r\n".as_slice();
    let stream = [tail, &message].concat();
    assert_eq!(
        frames(&mut Splitter::new(), &stream),
        [
            Frame::Skip(tail.len()),
            Frame::Message(message.len()),
            Frame::Incomplete
        ]
    );
}

#[test]
fn what_is_no_sip_at_all_is_delivered_as_it_is() {
    let stream = b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n";
    assert_eq!(
        Splitter::new().next_frame(stream),
        Frame::Message(stream.len())
    );
    assert!(Message::parse(stream).request().is_none());
}

#[test]
fn the_head_of_a_huge_message_is_delivered_and_its_body_skipped() {
    let head = b"MESSAGE sip:h SIP/2.0\r\nUser-Agent: whale\r\nl: 100000\r\n\r\n".as_slice();
    let next = message("");
    let mut splitter = Splitter::new();
    assert_eq!(splitter.next_frame(head), Frame::Message(head.len()));
    assert_eq!(splitter.next_frame(b""), Frame::Incomplete);
    assert_eq!(splitter.next_frame(&[b'x'; 60_000]), Frame::Skip(60_000));
    let end = [vec![b'x'; 40_000], next.clone()].concat();
    let after = [
        Frame::Skip(40_000),
        Frame::Message(next.len()),
        Frame::Incomplete,
    ];
    assert_eq!(frames(&mut splitter, &end), after);
}

#[test]
fn a_content_length_beyond_all_numbers_skips_for_good() {
    let head = b"MESSAGE sip:h SIP/2.0\r\nl: 99999999999999999999999\r\n\r\n".as_slice();
    let mut splitter = Splitter::new();
    assert_eq!(splitter.next_frame(head), Frame::Message(head.len()));
    for _ in 0..3 {
        assert_eq!(
            splitter.next_frame(&message("")),
            Frame::Skip(message("").len())
        );
    }
}

#[test]
fn a_message_of_exactly_the_cap_is_kept_whole() {
    let head = "MESSAGE sip:h SIP/2.0\r\nl: 65495\r\n\r\n";
    let body = MAX_FRAME - head.len();
    let head = head.replace("65495", &body.to_string());
    let stream = [head.as_bytes(), &vec![b'x'; body]].concat();
    assert_eq!(stream.len(), MAX_FRAME);
    assert_eq!(
        Splitter::new().next_frame(&stream),
        Frame::Message(MAX_FRAME)
    );
}

#[test]
fn a_head_without_end_is_cut_at_the_cap() {
    let endless = [
        b"NOTIFY sip:h SIP/2.0\r\n".as_slice(),
        &b"a: b\r\n".repeat(20_000),
    ]
    .concat();
    let mut splitter = Splitter::new();
    assert_eq!(
        splitter.next_frame(&endless[..MAX_FRAME - 1]),
        Frame::Incomplete
    );
    assert_eq!(
        splitter.next_frame(&endless[..MAX_FRAME]),
        Frame::Message(MAX_FRAME)
    );
}

#[test]
fn a_head_that_comes_a_byte_at_a_time_is_cut_at_the_same_cap() {
    let endless = [b"NOTIFY sip:h SIP/2.0\r\n".as_slice(), &[b'x'; MAX_FRAME]].concat();
    let mut splitter = Splitter::new();
    for length in 1..MAX_FRAME {
        assert_eq!(splitter.next_frame(&endless[..length]), Frame::Incomplete);
    }
    assert_eq!(
        splitter.next_frame(&endless[..MAX_FRAME]),
        Frame::Message(MAX_FRAME)
    );
}
