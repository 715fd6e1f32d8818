//! Logical lines: line ends of any kind, folding, and where the headers end.

use super::anomalies::Anomalies;

/// Walks the logical lines of a header section. A folded line comes as one slice, its line ends
/// and blanks inside.
#[derive(Debug, Clone)]
pub(super) struct Lines<'a> {
    bytes: &'a [u8],
    /// Where the next line begins; behind the empty line once that was met.
    position: usize,
    ended: bool,
    anomalies: Anomalies,
}

impl<'a> Lines<'a> {
    /// From the start of a message: skips empty lines and blanks before the first line.
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        let is_leading = |byte: &u8| matches!(byte, b'\r' | b'\n' | b' ' | b'\t' | 0);
        let position = bytes.iter().take_while(|byte| is_leading(byte)).count();
        let skipped = bytes.get(..position).unwrap_or_default();
        let mut anomalies = Anomalies::NONE;
        if skipped.iter().any(|byte| matches!(byte, b'\r' | b'\n')) {
            anomalies |= Anomalies::LEADING_EMPTY_LINE;
        }
        if skipped.iter().any(|byte| !matches!(byte, b'\r' | b'\n')) {
            anomalies |= Anomalies::LEADING_BLANK;
        }
        Self {
            bytes,
            position,
            ended: false,
            anomalies,
        }
    }

    /// From a line start that an earlier walk has found.
    pub(super) fn at(bytes: &'a [u8], position: usize) -> Self {
        Self {
            bytes,
            position,
            ended: false,
            anomalies: Anomalies::NONE,
        }
    }

    /// Where the next line begins, or the body.
    pub(super) fn position(&self) -> usize {
        self.position
    }

    /// Whether the empty line after the headers was met.
    pub(super) fn ended(&self) -> bool {
        self.ended
    }

    /// Line ends met so far that are not CRLF, and what was skipped at the start.
    pub(super) fn anomalies(&self) -> Anomalies {
        self.anomalies
    }

    fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.position..).unwrap_or_default()
    }

    /// Takes line ends up to the next line start or behind the empty line.
    fn skip_line_ends(&mut self) {
        let mut after_line_feed = false;
        let mut after_return = false;
        while let Some(byte @ (b'\r' | b'\n')) = self.rest().first() {
            self.position += 1;
            if *byte == b'\r' {
                if after_return {
                    self.anomalies |= Anomalies::BARE_CR;
                }
                after_return = true;
                continue;
            }
            if !after_return {
                self.anomalies |= Anomalies::BARE_LF;
            }
            after_return = false;
            if after_line_feed {
                self.ended = true;
                return;
            }
            after_line_feed = true;
        }
        if after_return {
            self.anomalies |= Anomalies::BARE_CR;
        }
    }
}

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.ended || self.rest().is_empty() {
            return None;
        }
        let start = self.position;
        let mut end;
        loop {
            let rest = self.rest();
            let is_line_end = |byte: &u8| matches!(byte, b'\r' | b'\n');
            self.position += rest.iter().position(is_line_end).unwrap_or(rest.len());
            end = self.position;
            self.skip_line_ends();
            if self.ended || !matches!(self.rest().first(), Some(b' ' | b'\t')) {
                break;
            }
        }
        self.bytes.get(start..end)
    }
}
