//! From bytes to lines without comments.

use super::Place;

/// Bytes of a line that Asterisk's buffer holds, newline among them.
const BUFFER: usize = 8191;
/// Depth of nested `;-- --;` that Asterisk counts.
const MAX_NESTED: i32 = 128;

/// What one line leaves for the parser.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// Text outside comments, blanks stripped; may be empty.
    Text(Vec<u8>),
    /// Longer than Asterisk reads.
    TooLong,
}

/// Lines of one file, numbered from 1 the way Asterisk counts them.
pub(super) struct Lines<'a> {
    rest: &'a [u8],
    number: u32,
}

impl<'a> Lines<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self {
            rest: bytes,
            number: 0,
        }
    }

    /// The next line's number and text, `comments` being the state between lines.
    pub(super) fn next(&mut self, comments: &mut Comments) -> Option<(u32, Line)> {
        let piece = self.piece()?;
        self.number += 1;
        let number = self.number;
        if piece.len() < BUFFER {
            return Some((number, Line::Text(comments.strip(piece))));
        }
        // Asterisk drops whole buffers until one is not full. A line of exactly 8,190 bytes takes
        // the line after it along; the number stays true to the file here.
        let mut last = piece;
        while last.len() == BUFFER {
            if last.ends_with(b"\n") {
                self.number += 1;
            }
            let Some(next) = self.piece() else { break };
            last = next;
        }
        Some((number, Line::TooLong))
    }

    fn piece(&mut self) -> Option<&'a [u8]> {
        if self.rest.is_empty() {
            return None;
        }
        let window = self.rest.get(..BUFFER).unwrap_or(self.rest);
        let end = window
            .iter()
            .position(|&b| b == b'\n')
            .map_or(window.len(), |i| i + 1);
        let (piece, rest) = self.rest.split_at(end);
        self.rest = rest;
        Some(piece)
    }
}

/// The state of `;-- --;` comments between lines. It goes below zero at a stray `--;`, as
/// Asterisk's counter does, and then everything is a comment.
#[derive(Debug, Default)]
pub(super) struct Comments {
    depth: i32,
    opened: Option<Place>,
}

impl Comments {
    /// Inside a comment that never ended (above zero) or was never opened (below).
    pub(super) fn depth(&self) -> i32 {
        self.depth
    }

    /// Where the comment that is open was opened: in a file before this one where a pattern named
    /// several, because Asterisk carries its counter over.
    pub(super) fn opened(&self) -> Option<Place> {
        self.opened
    }

    /// `at` was read, and the depth was `before`.
    pub(super) fn passed(&mut self, before: i32, at: Place) {
        if before == 0 && self.depth != 0 {
            self.opened = Some(at);
        }
    }

    /// The text of a line outside comments. `\;` is a semicolon, `;--` opens a comment unless a
    /// third dash follows, `--;` closes it, any other `;` ends the line.
    fn strip(&mut self, line: &[u8]) -> Vec<u8> {
        let line = line.split(|&b| b == 0).next().unwrap_or(line);
        if !line.contains(&b';') {
            return if self.depth == 0 {
                trim(line).to_vec()
            } else {
                Vec::new()
            };
        }
        // As in Asterisk the line shrinks in place: `text` is what is left of it, `from` the start
        // of what the search for the next semicolon sees, `visible` where text outside comments
        // begins, `cut` where a comment opened on this line.
        let mut text = line.to_vec();
        let mut from = 0;
        let mut visible = (self.depth == 0).then_some(0);
        let mut cut: Option<usize> = None;
        while let Some(at) = find_semicolon(&text, from) {
            let rest = text.get(at + 1..).unwrap_or_default();
            let before = text.get(from..at).unwrap_or_default();
            if before.ends_with(b"\\") {
                text.remove(at - 1);
                from = at;
            } else if rest.starts_with(b"--") && rest.get(2) != Some(&b'-') {
                if self.depth >= MAX_NESTED {
                    // Asterisk logs the limit and never leaves this semicolon again.
                    from = at + 1;
                    continue;
                }
                self.depth += 1;
                cut = cut.or(Some(at));
                from = at + 3;
            } else if before.ends_with(b"--") {
                self.depth -= 1;
                from = at + 1;
                if self.depth != 0 {
                    continue;
                }
                if visible.is_none() {
                    visible = Some(from);
                } else if let Some(start) = cut.take() {
                    text.drain(start..from);
                    from = start;
                }
            } else if self.depth == 0 {
                text.truncate(at);
            } else {
                from = at + 1;
            }
        }
        let end = cut.unwrap_or(text.len());
        visible
            .and_then(|start| text.get(start..end))
            .map(trim)
            .unwrap_or_default()
            .to_vec()
    }
}

fn find_semicolon(text: &[u8], from: usize) -> Option<usize> {
    text.get(from..)?
        .iter()
        .position(|&b| b == b';')
        .map(|i| from + i)
}

/// Without the bytes up to and with the blank at both ends: Asterisk's idea of white space.
pub(super) fn trim(mut text: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = text
        && *first < 33
    {
        text = rest;
    }
    while let [rest @ .., last] = text
        && *last < 33
    {
        text = rest;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use test_case::test_case;

    fn texts(bytes: &[u8]) -> Vec<(u32, String)> {
        let mut lines = Lines::new(bytes);
        let mut comments = Comments::default();
        std::iter::from_fn(|| lines.next(&mut comments))
            .map(|(n, line)| match line {
                Line::Text(t) => (n, String::from_utf8_lossy(&t).into_owned()),
                Line::TooLong => (n, "<too long>".to_owned()),
            })
            .filter(|(_, t)| !t.is_empty())
            .collect()
    }

    #[test_case("a=b ; c", "a=b"; "a comment ends the line")]
    #[test_case("a=b\\;c;d", "a=b;c"; "an escaped semicolon stays")]
    #[test_case("a=\\;\\;\\;", "a=;;;"; "escapes in a row")]
    #[test_case("a=b;-- gone --;c", "a=bc"; "a comment inside a line")]
    #[test_case("a=b;-- x --;c;-- y --;d", "a=bcd"; "two comments inside a line")]
    #[test_case("a=b;--- all gone", "a=b"; "three dashes are a plain comment")]
    #[test_case(";--\na=1\n--;b=2", "b=2"; "a comment over lines")]
    #[test_case(";-- ;-- --;\na=1\n--;\nb=2", "b=2"; "comments nest")]
    #[test_case("\t a=b \r", "a=b"; "blanks and carriage returns at the ends")]
    #[test_case("a=b\0c", "a=b"; "a line ends at a zero byte")]
    #[test_case("a=1--;c\nb=2", "a=1--;c"; "a stray end hides the lines after it")]
    fn text_outside_comments(input: &str, expected: &str) {
        let found: Vec<String> = texts(input.as_bytes())
            .into_iter()
            .map(|(_, t)| t)
            .collect();
        assert_eq!(found.join("\n"), expected);
    }

    #[test]
    fn a_line_too_long_is_skipped_and_the_number_stays_true() {
        let text = format!("a=1\nb={}\nc=3\n", "x".repeat(20_000));
        let expected = [
            (1, "a=1".to_owned()),
            (2, "<too long>".to_owned()),
            (3, "c=3".to_owned()),
        ];
        assert_eq!(texts(text.as_bytes()), expected);
    }

    #[test]
    fn a_line_that_fills_the_buffer_takes_the_next_one_along() {
        let text = format!("b={}\nc=3\nd=4\n", "x".repeat(BUFFER - 3));
        assert_eq!(
            texts(text.as_bytes()),
            [(1, "<too long>".to_owned()), (3, "d=4".to_owned())]
        );
    }
}
