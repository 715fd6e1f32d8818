//! What can be done to a request so that a PBX still reads it. One of each group at most is done
//! to a variation, in the order of the groups.

use super::Transport;
use super::dice::Dice;
use super::draft::{Draft, End, Line};
use super::variation::Mark;
use crate::asterisk::Driver::{self, ChanSip, Pjsip};

const BOTH: &[Driver] = &[ChanSip, Pjsip];
const CHAN_SIP: &[Driver] = &[ChanSip];
const PJSIP: &[Driver] = &[Pjsip];

/// One thing done to a request.
pub(super) struct Mutation {
    pub(super) name: &'static str,
    /// The drivers of Asterisk 16.28 that still read the mark.
    pub(super) read_by: &'static [Driver],
    pub(super) applies: fn(&Draft) -> bool,
    pub(super) apply: fn(&mut Draft, &mut Dice),
}

/// The groups, and how many variations of a hundred have one of each.
pub(super) const GROUPS: &[(usize, &[Mutation])] = &[
    (60, LETTERS),
    (80, FORM),
    (50, NAME),
    (30, BEFORE_COLON),
    (50, GAP),
    (30, TAIL),
    (30, OTHER_NAMES),
    (40, ORDER),
    (20, SECOND),
    (40, BEFORE),
    (20, BEHIND),
    (6, NUL),
    (50, REQUEST_LINE),
    (30, END),
    (40, LINE_ENDS),
];

const fn both(name: &'static str, apply: fn(&mut Draft, &mut Dice)) -> Mutation {
    Mutation {
        name,
        read_by: BOTH,
        applies: |_| true,
        apply,
    }
}

const fn chan_sip(name: &'static str, apply: fn(&mut Draft, &mut Dice)) -> Mutation {
    Mutation {
        read_by: CHAN_SIP,
        ..both(name, apply)
    }
}

const fn pjsip(name: &'static str, apply: fn(&mut Draft, &mut Dice)) -> Mutation {
    Mutation {
        read_by: PJSIP,
        ..both(name, apply)
    }
}

impl Mutation {
    const fn only(self, applies: fn(&Draft) -> bool) -> Self {
        Self { applies, ..self }
    }
}

fn is_udp(draft: &Draft) -> bool {
    draft.transport == Transport::Udp
}

fn is_user_agent(draft: &Draft) -> bool {
    matches!(draft.mark, Mark::UserAgent(_))
}

fn is_word(draft: &Draft) -> bool {
    matches!(draft.mark, Mark::Word(..))
}

/// A word that can be the user of a URI.
fn is_one_word(draft: &Draft) -> bool {
    is_word(draft) && !draft.written.contains(' ')
}

fn is_uri(draft: &Draft) -> bool {
    matches!(draft.mark, Mark::Uri(..))
}

fn is_tag(draft: &Draft) -> bool {
    matches!(draft.mark, Mark::Tag(..))
}

/// Writes the marked tag behind an address of any form.
fn tag(draft: &mut Draft, dice: &mut Dice, name: &str) {
    let address = dice.pick(&[
        "<sip:visitor@{source}>",
        "\"x\" <sip:visitor@{source}>",
        "\"a b\"<sip:visitor@{source};lr>",
        "x <sip:visitor@{source};transport=udp>",
        "<sip:100@{source}>;x=y",
    ]);
    draft.marked().value = format!("{address}{name}{}", draft.written).into_bytes();
}

fn is_user_agent_with_blank(draft: &Draft) -> bool {
    is_user_agent(draft) && draft.written.contains(' ')
}

/// Both drivers decode the caller's user part.
fn is_in_from(draft: &Draft) -> bool {
    draft.mark.header() == "From" && (is_one_word(draft) || is_uri(draft))
}

/// Writes the marked address.
fn address(draft: &mut Draft, address: &str) {
    let value = draft.mark.tagged(address);
    draft.marked().value = value.into_bytes();
}

const LETTERS: &[Mutation] = &[both("letters in any case", |draft, dice| {
    draft.written = dice.any_case(&draft.written);
    let value = draft.mark.value(&draft.written);
    draft.marked().value = value.into_bytes();
})];

/// How the value is built around the mark.
const FORM: &[Mutation] = &[
    both("a fold at a blank of the value", |draft, dice| {
        // chan_sip keeps the first of a run of blanks, which must not be a tab.
        let blanks = ["\n ", "\n \t", "\n  ", "\n \t "];
        let value = draft.written.replacen(' ', dice.pick(&blanks), 1);
        draft.marked().value = value.into_bytes();
    })
    .only(is_user_agent_with_blank),
    chan_sip(
        "several blanks at each blank of the value",
        |draft, dice| {
            let blanks = " ".repeat(2 + dice.below(4));
            let value = draft.written.replace(' ', &blanks);
            draft.marked().value = value.into_bytes();
        },
    )
    .only(is_user_agent_with_blank),
    both("a name right before the brackets", |draft, _| {
        let text = format!("\"{}\"<sip:visitor@{{source}}>", draft.written);
        address(draft, &text);
    })
    .only(is_word),
    both("a name without quotes", |draft, _| {
        let text = format!("{} <sip:visitor@{{source}}>", draft.written);
        address(draft, &text);
    })
    .only(is_one_word),
    both("other words in the name", |draft, dice| {
        let [before, after] = [(); 2].map(|()| dice.pick(&["", "x", "my ", "- ", "1.0 ", "the_"]));
        let text = format!(
            "\"{before}{}{after}\" <sip:visitor@{{source}}>",
            draft.written
        );
        address(draft, &text);
    })
    .only(is_word),
    both("many blanks behind the name", |draft, dice| {
        let text = format!(
            "\"{}\"{}<sip:visitor@{{source}}>",
            draft.written,
            dice.blanks(9)
        );
        address(draft, &text);
    })
    .only(is_word),
    both("a fold behind the name", |draft, dice| {
        let blanks = dice.blanks(4);
        let text = format!("\"{}\"\n{blanks}<sip:visitor@{{source}}>", draft.written);
        address(draft, &text);
    })
    .only(is_word),
    both("the user of the URI", |draft, dice| {
        let before = dice.pick(&["", "1", "a-", "100."]);
        let text = format!("<sip:{before}{}@{{source}}>", draft.written);
        address(draft, &text);
    })
    .only(is_one_word),
    both("the user of a URI without brackets", |draft, _| {
        let text = format!("sip:{}@{{source}}", draft.written);
        address(draft, &text);
    })
    .only(is_one_word),
    both("a percent-encoded user", |draft, dice| {
        let (user, host) = match draft.written.split_once(['@', ':']) {
            Some((_, rest)) => rest.split_once('@').unwrap_or((rest, "{source}")),
            None => (draft.written.as_str(), "{source}"),
        };
        let mut encoded = String::new();
        for byte in user.bytes() {
            match dice.below(3) {
                0 => encoded.push(byte.into()),
                1 => encoded += &format!("%{byte:02x}"),
                _ => encoded += &format!("%{byte:02X}"),
            }
        }
        let text = format!("<sip:{encoded}@{host}>");
        address(draft, &text);
    })
    .only(is_in_from),
    both("a name before the URI", |draft, dice| {
        let name = dice.pick(&["\"x\" ", "x ", "\"\" ", "\"100\"", "\"a b\"  ", "nm\t"]);
        let text = format!("{name}<{}>", draft.written);
        address(draft, &text);
    })
    .only(is_uri),
    both("a URI without brackets", |draft, _| {
        let text = draft.written.clone();
        address(draft, &text);
    })
    .only(is_uri),
    both("parameters of the URI", |draft, dice| {
        let parameter = dice.pick(&[";lr", ";transport=udp", ";user=phone", ";x=y;lr"]);
        let text = format!("<{}{parameter}>", draft.written);
        address(draft, &text);
    })
    .only(is_uri),
    both("another address before the tag", |draft, dice| {
        tag(draft, dice, ";tag=");
    })
    .only(is_tag),
    both("the tag's name in any case", |draft, dice| {
        let name = dice.any_case(";tag=");
        tag(draft, dice, &name);
    })
    .only(is_tag),
    both("a parameter behind the tag", |draft, dice| {
        tag(draft, dice, ";tag=");
        draft.marked().value.extend(b";x=y");
    })
    .only(is_tag),
    pjsip("blanks around the tag's name", |draft, dice| {
        let [first, second, third] = [(); 3].map(|()| dice.blanks(3));
        tag(draft, dice, &format!(";{first}tag{second}={third}"));
    })
    .only(is_tag),
    both("a name and a fold before the URI", |draft, dice| {
        let text = format!("\"x\"\n{}<{}>", dice.blanks(4), draft.written);
        address(draft, &text);
    })
    .only(is_uri),
];

const NAME: &[Mutation] = &[
    both("the header's name in any case", |draft, dice| {
        let line = draft.marked();
        line.name = dice.any_case(&line.name);
    }),
    both("the header's compact name", |draft, dice| {
        let line = draft.marked();
        if let Some(compact) = compact(&line.name) {
            line.name = dice.any_case(compact);
        }
    })
    .only(|draft| compact(draft.mark.header()).is_some()),
];

const BEFORE_COLON: &[Mutation] = &[
    both("blanks before the colon", |draft, dice| {
        draft.marked().before_colon = dice.blanks(6);
    }),
    both("a fold before the colon", |draft, dice| {
        draft.marked().before_colon = format!("\n{}", dice.blanks(4));
    }),
];

const GAP: &[Mutation] = &[
    both("no blank behind the colon", |draft, _| {
        draft.marked().gap.clear()
    }),
    both("blanks behind the colon", |draft, dice| {
        draft.marked().gap = dice.blanks(12)
    }),
    both("a fold behind the colon", |draft, dice| {
        draft.marked().gap = format!("\n{}", dice.blanks(6));
    }),
    both("blanks and a fold behind the colon", |draft, dice| {
        draft.marked().gap = format!("{}\n{}", dice.blanks(6), dice.blanks(6));
    }),
    both("a fold by CR alone behind the colon", |draft, dice| {
        draft.marked().gap = format!("\r{}", dice.blanks(6));
    }),
    chan_sip("folds behind the colon", |draft, dice| {
        let folds = 2 + dice.below(3);
        draft.marked().gap = (0..folds)
            .map(|_| format!("\n{}", dice.blanks(3)))
            .collect();
    }),
];

const TAIL: &[Mutation] = &[
    both("blanks behind the value", |draft, dice| {
        draft.marked().tail = dice.blanks(20).into_bytes();
    }),
    both("a fold of blanks only behind the value", |draft, dice| {
        draft.marked().tail = format!("\n{}", dice.blanks(4)).into_bytes();
    }),
];

/// What stands behind a NUL chan_sip does not read, other headers included.
const NUL: &[Mutation] = &[chan_sip("a NUL behind the last value", |draft, dice| {
    let mut marked = draft.lines.remove(draft.marked_at());
    let rest = dice.pick(&["", "1.0", " Yealink SIP-T46S", "\0\0"]);
    marked.tail = format!("\0{rest}").into_bytes();
    draft.lines.push(marked);
})
.only(|draft| {
    let is_user_agent = |line: &&Line| line.name.eq_ignore_ascii_case("User-Agent");
    is_udp(draft) && draft.lines.iter().filter(is_user_agent).count() == 1
})];

const OTHER_NAMES: &[Mutation] = &[
    both("compact names of other headers", |draft, dice| {
        for line in draft.lines.iter_mut().filter(|line| !line.is_marked) {
            if let Some(compact) = compact(&line.name)
                && dice.chance(60)
            {
                line.name = compact.to_owned();
            }
        }
    }),
    both("names of other headers in any case", |draft, dice| {
        for line in draft.lines.iter_mut().filter(|line| !line.is_marked) {
            line.name = dice.any_case(&line.name);
        }
    }),
    both("blanks around other colons", |draft, dice| {
        for line in draft.lines.iter_mut().filter(|line| !line.is_marked) {
            if dice.chance(50) {
                line.before_colon = dice.blanks(2);
                line.gap = dice.blanks(3);
            }
        }
    }),
    both("folds in other headers", |draft, dice| {
        for line in draft.lines.iter_mut().filter(|line| !line.is_marked) {
            if dice.chance(50) {
                line.gap = format!("\n{}", dice.blanks(2));
            }
        }
    }),
];

const ORDER: &[Mutation] = &[
    both("the headers in any order", |draft, dice| {
        dice.shuffle(&mut draft.lines);
    }),
    both("the header first", |draft, _| {
        let marked = draft.lines.remove(draft.marked_at());
        draft.lines.insert(0, marked);
    }),
];

/// Drivers read the first of a name.
const SECOND: &[Mutation] = &[both("another User-Agent behind it", |draft, dice| {
    let names = [
        "Yealink SIP-T46S 66.86.0.15",
        "snomD785/10.1.64.14",
        "Z 5.6.4 v2.10.20.4",
        "",
    ];
    let second = Line::new("User-Agent", dice.pick(&names));
    draft.insert(draft.marked_at() + 1, second);
})
.only(is_user_agent)];

/// What stands between other headers, or before all.
const BEFORE: &[Mutation] = &[
    both("headers before it", |draft, dice| {
        for _ in 0..=dice.below(12) {
            let name = dice.pick(&["X-Trace", "Subject", "Supported", "P-Asserted-X", "Xy"]);
            let value = "y".repeat(dice.below(30) + 1);
            draft.insert(draft.marked_at(), Line::new(name, &value));
        }
    }),
    both("a long header before it", |draft, dice| {
        let value = "x".repeat(50 + dice.below(500));
        draft.insert(draft.marked_at(), Line::new("Subject", &value));
    }),
    both("headers that only resemble it", |draft, dice| {
        let names = [
            "X-User-Agent",
            "User-Agents",
            "-User-Agent",
            "User",
            "Fromm",
            "X-Contact",
        ];
        for _ in 0..=dice.below(3) {
            let line = Line::new(dice.pick(&names), "Yealink SIP-T46S 66.86.0.15");
            draft.insert(draft.marked_at(), line);
        }
    }),
    both("bytes above ASCII before it", |draft, dice| {
        let mut line = Line::new("Subject", "");
        line.value = (0..=dice.below(30))
            .map(|_| 0x80 + dice.below(0x80) as u8)
            .collect();
        draft.insert(draft.marked_at(), line);
    }),
    both("a header that begins with a dash before it", |draft, _| {
        draft.insert(draft.marked_at(), Line::new("-subject", "call"));
    }),
    both("a fold of blanks only before it", |draft, dice| {
        let mut line = Line::new("Subject", "call");
        line.tail = format!("\n{}", dice.blanks(4)).into_bytes();
        draft.insert(draft.marked_at(), line);
    }),
    both("a folded header before it", |draft, dice| {
        let mut line = Line::new("Subject", "call");
        line.tail = format!("\n{}me: now", dice.blanks(4)).into_bytes();
        draft.insert(draft.marked_at(), line);
    }),
    chan_sip("a line without a colon before it", |draft, dice| {
        let lines: [&[u8]; 4] = [b"no colon here", b"x", b"\xff\xff", b"User-Agent"];
        let line: &[u8] = dice.pick(&lines);
        draft.insert(draft.marked_at(), Line::raw(line));
    }),
    chan_sip("a line that begins with a colon before it", |draft, _| {
        draft.insert(draft.marked_at(), Line::raw(b": call"));
    }),
    pjsip("many headers before it", |draft, dice| {
        for _ in 0..60 + dice.below(60) {
            draft.insert(draft.marked_at(), Line::new("Xy", "z"));
        }
    }),
];

const BEHIND: &[Mutation] = &[
    both("headers behind it", |draft, dice| {
        for _ in 0..=dice.below(8) {
            draft.insert(draft.marked_at() + 1, Line::new("X-Trace", "Asterisk PBX"));
        }
    }),
    both("a long header behind it", |draft, dice| {
        let value = "x".repeat(50 + dice.below(300));
        draft.insert(draft.marked_at() + 1, Line::new("Subject", &value));
    }),
];

fn request_line(draft: &mut Draft, dice: &mut Dice, blanks: &[&str]) {
    let [first, second] = [(); 2].map(|()| dice.pick(blanks));
    draft.request_line = format!("INVITE{first}sip:100@{{destination}}{second}SIP/2.0");
}

const REQUEST_LINE: &[Mutation] = &[
    both("blanks before the method", |draft, dice| {
        draft.request_line.insert_str(0, &dice.blanks(5));
    }),
    both("the method in any case", |draft, dice| {
        let method = dice.any_case("INVITE");
        draft.request_line.replace_range(.."INVITE".len(), &method);
    }),
    both("sip/2.0 in any case", |draft, dice| {
        let version = dice.any_case("SIP/2.0");
        draft.request_line = draft.request_line.replace("SIP/2.0", &version);
    }),
    both("blanks in the request line", |draft, dice| {
        request_line(draft, dice, &[" ", "  ", "   ", "     "]);
    }),
    both("tabs in the request line", |draft, dice| {
        request_line(draft, dice, &["\t", " \t", "\t ", "\t\t"]);
    }),
    both("blanks behind the request line", |draft, dice| {
        draft.request_line += &dice.blanks(5);
    }),
    pjsip("line ends before the request line", |draft, dice| {
        let lines = "\n".repeat(1 + dice.below(5));
        draft.request_line.insert_str(0, &lines);
    }),
];

const END: &[Mutation] = &[
    both("a body", |draft, dice| {
        if draft.body.is_empty() {
            draft.body = "v=0\r\ns=-\r\n".repeat(1 + dice.below(10)).into_bytes();
        }
    }),
    both("no empty line at the end", |draft, _| draft.end = End::Line).only(may_end_early),
    both("no line end at the end", |draft, _| {
        draft.end = End::Nothing
    })
    .only(may_end_early),
];

fn may_end_early(draft: &Draft) -> bool {
    is_udp(draft) && draft.body.is_empty()
}

/// Over TCP both drivers look for a CRLF.
const LINE_ENDS: &[Mutation] = &[
    both("LF as line end", |draft, _| draft.line_ends = vec!["\n"]).only(is_udp),
    both("CRLF and LF as line ends", |draft, dice| {
        let mut end = || dice.pick(&["\r\n", "\n"]);
        draft.line_ends = (0..7).map(|_| end()).collect();
    })
    .only(is_udp),
    pjsip("CR as line end", |draft, _| draft.line_ends = vec!["\r"]).only(is_udp),
    chan_sip("CR CR LF as line end", |draft, _| {
        draft.line_ends = vec!["\r\r\n"]
    })
    .only(is_udp),
    chan_sip("LF CR as line end", |draft, _| {
        draft.line_ends = vec!["\n\r"]
    })
    .only(|draft| is_udp(draft) && !has_folds(draft)),
];

fn has_folds(draft: &Draft) -> bool {
    draft.lines.iter().any(|line| {
        let blanks = line.before_colon.bytes().chain(line.gap.bytes());
        let mut bytes = blanks.chain(line.value.iter().chain(&line.tail).copied());
        bytes.any(|byte| byte == b'\n')
    })
}

/// RFC 3261 section 7.3.3.
fn compact(name: &str) -> Option<&'static str> {
    match name {
        "Via" => Some("v"),
        "From" => Some("f"),
        "To" => Some("t"),
        "Call-ID" => Some("i"),
        "Contact" => Some("m"),
        "Content-Length" => Some("l"),
        "Subject" => Some("s"),
        "Supported" => Some("k"),
        _ => None,
    }
}
