//! Text from the network, made harmless before a person or a log sees it.

use std::fmt;

/// Shows bytes from the network on one line: what could move a cursor, reorder or hide text, or
/// end a line becomes a visible escape (`\n`, `\x1b`, `\u{202e}`, bytes that are no UTF-8 as
/// `\xff`; a backslash is doubled, so that escapes cannot be forged).
///
/// Escaped are C0 and C1 controls, DEL, line and paragraph separators, bidirectional controls
/// (Unicode annex 9), zero-width and other invisible characters, variation selectors, tag
/// characters, private use and non-characters.
#[derive(Clone, Copy, Debug)]
pub struct Escaped<'a> {
    bytes: &'a [u8],
    limit: usize,
}

/// Escapes the whole of `bytes`.
#[must_use]
pub const fn escape(bytes: &[u8]) -> Escaped<'_> {
    Escaped {
        bytes,
        limit: usize::MAX,
    }
}

/// Escapes at most `limit` bytes of `bytes`; what is left out is shown as `…`.
#[must_use]
pub const fn escape_at_most(bytes: &[u8], limit: usize) -> Escaped<'_> {
    Escaped { bytes, limit }
}

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.bytes.get(..self.limit).unwrap_or(self.bytes);
        for chunk in shown.utf8_chunks() {
            text(f, chunk.valid())?;
            chunk
                .invalid()
                .iter()
                .try_for_each(|byte| write!(f, "\\x{byte:02x}"))?;
        }
        if shown.len() < self.bytes.len() {
            f.write_str("…")?;
        }
        Ok(())
    }
}

/// Most of it is plain and goes at once.
fn text(f: &mut fmt::Formatter<'_>, mut text: &str) -> fmt::Result {
    loop {
        let is_plain = |b: u8| matches!(b, b' '..=b'~') && b != b'\\';
        let plain = text.bytes().position(|b| !is_plain(b));
        let (run, rest) = text.split_at(plain.unwrap_or(text.len()));
        f.write_str(run)?;
        let mut rest = rest.chars();
        let Some(c) = rest.next() else {
            return Ok(());
        };
        character(f, c)?;
        text = rest.as_str();
    }
}

fn character(f: &mut fmt::Formatter<'_>, c: char) -> fmt::Result {
    match c {
        '\\' => f.write_str("\\\\"),
        '\n' => f.write_str("\\n"),
        '\r' => f.write_str("\\r"),
        '\t' => f.write_str("\\t"),
        '\0'..='\x1f' | '\x7f' => write!(f, "\\x{:02x}", u32::from(c)),
        _ if is_invisible(c) => write!(f, "\\u{{{:x}}}", u32::from(c)),
        _ => write!(f, "{c}"),
    }
}

fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{80}'..='\u{9f}'            // C1: a terminal may take U+009B for ESC [
            | '\u{ad}'                 // soft hyphen
            | '\u{34f}'                // combining grapheme joiner
            | '\u{61c}'                // Arabic letter mark
            | '\u{115f}'..='\u{1160}'  // Hangul fillers
            | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}'  // Mongolian selectors
            | '\u{200b}'..='\u{200f}'  // zero width, left-to-right and right-to-left marks
            | '\u{2028}'..='\u{202e}'  // separators, embeddings, overrides
            | '\u{2060}'..='\u{206f}'  // joiners, isolates
            | '\u{3164}'
            | '\u{e000}'..='\u{f8ff}'  // private use
            | '\u{fdd0}'..='\u{fdef}'  // non-characters
            | '\u{fe00}'..='\u{fe0f}'  // variation selectors
            | '\u{feff}'               // byte order mark
            | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}'
            | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{10ffff}' // tags, selectors, private use
    ) || u32::from(c) & 0xfffe == 0xfffe
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use test_case::test_case;

    #[test_case(b"INVITE sip:100@1.1.1.1 SIP/2.0", "INVITE sip:100@1.1.1.1 SIP/2.0"; "plain text stays")]
    #[test_case("Grüße 電話".as_bytes(), "Grüße 電話"; "letters of any script stay")]
    #[test_case(b"a\x1b[2Jb", "a\\x1b[2Jb"; "escape sequence")]
    #[test_case(b"a\r\nb\tc\0", "a\\r\\nb\\tc\\x00"; "line ends, tab, zero")]
    #[test_case(b"\xff\xc3", "\\xff\\xc3"; "no utf 8")]
    #[test_case(b"\xc2\x9b31m", "\\u{9b}31m"; "c1 control")]
    #[test_case("a\u{202e}b\u{200b}c\u{e0041}d".as_bytes(), "a\\u{202e}b\\u{200b}c\\u{e0041}d"; "bidi, zero width, tag")]
    #[test_case(br"\n", r"\\n"; "escapes cannot be forged")]
    fn hidden_characters_become_visible(bytes: &[u8], shown: &str) {
        assert_eq!(escape(bytes).to_string(), shown);
    }

    #[test]
    fn long_text_is_cut_and_says_so() {
        assert_eq!(escape_at_most(b"abcdef", 3).to_string(), "abc…");
        assert_eq!(escape_at_most(b"abc", 3).to_string(), "abc");
    }

    proptest! {
        #[test]
        fn no_control_character_survives(bytes: Vec<u8>) {
            let shown = escape(&bytes).to_string();
            prop_assert!(!shown.chars().any(|c| c.is_control() || is_invisible(c)), "{shown:?}");
        }

        #[test]
        fn different_bytes_look_different(a: Vec<u8>, b: Vec<u8>) {
            prop_assert_eq!(a == b, escape(&a).to_string() == escape(&b).to_string());
        }
    }
}
