//! Asterisk's own texts: its configuration files and what an attacker would use in them.
//!
//! [`config`] reads the grammar exactly as Asterisk 16 does (measured against a running one),
//! [`audit`] judges what was read. Nothing here opens a socket, runs a program or writes a file;
//! the only input is a configuration tree, behind [`config::Files`].

#![forbid(unsafe_code)]

pub mod audit;
pub mod config;
