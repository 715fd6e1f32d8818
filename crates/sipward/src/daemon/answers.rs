//! `[answer]`: whom a ban for password guessing has just hit gets one `503` to the request that
//! decided it. SIPVicious' svcrack then stops; unanswered it sends some 1,750 packets more.
//!
//! The request is the last one with credentials that came from the banned source and was not
//! accepted, so that no phone is answered which shares a guesser's address: behind a ban the kernel
//! drops without a word, so later ones are never seen. What scans for accounts is not answered: it
//! stops on silence only.

use std::{
    collections::VecDeque,
    hash::{BuildHasher as _, RandomState},
    net::SocketAddr,
    time::Duration,
};

use sipward_engine::{Ban, Detector, Direction, Message, Observation, Origin, Time, Transport};
use sipward_wire::{
    sip::{self, Method, service_unavailable},
    udp_packet,
};

use super::guard::Guard;
use crate::{clock, config::GuardMode, sparing::Sparing};

/// Requests that are remembered: a PBX answers within milliseconds, and these take 2 MB at most.
const REQUESTS: usize = 1_024;
/// The longest header section that is remembered.
const LONGEST: usize = 2_048;
/// After so long nobody waits for an answer any more (timer F, RFC 3261 section 17.1.2.2).
const AWAITED: Duration = Duration::from_secs(32);
/// Answers within a second, in all.
const IN_ALL: usize = 50;

/// The requests that may have to be answered, and who was answered lately.
#[derive(Debug)]
pub struct Answers {
    requests: VecDeque<Request>,
    answered: Sparing,
    tags: RandomState,
}

/// A request with credentials.
#[derive(Debug)]
struct Request {
    at: Time,
    source: SocketAddr,
    destination: SocketAddr,
    /// Start line and headers.
    head: Vec<u8>,
}

/// An answer as it goes out.
#[derive(Debug, PartialEq, Eq)]
struct Packet {
    to: SocketAddr,
    bytes: Vec<u8>,
}

impl Default for Answers {
    fn default() -> Self {
        Self {
            requests: VecDeque::new(),
            answered: Sparing::new(IN_ALL),
            tags: RandomState::new(),
        }
    }
}

impl Answers {
    /// Remembers what may have to be answered, and forgets what was no guess.
    pub fn see(&mut self, observation: &Observation<'_>, at: Time) {
        match observation {
            Observation::Message(message) if is_guess(message) => self.remember(message, at),
            Observation::Message(message) if accepts(message) => self.forget(message),
            Observation::Message(_)
            | Observation::KernelDrop(_)
            | Observation::Signature(_)
            | Observation::Unreachable(_)
            | Observation::Log(_) => {}
        }
    }

    fn remember(&mut self, message: &Message<'_>, at: Time) {
        let head = message.sip.head();
        if head.len() > LONGEST {
            return;
        }
        if self.requests.len() >= REQUESTS {
            self.requests.pop_front();
        }
        self.requests.push_back(Request {
            at,
            source: canonical(message.source),
            destination: canonical(message.destination),
            head: head.to_vec(),
        });
    }

    fn forget(&mut self, accepted: &Message<'_>) {
        let (client, call_id) = (canonical(accepted.destination), accepted.sip.call_id());
        let is_that = |request: &Request| {
            request.source == client && sip::Message::parse(&request.head).call_id() == call_id
        };
        self.requests.retain(|request| !is_that(request));
    }

    /// The answer to the request that got this ban; none where there is none to give. It goes to
    /// where the request came from, and not to where a Via without `rport` names another port: a
    /// text of the guesser's must not choose who gets a packet.
    fn to(&mut self, ban: &Ban, now: Time) -> Option<Packet> {
        let is_guesser = ban.detector == Some(Detector::PasswordGuessing)
            && ban.origin == Origin::Local
            && ban.proven;
        if !is_guesser {
            return None;
        }
        let hit = |request: &&Request| ban.hits(request.source.ip(), request.source.port());
        let request = self.requests.iter().rev().find(hit)?;
        if now.since(request.at) > AWAITED {
            return None;
        }
        let tag = self.tags.hash_one(&request.head) as u32;
        let message = sip::Message::parse(&request.head);
        let answer = service_unavailable(&message, request.source, tag)?;
        let bytes = udp_packet(request.destination, request.source, &answer)?;
        let to = request.source;
        self.answered
            .may_send(to.ip(), now)
            .then_some(Packet { to, bytes })
    }
}

impl Guard {
    /// Answers whom this ban, now in force, has hit, where that is wanted.
    pub(super) fn answer(&mut self, ban: &Ban) {
        if !self.config.answer.enabled || self.config.mode == GuardMode::Observe {
            return;
        }
        let (Some(sender), Some(packet)) = (&self.sender, self.answers.to(ban, clock::now()))
        else {
            return;
        };
        match sender.send(&packet.bytes, packet.to.ip()) {
            Ok(()) => {
                self.sent.answers += 1;
                tracing::info!("{} was answered with 503, so that it stops", packet.to);
            }
            Err(error) => tracing::warn!("{} cannot be answered with 503: {error}", packet.to),
        }
    }
}

fn is_guess(message: &Message<'_>) -> bool {
    message.transport == Transport::Udp
        && message.direction == Direction::Inbound
        // These repeat the credentials of the request they belong to, and get no answer.
        && !matches!(message.sip.method(), Some(Method::Ack | Method::Cancel))
        && message.sip.credentials().next().is_some()
}

/// Whether the PBX takes a request, or works on it: what is refused gets 3xx to 6xx, and 100 says
/// nothing (RFC 3261 section 21.1.1).
fn accepts(message: &Message<'_>) -> bool {
    message.transport == Transport::Udp
        && message.direction == Direction::Outbound
        && matches!(message.sip.status(), Some(101..300))
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use sipward_engine::{Place, Scope};
    use test_case::test_case;

    use super::*;

    const GUESSER: &str = "203.0.113.7:5063";
    const PBX: &str = "192.0.2.1:5060";
    const START: Time = Time::from_secs(1_000);

    fn guess(method: &str) -> String {
        format!(
            "{method} sip:192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1;rport\r\n\
             From: <sip:7@h>;tag=1\r\nTo: <sip:7@h>\r\nCall-ID: 1@h\r\nCSeq: 2 {method}\r\n\
             Authorization: Digest username=\"7\", realm=\"asterisk\", nonce=\"1234abcd\", \
             uri=\"sip:192.0.2.1\", response=\"0123456789abcdef0123456789abcdef\"\r\n\
             Content-Length: 0\r\n\r\n"
        )
    }

    fn see(answers: &mut Answers, from: &str, text: &str, at: Time) {
        let sip = sip::Message::parse(text.as_bytes());
        let message = message(from, &sip);
        answers.see(&Observation::Message(message), at);
    }

    fn message<'a>(from: &str, sip: &'a sip::Message<'a>) -> Message<'a> {
        Message {
            direction: Direction::Inbound,
            source: from.parse().unwrap(),
            destination: PBX.parse().unwrap(),
            transport: Transport::Udp,
            established: false,
            decrypted: false,
            place: Place::Packet(1),
            sip,
        }
    }

    fn ban(address: &str) -> Ban {
        Ban {
            prefix: address.parse().unwrap(),
            port: None,
            scope: Scope::All,
            since: START,
            until: None,
            detector: Some(Detector::PasswordGuessing),
            reason: String::new(),
            proven: true,
            signature: None,
            account: None,
            origin: Origin::Local,
        }
    }

    #[test]
    fn a_guesser_is_answered_from_where_it_asked_to_where_it_asked_from() {
        let mut answers = Answers::default();
        see(&mut answers, GUESSER, &guess("REGISTER"), START);
        see(&mut answers, "203.0.113.8:9", &guess("REGISTER"), START);
        let packet = answers.to(&ban("203.0.113.7/32"), START).unwrap();
        assert_eq!(packet.to, GUESSER.parse().unwrap());
        // Behind a link header, as a reader of frames wants it.
        let frame = [&[0; 12][..], &[8, 0], &packet.bytes].concat();
        let read = sipward_wire::Packet::parse(sipward_wire::LinkType::Ethernet, &frame);
        assert_eq!(read.source_socket(), PBX.parse().ok());
        assert_eq!(read.destination_socket(), GUESSER.parse().ok());
        let answer = sip::Message::parse(read.payload().unwrap());
        assert_eq!(answer.status(), Some(503));
        assert_eq!(answer.call_id(), Some(&b"1@h"[..]));
    }

    #[test]
    fn nobody_else_is_answered() {
        let mut answers = Answers::default();
        see(&mut answers, GUESSER, &guess("REGISTER"), START);
        let guesser = ban("203.0.113.7/32");
        let others = [
            Ban {
                proven: false,
                ..guesser.clone()
            },
            Ban {
                detector: Some(Detector::ExtensionEnumeration),
                ..guesser.clone()
            },
            Ban {
                detector: None,
                origin: Origin::Manual,
                ..guesser.clone()
            },
            Ban {
                origin: Origin::Fleet,
                ..guesser.clone()
            },
            Ban {
                port: Some(5064),
                ..guesser.clone()
            },
            ban("203.0.113.8/32"),
        ];
        for other in others {
            assert_eq!(answers.to(&other, START), None, "{other:?}");
        }
        let too_late = START + AWAITED + Duration::from_nanos(1);
        assert_eq!(answers.to(&guesser, too_late), None);
        assert!(answers.to(&guesser, START).is_some());
    }

    #[test]
    fn only_datagrams_with_credentials_are_remembered() {
        let mut answers = Answers::default();
        let register = guess("REGISTER");
        let sip = sip::Message::parse(register.as_bytes());
        let over_tcp = Message {
            transport: Transport::Tcp,
            ..message(GUESSER, &sip)
        };
        let outbound = Message {
            direction: Direction::Outbound,
            ..message(GUESSER, &sip)
        };
        for message in [over_tcp, outbound] {
            answers.see(&Observation::Message(message), START);
        }
        let without = register.replace("Authorization", "X-Nothing");
        see(&mut answers, GUESSER, &without, START);
        let long = register.replace("Content-Length", &"X".repeat(LONGEST));
        see(&mut answers, GUESSER, &long, START);
        assert!(answers.requests.is_empty());
    }

    #[test]
    fn so_many_are_remembered_and_the_oldest_go() {
        let mut answers = Answers::default();
        see(&mut answers, GUESSER, &guess("REGISTER"), START);
        for _ in 0..REQUESTS {
            see(&mut answers, "203.0.113.8:9", &guess("REGISTER"), START);
        }
        assert_eq!(answers.requests.len(), REQUESTS);
        assert_eq!(answers.to(&ban("203.0.113.7/32"), START), None);
    }

    #[test_case("REGISTER", true)]
    #[test_case("INVITE", true)]
    #[test_case("ACK", false)]
    fn an_acknowledgement_has_no_answer(method: &str, answered: bool) {
        let mut answers = Answers::default();
        see(&mut answers, GUESSER, &guess(method), START);
        let packet = answers.to(&ban("203.0.113.7/32"), START);
        assert_eq!(packet.is_some(), answered);
    }

    #[test]
    fn the_acknowledgement_of_a_refusal_is_not_what_is_answered() {
        let mut answers = Answers::default();
        see(&mut answers, GUESSER, &guess("INVITE"), START);
        see(&mut answers, GUESSER, &guess("ACK"), START);
        assert!(answers.to(&ban("203.0.113.7/32"), START).is_some());
    }

    #[test_case("200 OK", false)]
    #[test_case("180 Ringing", false)]
    #[test_case("100 Trying", true)]
    #[test_case("401 Unauthorized", true)]
    fn who_was_let_in_is_not_answered(status: &str, is_answered: bool) {
        let mut answers = Answers::default();
        see(&mut answers, GUESSER, &guess("REGISTER"), START);
        let of_another = guess("REGISTER").replace("Call-ID: 1@h", "Call-ID: 2@h");
        see(&mut answers, GUESSER, &of_another, START);
        let response = of_another.replace(
            "REGISTER sip:192.0.2.1 SIP/2.0",
            &format!("SIP/2.0 {status}"),
        );
        let sip = sip::Message::parse(response.as_bytes());
        let response = Message {
            direction: Direction::Outbound,
            source: PBX.parse().unwrap(),
            destination: GUESSER.parse().unwrap(),
            ..message(GUESSER, &sip)
        };
        answers.see(&Observation::Message(response), START);
        let packet = answers.to(&ban("203.0.113.7/32"), START).unwrap();
        let expected: &[u8] = if is_answered { b"2@h" } else { b"1@h" };
        // The header section of an IPv4 datagram.
        let answer = sip::Message::parse(&packet.bytes[28..]);
        assert_eq!(answer.call_id(), Some(expected));
    }

    #[test]
    fn a_group_of_hosts_neither_answers_nor_is_answered() {
        let mut answers = Answers::default();
        let register = guess("REGISTER");
        let sip = sip::Message::parse(register.as_bytes());
        let to_group = Message {
            destination: "224.0.1.75:5060".parse().unwrap(),
            ..message(GUESSER, &sip)
        };
        answers.see(&Observation::Message(to_group), START);
        assert_eq!(answers.to(&ban("203.0.113.7/32"), START), None);
        see(&mut answers, "224.0.1.75:5060", &register, START);
        assert_eq!(answers.to(&ban("224.0.1.75/32"), START), None);
    }

    #[test]
    fn one_guesser_gets_one_answer_in_a_second() {
        let mut answers = Answers::default();
        see(&mut answers, GUESSER, &guess("REGISTER"), START);
        let ban = ban("203.0.113.7/32");
        let at = |millis| START + Duration::from_millis(millis);
        let times: Vec<u64> = (0..3_000)
            .step_by(100)
            .filter(|millis| answers.to(&ban, at(*millis)).is_some())
            .collect();
        assert_eq!(times, [0, 1_000, 2_000]);
    }

    /// Address of the n-th guesser.
    fn nth(n: u32) -> IpAddr {
        std::net::Ipv4Addr::from(0xcb00_7100 + n).into()
    }

    #[test]
    fn fifty_are_answered_in_a_second() {
        let mut answers = Answers::default();
        for n in 0..200 {
            see(
                &mut answers,
                &format!("{}:5060", nth(n)),
                &guess("REGISTER"),
                START,
            );
        }
        let answered = (0..200)
            .filter(|n| {
                answers
                    .to(&ban(&format!("{}/32", nth(*n))), START)
                    .is_some()
            })
            .count();
        assert_eq!(answered, IN_ALL);
    }
}
