//! The list.

use super::message::{Message, Request, line_ends};
use super::{Evasion, Field, Transport, Wire};
use crate::asterisk::Driver::{self, ChanSip, Pjsip};

const BOTH: &[Driver] = &[ChanSip, Pjsip];
const CHAN_SIP: &[Driver] = &[ChanSip];
const PJSIP: &[Driver] = &[Pjsip];
const NOBODY: &[Driver] = &[];

/// A datagram that one packet shows.
const fn udp(
    name: &'static str,
    read_by: &'static [Driver],
    render: fn(&Request) -> Vec<Vec<u8>>,
) -> Evasion {
    Evasion {
        name,
        transport: Transport::Udp,
        port: None,
        field: Field::UserAgent,
        wire: Wire::Plain,
        read_by,
        seen_in_one_packet: true,
        must_pass: false,
        render,
    }
}

/// A datagram with the value in From.
const fn from(
    name: &'static str,
    read_by: &'static [Driver],
    render: fn(&Request) -> Vec<Vec<u8>>,
) -> Evasion {
    Evasion {
        field: Field::FromUser,
        ..udp(name, read_by, render)
    }
}

/// The ordinary request with something around the datagram.
const fn wire(name: &'static str, wire: Wire, seen_in_one_packet: bool) -> Evasion {
    Evasion {
        wire,
        seen_in_one_packet,
        ..udp(name, BOTH, |r| one(Message::new(r)))
    }
}

/// Segments of a TCP connection.
const fn tcp(
    name: &'static str,
    read_by: &'static [Driver],
    seen_in_one_packet: bool,
    render: fn(&Request) -> Vec<Vec<u8>>,
) -> Evasion {
    Evasion {
        transport: Transport::Tcp,
        seen_in_one_packet,
        ..udp(name, read_by, render)
    }
}

/// The value where nobody looks for it.
const fn decoy(name: &'static str, render: fn(&Request) -> Vec<Vec<u8>>) -> Evasion {
    Evasion {
        must_pass: true,
        ..udp(name, NOBODY, render)
    }
}

/// Every way known, those included that turned out to be none (`read_by` empty): what Asterisk
/// was seen to do is the entry itself.
///
/// One is not here, because no filter that compares bytes as they stand can see it: chan_sip
/// undoes quoted pairs in the display name of From, so `"\s\i\p\v\i\c\i\o\u\s"` calls itself
/// `sipvicious`. PJSIP hands the backslashes on.
pub const EVASIONS: &[Evasion] = &[
    udp("nothing special", BOTH, |r| one(Message::new(r))),
    // The request line.
    udp("a blank before the method", BOTH, |r| {
        one(Message::new(r).start(" INVITE {uri} SIP/2.0\r\n"))
    }),
    udp("a tab before the method", BOTH, |r| {
        one(Message::new(r).start("\tINVITE {uri} SIP/2.0\r\n"))
    }),
    udp("a method in lower case", BOTH, |r| {
        one(Message::new(r).start("invite {uri} SIP/2.0\r\n"))
    }),
    udp("sip/2.0 in lower case", BOTH, |r| {
        one(Message::new(r).start("INVITE {uri} sip/2.0\r\n"))
    }),
    udp("two blanks in the request line", BOTH, |r| {
        one(Message::new(r).start("INVITE  {uri}  SIP/2.0\r\n"))
    }),
    udp("a tab in the request line", BOTH, |r| {
        one(Message::new(r).start("INVITE\t{uri}\tSIP/2.0\r\n"))
    }),
    udp("blanks behind the request line", BOTH, |r| {
        one(Message::new(r).start("INVITE {uri} SIP/2.0  \r\n"))
    }),
    udp("SIP/7.0", NOBODY, |r| {
        one(Message::new(r).start("INVITE {uri} SIP/7.0\r\n"))
    }),
    udp("a CRLF before the request line", PJSIP, |r| {
        one(Message::new(r).start("\r\nINVITE {uri} SIP/2.0\r\n"))
    }),
    udp("CRLFs before the request line", PJSIP, |r| {
        one(Message::new(r).start("\r\n\r\n\r\n\r\nINVITE {uri} SIP/2.0\r\n"))
    }),
    udp("a NUL before the request line", NOBODY, |r| {
        one(Message::new(r).start("\0INVITE {uri} SIP/2.0\r\n"))
    }),
    // Line ends.
    udp("LF alone as line end", BOTH, |r| {
        vec![line_ends(Message::new(r).bytes(), "\n")]
    }),
    udp("CR alone as line end", PJSIP, |r| {
        vec![line_ends(Message::new(r).bytes(), "\r")]
    }),
    udp("CR CR LF as line end", CHAN_SIP, |r| {
        vec![line_ends(Message::new(r).bytes(), "\r\r\n")]
    }),
    udp("LF CR as line end", CHAN_SIP, |r| {
        vec![line_ends(Message::new(r).bytes(), "\n\r")]
    }),
    udp("CR alone before the header", PJSIP, |r| {
        one(Message::new(r).before(b"Subject: call\r"))
    }),
    udp("LF CR before the header", CHAN_SIP, |r| {
        one(Message::new(r).before(b"Subject: call\n\r"))
    }),
    udp("CRLF CR before the header", CHAN_SIP, |r| {
        one(Message::new(r).before(b"Subject: call\r\n\r"))
    }),
    udp("no empty line at the end", BOTH, |r| {
        vec![without_end(Message::new(r).bytes(), 2)]
    }),
    udp("no line end at the end", BOTH, |r| {
        // Content-Length goes too, so that the value is the very last thing.
        vec![without_end(
            Message::new(r).bytes(),
            "\r\nContent-Length: 0\r\n\r\n".len(),
        )]
    }),
    // Folds.
    udp("a fold before the value", BOTH, |r| {
        one(Message::new(r).line("User-Agent:\r\n {value}\r\n"))
    }),
    udp("a fold with a tab", BOTH, |r| {
        one(Message::new(r).line("User-Agent:\r\n\t{value}\r\n"))
    }),
    udp("a fold after LF", BOTH, |r| {
        one(Message::new(r).line("User-Agent:\n {value}\r\n"))
    }),
    udp("a fold after CR", BOTH, |r| {
        one(Message::new(r).line("User-Agent:\r {value}\r\n"))
    }),
    udp("a double fold", CHAN_SIP, |r| {
        one(Message::new(r).line("User-Agent:\r\n \r\n {value}\r\n"))
    }),
    udp("a fold before the colon", BOTH, |r| {
        one(Message::new(r).line("User-Agent\r\n : {value}\r\n"))
    }),
    udp("a fold at each blank of the value", BOTH, |r| {
        let line = format!("User-Agent: {}\r\n", r.value.replace(' ', "\r\n "));
        one(Message::new(r).line(&line))
    }),
    udp(
        "a fold of several blanks at each blank of the value",
        BOTH,
        |r| {
            let line = format!("User-Agent: {}\r\n", r.value.replace(' ', "\r\n \t "));
            one(Message::new(r).line(&line))
        },
    ),
    // chan_sip keeps the first of a run of blanks.
    udp("two blanks at each blank of the value", CHAN_SIP, |r| {
        let line = format!("User-Agent: {}\r\n", r.value.replace(' ', "  "));
        one(Message::new(r).line(&line))
    }),
    udp("a tab at each blank of the value", NOBODY, |r| {
        let line = format!("User-Agent: {}\r\n", r.value.replace(' ', "\t"));
        one(Message::new(r).line(&line))
    }),
    udp("a fold of blanks only before the header", BOTH, |r| {
        one(Message::new(r).before(b"Subject: call\r\n   \r\n"))
    }),
    // The header's name and value.
    udp("mixed case", BOTH, |r| {
        let value: String = r
            .value
            .chars()
            .enumerate()
            .map(|(index, c)| swapped(index, c))
            .collect();
        one(Message::new(r).line(&format!("uSEr-AgeNT: {value}\r\n")))
    }),
    udp("blanks and tabs before the colon", BOTH, |r| {
        one(Message::new(r).line("User-Agent \t : {value}\r\n"))
    }),
    udp("no blank behind the colon", BOTH, |r| {
        one(Message::new(r).line("User-Agent:{value}\r\n"))
    }),
    udp("blanks and tabs around the value", BOTH, |r| {
        one(Message::new(r).line("User-Agent: \t  {value} \t \r\n"))
    }),
    udp("a NUL behind the value", CHAN_SIP, |r| {
        one(Message::new(r).line("User-Agent: {value}\0 1.0\r\n"))
    }),
    udp("a NUL in a quoted name before the header", PJSIP, |r| {
        one(Message::new(r).from("From: \"a\0b\" <{uri}>"))
    }),
    udp("a NUL in a header before it", NOBODY, |r| {
        one(Message::new(r).before(b"Subject: a\0b\r\n"))
    }),
    udp("a NUL before the header", NOBODY, |r| {
        one(Message::new(r).line("\0User-Agent: {value}\r\n"))
    }),
    udp("a NUL before the colon", NOBODY, |r| {
        one(Message::new(r).line("User-Agent\0: {value}\r\n"))
    }),
    udp("a NUL before the value", NOBODY, |r| {
        one(Message::new(r).line("User-Agent: \0{value}\r\n"))
    }),
    udp("two User-Agent headers, the scanner's first", BOTH, |r| {
        one(Message::new(r).line("User-Agent: {value}\r\nUser-Agent: Yealink SIP-T46S\r\n"))
    }),
    udp(
        "two User-Agent headers, the scanner's second",
        NOBODY,
        |r| one(Message::new(r).line("User-Agent: Yealink SIP-T46S\r\nUser-Agent: {value}\r\n")),
    ),
    // The name in From, which svmap leaves when it is told to send no User-Agent.
    from("a name in From", BOTH, |r| {
        one(Message::new(r).from("From: \"{value}\"<{visitor}>"))
    }),
    from("a name in quoted pairs in From", CHAN_SIP, |r| {
        let pairs: String = r.value.chars().map(|c| format!("\\{c}")).collect();
        one(Message::new(&Request {
            value: pairs,
            ..r.clone()
        })
        .from("From: \"{value}\"<{visitor}>"))
    }),
    from("a name without quotes in From", BOTH, |r| {
        one(Message::new(r).from("From: {value} <{visitor}>"))
    }),
    from("a name in the compact form of From", BOTH, |r| {
        one(Message::new(r).from("f: \"{value}\"<{visitor}>"))
    }),
    from(
        "a name in a compact From with blanks and a fold",
        BOTH,
        |r| one(Message::new(r).from("F \t:\r\n  \"{value}\" <{visitor}>")),
    ),
    // Asterisk decodes user parts of URIs, not User-Agents.
    from("a percent-encoded user in From", BOTH, |r| {
        let encoded: String = r.value.bytes().map(|byte| format!("%{byte:02x}")).collect();
        one(Message::new(&Request {
            value: encoded,
            ..r.clone()
        }))
    }),
    udp("a percent-encoded User-Agent", NOBODY, |r| {
        let encoded: String = r.value.bytes().map(|byte| format!("%{byte:02x}")).collect();
        one(Message::new(r).line(&format!("User-Agent: {encoded}\r\n")))
    }),
    // Lines before the header.
    udp("a line without a colon before the header", CHAN_SIP, |r| {
        one(Message::new(r).before(b"no colon here\r\n"))
    }),
    udp(
        "a line of 0xFF without a colon before the header",
        CHAN_SIP,
        |r| one(Message::new(r).before(b"\xff\xff\r\n")),
    ),
    udp("0xFF in a header before it", BOTH, |r| {
        one(Message::new(r).before(b"Subject: \xff\xff\r\n"))
    }),
    udp(
        "a line that begins with a dash before the header",
        BOTH,
        |r| one(Message::new(r).before(b"-subject: call\r\n")),
    ),
    udp(
        "a line that begins with a colon before the header",
        CHAN_SIP,
        |r| one(Message::new(r).before(b": call\r\n")),
    ),
    // chan_sip keeps 64 headers.
    udp("150 headers before it", PJSIP, |r| {
        one(Message::new(r).before(&b"Xy:z\r\n".repeat(150)))
    }),
    udp("a negative Content-Length", CHAN_SIP, |r| {
        one(Message::new(r).length("-999"))
    }),
    // Around the datagram.
    // Linux takes VLAN 0, a mere priority, on any interface.
    wire("a VLAN tag", Wire::Vlan(&[(0x8100, 0xa000)]), true),
    wire(
        "two VLAN tags",
        Wire::Vlan(&[(0x88a8, 0xa000), (0x8100, 0)]),
        true,
    ),
    wire(
        "40 bytes of IPv4 options",
        Wire::Ipv4Options(&[1; 40]),
        true,
    ),
    wire("IPv6", Wire::Ipv6, true),
    wire("IPv6 with a hop-by-hop header", Wire::Ipv6HopByHop, true),
    wire(
        "IPv6 with destination options",
        Wire::Ipv6DestinationOptions,
        true,
    ),
    Evasion {
        port: Some(5080),
        ..udp("port 5080", PJSIP, |r| one(Message::new(r)))
    },
    Evasion {
        wire: Wire::Fragments(1480),
        ..udp("the header in the first fragment", BOTH, |r| {
            one(Message::new(r).length("3000").body(&"x".repeat(3000)))
        })
    },
    Evasion {
        wire: Wire::Ipv6Fragments(1400),
        ..udp("the header in the first IPv6 fragment", BOTH, |r| {
            one(Message::new(r).length("3000").body(&"x".repeat(3000)))
        })
    },
    wire("fragments of 8 bytes", Wire::Fragments(8), false),
    wire("IPv6 fragments of 8 bytes", Wire::Ipv6Fragments(8), false),
    Evasion {
        wire: Wire::Fragments(1480),
        seen_in_one_packet: false,
        ..udp("60,000 bytes before the header", BOTH, |r| {
            one(far(r, 60_000))
        })
    },
    // One frame each, for links with an MTU of 9,000.
    udp("a packet of 8,000 bytes", BOTH, |r| {
        one(Message::new(r).length("7400").body(&"x".repeat(7_400)))
    }),
    Evasion {
        seen_in_one_packet: false,
        ..udp("8,000 bytes before the header", BOTH, |r| {
            one(far(r, 8_000))
        })
    },
    // TCP.
    tcp("a TCP segment", BOTH, true, |r| one(Message::new(r))),
    tcp("a CRLF before it over TCP", PJSIP, true, |r| {
        one(Message::new(r).start("\r\nINVITE {uri} SIP/2.0\r\n"))
    }),
    tcp("a second message in one TCP segment", BOTH, true, |r| {
        vec![[Message::new(r).innocent().bytes(), Message::new(r).bytes()].concat()]
    }),
    tcp(
        "a second message behind a body in one TCP segment",
        BOTH,
        true,
        |r| {
            let first = Message::new(r)
                .innocent()
                .length("8")
                .body("v=0\r\ns=-")
                .bytes();
            vec![[first, Message::new(r).bytes()].concat()]
        },
    ),
    tcp("one byte a segment", BOTH, false, |r| {
        Message::new(r)
            .bytes()
            .chunks(1)
            .map(<[u8]>::to_vec)
            .collect()
    }),
    tcp(
        "a segment that begins with the header's line",
        BOTH,
        false,
        |r| split_at(Message::new(r).bytes(), b"User-Agent", 0),
    ),
    tcp(
        "a segment that begins in the header's value",
        BOTH,
        false,
        |r| {
            split_at(
                Message::new(r).bytes(),
                b"User-Agent",
                "User-Agent: 123".len(),
            )
        },
    ),
    // Where nobody looks.
    decoy("a User-Agent behind the empty line", |r| {
        one(Message::new(r)
            .innocent()
            .body("User-Agent: {value}\r\n\r\n"))
    }),
    decoy("a User-Agent in the body", |r| {
        one(Message::new(r)
            .innocent()
            .length("200")
            .body("s=-\r\nUser-Agent: {value}\r\n"))
    }),
    decoy("a User-Agent behind an empty line of LFs", |r| {
        one(Message::new(r)
            .innocent()
            .before(b"Subject: call\n\n")
            .line("User-Agent: {value}\r\n"))
    }),
    // No sender ends its headers so; the shield reads on, since CR CR LF ends a single line.
    udp("a User-Agent behind an empty line of CRs", NOBODY, |r| {
        one(Message::new(r)
            .innocent()
            .before(b"Subject: call\r\r")
            .line("User-Agent: {value}\r\n"))
    }),
    decoy("the value in Subject", |r| {
        one(Message::new(r)
            .innocent()
            .before(b"Subject: x\r\n")
            .line("Subject: {value}\r\n"))
    }),
    decoy("-User-Agent", |r| {
        one(Message::new(r).line("-User-Agent: {value}\r\n"))
    }),
    decoy("X-User-Agent", |r| {
        one(Message::new(r).line("X-User-Agent: {value}\r\n"))
    }),
    decoy("User-Agents", |r| {
        one(Message::new(r).line("User-Agents: {value}\r\n"))
    }),
    udp("a second message in one datagram", NOBODY, |r| {
        vec![[Message::new(r).innocent().bytes(), Message::new(r).bytes()].concat()]
    }),
];

fn one(message: Message<'_>) -> Vec<Vec<u8>> {
    vec![message.bytes()]
}

fn far(request: &Request, bytes: usize) -> Message<'_> {
    let subject = format!("Subject: {}\r\n", "x".repeat(bytes));
    Message::new(request).before(subject.as_bytes())
}

fn swapped(index: usize, c: char) -> char {
    if index.is_multiple_of(2) {
        c.to_ascii_uppercase()
    } else {
        c.to_ascii_lowercase()
    }
}

fn without_end(mut message: Vec<u8>, bytes: usize) -> Vec<u8> {
    message.truncate(message.len() - bytes);
    message
}

/// Cuts where the needle begins, `further` bytes on.
fn split_at(message: Vec<u8>, needle: &[u8], further: usize) -> Vec<Vec<u8>> {
    let start = message
        .windows(needle.len())
        .position(|window| window == needle);
    let at = start.map_or(message.len(), |start| start + further);
    vec![message[..at].to_vec(), message[at..].to_vec()]
}
