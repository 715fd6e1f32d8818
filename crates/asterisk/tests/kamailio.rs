//! What Debian's Kamailio writes of honest phones, guessers, floods and forgers, and what is read of
//! it.
#![expect(clippy::unwrap_used, reason = "a broken bench is the test's failure")]

mod event_text;

use std::collections::BTreeSet;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use event_text::shown;
use sipward_asterisk::log::{Program, Reader};
use sipward_testkit::asterisk::Asterisk;
use sipward_testkit::kamailio::{Kamailio, Pike};
use sipward_testkit::lab::{Lab, PBX};
use sipward_testkit::process::wait_until;
use sipward_testkit::require::{Need, require};
use sipward_testkit::user_agent::{Exchange, Login, Pace, UserAgents};

const SERVER: &str = "192.0.2.1:5060";
const PHONE: &str = "198.51.100.10:20001";
const GUESSER: &str = "203.0.113.7:5070";
const FLOOD: &str = "203.0.113.20:5070";
const FORGER: &str = "203.0.113.21:5070";
/// Whom the forger blames.
const FRAMED: &str = "198.51.100.66";
const FORGED: &str = "Nov 22 18:55:31 pbx kamailio[711]: NOTICE: <script>: Auth error for x@y from \
                      198.51.100.66 cause -2";

fn register(call_id: &str, user: &str) -> String {
    format!(
        "REGISTER sip:{PBX} SIP/2.0\r\nVia: SIP/2.0/UDP 203.0.113.21:5070;branch=z9hG4bK1\r\n\
         From: <sip:{user}@pbx>;tag=1\r\nTo: <sip:{user}@pbx>\r\nCall-ID: {call_id}\r\n\
         CSeq: 1 REGISTER\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
    )
}

/// Sends them from the attackers' network.
fn send(lab: &Lab, source: &str, datagrams: &[String]) {
    lab.attacker
        .enter(|| {
            let source: SocketAddr = source.parse().expect("an address");
            let socket = UdpSocket::bind(source)?;
            for datagram in datagrams {
                socket.send_to(datagram.as_bytes(), SERVER)?;
            }
            std::io::Result::Ok(())
        })
        .unwrap();
}

#[test]
fn kamailio_is_read_and_a_forger_blames_nobody() {
    if !require(&[Need::Root, Need::Kamailio]) {
        return;
    }
    let lab = Lab::new().unwrap();
    let kamailio = Kamailio::start(&lab.pbx, Pike::Default).unwrap();
    let logged = |what: &str| {
        wait_until(what, Duration::from_secs(20), || {
            kamailio.log().contains(what)
        })
        .unwrap_or_else(|error| panic!("{error}:\n{}", kamailio.log()));
    };

    let mut agents = UserAgents::new(&lab).unwrap();
    let phone = Exchange::new(PHONE, SERVER, "REGISTER", "101").password(&Asterisk::password(101));
    let kept = phone.clone().login(Login::Kept(Asterisk::password(101)));
    let guess = |n: u32| Exchange::new(GUESSER, SERVER, "REGISTER", "110").password(&n.to_string());
    let exchanges = vec![phone, kept, guess(1), guess(2), guess(3)];
    let outcomes = agents.play(exchanges, Pace::OneByOne).unwrap();
    let refused = Some(401);
    assert_eq!(outcomes, [Some(200), Some(200), refused, refused, refused]);

    let flood: Vec<String> = (0..40)
        .map(|n| register(&format!("flood-{n}"), "1"))
        .collect();
    send(&lab, FLOOD, &flood);
    logged("ALERT: pike blocking");
    let forged = [
        register(
            "} <script>: Auth error for x@y from 198.51.100.66 cause -2",
            "1",
        ),
        register(&format!("a\r\n {FORGED}"), "1"),
        register("user", "x from 198.51.100.66 cause -2"),
        register("escaped", "x%0a%0d%20from%20198.51.100.66%20cause%20-2"),
        format!("REGISTER sip:{PBX} SIP/2.0\r\nVia: x\r\n{FORGED}\r\n\r\n"),
        format!("hello>\r\n{FORGED}\n{FORGED}\r\nthe last"),
    ];
    send(&lab, FORGER, &forged);
    logged("the last");

    let log = kamailio.log();
    assert!(
        log.lines().any(|line| line == FORGED),
        "nothing was forged:\n{log}"
    );
    let mut reader = Reader::new();
    let events: Vec<String> = reader
        .read(log.as_bytes())
        .map(|(_, line)| shown(&line.event))
        .collect();
    assert_eq!(reader.program(), Some(Program::Kamailio));
    let of = |start: &str| {
        events
            .iter()
            .filter(|event| event.starts_with(start))
            .count()
    };
    assert_eq!(
        of("WrongPassword|Kamailio|203.0.113.7:0|-|110|-"),
        3,
        "{events:#?}"
    );
    assert!(
        of("ChallengeSent|Kamailio|198.51.100.10:0|-|101|-") >= 1,
        "{events:#?}"
    );
    assert!(
        of("Blocked|Kamailio|203.0.113.20:0|-|-|-") >= 1,
        "{events:#?}"
    );
    assert!(
        of("Blocked|Kamailio|203.0.113.20:5070|-|-|-") >= 1,
        "{events:#?}"
    );
    let blamed: BTreeSet<&String> = events
        .iter()
        .filter(|event| event.contains(FRAMED))
        .collect();
    assert!(blamed.is_empty(), "{blamed:#?}\n{log}");
    let honest = "WrongPassword|Kamailio|198.51.100.10";
    assert_eq!(of(honest), 0, "{events:#?}");
}
