//! The test bench: packets built field by field, network namespaces, a real Asterisk, real
//! scanners and phones. For tests and the demonstration only, never in the released program.
#![forbid(unsafe_code)]

pub mod packet;
pub mod pcap;
