//! What is told of those who log in, and of those who try to.

use std::net::SocketAddr;

use sipward_engine::{Direction, Message, Observation, Place, Transport};
use sipward_wire::sip;

use super::{Bench, addresses, ban, net, turn, why_of};
use crate::{
    clock,
    control::api::BanRequest,
    daemon::{Guard, double::DROPPED},
};

const PBX: &str = "192.0.2.1:5060";

/// A REGISTER that is challenged, the same with credentials, and how the PBX answers it.
pub(super) fn register(guard: &mut Guard, client: &str, account: &str, number: u32, answer: &str) {
    let nonce = format!("nonce=\"{account}-{number}\"");
    let challenge = format!("WWW-Authenticate: Digest realm=\"x\", {nonce}\r\n");
    let credentials = format!(
        "Authorization: Digest username=\"{account}\", realm=\"x\", {nonce}, \
         uri=\"sip:192.0.2.1\", response=\"{number:032x}\"\r\n"
    );
    let exchanges = [
        ("", "401 Unauthorized", challenge.as_str()),
        (credentials.as_str(), answer, ""),
    ];
    for (cseq, (ours, status, theirs)) in (2 * number..).zip(exchanges) {
        let head = format!(
            "Via: SIP/2.0/UDP {client};branch=z9hG4bK-{account}-{cseq}\r\n\
             From: <sip:{account}@192.0.2.1>;tag=a\r\n\
             To: <sip:{account}@192.0.2.1>\r\n\
             Call-ID: {account}-{client}\r\n\
             CSeq: {cseq} REGISTER\r\n"
        );
        let request = format!(
            "REGISTER sip:192.0.2.1 SIP/2.0\r\n{head}Contact: <sip:{account}@{client}>\r\n\
             User-Agent: a phone\x1b[2J\r\n{ours}\r\n"
        );
        message(guard, Direction::Inbound, client, PBX, request.as_bytes());
        let answer = format!("SIP/2.0 {status}\r\n{head}{theirs}\r\n");
        message(guard, Direction::Outbound, PBX, client, answer.as_bytes());
    }
    turn(guard);
}

pub(super) fn message(guard: &mut Guard, direction: Direction, from: &str, to: &str, text: &[u8]) {
    let address = |text: &str| -> SocketAddr { text.parse().unwrap() };
    let observation = Observation::Message(Message {
        direction,
        source: address(from),
        destination: address(to),
        transport: Transport::Udp,
        established: false,
        decrypted: false,
        place: Place::Packet(1),
        sip: &sip::Message::parse(text),
    });
    guard.observe(&observation, clock::now());
}

#[test]
fn who_guesses_is_a_suspect_with_its_evidence_before_it_is_banned() {
    let bench = Bench::new();
    let mut guard = bench.guard();
    // Of one account it could be a phone with an old password.
    for account in ["100", "101"] {
        register(&mut guard, "203.0.113.7:5060", account, 1, "403 Forbidden");
    }
    let suspects = guard.suspects();
    let guessing = suspects
        .iter()
        .find(|suspect| suspect.detector == "password-guessing")
        .unwrap();
    assert_eq!(guessing.address.to_string(), "203.0.113.7");
    assert_eq!(guessing.count, 2);
    assert!(guessing.fires_at > 2);
    let evidence = &guessing.evidence[0].summary;
    assert!(
        evidence.contains("REGISTER sip:192.0.2.1") && evidence.contains("403 Forbidden"),
        "{evidence}"
    );
    let why = why_of(&guard, "203.0.113.0/24");
    assert!(!why.banned && why.suspicions.contains(guessing));
    assert_eq!(why_of(&guard, "203.0.113.8/32").suspicions, []);
}

#[test]
fn who_logged_in_is_trusted_with_its_user_agent() {
    let bench = Bench::new();
    let mut guard = bench.guard();
    register(&mut guard, "198.51.100.10:5060", "100", 1, "200 OK");
    let trusted = guard.trusted();
    assert_eq!(trusted.len(), 1);
    assert_eq!(trusted[0].address.to_string(), "198.51.100.10");
    assert_eq!(trusted[0].username.as_deref(), Some("100"));
    assert_eq!(trusted[0].by, "registration");
    assert_eq!(trusted[0].user_agent.as_deref(), Some("a phone\\x1b[2J"));
    let why = why_of(&guard, "198.51.100.10/32");
    assert!(why.trusted);
    assert_eq!(why.logins, trusted);
}

#[test]
fn an_account_has_a_story_of_its_own() {
    let bench = Bench::new();
    let mut guard = bench.guard();
    register(&mut guard, "198.51.100.10:5060", "100", 1, "200 OK");
    for number in 1..30 {
        register(
            &mut guard,
            "203.0.113.7:5060",
            "100",
            number,
            "403 Forbidden",
        );
    }
    let why = guard.why_account("100").unwrap().read().unwrap();
    assert!(why.banned, "{why:?}");
    assert_eq!(why.bans[0].prefix, net("203.0.113.7/32"));
    assert_eq!(why.alerts[0].detector, "password-guessing");
    let evidence = &why.alerts[0].evidence;
    assert!(evidence.len() > 2, "{evidence:?}");
    assert_eq!(why.logins[0].address.to_string(), "198.51.100.10");

    let other = guard.why_account("101").unwrap().read().unwrap();
    assert!(!other.banned && other.alerts.is_empty() && other.logins.is_empty());
}

/// How long each takes to be found, or counted, is how long packets wait.
#[test]
fn of_many_bans_the_kernel_is_asked_beside_the_loop_and_of_few_one_by_one() {
    let bench = Bench::new();
    let mut guard = bench.guard();
    let request = BanRequest {
        prefixes: addresses(1_001),
        ..ban("100.64.0.0/16")
    };
    guard.ban(&request).unwrap();
    let lookups = || std::mem::take(&mut bench.shield.state().lookups);
    lookups();
    let story = guard.why(&net("100.64.0.0/16")).unwrap();
    assert_eq!(lookups(), 0);
    let told = story.read().unwrap();
    assert!(!told.banned && told.more_bans);
    let prefixes: Vec<_> = told.bans.iter().map(|ban| ban.prefix).collect();
    assert_eq!(prefixes, request.prefixes[..1_000]);
    assert!(told.bans.iter().all(|ban| ban.dropped_packets == DROPPED));

    // The one around it is told, however many there are.
    guard.ban(&ban("100.0.0.0/8")).unwrap();
    let told = why_of(&guard, "100.64.0.0/16");
    assert!(told.banned && told.more_bans);
    lookups();
    let told = why_of(&guard, "100.64.0.7/32");
    assert_eq!((told.bans.len(), lookups()), (2, 2));
    assert!(told.banned && !told.more_bans);
    assert!(told.bans.iter().all(|ban| ban.dropped_packets == DROPPED));
}
