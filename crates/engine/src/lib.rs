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

mod accounts;
mod bans;
mod command;
mod config;
mod delay;
mod detect;
mod detector;
mod engine;
mod hash;
mod judge;
mod kernel;
mod ladder;
mod log;
mod lru;
mod nonces;
mod observation;
mod outcomes;
pub mod policy;
mod protected;
mod reason;
mod site;
mod source;
mod sources;
mod tally;
mod text;
mod time;
mod traffic;
mod transactions;
mod trust;
mod view;
mod window;

pub use bans::without;
pub use command::{
    Alert, Ban, Command, Evidence, Hold, Origin, Place, Scope, Trusted, TrustedBy, Unban,
    UnbanCause,
};
pub use config::Config;
pub use detect::{
    account_attacked, extension_enumeration, fraud_after_login, malformed_flood, password_guessing,
    prefix_campaign, rate_exceeded, scanner_signature, server_probing, toll_fraud_probe, tripwire,
    unanswered_invite,
};
pub use detector::Detector;
pub use engine::{Engine, Lifted, Restored, Statistics};
pub use ladder::LadderConfig;
pub use observation::{
    Confidence, Direction, KernelDrop, LogEvent, LogKind, LogTransport, Message, Observation,
    SignatureHit, SignatureSeen, Transport, Unreachable,
};
pub use protected::{Protected, ProtectedPrefix, Protection};
pub use reason::Reason;
pub use source::{Source, overlap};
pub use text::{Escaped, escape, escape_at_most};
pub use time::Time;
pub use trust::TrustConfig;
pub use view::{Suspicion, Why};
pub use window::Limits;
