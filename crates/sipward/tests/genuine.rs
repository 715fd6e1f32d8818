//! What sipward and the guide's own rules would drop of the corpus of genuine messages: each of them
//! through the real kernel program, and through the real iptables. Prints the report.
#![allow(clippy::unwrap_used, reason = "a test that fails to set up has failed")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sipward_shield::{Policy, Ports, Shield as _, Simulator, Verdict};
use sipward_signature::{Profile, ScanMode, SignatureSet};
use sipward_testkit::corpus::{self, Conversation, Kind, user_agent};
use sipward_testkit::lab::PBX;
use sipward_testkit::namespace::Namespace;
use sipward_testkit::packet::Packet;
use sipward_testkit::process::wait_until;
use sipward_testkit::require::{Need, require};

const RULES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/guide-rules.sh");

/// The corpus is to hold this much.
const PROGRAMS: usize = 8;
const USER_AGENTS: usize = 25;
const MESSAGES: usize = 5_000;

/// A payload, to be sent to a PBX: what a PBX said, a PBX at the other end of a trunk gets.
#[derive(Clone)]
struct Sent {
    payload: Vec<u8>,
    is_tcp: bool,
    /// It was sent to the PBX of the recording, not by it.
    is_to_pbx: bool,
}

#[derive(Default)]
struct Contents {
    programs: BTreeSet<String>,
    own: BTreeSet<String>,
    configured: BTreeSet<String>,
    requests: BTreeMap<String, usize>,
    responses: usize,
    line_ends: usize,
    zeros: usize,
    stun: usize,
    rest: usize,
}

impl Contents {
    fn of(corpus: &[Conversation]) -> Self {
        let mut contents = Self::default();
        for conversation in corpus {
            let label = &conversation.label;
            contents.programs.insert(label.program.clone());
            let configured = &label.configured_user_agents;
            contents.configured.extend(configured.iter().cloned());
            for datagram in conversation.payloads() {
                if let Some(value) = user_agent(datagram.payload) {
                    contents.own.insert(value);
                }
                match Kind::of(datagram.payload) {
                    Kind::Request(method) => *contents.requests.entry(method).or_default() += 1,
                    Kind::Response => contents.responses += 1,
                    Kind::LineEnds => contents.line_ends += 1,
                    Kind::Zeros => contents.zeros += 1,
                    Kind::Stun => contents.stun += 1,
                    Kind::Rest => contents.rest += 1,
                }
            }
        }
        // Whatever else is sent is a program's own name.
        let sent = std::mem::take(&mut contents.own);
        let (configured, own) = sent
            .into_iter()
            .partition(|value| contents.configured.contains(value));
        contents.configured = configured;
        contents.own = own;
        contents
    }

    /// Requests, responses and keep-alives; what only continues a message is none.
    fn messages(&self) -> usize {
        let requests: usize = self.requests.values().sum();
        requests + self.responses + self.line_ends + self.zeros + self.stun
    }
}

/// What the kernel program drops of it: by signature, how often. Its limits are out of the way: how
/// much somebody may send is not what is asked here.
fn dropped_by_sipward(profile: Profile, messages: &[Sent]) -> Result<BTreeMap<String, usize>> {
    let policy = Policy::without_limits(Ports::sip(&[5060]));
    let tables = SignatureSet::builtin().compile(profile, &[])?;
    let mut simulator = Simulator::new()?;
    simulator.set_policy(&policy)?;
    simulator.set_signatures(&tables)?;
    let server = SocketAddr::new(PBX.parse()?, 5060);
    let mut dropped = BTreeMap::new();
    for (number, message) in messages.iter().enumerate() {
        let source = format!("203.0.{}.{}:5060", number / 250, 1 + number % 250);
        let packet = if message.is_tcp {
            Packet::tcp(source, server)
        } else {
            Packet::udp(source, server)
        };
        let judgement = simulator.run(&packet.payload(&message.payload).build())?;
        if judgement.verdict == Verdict::Drop {
            // The kernel does not tell of each hit of many; its twin does.
            let mode = if message.is_tcp {
                ScanMode::SEGMENT
            } else {
                ScanMode::DATAGRAM
            };
            let hit = tables.scan(&message.payload, mode);
            let hit = hit.and_then(|slot| tables.signature(slot));
            let name = hit.map_or(format!("{:?}", judgement.reason), |one| one.name.clone());
            *dropped.entry(name).or_default() += 1;
        }
    }
    Ok(dropped)
}

/// The guide's rules in a namespace of their own.
struct Guide {
    namespace: Namespace,
    /// Whether a rule that matches ends the packet's way.
    is_dropping: bool,
}

impl Guide {
    /// Loads the script; behind its rules comes one that counts what is left.
    fn load(role: &str, script: &str) -> Result<Self> {
        let namespace = Namespace::new(role)?;
        let loaded = namespace
            .command("sh")
            .args(["-e", "-c", script])
            .output()?;
        ensure!(
            loaded.status.success(),
            "{}",
            String::from_utf8_lossy(&loaded.stderr)
        );
        namespace.run("iptables --append INPUT --protocol udp --dport 5060")?;
        Ok(Self {
            namespace,
            is_dropping: script.contains("-j DROP"),
        })
    }

    /// Sends what goes over UDP through it and counts what each rule matched, with its string.
    fn count(&self, messages: &[Sent]) -> Result<Vec<(String, u64)>> {
        let over_udp: Vec<_> = messages.iter().filter(|message| !message.is_tcp).collect();
        let mut sent = 0;
        // Nobody reads it: what counts is counted before.
        let [_server, phone] = self.namespace.enter(|| {
            ["127.0.0.1:5060", "127.0.0.1:0"].map(|address| UdpSocket::bind(address).unwrap())
        });
        // More at once might not fit into the loopback's queue.
        for some in over_udp.chunks(500) {
            for message in some {
                phone.send_to(&message.payload, "127.0.0.1:5060")?;
                sent += 1;
            }
            wait_until("all packets to be counted", Duration::from_secs(20), || {
                self.ended().is_ok_and(|ended| ended == sent)
            })?;
        }
        let (counted, _) = self.counters()?;
        Ok(counted)
    }

    /// Packets whose way through the rules has ended.
    fn ended(&self) -> Result<u64> {
        let (counted, left) = self.counters()?;
        let dropped = if self.is_dropping { sum(&counted) } else { 0 };
        Ok(dropped + left)
    }

    /// What each rule with a string matched, and what came to the end.
    fn counters(&self) -> Result<(Vec<(String, u64)>, u64)> {
        let listed = self
            .namespace
            .run("iptables-save --counters --table filter")?;
        let mut counted = Vec::new();
        let mut left = 0;
        for line in listed.lines().filter(|line| line.contains(" -A INPUT ")) {
            let count = line
                .strip_prefix('[')
                .and_then(|line| line.split(':').next());
            let count = count.context("a rule without a counter")?.parse()?;
            let Some((_, behind)) = line.split_once(" --string ") else {
                left = count;
                continue;
            };
            let string = behind.split(" --algo ").next().unwrap_or_default();
            counted.push((string.trim_matches('"').to_owned(), count));
        }
        Ok((counted, left))
    }
}

fn sum(counted: &[(String, u64)]) -> u64 {
    counted.iter().map(|(_, count)| count).sum()
}

/// With a comma before each three digits.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[test]
fn of_all_genuine_messages_sipward_drops_none_and_the_guide_s_rules_are_counted() {
    if !require(&[Need::Root, Need::Program("iptables")]) {
        return;
    }
    let corpus = corpus::all().unwrap();
    let contents = Contents::of(&corpus);
    let messages: Vec<Sent> = corpus
        .iter()
        .flat_map(|conversation| &conversation.frames)
        .filter_map(|frame| {
            let datagram = sipward_testkit::recording::Datagram::read(&frame.bytes)?;
            Some(Sent {
                payload: datagram.payload.to_vec(),
                // The protocol of an IPv4 header behind an untagged Ethernet header.
                is_tcp: frame.bytes.get(23) == Some(&6),
                is_to_pbx: datagram.destination.ip().to_string() == PBX,
            })
        })
        .collect();
    let over_udp = messages.iter().filter(|message| !message.is_tcp).count();

    let standard = dropped_by_sipward(Profile::Standard, &messages).unwrap();
    let strict = dropped_by_sipward(Profile::Strict, &messages).unwrap();

    let script = fs::read_to_string(RULES).unwrap();
    // Told to count and go on, each rule says what it matches by itself.
    let counting = script.replace(" -j DROP", "");
    let by_rule = Guide::load("counting", &counting).unwrap();
    let by_rule = by_rule.count(&messages).unwrap();
    let all = Guide::load("guide", &script).unwrap();
    let all = sum(&all.count(&messages).unwrap());
    let without_dash: String = script
        .lines()
        .filter(|line| !line.contains("\"-\""))
        .map(|line| format!("{line}\n"))
        .collect();
    let most = Guide::load("dashless", &without_dash).unwrap();
    let most = sum(&most.count(&messages).unwrap());
    let to_pbx = |message: &&Sent| message.is_to_pbx && !message.is_tcp;
    let to_pbx: Vec<Sent> = messages.iter().filter(to_pbx).cloned().collect();
    let of_those = Guide::load("to-the-pbx", &without_dash).unwrap();
    let of_those = sum(&of_those.count(&to_pbx).unwrap());

    let mut report = String::new();
    let mut line = |text: String| writeln!(report, "{text}").unwrap();
    line(format!(
        "{} genuine messages of {} programs ({} more payloads continue one over TCP)",
        contents.messages(),
        contents.programs.len(),
        contents.rest,
    ));
    line(format!(
        "  {} User-Agents: {} the programs' own, {} of devices, which programs were told to send",
        contents.own.len() + contents.configured.len(),
        contents.own.len(),
        contents.configured.len(),
    ));
    let own: Vec<_> = contents.own.iter().map(String::as_str).collect();
    line(format!("  their own: {}", own.join(", ")));
    let requests: Vec<_> = contents.requests.iter().collect();
    line(format!(
        "  requests: {requests:?}; {} responses",
        contents.responses
    ));
    line(format!(
        "  keep-alives: {} line ends, {} zero bytes, {} STUN, and the OPTIONS and NOTIFY above",
        contents.line_ends, contents.zeros, contents.stun
    ));
    for (profile, dropped) in [("standard", &standard), ("strict", &strict)] {
        let in_all: usize = dropped.values().sum();
        line(format!(
            "sipward, profile {profile}, drops {in_all} {dropped:?}"
        ));
    }
    line(format!(
        "the guide's {} rules drop {all} of the {over_udp} payloads over UDP, without the dash {most}, \
         {of_those} of the {} to the PBX among them",
        by_rule.len(),
        to_pbx.len(),
    ));
    let mut matching: Vec<_> = by_rule.iter().filter(|(_, count)| *count > 0).collect();
    matching.sort_by_key(|(string, count)| (std::cmp::Reverse(*count), string.clone()));
    for (string, count) in matching {
        line(format!("  {count:>6}  {string:?}"));
    }
    println!("{report}");

    let readme = concat!(env!("CARGO_MANIFEST_DIR"), "/../../README.md");
    let readme = fs::read_to_string(readme).unwrap();
    let readme = readme.replace(
        "[genuine messages](crates/testkit/corpus)",
        "genuine messages",
    );
    let readme: Vec<&str> = readme.split_whitespace().collect();
    let says = format!(
        "Of {} genuine messages that {} programs and a PBX exchanged, its signatures hit {}; the list of {} \
         rules for iptables that goes round drops nearly all, and still {} of the {} over UDP ({} of \
         the {} to the PBX) without its rule for a dash.",
        grouped(contents.messages() as u64),
        contents.programs.len(),
        standard.values().sum::<usize>(),
        by_rule.len(),
        grouped(most),
        grouped(over_udp as u64),
        grouped(of_those),
        grouped(to_pbx.len() as u64),
    );
    assert!(
        readme.join(" ").contains(&says),
        "the README does not say: {says}"
    );

    assert!(
        contents.programs.len() >= PROGRAMS,
        "{:?}",
        contents.programs
    );
    let user_agents = contents.own.len() + contents.configured.len();
    assert!(user_agents >= USER_AGENTS, "{user_agents} User-Agents");
    assert!(contents.messages() >= MESSAGES, "{}", contents.messages());
    assert_eq!(standard, BTreeMap::new(), "of the standard profile");
    assert_eq!(
        by_rule.len(),
        script.lines().count(),
        "a rule was not loaded"
    );
    // No exact figure: a rule looks into the headers of IP and UDP, too, and one byte is in them by
    // chance.
    assert!(all * 10 > over_udp as u64 * 9, "the dash matches {all}");
}
