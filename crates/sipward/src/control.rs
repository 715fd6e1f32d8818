//! The control socket: HTTP over a Unix socket between the daemon and the commands.

pub mod api;
mod bans;
pub mod client;
pub mod server;
pub mod watch;

/// Where the daemon listens when nobody says otherwise.
pub const DEFAULT_SOCKET: &str = "/run/sipward/control.sock";
