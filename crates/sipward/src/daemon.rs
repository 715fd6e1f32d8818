//! The daemon: one task that owns engine, shield and ledger, and everything that wakes it.

mod allowlist;
mod ami;
mod answers;
mod asterisk;
mod backend;
#[cfg(test)]
mod double;
mod drops;
mod evidence;
pub mod feeds;
mod figures;
mod guard;
mod hep;
mod hits;
mod interfaces;
mod kernel_events;
mod links;
mod listing;
mod lists;
mod locks;
mod logs;
mod machine;
pub mod names;
mod notify;
mod orders;
mod packets;
mod peers;
mod reconcile;
mod rejections;
mod reload;
mod run;
mod self_check;
mod srv;
mod ssh_sessions;
mod step;
mod stories;
mod strangers;
mod taps;
mod unwritten;
mod views;
mod watch;

pub use backend::has_fallback;
pub use figures::Figures;
pub use guard::Guard;
pub use listing::{BanList, ListedBan, UnreadList};
pub use machine::{default_interfaces, is_private, own_addresses};
pub use run::{Options, run};
pub use stories::{Story, TellsBans};
pub use views::plain_view;

#[cfg(test)]
pub(crate) use tests::{Bench, addresses, ban};

#[cfg(test)]
mod tests;
