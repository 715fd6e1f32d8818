//! A PBX in a container that docker's userland proxy hands packets to: its log has the proxy's address
//! in the place of everybody's, and only who guards this machine's interface can tell callers apart.

use std::{
    fs::OpenOptions,
    io::Write as _,
    net::{SocketAddr, UdpSocket},
    path::Path,
};

use serde_json::Value;
use sipward_testkit::{
    asterisk::{Asterisk, Settings},
    count::PacketCounter,
    docker_proxy::DockerProxy,
    guard::Guard,
    lab::{ATTACKER, ATTACKER_V6, Lab, PBX, PBX_V6, PHONES, PHONES_V6},
    namespace::Namespace,
    process::wait_until,
    require::{Need, require},
};

use crate::{
    placement::{PATIENCE, Place, SCANNER, SCANNER_V6, SIP, banned, behind, host},
    stage::{Backend, guess, request},
};

struct Scene {
    lab: Lab,
    container: Namespace,
    _proxies: [DockerProxy; 2],
}

impl Scene {
    fn new() -> Self {
        let lab = Lab::new().unwrap();
        let container = behind(&lab, Place::Proxy);
        let [inner, inner_v6] = Place::Proxy.inner().map(host);
        let proxies = [(PBX, inner), (PBX_V6, inner_v6)].map(|(public, inner)| {
            let at = |address: &str| SocketAddr::new(address.parse().unwrap(), SIP);
            DockerProxy::start(&lab.pbx, at(public), at(inner)).unwrap()
        });
        Self {
            lab,
            container,
            _proxies: proxies,
        }
    }

    fn send(&self, namespace: &Namespace, from: &str, user_agent: &str, account: u32) {
        let to = if from.contains(':') { PBX_V6 } else { PBX };
        let text = String::from_utf8(request(user_agent)).unwrap();
        let text = text.replace("sip:101@", &format!("sip:{account}@"));
        let socket = namespace.enter(|| UdpSocket::bind((from, 0)).unwrap());
        socket.send_to(text.as_bytes(), (to, SIP)).unwrap();
    }
}

fn checks(guard: &Guard<'_>, name: &str) -> Vec<Value> {
    let config = guard.config();
    let doctor = ["doctor", "--config", config.to_str().unwrap()];
    let report = guard.json(&doctor).unwrap();
    let checks = report["checks"].as_array().unwrap();
    checks
        .iter()
        .filter(|check| check["name"] == name)
        .cloned()
        .collect()
}

#[test]
fn behind_dockers_proxy_packets_tell_who_attacks_and_the_log_bans_nobody() {
    let needs = ["ip", "nft", "iptables", "ip6tables"].map(Need::Program);
    let all = [
        Need::Root,
        Need::Asterisk,
        Need::SipVicious,
        Need::DockerProxy,
    ];
    if !require(&[&all[..], &needs].concat()) {
        return;
    }
    let scene = Scene::new();
    let lab = &scene.lab;
    let asterisk = Asterisk::start(&scene.container, &Settings::default()).unwrap();
    let log = asterisk.log_path("security");
    let configuration = format!(
        "{}[asterisk]\nlogs = [{log:?}]\n",
        Backend::Native.configuration()
    );
    let program = Path::new(env!("CARGO_BIN_EXE_sipward"));
    let mut guard = Guard::start_with(program, &lab.pbx, &configuration).unwrap();

    for scanner in [SCANNER, SCANNER_V6] {
        let counter = PacketCounter::new(&lab.pbx, scanner, SIP).unwrap();
        scene.send(&lab.attacker, scanner, "friendly-scanner", 101);
        wait_until("the scanner's ban", PATIENCE, || {
            guard.bans(&banned(scanner)).unwrap()
        })
        .unwrap();
        assert_eq!(counter.packets().unwrap(), 0, "{scanner}");
    }
    for (guesser, server) in [(ATTACKER, PBX), (ATTACKER_V6, PBX_V6)] {
        let scan = guess(&lab.attacker, server);
        wait_until("the guesser's ban", PATIENCE, || {
            guard.bans(&banned(guesser)).unwrap()
        })
        .unwrap_or_else(|error| panic!("{error:#}\n{}{}", scan.output(), guard.log()));
    }

    // All that the log has is the proxy's, over both versions of IP.
    let gateways = Place::Proxy.gateway().map(host);
    for gateway in gateways {
        asterisk
            .wait_for_log("security", PATIENCE, |log| {
                log.contains(&format!("/{gateway}/"))
            })
            .unwrap();
    }
    let told = asterisk.log("security");
    for address in [ATTACKER, ATTACKER_V6, SCANNER, SCANNER_V6] {
        assert!(!told.contains(&format!("/{address}/")), "{told}");
    }
    // However many lines there are of it, it is banned for none.
    let of_gateways = gateways.map(|gateway| {
        let mut lines = told.lines();
        lines
            .find(|line| line.contains(&format!("/{gateway}/")))
            .unwrap()
    });
    let mut file = OpenOptions::new().append(true).open(&log).unwrap();
    for number in 0..100 {
        for line in of_gateways {
            let session = format!("SessionID=\"0x{number:x}");
            writeln!(file, "{}", line.replacen("SessionID=\"0x", &session, 1)).unwrap();
        }
    }
    wait_until("the log to be read", PATIENCE, || {
        let status = guard.json(&["status"]).unwrap();
        status["sensors"]["asterisk_log"]["events"].as_u64() >= Some(200)
    })
    .unwrap_or_else(|error| panic!("{error:#}\n{}", guard.log()));
    let bans = guard.json(&["bans"]).unwrap();
    assert_eq!(bans.as_array().unwrap().len(), 4, "{bans}");
    for gateway in gateways {
        let why = guard.ask(&["why", gateway]).unwrap();
        assert!(
            why.stdout.contains("is an address of this machine"),
            "{}",
            why.stdout
        );
    }

    let [translation] = &checks(&guard, "translation")[..] else {
        panic!(
            "one check for both proxies: {:?}",
            checks(&guard, "translation")
        );
    };
    for (check, parts) in [
        (translation, ["docker-proxy", "every attacker"]),
        (&checks(&guard, "one-source")[0], [gateways[0], gateways[1]]),
    ] {
        assert_eq!(check["state"], "warning", "{check}");
        let found = check["found"].as_str().unwrap();
        assert!(parts.iter().all(|part| found.contains(part)), "{found}");
        let advice = check["advice"].as_str().unwrap();
        assert!(advice.contains("\"userland-proxy\": false"), "{advice}");
    }
    guard.stop().unwrap();
}

#[test]
fn in_a_container_behind_dockers_proxy_nobody_is_banned_and_the_administrator_is_told() {
    let needs = ["ip", "nft", "iptables", "ip6tables"].map(Need::Program);
    if !require(&[&[Need::Root, Need::DockerProxy][..], &needs].concat()) {
        return;
    }
    let scene = Scene::new();
    let lab = &scene.lab;
    let program = Path::new(env!("CARGO_BIN_EXE_sipward"));
    let configuration = Backend::Generic.configuration();
    let guard = Guard::start_with(program, &scene.container, configuration).unwrap();
    let [gateway, gateway_v6] = Place::Proxy.gateway().map(host);
    let wires = [
        (gateway_v6, ATTACKER_V6, PHONES_V6),
        (gateway, ATTACKER, PHONES),
    ];
    for (gateway, attacker, phone) in wires {
        (0..5).for_each(|_| scene.send(&lab.attacker, attacker, "friendly-scanner", 100));
        (102..105).for_each(|own| scene.send(&lab.phones, phone, "Snom D785/10.1.64", own));
        wait_until("the proxy to be told", PATIENCE, || {
            let status = guard.json(&["status"]).unwrap();
            status["strangers_come_from"] == gateway
        })
        .unwrap_or_else(|error| panic!("{error:#}\n{}", guard.log()));
        let told = checks(&guard, "translation");
        assert_eq!(told[0]["state"], "failed", "{told:?}");
        let found = told[0]["found"].as_str().unwrap();
        assert!(
            found.contains(gateway) && found.contains("userland-proxy"),
            "{found}"
        );
        wait_until("the scanner to be noticed", PATIENCE, || {
            let why = guard.ask(&["why", gateway]).unwrap();
            why.stdout.contains("is a default gateway of this machine")
                && why.stdout.contains("friendly-scanner")
        })
        .unwrap_or_else(|error| panic!("{error:#}\n{}", guard.log()));
    }
    assert_eq!(guard.json(&["bans"]).unwrap(), serde_json::json!([]));
}
