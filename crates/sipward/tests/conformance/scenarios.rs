//! The scenarios, in the order in which they are played; each with addresses of its own.

use std::{ops::RangeInclusive, time::Duration};

use sipward_testkit::{
    lab::{PBX, PHONES},
    packet::Packet,
    process::wait_until,
};

use crate::stage::{Backend, FREE, Outcome, Stage, from, request};

pub struct Scenario {
    pub name: &'static str,
    pub play: fn(&mut Stage<'_>) -> Outcome,
    /// How many packets a backend may let through, where sending them took so long.
    pub passes: fn(Backend, Duration) -> RangeInclusive<u32>,
}

/// All that is sent.
const ONE: fn(Backend, Duration) -> RangeInclusive<u32> = |_, _| 1..=1;
/// Nothing.
const NONE: fn(Backend, Duration) -> RangeInclusive<u32> = |_, _| 0..=0;
/// A burst of 120, and what 5 a second give back.
const UNKNOWN: fn(Backend, Duration) -> RangeInclusive<u32> = |_, took| burst(120, 5.0, took);
/// A burst of 30, and what 5 a second give back.
const STRICT: fn(Backend, Duration) -> RangeInclusive<u32> = |_, took| burst(30, 5.0, took);
/// A burst of 10, and what 3 a minute give back.
const SSH: fn(Backend, Duration) -> RangeInclusive<u32> = |_, took| burst(10, 0.05, took);

/// A burst of 200, and what 50 a second give back.
const FRAGMENTS: fn(Backend, Duration) -> RangeInclusive<u32> = |_, took| burst(200, 50.0, took);
/// A burst of 100, and what 10 a second give back.
const ANSWERS: fn(Backend, Duration) -> RangeInclusive<u32> = |_, took| burst(100, 10.0, took);

fn burst(packets: u32, per_second: f64, took: Duration) -> RangeInclusive<u32> {
    packets..=packets + (took.as_secs_f64() * per_second).ceil() as u32
}

macro_rules! scenarios {
    ($($name:literal, $passes:expr, $play:expr;)+) => {
        [$(Scenario { name: $name, passes: $passes, play: $play }),+]
    };
}

pub const SCENARIOS: [Scenario; 32] = scenarios! {
    "a phone never seen before", ONE, |stage| stage.phone("203.0.113.7:5060", 5060);
    "the same over IPv6", ONE, |stage| stage.phone("[2001:db8:7::7]:5060", 5060);
    "a banned address, any port", NONE, |stage| {
        stage.order("ban 203.0.113.10 --scope all --for 1h");
        stage.phone("203.0.113.10:5060", FREE)
    };
    "the address beside it", ONE, |stage| stage.phone("203.0.113.11:5060", FREE);
    "a banned IPv6 network", NONE, |stage| {
        stage.order("ban 2001:db8:bad:1::/64 --scope all --for 1h");
        stage.phone("[2001:db8:bad:1::7]:5060", 5060)
    };
    "the network beside it", ONE, |stage| stage.phone("[2001:db8:bad:2::7]:5060", 5060);
    "the last address of a banned prefix", NONE, |stage| {
        stage.order("ban 203.0.113.32/28 --scope all --for 1h");
        stage.phone("203.0.113.47:5060", 5060)
    };
    "the first one behind it", ONE, |stage| stage.phone("203.0.113.48:5060", 5060);
    "a hole in a banned range", ONE, |stage| {
        stage.order("ban 203.0.113.64-203.0.113.70 --scope all --for 1h");
        stage.order("unban 203.0.113.66");
        stage.phone("203.0.113.66:5060", 5060)
    };
    "the address beside the hole", NONE, |stage| stage.phone("203.0.113.67:5060", 5060);
    "banned in scope sip, to the SIP port", NONE, |stage| {
        stage.order("ban 203.0.113.12 --scope sip --for 1h");
        stage.phone("203.0.113.12:5060", 5060)
    };
    "the same to the IAX2 port", NONE, |stage| stage.phone("203.0.113.12:5060", 4569);
    "the same to any other port", ONE, |stage| stage.phone("203.0.113.12:5060", FREE);
    "allowed inside a banned prefix", ONE, |stage| {
        stage.order("allow 203.0.113.33");
        stage.phone("203.0.113.33:5060", 5060)
    };
    "an inner ban that has lapsed inside an outer one", NONE, |stage| {
        stage.order("ban 203.0.113.34 --scope all --for 1s");
        lapse(stage, "203.0.113.34/32");
        stage.phone("203.0.113.34:5060", 5060)
    };
    "after a ban has lapsed", ONE, |stage| {
        stage.order("ban 203.0.113.13 --for 1s");
        lapse(stage, "203.0.113.13/32");
        stage.phone("203.0.113.13:5060", 5060)
    };
    "200 requests of a stranger at once (5 a second, burst 120)", UNKNOWN, |stage| {
        let packet = from("203.0.113.14:5060", 5060, &request("Snom D785/10.1.64"));
        stage.limited(|stage| stage.send(&vec![packet; 200]))
    };
    "the same from a /64 of IPv6", UNKNOWN, |stage| {
        let packet = |host: u32| {
            let source = format!("[2001:db8:bad:3::{host:x}]:5060");
            from(&source, 5060, &request("Snom D785/10.1.64"))
        };
        let all: Vec<Packet> = (0..200).map(packet).collect();
        stage.limited(|stage| stage.send(&all))
    };
    "200 requests of an address that has logged in", |_, _| 200..=200, |stage| {
        stage.log_in();
        let packet = from(&format!("{PHONES}:5060"), 5060, &request("Snom D785/10.1.64"));
        stage.limited(|stage| stage.send(&vec![packet; 200]))
    };
    "15 new SSH connections (3 a minute, burst 10)", SSH, |stage| {
        let syn = Packet::tcp("203.0.113.15:40000", format!("{PBX}:22")).tcp_flags(0x02);
        stage.limited(|stage| stage.send_tcp("203.0.113.15", &vec![syn; 15]))
    };
    "a packet to a port that nobody uses", NONE, |stage| {
        let seen = stage.phone("203.0.113.16:5060", 5090);
        stage.wait_for_ban("203.0.113.16/32");
        seen
    };
    "the same sender, to the SIP port", NONE, |stage| stage.phone("203.0.113.16:5060", 5060);
    "a scanner's first message", |backend, _| match backend {
        Backend::Native | Backend::Generic => 0..=0,
        // No signatures in nftables: the tap finds it.
        Backend::Nftables => 1..=1,
    }, |stage| {
        let seen = stage.send(&[from("203.0.113.17:5060", 5060, &request("friendly-scanner"))]);
        stage.wait_for_ban("203.0.113.17/32");
        seen
    };
    "a scanner's next messages", NONE, |stage| {
        let packet = from("203.0.113.17:5061", 5060, &request("friendly-scanner"));
        stage.send(&vec![packet; 5])
    };
    "100 requests in three fragments each", |_, _| 100..=100, |stage| {
        let text = [&request("Snom D785/10.1.64")[..], &[b'x'; 900]].concat();
        let packet = from("203.0.113.19:5060", 5060, &text);
        let fragments = packet.fragments(480);
        let all = fragments.iter().cycle().take(300).cloned();
        stage.send_frames(&all.collect::<Vec<_>>())
    };
    "1,000 later fragments that follow none (50 a second, burst 200)", FRAGMENTS, |stage| {
        let later = |number: u32| {
            let source = format!("203.0.113.{}:5060", 100 + number % 100);
            from(&source, 5060, &[b'x'; 800]).fragments(400).remove(1)
        };
        let all: Vec<Vec<u8>> = (0..1_000).map(later).collect();
        stage.limited(|stage| stage.send_fragments(&all))
    };
    "200 requests of a stranger at once, the profile strict (burst 30)", STRICT, |stage| {
        stage.reload("[signatures]\nprofile = \"strict\"\n");
        let packet = from("203.0.113.22:5060", 5060, &request("Snom D785/10.1.64"));
        stage.send(&vec![packet; 200])
    };
    "300 answers of forged addresses (all strangers: 10 a second, burst 100)", ANSWERS, |stage| {
        stage.reload("[limits.unknown]\nrate = \"1/s\"\nburst = 10\n");
        let answer = |number: u32| {
            let source = format!("203.0.{}.{}:5060", number / 100, number % 100);
            from(&source, 5060, b"SIP/2.0 200 OK\r\nCSeq: 1 OPTIONS\r\n\r\n")
        };
        let all: Vec<Packet> = (0..300).map(answer).collect();
        stage.limited(|stage| stage.send(&all))
    };
    "a phone meanwhile", ONE, |stage| stage.phone("203.0.113.20:5060", 5060);
    "a banned address, the daemon killed", NONE, |stage| {
        stage.guard.kill();
        stage.phone("203.0.113.10:5060", FREE)
    };
    "a phone, the daemon started again", ONE, |stage| {
        stage.guard.run().unwrap();
        assert!(stage.guard.bans("203.0.113.10/32").unwrap());
        let status = stage.guard.json(&["status"]).unwrap();
        assert_eq!(status["enforcement"]["state"], "ok", "{status}");
        assert_eq!(status["enforcement"]["leaked_packets"], 0, "{status}");
        assert_eq!(stage.phone("203.0.113.10:5060", FREE).passed, 0);
        stage.phone("203.0.113.18:5060", 5060)
    };
    "a banned address, the daemon stopped", ONE, |stage| {
        stage.guard.stop().unwrap();
        stage.phone("203.0.113.10:5060", FREE)
    };
};

fn lapse(stage: &Stage<'_>, prefix: &str) {
    wait_until("the ban to lapse", Duration::from_secs(30), || {
        !stage.guard.bans(prefix).unwrap()
    })
    .unwrap();
}
