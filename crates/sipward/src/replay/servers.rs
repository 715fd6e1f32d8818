//! Which machines of a recording are the servers: the ends that answer.
//!
//! An end that sends SIP responses from a protected port is a candidate. A phone or a trunk does
//! so, too, where the server asks it; but it answers the server only. So the candidate with the
//! most different ends to answer is a server (of equals, the one that asks more often for a
//! password, then the one that answers more), and those who answer only servers are none. Where
//! nobody answers, the ends that requests to a protected port are sent to are the servers.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use sipward_wire::{Packet, Transport, sip};

use super::survey::{Input, Kind};
use crate::{config::Config, exit::Failure, pcap};

/// Packets of each file that are looked at.
pub const HEAD: u64 = 50_000;
/// Candidates at most, and ends of each: a scanned network has many.
const MOST: usize = 4_096;

#[derive(Debug, Default)]
struct Candidate {
    clients: BTreeSet<IpAddr>,
    challenges: u64,
    answers: u64,
}

/// Finds the servers in the beginnings of the captures. What is wrong with a file is told when it is
/// played.
pub fn find(inputs: &[Input], config: &Config) -> Vec<IpAddr> {
    let mut candidates: BTreeMap<IpAddr, Candidate> = BTreeMap::new();
    let mut asked: BTreeSet<IpAddr> = BTreeSet::new();
    for input in inputs {
        match input.kind {
            Kind::Capture => {}
            Kind::Log(_) => continue,
        }
        let result = pcap::read(&input.path, |recorded| {
            if recorded.number > HEAD {
                return Err(Failure::input(String::new()));
            }
            if let Some(link) = recorded.link_type {
                let packet = Packet::parse(link, recorded.bytes);
                look(&packet, config, &mut candidates, &mut asked);
            }
            Ok(())
        });
        drop(result);
    }
    let servers = choose(candidates);
    if servers.is_empty() {
        asked.into_iter().collect()
    } else {
        servers
    }
}

fn look(
    packet: &Packet<'_>,
    config: &Config,
    candidates: &mut BTreeMap<IpAddr, Candidate>,
    asked: &mut BTreeSet<IpAddr>,
) {
    let (ports, source, destination, payload) = match (packet.transport, packet.ip) {
        (Transport::Udp(udp), Some(_)) => (
            &config.ports.sip_udp,
            udp.source_port,
            udp.destination_port,
            udp.payload,
        ),
        (Transport::Tcp(tcp), Some(_)) => (
            &config.ports.sip_tcp,
            tcp.source_port,
            tcp.destination_port,
            tcp.payload,
        ),
        (_, _) => return,
    };
    let (from, to) = (ports.contains(&source), ports.contains(&destination));
    let Some(ip) = packet.ip.filter(|_| (from || to) && sip::is_sip(payload)) else {
        return;
    };
    let line = payload.split(|byte| matches!(byte, b'\r' | b'\n'));
    let mut lines = line.filter(|line| !line.is_empty());
    let sip::StartLine::Response(line) = sip::StartLine::parse(lines.next().unwrap_or_default())
    else {
        if to && asked.len() < MOST {
            asked.insert(ip.destination);
        }
        return;
    };
    if !from || candidates.len() >= MOST && !candidates.contains_key(&ip.source) {
        return;
    }
    let candidate = candidates.entry(ip.source).or_default();
    candidate.answers += 1;
    candidate.challenges += u64::from(matches!(line.status, Some(401 | 407)));
    if candidate.clients.len() < MOST {
        candidate.clients.insert(ip.destination);
    }
}

fn choose(mut candidates: BTreeMap<IpAddr, Candidate>) -> Vec<IpAddr> {
    let mut servers = Vec::new();
    loop {
        let first = candidates.iter().max_by_key(|(address, candidate)| {
            let clients = candidate.clients.len();
            (
                clients,
                candidate.challenges,
                candidate.answers,
                std::cmp::Reverse(**address),
            )
        });
        let Some(server) = first.map(|(address, _)| *address) else {
            break;
        };
        candidates.remove(&server);
        servers.push(server);
        for candidate in candidates.values_mut() {
            candidate.clients.remove(&server);
        }
        candidates.retain(|_, candidate| !candidate.clients.is_empty());
    }
    servers.sort();
    servers
}

#[cfg(test)]
mod tests {
    use super::{Candidate, choose};
    use test_case::test_case;

    /// Who answers whom, and how often with a challenge.
    type Answers = &'static [(&'static str, &'static [&'static str], u64)];

    #[test_case(&[("10.0.0.1", &["10.0.0.2"], 0)], &["10.0.0.1"]; "one that answers")]
    #[test_case(&[
        ("10.0.0.1", &["10.0.0.2", "10.0.0.3"], 2),
        ("10.0.0.2", &["10.0.0.1"], 0),
        ("10.0.0.3", &["10.0.0.1"], 0),
    ], &["10.0.0.1"]; "phones that are asked are no servers")]
    #[test_case(&[
        ("10.0.0.1", &["10.0.0.2"], 1),
        ("10.0.0.2", &["10.0.0.1"], 0),
    ], &["10.0.0.1"]; "of two that ask each other the one that asks for passwords")]
    #[test_case(&[
        ("10.0.0.1", &["10.0.0.2", "10.0.0.3"], 2),
        ("10.0.0.9", &["10.0.0.1", "10.0.0.4"], 2),
    ], &["10.0.0.1", "10.0.0.9"]; "two servers that talk to each other")]
    #[test_case(&[], &[]; "nobody answers")]
    fn servers_are_the_ends_that_answer(answers: Answers, servers: &[&str]) {
        let candidates = answers.iter().map(|(address, clients, challenges)| {
            let candidate = Candidate {
                clients: clients
                    .iter()
                    .map(|client| client.parse().unwrap())
                    .collect(),
                challenges: *challenges,
                answers: 1,
            };
            (address.parse().unwrap(), candidate)
        });
        let found: Vec<String> = choose(candidates.collect())
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(found, servers);
    }
}
