//! The test bench: packets built field by field, network namespaces, a real Asterisk, real
//! scanners and phones. For tests and the demonstration only, never in the released program.
#![deny(unsafe_code)]

pub mod asterisk;
pub mod evasions;
pub mod headers;
pub mod inject;
pub mod lab;
pub mod namespace;
pub mod packet;
pub mod pcap;
pub mod process;
pub mod require;
pub mod stream;
