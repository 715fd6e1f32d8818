//! Signatures of known scanners: the file that lists them, its lint, and the compiler that turns
//! them into the table that the kernel walks.
//!
//! ```text
//! signatures.toml ─► SignatureSet ─► compile ─► Tables ─► the XDP program, and Tables::scan
//!                         └─► lint
//! ```
//!
//! A signature is a pattern in one header field (or in the request URI), never in the packet as a
//! whole: the word `cisco` in a display name is not a User-Agent. Where a header begins and ends,
//! how a line is folded and which blanks do not count is part of the compiled automaton, so the
//! walker is a dozen lines of C or Rust that know nothing of SIP, and the two cannot disagree.
//!
//! ```
//! use sipward_signature::{Profile, ScanMode, SignatureSet};
//!
//! let set = SignatureSet::builtin();
//! let tables = set.compile(Profile::Standard, &[])?;
//! let packet = b"OPTIONS sip:100@192.0.2.1 SIP/2.0\r\nuser-agent : friendly-scanner\r\n\r\n";
//! let slot = tables.scan(packet, ScanMode::DATAGRAM).unwrap();
//! assert_eq!(tables.signature(slot).unwrap().name, "sipvicious-friendly-scanner");
//! # Ok::<(), sipward_signature::Error>(())
//! ```

#![forbid(unsafe_code)]
#![deny(clippy::indexing_slicing)]

mod compile;
mod format;
mod genuine;
mod lint;
mod set;
mod tables;

pub use format::{Case, Confidence, Error, Field, MatchKind, Signature};
pub use genuine::GENUINE_USER_AGENTS;
pub use lint::{Finding, Severity, lint};
pub use set::{Action, BUILTIN, Match, Profile, SignatureSet};
pub use tables::{
    CELL_SPECIAL, CompiledSignature, INFO_DEAD, INFO_END, INFO_SLOT_MASK, MAX_SIGNATURES,
    OFFSET_MASK, ROW_UNIT, ScanMode, TABLE_UNITS, Tables,
};
