//! Thousands of signatures swapped under traffic: what is genuine arrives, what a scanner sends
//! does not, whichever of the two lists a packet meets.
#![allow(clippy::print_stdout, reason = "the counts are what is promised")]
#![allow(clippy::unwrap_used, reason = "a test that fails to set up has failed")]

use std::{
    fmt::Write as _,
    fs,
    net::UdpSocket,
    path::PathBuf,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use sipward_shield::{
    Limits, Mode, Over, Policy, PortClass, Ports, Rate, Shield as _,
    xdp::{Interface, Options, Xdp},
};
use sipward_signature::{Profile, SignatureSet, Tables};
use sipward_testkit::{
    namespace::Namespace,
    process::wait_until,
    require::{Need, require},
};

const PBX: &str = "192.0.2.1:5060";
/// Beside the built-in ones.
const SIGNATURES: usize = 2_000;
const SWAPS: usize = 40;
/// Genuine messages, and as many of a scanner, on their way at once: no socket overflows.
const AT_ONCE: usize = 16;
const PATIENCE: Duration = Duration::from_secs(10);

/// What was sent and what arrived.
#[derive(Default)]
struct Counts {
    genuine_sent: AtomicUsize,
    scanner_sent: AtomicUsize,
    genuine: AtomicUsize,
    scanner: AtomicUsize,
}

#[test]
fn swapping_two_thousand_signatures_drops_nothing_genuine_and_lets_no_scanner_through() {
    if !require(&[Need::Root, Need::Program("ip")]) {
        return;
    }
    let lists = ["one", "two"].map(list);
    let pbx = Namespace::new("pbx").unwrap();
    let neighbour = Namespace::new("neighbour").unwrap();
    pbx.veth("wan", &neighbour, "lan").unwrap();
    pbx.address("wan", "192.0.2.1/24").unwrap();
    neighbour.address("lan", "192.0.2.7/24").unwrap();
    let pins = Pins(PathBuf::from("/sys/fs/bpf").join(pbx.name()));
    let options = Options {
        pin_dir: pins.0.clone(),
        interfaces: vec![Interface {
            name: "wan".to_owned(),
            mode: None,
        }],
    };
    let mut xdp = pbx.enter(|| Xdp::open(&options)).unwrap();
    xdp.set_policy(&policy()).unwrap();
    xdp.set_signatures(&lists[0]).unwrap();
    pbx.enter(|| xdp.attach()).unwrap();

    let receiver = pbx.enter(|| UdpSocket::bind(PBX)).unwrap();
    receiver
        .set_read_timeout(Some(Duration::from_millis(50)))
        .unwrap();
    let sender = neighbour
        .enter(|| UdpSocket::bind("192.0.2.7:5060"))
        .unwrap();
    let counts = Counts::default();
    let [swapped, over] = [false; 2].map(AtomicBool::new);
    let swaps = thread::scope(|scope| {
        let sending = scope.spawn(|| send(&sender, &counts, &swapped));
        scope.spawn(|| receive(&receiver, &counts, &over));
        let began = Instant::now();
        let result = (1..=SWAPS).try_for_each(|swap| -> anyhow::Result<()> {
            let before = counts.genuine_sent.load(Ordering::Relaxed);
            xdp.set_signatures(&lists[swap % 2])?;
            // Some swaps follow each other at once, some meet more traffic.
            if swap % 4 == 0 {
                wait_until("messages between two swaps", PATIENCE, || {
                    counts.genuine_sent.load(Ordering::Relaxed) > before
                })?;
            }
            Ok(())
        });
        swapped.store(true, Ordering::Relaxed);
        let took = began.elapsed();
        let sent = sending.join();
        over.store(true, Ordering::Relaxed);
        sent.unwrap();
        result.map(|()| took)
    });
    let took = swaps.unwrap();

    let [genuine_sent, scanner_sent, genuine, scanner] = [
        &counts.genuine_sent,
        &counts.scanner_sent,
        &counts.genuine,
        &counts.scanner,
    ]
    .map(|count| count.load(Ordering::Relaxed));
    println!(
        "{SWAPS} swaps of {SIGNATURES} signatures in {took:?}: of {genuine_sent} genuine messages \
         {genuine} arrived, of {scanner_sent} of a scanner {scanner}"
    );
    assert!(genuine_sent >= SWAPS / 4 * AT_ONCE, "{genuine_sent}");
    assert_eq!(genuine, genuine_sent);
    assert_eq!(scanner, 0);
}

/// Genuine messages and a scanner's in turn, until the swaps are over or a genuine one is missing.
fn send(socket: &UdpSocket, counts: &Counts, swapped: &AtomicBool) {
    while !swapped.load(Ordering::Relaxed) {
        for number in 0..AT_ONCE {
            let genuine = GENUINE[number % GENUINE.len()];
            socket.send_to(&request(genuine), PBX).unwrap();
            counts.genuine_sent.fetch_add(1, Ordering::Relaxed);
            socket.send_to(&request(SCANNER), PBX).unwrap();
            counts.scanner_sent.fetch_add(1, Ordering::Relaxed);
        }
        let sent = counts.genuine_sent.load(Ordering::Relaxed);
        let all_arrived = || counts.genuine.load(Ordering::Relaxed) == sent;
        if wait_until("genuine messages to arrive", PATIENCE, all_arrived).is_err() {
            return;
        }
    }
}

/// Counts what arrives, until a time without any after the last was sent.
fn receive(socket: &UdpSocket, counts: &Counts, over: &AtomicBool) {
    let mut message = [0; 2048];
    loop {
        match socket.recv(&mut message) {
            Ok(length)
                if message[..length]
                    .windows(SCANNER.len())
                    .any(|at| at == SCANNER.as_bytes()) =>
            {
                counts.scanner.fetch_add(1, Ordering::Relaxed);
            }
            Ok(_) => {
                counts.genuine.fetch_add(1, Ordering::Relaxed);
            }
            Err(_) if over.load(Ordering::Relaxed) => return,
            Err(_) => {}
        }
    }
}

const SCANNER: &str = "friendly-scanner";
const GENUINE: [&str; 4] = [
    "Yealink SIP-T46S 66.86.0.15",
    "Z 5.6.4 v2.10.20.4",
    "baresip v3.10.1 (x86_64/linux)",
    "Grandstream HT802 1.0.39.4",
];

fn request(user_agent: &str) -> Vec<u8> {
    format!(
        "REGISTER sip:pbx.example SIP/2.0\r\n\
         Via: SIP/2.0/UDP 192.0.2.7:5060;branch=z9hG4bK7f2e;rport\r\nMax-Forwards: 70\r\n\
         From: \"Anna\" <sip:101@pbx.example>;tag=41fe\r\nTo: \"Anna\" <sip:101@pbx.example>\r\n\
         Call-ID: 5f1c8a@192.0.2.7\r\nCSeq: 1 REGISTER\r\nUser-Agent: {user_agent}\r\n\
         Contact: <sip:101@192.0.2.7:5060>\r\nContent-Length: 0\r\n\r\n"
    )
    .into_bytes()
}

/// The built-in signatures and as many more, none of which another name's list has.
fn list(name: &str) -> Tables {
    let mut text = String::new();
    for number in 0..SIGNATURES {
        // Spread over the alphabet, so that the two automata have little in common.
        let word = (number + name.len() + 1) * 7_919 % 65_537;
        writeln!(
            text,
            "[[signature]]\nname = \"{name}-{number}\"\nfield = \"user-agent\"\n\
             match = \"contains\"\npattern = \"{word:x}-{name}-scan\"\n\
             confidence = \"certain\"\nsource = \"test\""
        )
        .unwrap();
    }
    let mut set = SignatureSet::builtin();
    set.merge(SignatureSet::parse(name, &text).unwrap());
    set.compile(Profile::Standard, &[]).unwrap()
}

/// Limits that no traffic of the test reaches.
fn policy() -> Policy {
    let plenty = Rate {
        packets: 1_000_000,
        per_seconds: 1,
        burst: 1_000_000,
    };
    Policy {
        mode: Mode::Protect,
        over: Over::Drop,
        ports: Ports {
            udp: vec![(5060, PortClass::Sip)],
            tcp: Vec::new(),
        },
        limits: Limits {
            sip: plenty,
            responses: plenty,
            unknown: plenty,
            trusted: plenty,
            ssh: plenty,
        },
    }
}

/// A folder for pins that goes with the test.
struct Pins(PathBuf);

impl Drop for Pins {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
