//! Asterisk's own texts: its configuration files and what an attacker would use in them, its log and
//! its manager interface; and what FreeSWITCH and Kamailio log of failed authentications.
//!
//! [`config`] reads the grammar exactly as Asterisk 16 does (measured against a running one),
//! [`audit`] judges what was read, and [`peers`] finds there whom Asterisk itself calls. [`log`] and
//! [`ami`] read who tried what from where. Nothing here opens a socket, runs a program or writes a
//! file; the only input is bytes, and a configuration tree behind [`config::Files`].

#![forbid(unsafe_code)]

pub mod ami;
pub mod audit;
pub mod config;
pub mod log;
pub mod logger;
pub mod peers;
