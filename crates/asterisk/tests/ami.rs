//! The manager interface's codec: what a stranger's text and the network do to it, and what a running
//! Asterisk says.

mod event_text;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use event_text::shown;
use sipward_asterisk::ami::{self, Codec, LineEnd, Message, PeerState};
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
    let messages = codec.feed(format!("{GREETING}{text}").as_bytes());
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
    assert_eq!(events(&messages), [REAL]);
    assert_eq!(codec.too_long(), 1);
}

/// What an account must not do. 198.51.100.66 is to be blamed.
#[test]
fn an_account_with_line_ends_never_names_another_address() {
    let fields = "SessionID: 0\r\nLocalAddress: IPV4/TLS/192.0.2.1/5061\r\nRemoteAddress: IPV4/TLS/198.51.100.66/1";
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
        // A peer to be trusted.
        "a\r\n\r\nEvent: PeerStatus\r\nPeer: SIP/1\r\nPeerStatus: Registered\r\nAddress: 198.51.100.66:1"
            .to_owned(),
    ];
    for account in accounts {
        let before = invalid_password("101");
        let torn = invalid_password(&account);
        let messages = feed(&format!("{before}{torn}{before}"));
        let events = events(&messages);
        let honest = events.iter().filter(|event| *event == REAL).count();
        assert_eq!(honest, 2, "{account:?}: {events:?}");
        assert!(
            !events.concat().contains("|198.51.100.66"),
            "{account:?}: {events:?}"
        );
        assert_eq!(
            messages.iter().filter_map(ami::peer).count(),
            0,
            "{account:?}"
        );
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

#[test]
fn an_action_is_one_action() {
    assert_eq!(
        ami::login("sipward", "se:cret").unwrap(),
        b"Action: Login\r\nUsername: sipward\r\nSecret: se:cret\r\nEvents: system,security\r\n\r\n"
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
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    stream
        .write_all(&ami::login(MANAGER_USER, MANAGER_SECRET).unwrap())
        .unwrap();

    let mut codec = Codec::new();
    let mut messages = Vec::new();
    let mut read_until = |done: &dyn Fn(&[Message]) -> bool| {
        let mut bytes = [0; 4096];
        while !done(&messages) {
            let count = stream.read(&mut bytes).expect("another event");
            assert!(count > 0, "closed");
            messages.extend(codec.feed(&bytes[..count]));
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
