//! The real program on real interfaces, in network namespaces of its own. Needs root.
#![expect(
    clippy::unwrap_used,
    reason = "a test ends where what it stands on is not there"
)]

mod bad_input;
mod clock;
mod disk;
mod doctor;
mod interfaces;
mod many;
mod metrics;
mod names;
mod orders;
mod place;
mod scanner;
mod service;
mod survival;
mod upgrade;
mod views;
