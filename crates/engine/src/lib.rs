//! Decides: observations in, commands out. It has no clock, does no I/O and throws no dice, so
//! the same observations give the same commands, on a live machine and on a recording.
//!
//! ```text
//! Observation ──► Engine ── detectors ──► judge ──► Command
//!    (sensors)      │          │            │      (ledger, shield)
//!                   │          └ windows    ├ protected, trust
//!                   └ time: handle_timeout  └ ladder, bans
//! ```

#![forbid(unsafe_code)]
#![deny(clippy::indexing_slicing)]

mod bans;
mod command;
mod config;
mod detect;
mod detector;
mod engine;
mod judge;
mod ladder;
mod observation;
mod protected;
mod reason;
mod source;
mod text;
mod time;
mod trust;
mod view;

pub use command::{
    Alert, Ban, Command, Evidence, Hold, Origin, Place, Scope, Trusted, TrustedBy, Unban,
    UnbanCause,
};
pub use config::Config;
pub use detect::{scanner_signature, tripwire};
pub use detector::Detector;
pub use engine::{Engine, Lifted, Restored, Statistics};
pub use ladder::LadderConfig;
pub use observation::{Confidence, KernelDrop, Observation, SignatureHit, Transport};
pub use protected::{Protected, ProtectedPrefix, Protection};
pub use reason::Reason;
pub use source::{Source, overlap};
pub use text::{Escaped, escape, escape_at_most};
pub use time::Time;
pub use trust::TrustConfig;
pub use view::{Suspicion, Why};
