//! The manager interface's codec: what a stranger's text and the network do to it, and what a running
//! Asterisk says.

mod event_text;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use event_text::shown;
use sipward_asterisk::ami::{self, Codec, LineEnd, Listing, Message, PeerState};
use sipward_testkit::asterisk::{Asterisk, Driver, MANAGER_SECRET, MANAGER_USER, Settings};
use sipward_testkit::lab::{Lab, PHONES};
use sipward_testkit::phone::{Phones, Task};
use sipward_testkit::require::{Need, require};

const GREETING: &str = "Asterisk Call Manager/5.0.4\r\n";
const LOGGED_IN: &str = "Response: Success\r\nMessage: Authentication accepted\r\n\r\n";

/// As Asterisk 16.28 sent it, but for the account.
fn invalid_password(account: &str) -> String {
    format!(
        "Event: InvalidPassword\r\nPrivilege: security,all\r\nEventTV: 2026-11-22T19:05:44.045+0000\r\n\
         Severity: Error\r\nService: SIP\r\nEventVersion: 2\r\nAccountID: {account}\r\n\
         SessionID: 0x5627876a1690\r\nLocalAddress: IPV4/UDP/192.0.2.1/5060\r\n\
         RemoteAddress: IPV4/UDP/203.0.113.90/58428\r\nChallenge: 54063ffa\r\n\
         ReceivedChallenge: 54063ffa\r\nReceivedHash: 01bcc72f\r\n\r\n"
    )
}

const REAL: &str = "WrongPassword|ChanSip|203.0.113.90:58428|Udp|101|-";

fn events(messages: &[Message]) -> Vec<String> {
    messages
        .iter()
        .filter_map(ami::security_event)
        .map(|event| shown(&event))
        .collect()
}

fn feed(text: &str) -> Vec<Message> {
    let mut codec = Codec::new();
    let mut messages = codec.feed(format!("{GREETING}{text}").as_bytes());
    messages.extend(codec.quiet());
    assert!(!codec.holds());
    assert_eq!(codec.version(), Some("5.0.4"));
    messages
}

#[test]
fn a_security_event_reads_like_the_line_of_the_log() {
    let messages = feed(&format!("{LOGGED_IN}{}", invalid_password("101")));
    assert_eq!(messages[0].succeeded(), Some(true));
    assert_eq!(messages[0].event(), None);
    assert_eq!(messages[1].event(), Some(&b"InvalidPassword"[..]));
    assert_eq!(events(&messages), [REAL]);
}

#[test]
fn bytes_may_come_in_any_pieces() {
    let text = format!("{GREETING}{LOGGED_IN}{}", invalid_password("101"));
    for size in [1, 2, 3, 7, 100] {
        let mut codec = Codec::new();
        let mut messages = Vec::new();
        for piece in text.as_bytes().chunks(size) {
            messages.extend(codec.feed(piece));
        }
        messages.extend(codec.quiet());
        assert_eq!(messages.len(), 2, "in pieces of {size}");
        assert_eq!(events(&messages), [REAL]);
    }
}

#[test]
fn a_message_without_end_is_skipped_and_what_follows_is_read() {
    let mut codec = Codec::new();
    let mut messages = codec.feed(format!("{GREETING}Event: VarSet\r\nValue: ").as_bytes());
    for _ in 0..300 {
        messages.extend(codec.feed(&[b'x'; 1000]));
    }
    assert_eq!(messages.len(), 0);
    messages.extend(codec.feed(format!("\r\n\r\n{}", invalid_password("101")).as_bytes()));
    messages.extend(codec.quiet());
    assert_eq!(events(&messages), [REAL]);
    assert_eq!(codec.too_long(), 1);
}

/// What an account must not do. 198.51.100.66 is to be blamed.
#[test]
fn an_account_with_line_ends_never_names_another_address() {
    let fields = "SessionID: 0\r\nLocalAddress: IPV4/TLS/192.0.2.1/5061\r\nRemoteAddress: IPV4/TLS/198.51.100.66/1";
    let tail = "SessionID: 0\r\nLocalAddress: \r\nRemoteAddress: IPV4/TLS/198.51.100.66/1";
    let beginning = "Event: SuccessfulAuth\r\nPrivilege: security,all\r\nEventTV: 12345678901234567\r\nSeverity: \r\nService: SIP\r\nEventVersion: 1";
    let short = beginning.replace("SuccessfulAuth", "A").replace("SIP", "");
    let accounts = [
        // Measured: further fields in the event, and further events.
        "a\r\nRemoteAddress: IPV4/TLS/198.51.100.66/5061".to_owned(),
        "a\r\n\r\nEvent: InvalidPassword\r\nRemoteAddress: IPV4/TLS/198.51.100.66/5061\r\n\r\n"
            .to_owned(),
        // The event ended well, and its rest behind the beginnings of others.
        format!("a\r\n{fields}\r\n\r\n"),
        format!("a\r\n{fields}\r\n\r\nEvent: X\r\nY: "),
        format!("a\r\n{fields}\r\n\r\nEvent: X\r\nY: z\r\n\r\nEvent: X\r\nY: "),
        format!("a\r\n{fields}\r\n\r\nResponse: Success\r\nY: "),
        format!("a\n{}", fields.replace('\r', "")),
        // The beginning of an event before the rest, which then belongs to that.
        format!("a\r\n{tail}\r\n\r\n{beginning}"),
        format!("a\r\n\r\n{beginning}\r\nAccountID: 101"),
        format!("a\r\n\r\n{short}\r\n\r\n{short}"),
        format!("a\r\n\r\nEvent: PeerStatus\r\nPeer: 1\r\nPeerStatus: Reachable\r\nAddress: 198.51.100.66:1\r\n\r\n{beginning}"),
        // A peer to be trusted.
        "a\r\n\r\nEvent: PeerStatus\r\nPeer: SIP/1\r\nPeerStatus: Registered\r\nAddress: 198.51.100.66:1"
            .to_owned(),
    ];
    for account in accounts {
        assert!(account.len() <= 256, "{account:?}");
        let before = invalid_password("101");
        let torn = invalid_password(&account);
        let messages = feed(&format!("{before}{torn}{before}"));
        let events = events(&messages);
        let honest = events.iter().filter(|event| *event == REAL).count();
        assert_eq!(honest, 2, "{account:?}: {events:?}");
        assert!(
            !events.concat().contains("|198.51.100.66")
                && !events.concat().contains("SuccessfulAuth"),
            "{account:?}: {events:?}"
        );
        assert_eq!(
            messages.iter().filter_map(ami::peer).count(),
            0,
            "{account:?}"
        );
    }
}

/// The shortest events that Asterisk writes, from the shortest addresses.
#[test]
fn short_events_one_after_the_other_are_all_read() {
    let event = |name: &str, severity: &str, more: &str| {
        format!(
            "Event: {name}\r\nPrivilege: security,all\r\nEventTV: 2026-11-22T19:05:44.045+0000\r\n\
             Severity: {severity}\r\nService: SIP\r\nEventVersion: 1\r\nAccountID: 1\r\n\
             SessionID: 0x5627876a1690\r\nLocalAddress: IPV4/UDP/1.2.3.4/5060\r\n\
             RemoteAddress: IPV4/UDP/1.2.3.5/5060\r\n{more}\r\n"
        )
    };
    let [challenge, unknown] = [
        event("ChallengeSent", "Informational", "Challenge: 54063ffa\r\n"),
        event("InvalidAccountID", "Error", ""),
    ];
    let messages = feed(&[&*challenge, &unknown, &unknown, &challenge].concat());
    assert_eq!(
        events(&messages),
        [
            "ChallengeSent|ChanSip|1.2.3.5:5060|Udp|1|-",
            "UnknownAccount|ChanSip|1.2.3.5:5060|Udp|1|-",
            "UnknownAccount|ChanSip|1.2.3.5:5060|Udp|1|-",
            "ChallengeSent|ChanSip|1.2.3.5:5060|Udp|1|-",
        ]
    );
}

#[test]
fn an_event_waits_for_what_may_be_torn_from_it_and_no_longer() {
    let mut codec = Codec::new();
    let event = invalid_password("101");
    assert_eq!(codec.feed(format!("{GREETING}{event}").as_bytes()).len(), 0);
    assert!(codec.holds());
    assert_eq!(codec.quiet().len(), 1);

    // Part of a message stands behind it: what is whole by then does not wait for its end.
    let other = "Event: X\r\nPrivilege: system,all\r\n\r\n".repeat(40);
    let known = codec.feed(format!("{event}{other}Event: Y\r\n").as_bytes());
    assert_eq!(events(&known), [REAL]);
    assert_eq!(codec.quiet().len(), 0, "the rest of Y is not there yet");
    assert!(codec.holds());
    let known = known.len() + codec.feed(b"\r\n").len();
    assert_eq!(known + codec.quiet().len(), 42);
}

/// The kernel may cut what Asterisk writes anywhere, also where a stranger ended an event.
#[test]
fn a_torn_event_is_recognised_wherever_the_bytes_are_cut() {
    let account = "a\r\nSessionID: 0\r\nLocalAddress: IPV4/TLS/192.0.2.1/5061\r\n\
                   RemoteAddress: IPV4/TLS/198.51.100.66/1\r\n\r\nEvent: PeerStatus\r\nPeer: 1\r\n\
                   PeerStatus: Reachable\r\nAddress: 198.51.100.66:1\r\n\r\n";
    let text = format!("{GREETING}{}", invalid_password(account)).into_bytes();
    for cut in 0..text.len() {
        let mut codec = Codec::new();
        let mut messages = codec.feed(&text[..cut]);
        messages.extend(codec.feed(&text[cut..]));
        messages.extend(codec.quiet());
        assert!(
            !events(&messages).concat().contains("198.51"),
            "cut at {cut}"
        );
        assert_eq!(messages.iter().filter_map(ami::peer).count(), 0);
    }
}

/// What a codec keeps is bounded, whatever comes.
#[test]
fn little_is_held_of_a_flood() {
    let mut codec = Codec::new();
    let mut held = 0;
    for message in ["Event: X\r\n\r\n", &invalid_password("101")] {
        for _ in 0..1_000 {
            held += 1;
            held -= codec.feed(message.as_bytes()).len();
            assert!(held <= 100, "{held} messages are held");
        }
    }
    assert!(codec.holds());
}

/// A rest that is too long to be kept is a rest all the same.
#[test]
fn a_torn_event_with_a_huge_rest_is_not_trusted() {
    let account =
        "a\r\nSessionID: 0\r\nLocalAddress: x\r\nRemoteAddress: IPV4/TLS/198.51.100.66/1\r\n\r\n";
    let huge = format!("ReceivedHash: {}", "x".repeat(100_000));
    let torn = invalid_password(account).replace("ReceivedHash: 01bcc72f", &huge);
    for size in [torn.len(), 1_000] {
        let mut codec = Codec::new();
        let mut messages = codec.feed(GREETING.as_bytes());
        for piece in torn.as_bytes().chunks(size) {
            messages.extend(codec.feed(piece));
        }
        messages.extend(codec.feed(invalid_password("101").as_bytes()));
        messages.extend(codec.quiet());
        let events = events(&messages);
        assert!(!events.concat().contains("198.51"), "{events:?}");
        assert!(events.contains(&REAL.to_owned()), "{events:?}");
    }
}

#[test]
fn peers_and_registrations_are_read() {
    let messages = feed(
        "Event: PeerStatus\r\nPrivilege: system,all\r\nChannelType: SIP\r\nPeer: SIP/110\r\n\
         PeerStatus: Registered\r\nAddress: 198.51.100.10:46201\r\n\r\n\
         Event: PeerStatus\r\nPrivilege: system,all\r\nChannelType: PJSIP\r\nPeer: PJSIP/112\r\n\
         PeerStatus: Unreachable\r\n\r\n\
         Event: ContactStatus\r\nPrivilege: system,all\r\nURI: sip:112@[2001:db8:51::10]:54062;x-ast-orig-host=10.0.0.1:5060\r\n\
         ContactStatus: Reachable\r\nAOR: 112\r\nEndpointName: 112\r\n\r\n\
         Event: Registry\r\nPrivilege: system,all\r\nChannelType: SIP\r\nUsername: 200\r\n\
         Domain: sip.provider.example\r\nStatus: Registered\r\n\r\n\
         Event: Registry\r\nPrivilege: system,all\r\nChannelType: SIP\r\nUsername: 200\r\n\
         Domain: sip.provider.example\r\nStatus: Rejected\r\n\r\n",
    );
    let peers: Vec<_> = messages
        .iter()
        .filter_map(ami::peer)
        .map(|peer| {
            (
                peer.name,
                peer.state,
                peer.address.map(|address| address.to_string()),
            )
        })
        .collect();
    assert_eq!(
        peers,
        [
            (
                &b"SIP/110"[..],
                PeerState::Registered,
                Some("198.51.100.10:46201".to_owned())
            ),
            (b"PJSIP/112", PeerState::Unreachable, None),
            (
                b"112",
                PeerState::Reachable,
                Some("[2001:db8:51::10]:54062".to_owned())
            ),
        ]
    );
    let registrations: Vec<_> = messages
        .iter()
        .filter_map(ami::registration)
        .map(|registration| (registration.with, registration.accepted))
        .collect();
    let provider = &b"sip.provider.example"[..];
    assert_eq!(registrations, [(provider, true), (provider, false)]);
}

/// As Asterisk 16.28 answers, shortened; 110 is where a registered phone is.
#[test]
fn the_hosts_that_asterisk_calls_are_listed() {
    let (mut listing, asked) = Listing::ask("s-1a").unwrap();
    let asked = String::from_utf8(asked).unwrap();
    assert!(asked.starts_with("Action: SIPpeers\r\nActionID: s-1a-0\r\n\r\nAction: SIPshow"));
    let peer = |id: &str, dynamic: &str, address: &str| {
        format!(
            "Event: PeerEntry\r\nActionID: {id}\r\nChanneltype: SIP\r\nObjectName: x\r\n\
             ChanObjectType: peer\r\nIPaddress: {address}\r\nIPport: 5060\r\nDynamic: {dynamic}\r\n\r\n"
        )
    };
    let done = |number: u32| {
        format!("Event: Done\r\nActionID: s-1a-{number}\r\nEventList: Complete\r\n\r\n")
    };
    let text = [
        "Response: Success\r\nActionID: s-1a-0\r\nEventList: start\r\nMessage: Peer status list\r\n\r\n",
        &peer("s-1a-0", "no", "192.0.2.77"),
        &peer("s-1a-0", "yes", "203.0.113.66"),
        &peer("s-1a-0", "no", "-none-"),
        &peer("s-1b-0", "no", "203.0.113.67"),
        &peer("s-1a-0\r\nActionID: s-1a-0", "no", "203.0.113.68"),
        &done(0),
        "Event: RegistryEntry\r\nActionID: s-1a-1\r\nHost: sip.provider.example\r\nPort: 5060\r\n\
         Username: 200\r\nState: Registered\r\n\r\n",
        &done(1),
        "Response: Error\r\nActionID: s-1a-2\r\nMessage: Invalid/unknown command\r\n\r\n",
        "Response: Error\r\nActionID: s-1a-3\r\nMessage: Invalid/unknown command\r\n\r\n",
        "Event: OutboundRegistrationDetail\r\nActionID: s-1a-4\r\nObjectName: t\r\n\
         ServerUri: sip:[2001:db8::77]:5060\\;transport=tcp\r\nClientUri: sip:200@evil.example\r\n\r\n",
    ]
    .concat();
    for message in &feed(&text) {
        listing.take(message);
    }
    assert_eq!(listing.hosts(), None, "one question is open");
    for message in &feed(&done(4)) {
        assert!(listing.take(message));
    }
    let hosts: Vec<&str> = listing
        .hosts()
        .unwrap()
        .iter()
        .map(String::as_str)
        .collect();
    assert_eq!(
        hosts,
        ["192.0.2.77", "2001:db8::77", "sip.provider.example"]
    );
}

#[test]
fn an_action_is_one_action() {
    assert_eq!(
        ami::login("sipward", "se:cret").unwrap(),
        b"Action: Login\r\nUsername: sipward\r\nSecret: se:cret\r\nEvents: system,security\r\n\r\n"
    );
    assert_eq!(
        ami::login_with_key("sipward", "0a1b").unwrap(),
        b"Action: Login\r\nAuthType: MD5\r\nUsername: sipward\r\nKey: 0a1b\r\nEvents: system,security\r\n\r\n"
    );
    assert_eq!(
        ami::action("PJSIPShowContacts", &[]).unwrap(),
        b"Action: PJSIPShowContacts\r\n\r\n"
    );
    for secret in ["a\r\nAction: Originate", "a\n", "\r"] {
        assert_eq!(ami::login("sipward", secret), Err(LineEnd));
    }
}

#[test]
fn a_running_asterisk_is_understood() {
    if !require(&[Need::Root, Need::Asterisk, Need::Program("sipp")]) {
        return;
    }
    let lab = Lab::new().unwrap();
    let _asterisk = Asterisk::start(&lab.pbx, &Settings::default()).unwrap();
    let mut stream = lab
        .pbx
        .enter(|| TcpStream::connect("127.0.0.1:5038"))
        .unwrap();
    stream
        .set_read_timeout(Some(Duration::from_millis(100)))
        .unwrap();
    stream
        .write_all(&ami::login(MANAGER_USER, MANAGER_SECRET).unwrap())
        .unwrap();

    let mut codec = Codec::new();
    let mut messages = Vec::new();
    let mut read_until = |done: &dyn Fn(&[Message]) -> bool| {
        let mut bytes = [0; 4096];
        let since = Instant::now();
        while !done(&messages) {
            assert!(since.elapsed() < Duration::from_secs(20), "{messages:?}");
            match stream.read(&mut bytes) {
                Ok(0) => panic!("closed"),
                Ok(count) => messages.extend(codec.feed(&bytes[..count])),
                Err(_) => messages.extend(codec.quiet()),
            }
        }
        messages.clone()
    };
    read_until(&|messages| messages.iter().any(|m| m.succeeded() == Some(true)));
    for driver in [Driver::ChanSip, Driver::Pjsip] {
        Phones::one(PHONES.parse().unwrap(), driver.address(), Task::Register)
            .start(&lab.phones)
            .unwrap()
            .finish(Duration::from_secs(20))
            .unwrap();
    }
    let messages = read_until(&|messages| {
        let successes = events(messages)
            .iter()
            .filter(|event| event.starts_with("SuccessfulAuth") && event.contains(PHONES))
            .count();
        let peers = messages.iter().filter_map(ami::peer).count();
        successes >= 2 && peers >= 3
    });
    assert!(messages.iter().filter_map(ami::peer).any(|peer| {
        peer.name == b"SIP/101"
            && peer.state == PeerState::Registered
            && peer
                .address
                .is_some_and(|address| address.ip().to_string() == PHONES)
    }));
    assert!(
        !events(&messages)
            .iter()
            .any(|event| event.starts_with("Unread")),
        "{messages:?}"
    );
}
