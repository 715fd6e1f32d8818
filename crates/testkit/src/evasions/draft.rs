//! The request that variations are made of, part by part.

use super::Transport;
use super::variation::Mark;

/// Stands for the length of the body.
const LENGTH: &str = "{length}";

/// A header in the making.
#[derive(Debug, Clone)]
pub(super) struct Line {
    pub(super) name: String,
    /// Blanks and folds before the colon.
    pub(super) before_colon: String,
    /// Blanks and folds behind it.
    pub(super) gap: String,
    pub(super) value: Vec<u8>,
    /// What stands behind the value on its line.
    pub(super) tail: Vec<u8>,
    /// Whether it has the mark.
    pub(super) is_marked: bool,
}

/// An INVITE in the making. A line feed stands for whatever ends the lines; `{via}`, `{source}`,
/// `{destination}` and `{call}` for what is known when it is sent.
#[derive(Debug, Clone)]
pub(super) struct Draft {
    pub(super) transport: Transport,
    pub(super) mark: Mark,
    /// The mark's text as it is written here.
    pub(super) written: String,
    pub(super) request_line: String,
    pub(super) lines: Vec<Line>,
    /// What ends the lines, taken in turn.
    pub(super) line_ends: Vec<&'static str>,
    pub(super) end: End,
    pub(super) body: Vec<u8>,
}

/// How the headers end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// With an empty line.
    EmptyLine,
    /// With the last header's line.
    Line,
    /// With the last header's last byte.
    Nothing,
}

impl Draft {
    /// As RFC 3261 wants it, with the mark.
    pub(super) fn new(transport: Transport, mark: &Mark) -> Self {
        let mut lines = vec![
            Line::new("Via", "SIP/2.0/{via} {source};branch=z9hG4bK-{call};rport"),
            Line::new("Max-Forwards", "70"),
            Line::new("From", "<sip:visitor@{source}>;tag={call}"),
            Line::new("To", "<sip:100@{destination}>"),
            Line::new("Call-ID", "{call}"),
            Line::new("CSeq", "1 INVITE"),
            Line::new("Contact", "<sip:visitor@{source}>"),
            Line::new("Content-Length", LENGTH),
        ];
        let written = mark.text().to_owned();
        let marked = mark.value(&written);
        match lines.iter_mut().find(|line| line.name == mark.header()) {
            Some(line) => {
                line.value = marked.into_bytes();
                line.is_marked = true;
            }
            None => lines.push(Line {
                is_marked: true,
                ..Line::new(mark.header(), &marked)
            }),
        }
        Self {
            transport,
            mark: mark.clone(),
            written,
            request_line: "INVITE sip:100@{destination} SIP/2.0".to_owned(),
            lines,
            line_ends: vec!["\r\n"],
            end: End::EmptyLine,
            body: Vec::new(),
        }
    }

    pub(super) fn marked(&mut self) -> &mut Line {
        let marked = self.lines.iter_mut().find(|line| line.is_marked);
        marked.expect("no mutation takes the marked header away")
    }

    /// Puts another header before the one at this place, or behind all.
    pub(super) fn insert(&mut self, at: usize, line: Line) {
        self.lines.insert(at.min(self.lines.len()), line);
    }

    pub(super) fn marked_at(&self) -> usize {
        let marked = self.lines.iter().position(|line| line.is_marked);
        marked.expect("no mutation takes the marked header away")
    }

    /// The bytes of the message, and where the marked header's line ends in them.
    pub(super) fn bytes(&self) -> (Vec<u8>, usize) {
        let mut text = self.request_line.clone().into_bytes();
        text.push(b'\n');
        let length = self.body.len().to_string();
        let mut end_of_marked = 0;
        for line in &self.lines {
            text.extend(line.name.bytes());
            text.extend(line.before_colon.bytes());
            // A line without a colon is one that has neither name nor gap.
            if !line.name.is_empty() {
                text.push(b':');
            }
            text.extend(line.gap.bytes());
            if line.value == LENGTH.as_bytes() {
                text.extend(length.bytes());
            } else {
                text.extend(&line.value);
            }
            text.extend(&line.tail);
            text.push(b'\n');
            if line.is_marked {
                end_of_marked = text.len();
            }
        }
        match self.end {
            End::EmptyLine => text.push(b'\n'),
            End::Line => {}
            End::Nothing => {
                text.pop();
                end_of_marked = end_of_marked.min(text.len());
            }
        }
        let mut ends = self.line_ends.iter().cycle();
        let mut bytes = Vec::with_capacity(2 * text.len() + self.body.len());
        let mut end = 0;
        for (at, byte) in text.iter().enumerate() {
            match byte {
                b'\n' => bytes.extend(ends.next().into_iter().flat_map(|end| end.bytes())),
                other => bytes.push(*other),
            }
            if at + 1 == end_of_marked {
                end = bytes.len();
            }
        }
        bytes.extend(&self.body);
        (bytes, end)
    }
}

impl Line {
    pub(super) fn new(name: &str, value: &str) -> Self {
        Self {
            name: name.to_owned(),
            before_colon: String::new(),
            gap: " ".to_owned(),
            value: value.as_bytes().to_vec(),
            tail: Vec::new(),
            is_marked: false,
        }
    }

    /// A line as it stands, whatever it is.
    pub(super) fn raw(bytes: &[u8]) -> Self {
        Self {
            gap: String::new(),
            value: bytes.to_vec(),
            ..Self::new("", "")
        }
    }
}
