//! The protection as firewall rules, loaded by the tools in front of a real Asterisk: a phone gets
//! through, attackers do not.

use std::{
    fs,
    net::{IpAddr, SocketAddr, TcpStream, UdpSocket},
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use sipward::ledger::{Entry, Ledger};
use sipward_engine::{Ban, Origin, Scope, Time};
use sipward_testkit::{
    asterisk::{Asterisk, Settings},
    count::PacketCounter,
    lab::{ATTACKER, Lab, PBX, PBX_V6, PHONES, PHONES_V6},
    phone::{Phones, Task},
    process::{Process, wait_until},
    require::{Need, require},
    scanner::Scanner,
};
use tempfile::TempDir;

use crate::{done, program};

const PATIENCE: Duration = Duration::from_secs(60);
const SCANNER: &str = "friendly-scanner";
/// The source port that is banned at the address of `port_banned`.
const PORT: u16 = 5071;
const GENUINE: &str = "Yealink SIP-T46S 66.86.0.15";

/// The addresses of one family, all of the attacker's namespace but the server's and the phones'.
struct Parties {
    server: &'static str,
    phones: &'static str,
    banned: &'static str,
    /// In the ban of a prefix that holds the next one, too.
    in_banned_prefix: &'static str,
    allowed: &'static str,
    scanner: &'static str,
    /// Says a scanner's name where no scanner does.
    named_like_a_scanner: &'static str,
    flooder: &'static str,
    port_banned: &'static str,
}

const V4: Parties = Parties {
    server: PBX,
    phones: PHONES,
    banned: "203.0.113.20",
    in_banned_prefix: "203.0.113.51",
    allowed: "203.0.113.50",
    scanner: "203.0.113.70",
    named_like_a_scanner: "203.0.113.71",
    flooder: "203.0.113.90",
    port_banned: "203.0.113.80",
};
const V6: Parties = Parties {
    server: PBX_V6,
    phones: PHONES_V6,
    banned: "2001:db8:bad:20::1",
    in_banned_prefix: "2001:db8:bad:50::2",
    allowed: "2001:db8:bad:50::1",
    scanner: "2001:db8:bad:70::1",
    named_like_a_scanner: "2001:db8:bad:71::1",
    flooder: "2001:db8:bad:90::1",
    port_banned: "2001:db8:bad:80::1",
};

/// Folders of a daemon that does not run, with bans in its ledger.
fn state(folder: &Path) {
    let config = "allow.addresses = [\"203.0.113.50\", \"2001:db8:bad:50::1\"]\n";
    fs::write(folder.join("sipward.toml"), config).unwrap();
    let mut ledger = Ledger::open(&folder.join("state")).unwrap();
    let ban = |prefix: &str, scope, until| {
        let of_port = prefix.contains(".80/") || prefix.contains(":80:");
        Entry::Ban(Ban {
            prefix: prefix.parse().unwrap(),
            port: of_port.then_some(PORT),
            scope,
            since: Time(1),
            until,
            detector: None,
            reason: String::new(),
            proven: false,
            signature: None,
            account: None,
            origin: Origin::Manual,
        })
    };
    let in_an_hour = sipward::clock::now() + Duration::from_secs(3_600);
    ledger
        .write(&[
            ban("203.0.113.20/32", Scope::All, None),
            ban("203.0.113.48/28", Scope::Sip, Some(in_an_hour)),
            ban("2001:db8:bad:20::/64", Scope::All, Some(in_an_hour)),
            ban("2001:db8:bad:50::/64", Scope::Sip, None),
            ban("203.0.113.80/32", Scope::Sip, Some(in_an_hour)),
            ban("2001:db8:bad:80::1/128", Scope::All, Some(in_an_hour)),
            // Over: this one must not come back to life.
            ban("198.51.100.0/24", Scope::All, Some(Time(2))),
        ])
        .unwrap();
}

fn rules(folder: &Path, format: &str) -> std::path::PathBuf {
    let mut command = Command::new(program());
    command.args(["rules", "--format", format, "--config"]);
    command.arg(folder.join("sipward.toml")).arg("--state-dir");
    command.arg(folder.join("state")).arg("--socket");
    let said = done(Process::run(command.arg(folder.join("none")), PATIENCE).unwrap());
    assert!(said.stderr.contains("ledger.db"), "{said:?}");
    let file = folder.join(format);
    fs::write(&file, said.stdout).unwrap();
    file
}

fn options(from: &str, user_agent: &str) -> String {
    format!(
        "OPTIONS sip:100@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP phone.example:5060;branch=z9hG4bK-1\r\n\
         From: {from} <sip:alice@phone.example>;tag=1\r\nTo: <sip:100@192.0.2.1>\r\n\
         Call-ID: 1\r\nCSeq: 1 OPTIONS\r\nUser-Agent: {user_agent}\r\nContent-Length: 0\r\n\r\n"
    )
}

fn send(lab: &Lab, parties: &Parties, source: &str, message: &str, times: usize) {
    send_from(lab, parties, source, 0, message, times);
}

fn send_from(lab: &Lab, parties: &Parties, source: &str, port: u16, message: &str, times: usize) {
    let source: IpAddr = source.parse().unwrap();
    let server: IpAddr = parties.server.parse().unwrap();
    lab.attacker.enter(|| {
        let socket = UdpSocket::bind((source, port)).unwrap();
        for _ in 0..times {
            socket.send_to(message.as_bytes(), (server, 5060)).unwrap();
        }
    });
}

/// What everybody must find, with the rules of `format` in force.
fn conform(lab: &Lab, format: &str, parties: &Parties, signatures: bool) {
    let counter = |source, port| PacketCounter::new(&lab.pbx, source, port).unwrap();
    let [
        banned,
        in_prefix,
        allowed,
        scanner,
        like_one,
        flooder,
        of_port,
    ] = [
        parties.banned,
        parties.in_banned_prefix,
        parties.allowed,
        parties.scanner,
        parties.named_like_a_scanner,
        parties.flooder,
        parties.port_banned,
    ]
    .map(|source| counter(source, 5060));
    let ssh = counter(parties.flooder, 22);

    let server: IpAddr = parties.server.parse().unwrap();
    let phone = Phones::one(
        parties.phones.parse().unwrap(),
        SocketAddr::new(server, 5060),
        Task::Call,
    );
    phone.start(&lab.phones).unwrap().finish(PATIENCE).unwrap();

    send(lab, parties, parties.banned, &options("", GENUINE), 3);
    send(
        lab,
        parties,
        parties.in_banned_prefix,
        &options("", GENUINE),
        3,
    );
    send(lab, parties, parties.scanner, &options("", SCANNER), 3);
    let named = format!("\"{SCANNER}\"");
    send(
        lab,
        parties,
        parties.named_like_a_scanner,
        &options(&named, GENUINE),
        3,
    );
    send_from(
        lab,
        parties,
        parties.port_banned,
        PORT,
        &options("", GENUINE),
        3,
    );
    send(lab, parties, parties.port_banned, &options("", GENUINE), 2);
    let begin = Instant::now();
    send(lab, parties, parties.flooder, &options("", GENUINE), 300);
    // The last to be sent is the last to arrive.
    send(lab, parties, parties.allowed, &options("", SCANNER), 3);
    let arrived = || allowed.packets().unwrap() == 3;
    wait_until(&format!("{format}: the allowed scanner"), PATIENCE, arrived).unwrap();
    let limit = 120 + 5 * (begin.elapsed().as_secs() + 1) + 1;

    assert_eq!(banned.packets().unwrap(), 0, "{format}");
    assert_eq!(in_prefix.packets().unwrap(), 0, "{format}");
    let through = if signatures { 0 } else { 3 };
    assert_eq!(scanner.packets().unwrap(), through, "{format}");
    assert_eq!(like_one.packets().unwrap(), 3, "{format}");
    assert_eq!(of_port.packets().unwrap(), 2, "{format}");
    let flood = flooder.packets().unwrap();
    assert!(
        (119..=limit).contains(&flood),
        "{format}: {flood} of 300, at most {limit}"
    );

    let begin = Instant::now();
    let source: IpAddr = parties.flooder.parse().unwrap();
    for _ in 0..14 {
        lab.attacker
            .enter(|| connect(source, SocketAddr::new(server, 22)));
    }
    let arrived = || ssh.packets().unwrap() >= 10;
    wait_until(
        &format!("{format}: the first connections"),
        PATIENCE,
        arrived,
    )
    .unwrap();
    let limit = 10 + begin.elapsed().as_secs() / 20 + 1;
    let connections = ssh.packets().unwrap();
    assert!(
        (10..=limit).contains(&connections),
        "{format}: {connections} SYNs, at most {limit}"
    );
}

#[test]
fn static_rules_let_phones_through_and_stop_attackers() {
    let needs = [
        Need::Root,
        Need::Asterisk,
        Scanner::Svwar.need(),
        Need::Program("sipp"),
        Need::Program("iptables"),
        Need::Program("nft"),
    ];
    if !require(&needs) {
        return;
    }
    let lab = Lab::new().unwrap();
    let folder = TempDir::new().unwrap();
    state(folder.path());
    let _asterisk = Asterisk::start(&lab.pbx, &Settings::default()).unwrap();

    // The test of the test: without rules the scanner gets through.
    let svwar = |what: &str, gets_through: bool| {
        let counter = PacketCounter::new(&lab.pbx, ATTACKER, 5060).unwrap();
        let mut scan = Scanner::Svwar.command(&lab.attacker);
        scan.args(["-e", "100-104", PBX]);
        Process::run(&mut scan, PATIENCE).unwrap();
        assert_eq!(counter.packets().unwrap() > 0, gets_through, "{what}");
    };
    svwar("no rules", true);

    for (format, restore, parties) in [
        ("iptables", "iptables", &V4),
        ("iptables", "iptables-legacy", &V4),
        ("ip6tables", "ip6tables", &V6),
    ] {
        let file = rules(folder.path(), format);
        let file = file.display();
        lab.pbx
            .run(&format!("{restore}-restore --test {file}"))
            .unwrap();
        // A second time as at the second boot.
        for _ in 0..2 {
            lab.pbx.run(&format!("{restore}-restore {file}")).unwrap();
        }
        conform(&lab, restore, parties, true);
        if parties.server == PBX {
            svwar(restore, false);
        }
        for order in ["-F", "-X"] {
            lab.pbx.run(&format!("{restore} -t raw {order}")).unwrap();
        }
    }

    let file = rules(folder.path(), "nftables");
    let file = file.display();
    lab.pbx.run(&format!("nft -c -f {file}")).unwrap();
    for _ in 0..2 {
        lab.pbx.run(&format!("nft -f {file}")).unwrap();
    }
    conform(&lab, "nftables", &V4, false);
    conform(&lab, "nftables", &V6, false);
}

/// Tries a connection from this address, for a moment.
fn connect(source: IpAddr, server: SocketAddr) {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, bind, socket};
    use std::os::fd::AsRawFd;
    let family = match source {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    };
    let socket = socket(family, SockType::Stream, SockFlag::SOCK_NONBLOCK, None).unwrap();
    bind(
        socket.as_raw_fd(),
        &SockaddrStorage::from(SocketAddr::new(source, 0)),
    )
    .unwrap();
    // It is under way, and nobody waits for the end.
    let _ = nix::sys::socket::connect(socket.as_raw_fd(), &SockaddrStorage::from(server));
    let stream = TcpStream::from(socket);
    // A refused connection is reported at once, a dropped one not at all.
    drop(stream);
}
