//! Where the PBX may be: in a container behind docker's NAT, behind this machine as a router, behind
//! a bridge of it. Whoever guards in front of it sees each caller under the caller's own address:
//! before the NAT on the way in, behind it on the way out.

use std::{
    net::{SocketAddr, UdpSocket},
    path::Path,
    time::Duration,
};

use sipward_testkit::{
    asterisk::{Asterisk, Settings},
    count::PacketCounter,
    guard::Guard,
    lab::{ATTACKER, ATTACKER_V6, Lab, PBX, PBX_V6, PHONES, PHONES_V6},
    namespace::Namespace,
    phone::{Phones, Task},
    process::wait_until,
    require::{Need, require},
};
use test_case::test_case;

use crate::stage::{Backend, guess, request};

pub const PATIENCE: Duration = Duration::from_secs(60);
pub const SIP: u16 = 5060;
/// Scanners come from here, and guessers from where the tools come from by themselves.
pub const SCANNER: &str = "203.0.113.20";
pub const SCANNER_V6: &str = "2001:db8:bad:20::7";

/// Where the PBX is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In a container, its port published by docker's rules.
    Docker,
    /// In a container, its port published by docker's proxy alone.
    Proxy,
    /// On another machine, to which this one forwards.
    Routed,
    /// On another machine, in the network that the interface is bridged to.
    Bridged,
}

impl Place {
    /// Addresses of the PBX's machine, with the lengths of their prefixes.
    pub const fn inner(self) -> [&'static str; 2] {
        match self {
            Self::Docker | Self::Proxy => ["172.17.0.2/16", "fd00:17::2/64"],
            Self::Routed => ["198.18.0.2/24", "2001:db8:18::2/64"],
            Self::Bridged => ["192.0.2.2/24", "2001:db8:2::2/64"],
        }
    }

    /// Those of its gateway.
    pub const fn gateway(self) -> [&'static str; 2] {
        match self {
            Self::Docker | Self::Proxy => ["172.17.0.1/16", "fd00:17::1/64"],
            Self::Routed => ["198.18.0.1/24", "2001:db8:18::1/64"],
            Self::Bridged => ["192.0.2.254/24", "2001:db8:2::fe/64"],
        }
    }

    /// Where callers reach it.
    fn public(self) -> [&'static str; 2] {
        match self {
            Self::Docker | Self::Proxy => [PBX, PBX_V6],
            Self::Routed | Self::Bridged => self.inner().map(host),
        }
    }
}

pub fn host(address: &'static str) -> &'static str {
    address.split('/').next().unwrap_or_default()
}

/// Puts a machine for the PBX behind the laboratory's.
pub fn behind(lab: &Lab, place: Place) -> Namespace {
    let inner = Namespace::new("inner").unwrap();
    let run = |line: &str| lab.pbx.run(line).unwrap();
    run("ip link add br0 type bridge");
    run("ip link set br0 up");
    lab.pbx.veth("inner", &inner, "eth0").unwrap();
    run("ip link set inner master br0");
    for address in place.inner() {
        inner.address("eth0", address).unwrap();
    }
    match place {
        Place::Bridged => {
            run("ip address flush dev eth0");
            run("ip link set eth0 master br0");
        }
        Place::Docker | Place::Proxy | Place::Routed => {
            for address in place.gateway() {
                lab.pbx.address("br0", address).unwrap();
            }
            for parameter in ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"] {
                lab.pbx.set(parameter, "1").unwrap();
            }
        }
    }
    for gateway in place.gateway() {
        inner.route("default", host(gateway)).unwrap();
    }
    match place {
        Place::Docker => publish(lab, place),
        Place::Routed => {
            lab.router.route("198.18.0.0/24", PBX).unwrap();
            lab.router.route("2001:db8:18::/64", PBX_V6).unwrap();
        }
        Place::Proxy | Place::Bridged => {}
    }
    inner
}

/// The rules that docker 28 writes for a container with a published port, of both its tables.
fn publish(lab: &Lab, place: Place) {
    let networks = [("iptables", "172.17.0.0/16"), ("ip6tables", "fd00:17::/64")];
    for ((program, network), inner) in networks.into_iter().zip(place.inner().map(host)) {
        let run = |line: &str| lab.pbx.run(&format!("{program} --wait {line}")).unwrap();
        let to = if inner.contains(':') {
            format!("[{inner}]:{SIP}")
        } else {
            format!("{inner}:{SIP}")
        };
        run("-t nat -N DOCKER");
        run("-t nat -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER");
        run(&format!(
            "-t nat -A POSTROUTING -s {network} ! -o br0 -j MASQUERADE"
        ));
        run("-P FORWARD DROP");
        run("-N DOCKER");
        run("-A FORWARD -o br0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT");
        run("-A FORWARD -o br0 -j DOCKER");
        run("-A FORWARD -i br0 ! -o br0 -j ACCEPT");
        for protocol in ["udp", "tcp"] {
            run(&format!(
                "-t nat -A DOCKER ! -i br0 -p {protocol} --dport {SIP} -j DNAT --to-destination {to}"
            ));
            run(&format!(
                "-A DOCKER -d {inner} ! -i br0 -o br0 -p {protocol} --dport {SIP} -j ACCEPT"
            ));
        }
    }
}

/// What a ban of this address bans: of IPv6, the network.
pub fn banned(address: &str) -> String {
    match address.strip_suffix("::7") {
        Some(network) => format!("{network}::/64"),
        None => format!("{address}/32"),
    }
}

fn is_trusted(guard: &Guard<'_>, address: &str) -> bool {
    let trusted = guard.json(&["trusted"]).unwrap();
    trusted.to_string().contains(&format!("\"{address}\""))
}

#[test_case(Place::Docker, Backend::Native; "docker xdp native")]
#[test_case(Place::Docker, Backend::Nftables; "docker nftables")]
#[test_case(Place::Routed, Backend::Generic; "router xdp generic")]
#[test_case(Place::Routed, Backend::Nftables; "router nftables")]
#[test_case(Place::Bridged, Backend::Generic; "bridge xdp generic")]
fn a_pbx_behind_this_machine_is_guarded_as_one_on_it(place: Place, backend: Backend) {
    let needs = ["ip", "nft", "iptables", "ip6tables", "sipp"].map(Need::Program);
    let needs = [&[Need::Root, Need::Asterisk, Need::SipVicious][..], &needs].concat();
    if !require(&needs) {
        return;
    }
    let lab = Lab::new().unwrap();
    let inner = behind(&lab, place);
    let asterisk = Asterisk::start(&inner, &Settings::default()).unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_sipward"));
    let mut guard = Guard::start_with(program, &lab.pbx, backend.configuration()).unwrap();
    let [public, public_v6] = place.public();

    // Phones register and call, and are known for it.
    for (phone, server) in [(PHONES, public), (PHONES_V6, public_v6)] {
        let server = SocketAddr::new(server.parse().unwrap(), SIP);
        let phones = |task| Phones::one(phone.parse().unwrap(), server, task);
        let running = phones(Task::Call).start(&lab.phones).unwrap();
        running
            .finish(PATIENCE)
            .unwrap_or_else(|error| panic!("{error:#}\n{}", guard.log()));
        wait_until("the login to count", PATIENCE, || is_trusted(&guard, phone)).unwrap();
    }

    // Scanners are dropped at their first packet, or banned for it.
    for (scanner, server) in [(SCANNER, public), (SCANNER_V6, public_v6)] {
        let counter = PacketCounter::new(&inner, scanner, SIP).unwrap();
        let scan = || {
            let socket = lab
                .attacker
                .enter(|| UdpSocket::bind((scanner, 0)).unwrap());
            let scan = request("friendly-scanner");
            socket.send_to(&scan, (server, SIP)).unwrap();
        };
        scan();
        wait_until("the scanner's ban", PATIENCE, || {
            guard.bans(&banned(scanner)).unwrap()
        })
        .unwrap();
        let before = counter.packets().unwrap();
        let passes = match backend {
            Backend::Native | Backend::Generic => 0,
            Backend::Nftables => 1,
        };
        assert_eq!(before, passes, "{scanner}");
        (0..20).for_each(|_| scan());
        assert_eq!(counter.packets().unwrap(), before, "{scanner}");
    }

    // A guesser, by the refusals that it gets.
    for (guesser, server) in [(ATTACKER, public), (ATTACKER_V6, public_v6)] {
        let scan = guess(&lab.attacker, server);
        wait_until("the guesser's ban", PATIENCE, || {
            guard.bans(&banned(guesser)).unwrap()
        })
        .unwrap_or_else(|error| panic!("{error:#}\n{}{}", scan.output(), guard.log()));
    }

    // What is behind is banned by nobody, and what is dropped is.
    let bans = guard.json(&["bans"]).unwrap();
    let prefixes: Vec<&str> = bans
        .as_array()
        .unwrap()
        .iter()
        .map(|ban| ban["prefix"].as_str().unwrap())
        .collect();
    assert_eq!(prefixes.len(), 4, "{prefixes:?}");
    let status = guard.json(&["status"]).unwrap();
    assert_eq!(
        status["enforcement"]["state"],
        "ok",
        "{status}\n{}",
        guard.log()
    );
    assert_eq!(status["enforcement"]["leaked_packets"], 0, "{status}");
    let server = SocketAddr::new(public.parse().unwrap(), SIP);
    let phone = Phones::one(PHONES.parse().unwrap(), server, Task::Call);
    let running = phone.start(&lab.phones).unwrap();
    running.finish(PATIENCE).unwrap();
    guard.stop().unwrap();
    drop(asterisk);
}

/// Its packets come as those of the bridge, and rules for it would match none.
#[test]
fn a_port_of_a_bridge_is_no_interface_for_nftables() {
    if !require(&[Need::Root, Need::Program("ip"), Need::Program("nft")]) {
        return;
    }
    let lab = Lab::new().unwrap();
    let _inner = behind(&lab, Place::Bridged);
    let program = Path::new(env!("CARGO_BIN_EXE_sipward"));
    let error = Guard::start_with(program, &lab.pbx, Backend::Nftables.configuration());
    let said = format!("{:#}", error.err().unwrap());
    assert!(
        said.contains("eth0") && said.contains("bridge br0"),
        "{said}"
    );
}

/// A router that puts its own address on whom it lets in, as home routers with a SIP ALG do, and as
/// docker's bridge does for a sipward in the container.
#[test_case(Backend::Generic; "xdp generic")]
#[test_case(Backend::Nftables; "nftables")]
fn behind_a_router_that_hides_strangers_nobody_is_banned_and_the_administrator_is_told(
    backend: Backend,
) {
    const GATEWAY: &str = "192.0.2.254";
    let needs = ["ip", "nft", "iptables"].map(Need::Program);
    if !require(&[&[Need::Root][..], &needs].concat()) {
        return;
    }
    let lab = Lab::new().unwrap();
    let hide = "iptables --wait -t nat -A POSTROUTING -o pbx -j MASQUERADE --random";
    lab.router.run(hide).unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_sipward"));
    let guard = Guard::start_with(program, &lab.pbx, backend.configuration()).unwrap();
    let translation = || {
        let report = guard.json(&["doctor"]).unwrap();
        let checks = report["checks"].as_array().unwrap().clone();
        checks
            .into_iter()
            .find(|check| check["name"] == "translation")
            .unwrap()
    };
    assert_eq!(translation()["state"], "ok");

    let send = |from: &str, user_agent: &str, account: u32| {
        let socket = UdpSocket::bind((from, 0)).unwrap();
        let text = String::from_utf8(request(user_agent)).unwrap();
        let own = text.replace("sip:101@", &format!("sip:{account}@"));
        socket.send_to(own.as_bytes(), (PBX, SIP)).unwrap();
    };
    lab.attacker
        .enter(|| (0..5).for_each(|_| send(ATTACKER, "friendly-scanner", 100)));
    lab.phones
        .enter(|| (102..105).for_each(|own| send(PHONES, "Snom D785/10.1.64", own)));
    wait_until("the gateway to be told", PATIENCE, || {
        let status = guard.json(&["status"]).unwrap();
        status["strangers_come_from"] == GATEWAY
    })
    .unwrap_or_else(|error| panic!("{error:#}\n{}", guard.log()));
    let check = translation();
    assert_eq!(check["state"], "failed", "{check}");
    assert!(
        check["found"].as_str().unwrap().contains(GATEWAY),
        "{check}"
    );
    wait_until("the scanner to be noticed", PATIENCE, || {
        let why = guard.ask(&["why", GATEWAY]).unwrap();
        why.stdout.contains("is a default gateway of this machine")
            && why.stdout.contains("friendly-scanner")
    })
    .unwrap_or_else(|error| panic!("{error:#}\n{}", guard.log()));
    assert_eq!(guard.json(&["bans"]).unwrap(), serde_json::json!([]));
}
