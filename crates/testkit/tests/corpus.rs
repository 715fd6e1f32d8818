//! The corpus of genuine messages is whole, says what it holds, and is small enough to be carried along.

use std::collections::BTreeSet;
use std::fs;

use sipward_testkit::corpus::{self, user_agent};
use sipward_testkit::recording::Datagram;

const ALL: u64 = 600_000;

#[test]
fn it_is_small_and_no_frame_is_without_a_payload() {
    let sizes = fs::read_dir(corpus::folder()).unwrap();
    let bytes: u64 = sizes
        .map(|entry| entry.unwrap().metadata().unwrap().len())
        .sum();
    assert!(bytes <= ALL, "{bytes} bytes");
    for conversation in corpus::all().unwrap() {
        let name = &conversation.name;
        assert!(!conversation.frames.is_empty(), "{name} is empty");
        for frame in &conversation.frames {
            let datagram = Datagram::read(&frame.bytes);
            let is_empty = datagram.is_none_or(|datagram| datagram.payload.is_empty());
            assert!(!is_empty, "{name} has a frame without a payload");
        }
    }
}

#[test]
fn whatever_a_program_was_told_to_call_itself_it_did() {
    for conversation in corpus::all().unwrap() {
        let sent: BTreeSet<String> = conversation
            .payloads()
            .filter_map(|datagram| user_agent(datagram.payload))
            .collect();
        for told in &conversation.label.configured_user_agents {
            assert!(sent.contains(told), "{}: {told}", conversation.name);
        }
    }
}

/// Nobody's network and nobody's machine is in it: documentation addresses (RFC 5737) and loopback.
#[test]
fn every_address_is_of_documentation() {
    for conversation in corpus::all().unwrap() {
        for datagram in conversation.payloads() {
            for party in [datagram.source, datagram.destination] {
                let ip = party.ip().to_string();
                let is_of_the_lab = ip == "192.0.2.1" || ip == "198.51.100.10";
                assert!(is_of_the_lab, "{}: {ip}", conversation.name);
            }
        }
    }
}

#[test]
fn the_lint_of_signatures_has_the_values_of_this_corpus() {
    let lines = fs::read_to_string(corpus::values_file()).unwrap();
    let lines: BTreeSet<String> = lines.lines().map(str::to_owned).collect();
    let values = corpus::values(&corpus::all().unwrap());
    let differ: Vec<_> = lines.symmetric_difference(&values).collect();
    assert!(differ.is_empty(), "sipward-corpus writes them: {differ:?}");
}
