//! A SIP reader for hostile input (RFC 3261), and one response to it.
//!
//! [`Message::parse`] takes any bytes and never fails. It reads at least what Asterisk's chan_sip
//! and PJSIP read, so that nothing hides from it that a server would act on:
//!
//! - CR and LF each end a line, in any mixture; CRs at a line start are skipped;
//! - a line that begins with a blank or tab continues the line before, also before the colon, and
//!   also where it has nothing but blanks;
//! - headers end at LF CR* LF once a line was seen; empty lines before the first one are skipped,
//!   and so are blanks before the method;
//! - method, `SIP/2.0` and header names match in any case, names also in compact form and with
//!   blanks before the colon;
//! - a line without a colon, a NUL, a byte that is not UTF-8: all other headers are still seen.
//!
//! What deviates from the grammar is reported in [`Message::anomalies`].
//!
//! NUL counts as a blank at the edges of names, values and parameters.

mod address;
mod anomalies;
mod classify;
mod digest;
mod grammar;
mod header;
mod lines;
mod message;
mod method;
mod params;
mod reply;
mod start_line;
mod stream;
mod uri;
mod via;

pub use address::{Addresses, NameAddr};
pub use anomalies::Anomalies;
pub use classify::{KEEP_ALIVE_MAX, PayloadKind, classify, is_sip};
pub use digest::Digest;
pub use grammar::unescape;
pub use header::{Header, HeaderName, Headers, Value};
pub use message::{CSeq, MAX_HEADERS, MAX_LINE, Message};
pub use method::Method;
pub use params::{Param, Params};
pub use reply::service_unavailable;
pub use start_line::{RequestLine, StartLine, StatusLine};
pub use stream::{Frame, MAX_FRAME, Splitter};
pub use uri::{Scheme, Uri, percent_decode};
pub use via::{Via, ViaTransport};
