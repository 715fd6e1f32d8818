//! What the daemon shows over HTTP, to whoever can reach it: the metrics.
//!
//! ```text
//! server (where) ──► connections (who is answered)
//!    └──► snapshots (how often the guard is asked) ──► Guard::figures
//!             └──► metrics, process (what is shown) ──► exposition (in which format)
//! ```
//!
//! All of it runs in a thread of its own: whatever is done to it, and whatever comes of it, the loop is
//! asked once a second at most. The thread has no capability, and a panic in it ends a
//! connection, not the guard. Nothing here names the address of a source.

mod connections;
mod exposition;
mod metrics;
mod process;
mod server;
mod snapshots;

pub use server::Http;
