//! What those who watch are shown.

use hyper::body::Bytes;
use sipward_engine::{Direction, LogEvent, LogKind, LogTransport, Observation, Place, Unreachable};
use tokio::sync::mpsc::Receiver;

use super::{
    Bench, ban, net, scan,
    stories::{message, register},
    turn,
};
use crate::{
    clock,
    config::{Config, GuardMode},
    control::watch::{self, MessageLine, Verdict, WatchLine},
    daemon::{Guard, watch::WAITING},
};

const OPTIONS: &[u8] = b"OPTIONS sip:100@192.0.2.1 SIP/2.0\r\n\
    Via: SIP/2.0/UDP 198.51.100.10:5060;branch=z9hG4bK-1\r\n\
    From: <sip:101@192.0.2.1>;tag=1\r\nTo: <sip:100@192.0.2.1>\r\nCall-ID: 7\x1b[2J\r\n\
    CSeq: 1 OPTIONS\r\nUser-Agent: a\r\n phone\r\n\r\n";

/// What waits to be read.
fn lines(receiver: &mut Receiver<Bytes>) -> Vec<WatchLine> {
    std::iter::from_fn(|| receiver.try_recv().ok())
        .map(|line| {
            assert!(
                line.ends_with(b"\n") && line.iter().filter(|byte| **byte == b'\n').count() == 1
            );
            serde_json::from_slice(&line).unwrap()
        })
        .collect()
}

fn options(guard: &mut Guard, client: &str) {
    message(guard, Direction::Inbound, client, "192.0.2.1:5060", OPTIONS);
}

fn only_message(mut lines: Vec<WatchLine>) -> MessageLine {
    match (lines.pop(), lines.len()) {
        (Some(WatchLine::Message(line)), 0) => line,
        (last, _) => panic!("{lines:?} {last:?}"),
    }
}

#[test]
fn a_message_is_shown_escaped_to_everybody_who_watches() {
    let bench = Bench::new();
    let mut guard = bench.guard();
    let mut receivers = [(); 2].map(|()| guard.watch(Vec::new()).unwrap());
    options(&mut guard, "198.51.100.10:5060");
    for receiver in &mut receivers {
        let line = only_message(lines(receiver));
        assert_eq!(line.direction, watch::Direction::In);
        assert_eq!(line.source.to_string(), "198.51.100.10:5060");
        assert_eq!(line.destination.to_string(), "192.0.2.1:5060");
        assert_eq!((line.verdict, line.reason), (Verdict::Pass, None));
        assert_eq!(line.method.as_deref(), Some("OPTIONS"));
        assert_eq!(line.summary, "OPTIONS sip:100@192.0.2.1");
        assert_eq!(line.call_id.as_deref(), Some("7\\x1b[2J"));
        assert_eq!(line.user_agent.as_deref(), Some("a phone"));
    }
}

#[test]
fn an_answer_is_shown_with_the_method_that_it_answers() {
    let bench = Bench::new();
    let mut guard = bench.guard();
    let mut receiver = guard.watch(Vec::new()).unwrap();
    let answer = b"SIP/2.0 401 Unauthorized\r\nCSeq: 1 REGISTER\r\n\r\n";
    let (pbx, phone) = ("192.0.2.1:5060", "198.51.100.10:5060");
    message(&mut guard, Direction::Outbound, pbx, phone, answer);
    let line = only_message(lines(&mut receiver));
    assert_eq!(line.direction, watch::Direction::Out);
    assert_eq!(line.status, Some(401));
    assert_eq!(line.method.as_deref(), Some("REGISTER"));
    assert_eq!(line.summary, "401 Unauthorized");
}

#[test]
fn what_the_kernel_drops_is_shown_with_the_signature_the_alert_and_the_ban() {
    let bench = Bench::new();
    let mut guard = bench.guard();
    let mut receiver = guard.watch(Vec::new()).unwrap();
    let event = scan("203.0.113.7", "sipvicious-friendly-scanner");
    bench.shield.state().events.push(event);
    turn(&mut guard);
    let [drop, alert, ban] = lines(&mut receiver).try_into().unwrap();
    let drop = only_message(vec![drop]);
    assert_eq!(drop.verdict, Verdict::Drop);
    assert_eq!(drop.reason.as_deref(), Some("signature"));
    assert_eq!(
        drop.signature.as_deref(),
        Some("sipvicious-friendly-scanner")
    );
    assert_eq!(drop.user_agent.as_deref(), Some("friendly-scanner"));
    assert!(matches!(alert, WatchLine::Alert(alert) if alert.evidence.len() == 2));
    assert!(matches!(ban, WatchLine::Ban(ban) if ban.prefix == net("203.0.113.7/32")));
}

#[test]
fn in_observe_mode_it_says_what_would_be_dropped() {
    let bench = Bench::new();
    let mut guard = bench.guard_with(Config {
        mode: GuardMode::Observe,
        ..Config::default()
    });
    let mut receiver = guard.watch(Vec::new()).unwrap();
    let event = scan("203.0.113.7", "sipvicious-friendly-scanner");
    bench.shield.state().events.push(event);
    turn(&mut guard);
    let first = lines(&mut receiver).swap_remove(0);
    assert_eq!(only_message(vec![first]).verdict, Verdict::WouldDrop);
}

#[test]
fn who_watches_an_address_sees_nothing_else() {
    let bench = Bench::new();
    let mut guard = bench.guard();
    let mut receiver = guard.watch(vec![net("198.51.100.0/24")]).unwrap();
    options(&mut guard, "203.0.113.7:5060");
    options(&mut guard, "[2001:db8::7]:5060");
    guard.ban(&ban("203.0.113.7/32")).unwrap();
    assert_eq!(lines(&mut receiver), []);
    options(&mut guard, "198.51.100.10:5060");
    // As a socket for both families sees it.
    options(&mut guard, "[::ffff:198.51.100.10]:5060");
    guard.ban(&ban("198.51.0.0/16")).unwrap();
    assert_eq!(lines(&mut receiver).len(), 3);
}

#[test]
fn a_login_a_log_line_an_unreachable_phone_and_the_end_of_a_ban_are_shown() {
    let bench = Bench::new();
    let mut guard = bench.guard();
    let mut receiver = guard.watch(vec![net("198.51.100.10/32")]).unwrap();
    register(&mut guard, "198.51.100.10:5060", "100", 1, "200 OK");
    let observations = [
        Observation::Log(LogEvent {
            kind: LogKind::WrongPassword,
            source: Some("198.51.100.10:5060".parse().unwrap()),
            account: Some(b"100"),
            transport: LogTransport::Udp,
            connected: false,
            place: Place::Line(1),
            text: b"wrong\x07",
        }),
        Observation::Unreachable(Unreachable {
            reporter: "192.0.2.254".parse().unwrap(),
            destination: "198.51.100.10:5060".parse().unwrap(),
        }),
    ];
    for observation in observations {
        guard.observe(&observation, clock::now());
    }
    guard.ban(&ban("198.51.100.10/32")).unwrap();
    guard
        .unban(&crate::control::api::UnbanRequest::All)
        .unwrap();
    let kinds: Vec<&str> = lines(&mut receiver)
        .iter()
        .map(|line| match line {
            WatchLine::Message(_) => "message",
            WatchLine::Unreachable { .. } => "unreachable",
            WatchLine::Log { text, .. } => {
                assert_eq!(text, "wrong\\x07");
                "log"
            }
            WatchLine::Alert(_) => "alert",
            WatchLine::Ban(_) => "ban",
            WatchLine::Unban { .. } => "unban",
            WatchLine::Trust(trusted) => {
                assert_eq!(trusted.username.as_deref(), Some("100"));
                "trust"
            }
            WatchLine::Lost { .. } => "lost",
        })
        .collect();
    let exchange = ["message"; 4];
    let rest = ["trust", "log", "unreachable", "ban", "unban"];
    assert_eq!(kinds, [&exchange[..], &rest].concat());
}

#[test]
fn who_reads_too_slowly_loses_lines_and_is_told_how_many_where_they_are_missing() {
    let bench = Bench::new();
    let mut guard = bench.guard();
    let mut slow = guard.watch(Vec::new()).unwrap();
    let mut fast = guard.watch(Vec::new()).unwrap();
    for _ in 0..WAITING + 7 {
        options(&mut guard, "198.51.100.10:5060");
        assert_eq!(lines(&mut fast).len(), 1);
    }
    let waiting = lines(&mut slow);
    assert_eq!(waiting.len(), WAITING);
    assert!(
        waiting
            .iter()
            .all(|line| matches!(line, WatchLine::Message(_)))
    );
    // Told as time passes, though nothing else happens.
    turn(&mut guard);
    assert_eq!(lines(&mut slow), [WatchLine::Lost { lines: 7 }]);

    // And before what follows.
    for _ in 0..WAITING + 3 {
        options(&mut guard, "198.51.100.10:5060");
    }
    lines(&mut slow);
    options(&mut guard, "198.51.100.10:5060");
    let [lost, message] = lines(&mut slow).try_into().unwrap();
    assert_eq!(lost, WatchLine::Lost { lines: 3 });
    only_message(vec![message]);
}

#[test]
fn who_has_gone_makes_room_for_another() {
    let bench = Bench::new();
    let mut guard = bench.guard();
    let mut all: Vec<_> = (0..16).map(|_| guard.watch(Vec::new()).unwrap()).collect();
    let error = guard.watch(Vec::new()).unwrap_err();
    assert!(error.text.contains("16 are watching"), "{error}");
    all.pop();
    guard.watch(Vec::new()).unwrap();
}
