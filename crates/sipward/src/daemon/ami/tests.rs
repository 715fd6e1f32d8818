//! The client against a server that says what the real one cannot be made to say; the real one is in
//! `tests/live_asterisk`.

use std::{collections::BTreeSet, fs, os::unix::fs::PermissionsExt as _, time::Duration};

use sipward_asterisk::ami::{Codec, Message, security_event};
use sipward_shield::Direction;
use sipward_testkit::packet::Packet;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufStream},
    net::{TcpListener, TcpStream},
    sync::{mpsc, watch},
};

use super::{Account, LONGEST, SHORTEST, backoff, follow};
use crate::{
    clock,
    config::Ami,
    control::{api::SensorState, server::Task},
    daemon::{
        Guard,
        double::{WaitingFrames, handshake},
        taps::Taps,
        tests::Bench,
    },
};

const GREETING: &str = "Asterisk Call Manager/5.0.4\r\n";

/// A server, the client of it, and the guard that the client tells.
struct Wire {
    listener: TcpListener,
    tasks: mpsc::Receiver<Task>,
    guard: Guard,
    taps: Taps,
    hosts: watch::Receiver<BTreeSet<String>>,
    _account: watch::Sender<Option<Account>>,
    _bench: Bench,
}

impl Wire {
    async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let account = Account {
            at: Ami {
                port: Some(listener.local_addr().unwrap().port()),
                ..Ami::default()
            },
            user: "sipward".to_owned(),
            secret: "topsecret".to_owned(),
        };
        let (account, accounts) = watch::channel(Some(account));
        let (sender, tasks) = mpsc::channel(64);
        let (running, hosts) = watch::channel(BTreeSet::new());
        tokio::spawn(follow(accounts, sender, running));
        let bench = Bench::new();
        Self {
            listener,
            tasks,
            guard: bench.guard(),
            taps: Taps::double(WaitingFrames::new(Vec::new(), 0)),
            hosts,
            _account: account,
            _bench: bench,
        }
    }

    async fn accept(&self) -> Server {
        let (stream, _) = self.listener.accept().await.unwrap();
        let mut server = Server(BufStream::new(stream));
        server.say(GREETING).await;
        server
    }

    /// Does what the client asks for, until it has told of such a state.
    async fn until(&mut self, state: SensorState) -> Option<String> {
        loop {
            self.tasks.recv().await.unwrap()(&mut self.guard);
            let view = self.guard.ami.view();
            if view.state == state {
                return view.note;
            }
        }
    }

    /// What came, as far as it is a security event.
    async fn events(&mut self, count: usize) -> Vec<Message> {
        let mut events = Vec::new();
        while events.len() < count {
            self.tasks.recv().await.unwrap()(&mut self.guard);
            let waiting = self.guard.ami.waiting.clone();
            events.extend(
                waiting
                    .into_iter()
                    .filter(|it| security_event(it).is_some()),
            );
            self.guard.take_ami(&mut self.taps, clock::now());
        }
        events
    }
}

struct Server(BufStream<TcpStream>);

impl Server {
    async fn say(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.unwrap();
        self.0.flush().await.unwrap();
    }

    /// The next action, and its fields as one text.
    async fn hear(&mut self) -> String {
        let mut action = String::new();
        while !action.ends_with("\r\n\r\n") {
            assert!(self.0.read_line(&mut action).await.unwrap() > 0);
        }
        action
    }

    async fn log_in(&mut self) {
        assert!(
            self.hear()
                .await
                .starts_with("Action: Challenge\r\nAuthType: MD5\r\n")
        );
        self.say("Response: Success\r\nChallenge: 840415273\r\n\r\n")
            .await;
        let login = self.hear().await;
        let key = format!("{:x}", md5::compute("840415273topsecret"));
        assert!(login.contains(&format!("Key: {key}\r\n")), "{login}");
        assert!(!login.contains("topsecret"), "{login}");
        self.say("Response: Success\r\nMessage: Authentication accepted\r\n\r\n")
            .await;
    }
}

fn event(account: &str) -> String {
    format!(
        "Event: InvalidPassword\r\nPrivilege: security,all\r\nEventTV: 2026-11-22T19:05:44.045+0000\r\n\
         Severity: Error\r\nService: SIP\r\nEventVersion: 2\r\nAccountID: {account}\r\n\
         SessionID: 0x5627876a1690\r\nLocalAddress: IPV4/UDP/192.0.2.1/5060\r\n\
         RemoteAddress: IPV4/UDP/203.0.113.90/58428\r\nChallenge: 54063ffa\r\n\
         ReceivedChallenge: 54063ffa\r\nReceivedHash: 01bcc72f\r\n\r\n"
    )
}

fn accounts(events: &[Message]) -> Vec<String> {
    let events = events.iter().filter_map(security_event);
    events
        .map(|event| String::from_utf8_lossy(event.account.unwrap_or(b"-")).into_owned())
        .collect()
}

#[tokio::test]
async fn events_come_through_whole_whatever_pieces_they_came_in() {
    let mut wire = Wire::new().await;
    let mut server = wire.accept().await;
    server.log_in().await;
    assert_eq!(wire.until(SensorState::On).await, None);
    let huge = format!("Event: VarSet\r\nValue: {}\r\n\r\n", "x".repeat(300_000));
    let text = format!("{}{huge}{}", event("100"), event("101"));
    let writing = async {
        for piece in text.as_bytes().chunks(997) {
            server.say(std::str::from_utf8(piece).unwrap()).await;
        }
        // The end of an event is late.
        let last = event("102");
        let (first, rest) = last.split_at(200);
        server.say(first).await;
        tokio::time::sleep(super::QUIET * 3).await;
        server.say(rest).await;
    };
    let ((), events) = tokio::join!(writing, wire.events(3));
    // What stands before a message that was skipped might have been torn.
    assert_eq!(accounts(&events), ["-", "101", "102"]);
    assert_eq!(wire.guard.ami.view().events, 3);
    assert_eq!(
        wire.guard.ami.view().unmatched,
        2,
        "the huge one and the torn one"
    );
}

#[tokio::test]
async fn an_event_counts_behind_the_handshake_that_proves_it_however_many_frames_wait() {
    let other = Packet::udp("203.0.113.9:5060", "192.0.2.1:5060").payload(b"x");
    let mut frames = vec![(Direction::In, other.build()); 1_000];
    frames.extend(handshake("203.0.113.90:58428", "192.0.2.1:5061"));
    let now = clock::now();
    let mut taps = Taps::double(WaitingFrames::new(frames, now.0));
    let bench = Bench::new();
    let mut guard = bench.guard();
    assert!(taps.take(&mut guard).is_some(), "more waits");

    let accounts = (100..103).map(|account| {
        let event = event(&account.to_string()).replace("InvalidPassword", "InvalidAccountID");
        event.replace("IPV4/UDP/203", "IPV4/TLS/203")
    });
    let text: String = accounts.collect();
    let mut codec = Codec::new();
    let mut messages = codec.feed(text.as_bytes());
    messages.extend(codec.quiet());
    guard.ami.queue(messages);
    guard.take_ami(&mut taps, now);
    let suspects = guard.suspects();
    let counts: Vec<_> = suspects
        .iter()
        .map(|it| (it.detector.as_str(), it.count))
        .collect();
    assert_eq!(counts, [("extension-enumeration", 3)]);
    assert_eq!(guard.ami.view().events, 3);
}

#[tokio::test]
async fn a_refused_login_says_why_and_a_lost_connection_is_made_again() {
    let mut wire = Wire::new().await;
    let server = wire.accept().await;
    drop(server);
    let note = wire.until(SensorState::Waiting).await.unwrap();
    assert!(note.starts_with("sipward@127.0.0.1:"), "{note}");

    let mut server = wire.accept().await;
    server.log_in().await;
    wire.until(SensorState::On).await;
    drop(server);
    wire.until(SensorState::Waiting).await;

    let mut server = wire.accept().await;
    server.hear().await;
    server
        .say("Response: Success\r\nChallenge: 1\r\n\r\n")
        .await;
    server.hear().await;
    server
        .say("Response: Error\r\nMessage: Authentication \x1b[2Jfailed\r\n\r\n")
        .await;
    drop(server);
    let note = wire.until(SensorState::Refused).await.unwrap();
    assert!(
        note.ends_with("the login is refused: Authentication \\x1b[2Jfailed"),
        "{note}"
    );
}

#[tokio::test]
async fn whom_asterisk_calls_is_asked_for() {
    let mut wire = Wire::new().await;
    let mut server = wire.accept().await;
    server.log_in().await;
    wire.until(SensorState::On).await;
    for _ in 0..5 {
        let action = server.hear().await;
        let (_, id) = action.trim_end().split_once("ActionID: ").unwrap();
        let answer = if action.starts_with("Action: SIPpeers") {
            format!(
                "Event: PeerEntry\r\nActionID: {id}\r\nIPaddress: 198.51.100.77\r\nDynamic: no\r\n\r\n\
                 Event: PeerlistComplete\r\nActionID: {id}\r\nEventList: Complete\r\n\r\n"
            )
        } else {
            format!("Response: Error\r\nActionID: {id}\r\nMessage: Invalid/unknown command\r\n\r\n")
        };
        server.say(&answer).await;
    }
    wire.hosts.changed().await.unwrap();
    let hosts = wire.hosts.borrow().clone();
    assert_eq!(hosts, BTreeSet::from(["198.51.100.77".to_owned()]));
}

#[tokio::test]
async fn a_secret_is_not_sent_in_cleartext_to_another_machine() {
    // What a server that offers no challenge is told over loopback, and over a network.
    for (private, expected) in [
        (true, Ok("Secret: topsecret")),
        (false, Err("set asterisk.ami.tls")),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let (tasks, _kept) = mpsc::channel(64);
        let (hosts, _running) = watch::channel(BTreeSet::new());
        let mut session = super::Session::new(&tasks, &hosts);
        let account = Account {
            at: Ami::default(),
            user: "sipward".to_owned(),
            secret: "topsecret".to_owned(),
        };
        let mut stream = TcpStream::connect(at).await.unwrap();
        let mut server = Server(BufStream::new(listener.accept().await.unwrap().0));
        let serving = async {
            server.say(GREETING).await;
            server.hear().await;
            server.say("Response: Error\r\nMessage: no\r\n\r\n").await;
            if private {
                let login = server.hear().await;
                server.say("Response: Success\r\n\r\n").await;
                login
            } else {
                String::new()
            }
        };
        let (result, login) = tokio::join!(session.log_in(&mut stream, private, &account), serving);
        match expected {
            Ok(part) => assert!(result.is_ok() && login.contains(part), "{login}"),
            Err(part) => {
                let why = format!("{:?}", result.unwrap_err());
                assert!(why.contains(part), "{why}");
            }
        }
    }
}

#[test]
fn the_wait_doubles_to_a_minute_and_half_of_it_is_chance() {
    let second = Duration::from_secs(1);
    assert_eq!(backoff(0, 1.0), SHORTEST);
    assert_eq!(backoff(0, 0.0), second / 2);
    assert_eq!(backoff(3, 1.0), second * 8);
    assert_eq!(backoff(3, 0.5), second * 6);
    assert_eq!(backoff(6, 1.0), LONGEST);
    assert_eq!(backoff(u32::MAX, 1.0), LONGEST);
}

#[test]
fn an_account_does_not_show_its_secret() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    fs::write(&file, "topsecret\n").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let config = crate::config::Config {
        asterisk: crate::config::Asterisk {
            ami: Ami {
                user: Some("sipward".to_owned()),
                secret_file: Some(file),
                ..Ami::default()
            },
            ..crate::config::Asterisk::default()
        },
        ..crate::config::Config::default()
    };
    let account = super::super::asterisk::account(&config).unwrap().unwrap();
    assert_eq!(account.secret, "topsecret");
    assert_eq!(format!("{account:?}"), "sipward@127.0.0.1:5038");
}
