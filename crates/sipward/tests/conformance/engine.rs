//! A PBX in a container of docker's engine, with the rules and the proxies that the engine itself makes
//! for a published port: of IPv4 rules take the packets, of IPv6 the proxy does.

use std::{net::UdpSocket, path::Path};

use sipward_testkit::{
    docker_engine::{self, Container, DockerEngine},
    guard::Guard,
    lab::{Lab, PBX, PBX_V6, PHONES, PHONES_V6},
    machine::{self, Clock, Machine},
    namespace::Namespace,
    process::wait_until,
    require::{Need, require},
};

use crate::{
    placement::{SCANNER, SCANNER_V6, SIP, banned},
    stage::{Backend, PATIENCE_EMULATED, programs, request},
};

/// Banned by hand.
const BANNED: &str = "203.0.113.40";
const BANNED_V6: &str = "2001:db8:bad:40::7";
/// Of the bridge, from which the proxy sends.
const BRIDGE: &str = "172.17.0.1";
const HARMLESS: &str = "Snom D785/10.1.64";
/// In every [`request`].
const CALL_ID: &str = "5f1c8a@203.0.113.7";

const WIRES: [Wire; 2] = [
    Wire {
        server: PBX,
        phone: PHONES,
        phone_arrives_as: PHONES,
        scanner: SCANNER,
        banned: BANNED,
    },
    Wire {
        server: PBX_V6,
        phone: PHONES_V6,
        phone_arrives_as: BRIDGE,
        scanner: SCANNER_V6,
        banned: BANNED_V6,
    },
];

/// A version of IP.
struct Wire {
    server: &'static str,
    phone: &'static str,
    phone_arrives_as: &'static str,
    scanner: &'static str,
    banned: &'static str,
}

#[test]
fn a_container_of_dockers_engine_is_guarded() {
    let tools = [
        "ip",
        "nft",
        "nsenter",
        "iptables",
        "ip6tables",
        "iptables-save",
        "ip6tables-save",
    ];
    if !require(&[Need::DockerEngine]) {
        return;
    }
    let Some(mut programs) = programs(&tools) else {
        return;
    };
    programs.extend(docker_engine::programs());
    let machine = Machine {
        suite: "bookworm",
        release: "6.1.",
        programs: &programs,
        clock: Clock::Own,
    };
    machine::within(&machine, || {
        let lab = Lab::new().unwrap();
        let engine = DockerEngine::start(&lab.pbx).unwrap();
        let container = engine.publish(SIP).unwrap();
        for backend in [Backend::Generic, Backend::Nftables] {
            play(&lab, &container, backend);
        }
    });
}

/// Of a scanner nothing reaches the container, or what it is banned for, and nothing at all of who is
/// banned; a phone has its answer.
fn play(lab: &Lab, container: &Container, backend: Backend) {
    let program = Path::new(env!("CARGO_BIN_EXE_sipward"));
    let mut guard = Guard::start_with(program, &lab.pbx, backend.configuration()).unwrap();
    let pbx = container.udp_socket(SIP).unwrap();
    pbx.set_read_timeout(Some(PATIENCE_EMULATED)).unwrap();
    for wire in WIRES {
        let said = guard.ask(&["ban", wire.banned, "--for", "1h"]).unwrap();
        assert!(said.status.success(), "{said:?}");
        wire.send(&lab.attacker, wire.scanner, "friendly-scanner");
        wait_until("the scanner's ban", PATIENCE_EMULATED, || {
            guard.bans(&banned(wire.scanner)).unwrap()
        })
        .unwrap_or_else(|error| panic!("{error:#}\n{}", guard.log()));
        wire.send(&lab.attacker, wire.scanner, HARMLESS);
        wire.send(&lab.attacker, wire.banned, HARMLESS);
        let phone = wire.send(&lab.phones, wire.phone, HARMLESS);
        let arrived = wire.arrived(&pbx);
        println!("{}: {arrived:?} arrived", backend.name());
        let through = match backend {
            Backend::Native | Backend::Generic => vec![wire.phone],
            Backend::Nftables => vec![wire.scanner, wire.phone],
        };
        assert_eq!(arrived, through, "{}", guard.log());
        phone.set_read_timeout(Some(PATIENCE_EMULATED)).unwrap();
        let answered = phone.recv(&mut [0; 2_048]);
        assert!(answered.is_ok(), "{answered:?}");
    }
    assert_told(&guard);
    let status = guard.json(&["status"]).unwrap();
    assert_eq!(status["enforcement"]["state"], "ok", "{status}");
    assert_eq!(status["enforcement"]["leaked_packets"], 0, "{status}");
    guard.stop().unwrap();
}

/// Of IPv4 the engine's rules forward the port, before its proxy could have it; of IPv6 it has none.
fn assert_told(guard: &Guard<'_>) {
    let config = guard.config();
    let doctor = ["doctor", "--config", config.to_str().unwrap()];
    let report = guard.json(&doctor).unwrap();
    let checks = report["checks"].as_array().unwrap().iter();
    let translation = checks.filter(|check| check["name"] == "translation");
    let told: Vec<_> = translation
        .filter(|check| check["state"] != "ok")
        .map(|check| check["found"].as_str().unwrap())
        .collect();
    assert_eq!(told.len(), 1, "{report}");
    let proxied = format!("docker-proxy takes port {SIP} of ::: ");
    assert!(told[0].starts_with(&proxied), "{told:?}");
}

impl Wire {
    /// From an address, which the message names.
    fn send(&self, sender: &Namespace, from: &str, user_agent: &str) -> UdpSocket {
        let socket = sender.enter(|| UdpSocket::bind((from, 0)).unwrap());
        let text = String::from_utf8(request(user_agent)).unwrap();
        let text = text.replace(CALL_ID, from);
        socket.send_to(text.as_bytes(), (self.server, SIP)).unwrap();
        socket
    }

    /// Who has sent what arrives, to the phone's message, which is answered: packets keep their order.
    fn arrived(&self, pbx: &UdpSocket) -> Vec<String> {
        let mut arrived = Vec::new();
        loop {
            let mut buffer = [0; 2_048];
            let (length, seen) = pbx.recv_from(&mut buffer).unwrap();
            let text = String::from_utf8_lossy(&buffer[..length]);
            let call = text.lines().find_map(|line| line.strip_prefix("Call-ID: "));
            let from = call.unwrap().to_owned();
            let is_phone = from == self.phone;
            if is_phone {
                assert_eq!(seen.ip().to_string(), self.phone_arrives_as);
                pbx.send_to(b"SIP/2.0 200 OK\r\n\r\n", seen).unwrap();
            }
            arrived.push(from);
            if is_phone {
                return arrived;
            }
        }
    }
}
