//! Sixty thousand senders that do not exist.

use std::{
    fs,
    net::{Ipv4Addr, UdpSocket},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use sipward_testkit::{
    asterisk::{Asterisk, Driver, Settings},
    lab::{Lab, PBX, PHONES},
    packet::Packet,
    phone::{Phones, Task},
    process::wait_until,
    require::{Need, require},
};
use sipward_wire::sip::Message;

use crate::{GENUINE, PATIENCE, can_run, guard};

const SOURCES: u32 = 60_000;
/// So many packets, and again after so long: 6,000 a second.
const SALVO: u32 = 300;
const SALVO_EVERY: Duration = Duration::from_millis(50);
/// A provider with which the PBX registers, beside the phones.
const TRUNK: &str = "198.51.100.12";
const GATEWAY: &str = "192.0.2.254";
/// A phone that nobody has seen yet.
const STRANGER: &str = "198.51.100.11";
/// Resident memory of the daemon, in kB, that it stays below: 100,000 sources are remembered.
const MEMORY: u64 = 200_000;

#[test]
fn whom_forgers_imitate_goes_on_working() {
    if !can_run() || !require(&[Need::Program("sipp")]) {
        return;
    }
    let lab = Lab::new().unwrap();
    for address in [TRUNK, STRANGER] {
        lab.phones
            .address("eth0", &format!("{address}/24"))
            .unwrap();
    }
    let trunk = lab.phones.enter(|| UdpSocket::bind((TRUNK, 5060)).unwrap());
    let mut settings = Settings::default();
    let register = format!("[general](+)\nregister => gw:secret@{TRUNK}\n");
    settings.appended.insert("sip.conf", register);
    let guard = guard(&lab.pbx);
    let _asterisk = Asterisk::start(&lab.pbx, &settings).unwrap();
    accept_registration(&trunk);
    register_phone(&lab, PHONES, 101);
    let trusted = || guard.json(&["trusted"]).unwrap().as_array().unwrap().len();
    wait_until("phone and trunk to be trusted", PATIENCE, || trusted() == 2)
        .unwrap_or_else(|error| panic!("{error:#}\n{}", guard.log()));

    let flooding = AtomicBool::new(true);
    let (mut registrations, mut answers) = (0, 0);
    let started = Instant::now();
    thread::scope(|scope| {
        scope.spawn(|| {
            flood(&lab);
            flooding.store(false, Ordering::Release);
        });
        register_phone(&lab, STRANGER, 102);
        while flooding.load(Ordering::Acquire) {
            register_phone(&lab, PHONES, 101);
            registrations += 1;
            answers += u32::from(is_answered(&trunk, registrations));
        }
    });
    let flood = started.elapsed();
    register_phone(&lab, PHONES, 101);

    let bans = guard.json(&["bans"]).unwrap();
    let bans = bans.as_array().unwrap();
    for address in [PHONES, STRANGER, TRUNK, GATEWAY] {
        let banned = bans
            .iter()
            .any(|ban| ban["prefix"] == format!("{address}/32"));
        assert!(!banned, "{address}: {}", guard.log());
    }
    assert!(bans.iter().all(|ban| ban["scope"] == "sip"));
    let memory = memory(guard.pid().unwrap());
    let status = guard.json(&["status"]).unwrap();
    println!(
        "{SOURCES} forged sources within {flood:.1?}: a stranger registered, a phone {registrations} \
         times of {registrations}, the trunk's OPTIONS were answered {answers} times; {} bans, {memory} kB; \
         {}",
        bans.len(),
        status["packets"],
    );
    assert_eq!(answers, registrations);
    assert!(memory < MEMORY, "{memory} kB");
}

/// Half of them with a scanner's name, half as a genuine phone, and every hundredth as somebody
/// who matters.
fn flood(lab: &Lab) {
    let started = Instant::now();
    for n in 0..SOURCES {
        if n % SALVO == 0 {
            let due = SALVO_EVERY * (n / SALVO);
            thread::sleep(due.saturating_sub(started.elapsed()));
        }
        let source = match n % 400 {
            0 => PHONES.to_owned(),
            100 => TRUNK.to_owned(),
            200 => GATEWAY.to_owned(),
            _ => Ipv4Addr::from(0x0b00_0000 + n * 257).to_string(),
        };
        let (method, agent) = if n % 2 == 0 {
            ("OPTIONS", "friendly-scanner")
        } else {
            ("REGISTER", GENUINE)
        };
        let message = format!(
            "{method} sip:{PBX} SIP/2.0\r\nVia: SIP/2.0/UDP {source}:5060;branch=z9hG4bKf{n}\r\n\
             Max-Forwards: 70\r\nFrom: <sip:{n}@{PBX}>;tag=f{n}\r\nTo: <sip:{n}@{PBX}>\r\n\
             Call-ID: f{n}\r\nCSeq: 1 {method}\r\nContact: <sip:{n}@{source}:5060>\r\n\
             User-Agent: {agent}\r\nContent-Length: 0\r\n\r\n"
        );
        let packet = Packet::udp(format!("{source}:5060"), format!("{PBX}:5060"));
        lab.inject(&packet.payload(message.as_bytes()).build())
            .unwrap();
    }
}

fn register_phone(lab: &Lab, source: &str, extension: u16) {
    let phone = Phones {
        first: extension,
        retransmit: true,
        ..Phones::one(
            source.parse().unwrap(),
            Driver::ChanSip.address(),
            Task::Register,
        )
    };
    phone.start(&lab.phones).unwrap().finish(PATIENCE).unwrap();
}

/// The provider's answer to the PBX's registration.
fn accept_registration(trunk: &UdpSocket) {
    trunk
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    let mut buffer = [0; 2_000];
    let (length, from) = trunk.recv_from(&mut buffer).unwrap();
    let request = String::from_utf8_lossy(&buffer[..length]).into_owned();
    assert!(request.starts_with("REGISTER"), "{request}");
    let mut answer = String::from("SIP/2.0 200 OK\r\n");
    for name in ["Via", "From", "To", "Call-ID", "CSeq", "Contact"] {
        let line = request
            .lines()
            .find(|line| line.starts_with(&format!("{name}:")));
        answer += &format!("{}\r\n", line.unwrap());
    }
    answer += "Expires: 3600\r\nContent-Length: 0\r\n\r\n";
    trunk.send_to(answer.as_bytes(), from).unwrap();
}

/// Whether the PBX answers the provider's keep-alive, sent again as RFC 3261 wants it.
fn is_answered(trunk: &UdpSocket, number: u32) -> bool {
    let call_id = format!("options-{number}@{TRUNK}");
    let options = format!(
        "OPTIONS sip:{PBX} SIP/2.0\r\nVia: SIP/2.0/UDP {TRUNK}:5060;branch=z9hG4bKt{number}\r\n\
         Max-Forwards: 70\r\nFrom: <sip:{TRUNK}>;tag=t\r\nTo: <sip:{PBX}>\r\nCall-ID: {call_id}\r\n\
         CSeq: {number} OPTIONS\r\nContact: <sip:{TRUNK}>\r\nContent-Length: 0\r\n\r\n"
    );
    for wait in [500, 1_000, 2_000, 4_000] {
        trunk.send_to(options.as_bytes(), (PBX, 5060)).unwrap();
        trunk
            .set_read_timeout(Some(Duration::from_millis(wait)))
            .unwrap();
        let mut buffer = [0; 2_000];
        while let Ok(length) = trunk.recv(&mut buffer) {
            let message = Message::parse(&buffer[..length]);
            if message.status().is_some() && message.call_id() == Some(call_id.as_bytes()) {
                return true;
            }
        }
    }
    false
}

/// The most memory that a process had resident, in kB.
fn memory(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
