//! The test bench: packets built field by field, network namespaces, a real Asterisk, real
//! scanners and phones. For tests and the demonstration only, never in the released program.
#![deny(unsafe_code)]

pub mod asterisk;
pub mod bpf;
pub mod cgroup;
pub mod clock;
pub mod cores;
pub mod corpus;
pub mod count;
pub mod crossfire;
pub mod docker_engine;
pub mod docker_proxy;
pub mod evasions;
pub mod fail2ban;
pub mod flood;
pub mod guard;
pub mod headers;
pub mod kamailio;
pub mod lab;
pub mod link;
pub mod machine;
pub mod namespace;
pub mod packet;
pub mod pcap;
pub mod phone;
pub mod prefixes;
pub mod process;
pub mod prometheus;
pub mod recording;
pub mod require;
pub mod scanner;
pub mod sshd;
pub mod stream;
pub mod systemd;
pub mod user_agent;
