//! What holds for any bytes. The property tests, the replay of the fuzzing corpus and the fuzz
//! targets (which include this file) all check the same.

use std::hint::black_box;
use std::ops::Range;

use sipward_wire::sip::{
    Anomalies, Frame, HeaderName, MAX_FRAME, Message, NameAddr, PayloadKind, Splitter, StartLine,
    Uri, classify, percent_decode, unescape,
};
use sipward_wire::{LinkType, Packet, Transport};

/// The first byte chooses the link type, the rest is the frame.
pub fn packet(input: &[u8]) {
    let Some((choice, frame)) = input.split_first() else {
        return;
    };
    const LINKS: [LinkType; 5] = [
        LinkType::Ethernet,
        LinkType::LinuxCooked,
        LinkType::LinuxCooked2,
        LinkType::RawIp,
        LinkType::Loopback,
    ];
    let packet = Packet::parse(LINKS[usize::from(*choice) % LINKS.len()], frame);

    let has_ports = matches!(packet.transport, Transport::Udp(_) | Transport::Tcp(_));
    assert!(packet.ports().is_some() || !has_ports);
    assert_eq!(packet.payload().is_some(), has_ports);
    let Some(ip) = packet.ip else {
        assert!(matches!(packet.transport, Transport::NotUnderstood(_)));
        return;
    };
    assert_eq!(ip.source.is_ipv4(), ip.destination.is_ipv4());
    assert_inside(ip.payload, frame);
    if let Some(payload) = packet.payload() {
        assert_inside(payload, ip.payload);
    }
    if let Some(fragment) = ip.fragment {
        assert_eq!(fragment.offset % 8, 0);
        assert_inside(fragment.data, frame);
        assert_eq!(
            fragment.is_later(),
            packet.transport == Transport::LaterFragment
        );
        let whole = Packet::of_reassembled(&ip, fragment.data);
        assert_eq!(whole.source(), Some(ip.source));
        assert_inside(whole.payload().unwrap_or_default(), frame);
    }
    if let Transport::Icmp(icmp) = packet.transport
        && let Some(original) = icmp.original
    {
        assert_inside(original.payload, ip.payload);
    }
}

/// A datagram.
pub fn sip_message(input: &[u8]) {
    let message = Message::parse(input);
    let anomalies = message.anomalies();

    // The parts are the whole, in order.
    let parts = [message.head(), message.body(), message.rest()].concat();
    assert_eq!(parts, input);
    assert_eq!(
        message.consumed(),
        message.head().len() + message.body().len()
    );

    assert_reads_as_reference(&message, input);

    let unrecognised = matches!(message.start_line(), StartLine::Unrecognised(_));
    assert_eq!(
        unrecognised,
        anomalies.contains(Anomalies::UNRECOGNISED_START_LINE)
    );
    if input.len() > sipward_wire::sip::KEEP_ALIVE_MAX {
        assert_eq!(classify(input) == PayloadKind::Sip, !unrecognised);
    }

    for header in message.headers() {
        let first = message.headers().find(|other| other.name == header.name);
        if header.name != HeaderName::Other {
            assert_eq!(message.header(header.name), first.map(|first| first.value));
        }
        let of_name = message
            .headers()
            .filter(|other| other.name == header.name)
            .count();
        // Quadratic: only where the fuzzer has not repeated one header a thousand times.
        if of_name < 8 {
            assert_eq!(message.values(header.name).count(), of_name);
        }
        let unfolded = header.value.unfold();
        assert!(unfolded.len() <= header.value.raw.len());
        assert!(!unfolded.iter().any(|byte| matches!(byte, b'\r' | b'\n')));
    }
    assert_values_inside(&message, message.head());

    // What follows the message has no say in it.
    let again = Message::parse(&input[..message.consumed()]);
    assert!(again.headers().eq(message.headers()));
    assert_eq!(again.body(), message.body());
    assert_eq!(again.rest(), b"");
}

/// One direction of a connection; the first byte is the size of its segments.
pub fn sip_stream(input: &[u8]) {
    let Some((size, stream)) = input.split_first() else {
        return;
    };
    let size = usize::from(*size).max(1);
    let in_segments = messages(stream, size);
    assert_eq!(
        in_segments,
        messages(stream, stream.len().max(1)),
        "segments do not matter"
    );
    for message in in_segments {
        assert!(message.len() <= MAX_FRAME);
        let parsed = Message::parse(&message);
        assert_eq!(parsed.consumed(), message.len());
        let cut = message.len() == MAX_FRAME;
        assert!(cut || !parsed.anomalies().contains(Anomalies::NO_EMPTY_LINE));
    }
}

/// The messages of a stream that comes in segments of `size` bytes.
pub fn messages(stream: &[u8], size: usize) -> Vec<Vec<u8>> {
    let mut splitter = Splitter::new();
    let mut buffered: Vec<u8> = Vec::new();
    let mut messages = Vec::new();
    for segment in stream.chunks(size) {
        buffered.extend_from_slice(segment);
        loop {
            let taken = match splitter.next_frame(&buffered) {
                Frame::Message(length) => {
                    messages.push(buffered[..length].to_vec());
                    length
                }
                Frame::Skip(length) => length,
                Frame::Incomplete => break,
            };
            assert!(taken > 0, "progress");
            buffered.drain(..taken);
        }
        assert!(
            buffered.len() < MAX_FRAME,
            "a full buffer is never incomplete"
        );
    }
    messages
}

/// Lines and the end of the head by the rules in the module's documentation, one byte at a time:
/// the ranges of the logical lines, and where the body begins.
fn reference(input: &[u8]) -> (Vec<Range<usize>>, usize) {
    let mut lines: Vec<Range<usize>> = Vec::new();
    let mut at_line_start = true;
    let mut after_line_feed = false;
    for (at, byte) in input.iter().enumerate() {
        match (byte, lines.last_mut()) {
            (b'\n', Some(_)) if at_line_start && after_line_feed => return (lines, at + 1),
            (b'\n', _) => (at_line_start, after_line_feed) = (true, true),
            (b'\r', _) if at_line_start => {}
            (b'\r', _) => (at_line_start, after_line_feed) = (true, false),
            (b' ' | b'\t' | 0, None) => {}
            (byte, Some(line)) if !at_line_start || matches!(byte, b' ' | b'\t') => {
                line.end = at + 1;
                at_line_start = false;
            }
            (_, _) => {
                lines.push(at..at + 1);
                at_line_start = false;
            }
        }
    }
    (lines, input.len())
}

fn assert_reads_as_reference(message: &Message<'_>, input: &[u8]) {
    let (lines, head) = reference(input);
    assert_eq!(message.head().len(), head);
    let trimmed = |bytes: &[u8]| {
        let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | 0);
        let start = bytes.iter().take_while(|byte| is_blank(byte)).count();
        let end = bytes.iter().rev().take_while(|byte| is_blank(byte)).count();
        bytes[start..bytes.len().max(start + end) - end].to_vec()
    };
    let expected = lines.into_iter().skip(1).filter_map(|line| {
        let line = &input[line];
        let colon = line.iter().position(|byte| *byte == b':')?;
        Some((trimmed(&line[..colon]), trimmed(&line[colon + 1..])))
    });
    let read = message
        .headers()
        .map(|header| (header.raw_name.to_vec(), header.value.raw.to_vec()));
    assert!(expected.eq(read), "the headers are those of the reference");
}

fn assert_values_inside(message: &Message<'_>, head: &[u8]) {
    let inside = |part: &[u8]| assert_inside(part, head);
    match message.start_line() {
        StartLine::Request(request) => {
            inside(request.method_name);
            inside(request.version);
            uri_inside(&request.uri, head);
        }
        StartLine::Response(response) => {
            inside(response.version);
            inside(response.reason);
        }
        StartLine::Unrecognised(line) => inside(line),
    }
    for header in message.headers() {
        inside(header.raw_name);
        inside(header.value.raw);
    }
    for via in message.vias() {
        inside(via.host);
        via.branch().map(inside);
        black_box((via.received(), via.rport()));
    }
    for address in [message.from(), message.to()].into_iter().flatten() {
        address_inside(&address, head);
    }
    for contact in message.contacts() {
        address_inside(&contact, head);
    }
    for digest in message.credentials().chain(message.challenges()) {
        inside(digest.scheme);
        for param in digest.params() {
            inside(param.name);
            param.value.map(inside);
        }
        black_box((digest.stale(), digest.username(), digest.nonce()));
    }
    let texts = [message.call_id(), message.content_type(), message.event()];
    texts.into_iter().flatten().for_each(inside);
    message.cseq().map(|cseq| cseq.method_name).map(inside);
    black_box((
        message.expires(),
        message.max_forwards(),
        message.content_length(),
    ));
}

fn address_inside(address: &NameAddr<'_>, head: &[u8]) {
    if let Some(display) = address.display {
        assert_inside(display, head);
        assert!(unescape(display).len() <= display.len());
    }
    for param in address.params.iter() {
        assert_inside(param.name, head);
    }
    uri_inside(&address.uri, head);
}

fn uri_inside(uri: &Uri<'_>, head: &[u8]) {
    let parts = [
        Some(uri.raw),
        uri.user,
        uri.password,
        Some(uri.host),
        Some(uri.headers),
    ];
    for part in parts.into_iter().flatten() {
        assert_inside(part, head);
        assert!(percent_decode(part).len() <= part.len());
    }
    for param in uri.params.iter() {
        assert_inside(param.name, head);
    }
    if let Some(address) = uri.host_address() {
        assert_eq!(address.is_ipv6(), uri.host.contains(&b':'));
    }
}

/// `part` borrows from `whole`. An empty part may come from anywhere.
fn assert_inside(part: &[u8], whole: &[u8]) {
    let (part, whole) = (part.as_ptr_range(), whole.as_ptr_range());
    assert!(part.is_empty() || (whole.start <= part.start && part.end <= whole.end));
}
