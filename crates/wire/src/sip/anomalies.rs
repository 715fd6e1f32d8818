//! What is odd about a message.

use core::fmt;
use core::ops::{BitOr, BitOrAssign};

/// A set of deviations from RFC 3261. None of them keeps the rest of the message from being read.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Anomalies(u64);

macro_rules! anomalies {
    ($($(#[doc = $doc:expr])+ $constant:ident = $bit:literal, $name:literal;)+) => {
        impl Anomalies {
            $($(#[doc = $doc])+ pub const $constant: Self = Self(1 << $bit);)+

            /// Every anomaly with its name, in the order of the constants.
            pub const ALL: &'static [(Self, &'static str)] = &[$((Self::$constant, $name)),+];
        }
    };
}

anomalies! {
    /// A line ends in LF without CR.
    BARE_LF = 0, "bare-lf";
    /// A line ends in CR without LF, or there are more CRs than LFs.
    BARE_CR = 1, "bare-cr";
    /// Empty lines before the start line.
    LEADING_EMPTY_LINE = 2, "leading-empty-line";
    /// A blank, tab or NUL before the start line.
    LEADING_BLANK = 3, "leading-blank";
    /// The header section is not UTF-8.
    NOT_UTF8 = 4, "not-utf8";
    /// A NUL in the header section.
    NUL = 5, "nul";
    /// A header line without a colon. It is left out of the headers.
    NO_COLON = 6, "no-colon";
    /// A header line that begins with its colon.
    EMPTY_NAME = 7, "empty-name";
    /// A header name that is not a token.
    ODD_NAME = 8, "odd-name";
    /// A header line is folded before its colon.
    FOLD_BEFORE_COLON = 9, "fold-before-colon";
    /// The start line is folded.
    FOLDED_START_LINE = 10, "folded-start-line";
    /// The headers do not end in an empty line.
    NO_EMPTY_LINE = 11, "no-empty-line";
    /// More than [`MAX_HEADERS`](super::MAX_HEADERS) header lines. They are read all the same.
    TOO_MANY_HEADERS = 12, "too-many-headers";
    /// A line longer than [`MAX_LINE`](super::MAX_LINE) bytes. It is read all the same.
    LONG_LINE = 13, "long-line";
    /// Neither a request line nor a status line.
    UNRECOGNISED_START_LINE = 14, "unrecognised-start-line";
    /// Two blanks, a tab, or blanks at the end in the start line.
    LOOSE_START_LINE = 15, "loose-start-line";
    /// A known method in lower or mixed case.
    METHOD_CASE = 16, "method-case";
    /// A method that is not a token.
    ODD_METHOD = 17, "odd-method";
    /// Not `SIP/2.0`, or missing.
    ODD_VERSION = 18, "odd-version";
    /// A request URI without scheme or host, with headers, or with a byte that none may have.
    ODD_URI = 19, "odd-uri";
    /// A status code that is not three digits from 100 to 699.
    ODD_STATUS = 20, "odd-status";
    /// A Content-Length that is not a number below 2^31.
    BAD_CONTENT_LENGTH = 21, "bad-content-length";
    /// More than one Content-Length.
    DUPLICATE_CONTENT_LENGTH = 22, "duplicate-content-length";
    /// Fewer bytes follow the headers than Content-Length says.
    SHORT_BODY = 23, "short-body";
    /// More bytes follow than Content-Length says.
    EXTRA_BYTES = 24, "extra-bytes";
    /// CSeq without a method or without a number below 2^31.
    BAD_CSEQ = 25, "bad-cseq";
    /// The method in CSeq is not that of the request line.
    CSEQ_METHOD = 26, "cseq-method";
    /// Via, From, To, Call-ID or CSeq is missing.
    MISSING_HEADER = 27, "missing-header";
    /// From, To, Call-ID, CSeq or Max-Forwards more than once.
    DUPLICATE_HEADER = 28, "duplicate-header";
    /// From or To without a URI.
    BAD_ADDRESS = 29, "bad-address";
    /// The topmost Via has no sent-by.
    BAD_VIA = 30, "bad-via";
    /// A quoted string in From, To or Contact does not end.
    OPEN_QUOTE = 31, "open-quote";
    /// A Max-Forwards or Expires that is not a number below 2^32.
    BAD_NUMBER = 32, "bad-number";
}

impl Anomalies {
    /// Nothing odd.
    pub const NONE: Self = Self(0);

    /// With any of these no server can make a transaction of the message.
    pub const UNPARSABLE: Self = Self::UNRECOGNISED_START_LINE.union(Self::MISSING_HEADER);

    /// Whether every anomaly of `other` is in this set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether any anomaly of `other` is in this set.
    #[must_use]
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Nothing odd.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The names, for people and for JSON: `bare-lf`, `no-colon`, ...
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::ALL
            .iter()
            .filter(move |(flag, _)| self.contains(*flag))
            .map(|(_, name)| *name)
    }

    /// The anomalies of both sets.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(super) fn set(&mut self, flag: Self, condition: bool) {
        if condition {
            self.0 |= flag.0;
        }
    }
}

impl BitOr for Anomalies {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        self.union(other)
    }
}

impl BitOrAssign for Anomalies {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

impl fmt::Debug for Anomalies {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_set().entries(self.names()).finish()
    }
}
