//! Every attack over every transport against both drivers: who sees it, and what it is called.
//!
//! What Asterisk 16.28 itself answers and logs, without sipward, the same over UDP, TCP, TLS, WS and
//! WSS:
//!
//! | attack | chan_sip | PJSIP |
//! |---|---|---|
//! | wrong password, REGISTER | 401, then 403; `ChallengeSent`, `InvalidPassword` | 401, 401; `ChallengeSent`, `ChallengeResponseFailed` |
//! | unknown user, REGISTER without credentials | 401; `ChallengeSent` with the user, nothing else | 401; `InvalidAccountID`, then `ChallengeSent` of `<unknown>` |
//! | INVITE of a known user without credentials, acknowledged | 401; `ChallengeSent` with the From as a URI; the number nowhere | 401; `ChallengeSent` with the user; the number nowhere |
//! | the same, not acknowledged | the same, and 32 s later "Timeout on CALL-ID on non-critical invite transaction", without an address | the same, and no line more |
//! | REGISTER from where the access list refuses | 401 (`alwaysauthreject`); `FailedACL` | 401; `FailedACL`, then `ChallengeSent` of `<unknown>` |
//!
//! So over TLS nothing in a log tells a dialled number or a missing ACK. What it does tell, many
//! challenges to one address that no credentials follow, is `server-probing`. chan_sip's warning 32 s
//! later is about whom its Call-ID names, whom only the attacker knows.
//!
//! Only one driver of an Asterisk has WebSocket, so each has its own Asterisk.
#![expect(clippy::print_stdout, reason = "the matrix is what the tests are for")]

use std::{
    collections::BTreeMap, fmt::Write as _, fs, net::SocketAddr, os::unix::fs::PermissionsExt as _,
    path::Path, time::Duration,
};

use serde_json::Value;
use sipward_testkit::{
    asterisk::{Asterisk, Driver, ECHO_EXTENSION, MANAGER_SECRET, MANAGER_USER, Settings},
    guard::Guard,
    lab::{ATTACKER, Lab},
    process::wait_until,
    require::{Need, require},
    user_agent::{Exchange, Pace, Transport, UserAgents},
};
use tempfile::TempDir;

const TRANSPORTS: [Transport; 5] = [
    Transport::Udp,
    Transport::Tcp,
    Transport::Tls,
    Transport::Ws,
    Transport::Wss,
];
const ATTACKS: [Attack; 5] = [
    Attack::WrongPassword,
    Attack::UnknownUser,
    Attack::Invite,
    Attack::InviteNotAcknowledged,
    Attack::AccessList,
];
/// Everybody attacks from a /24 of their own: several from one would be a campaign.
const INTERNET: &str = "100.64.0.0/10";
/// Where honest phones are that are encrypted, each with its extension.
const PHONES: [(&str, Transport, u16); 3] = [
    ("198.51.100.11", Transport::Tls, 101),
    ("198.51.100.12", Transport::Ws, 102),
    ("198.51.100.13", Transport::Wss, 103),
];
/// Extensions that may be used from the phones' network only.
const RESTRICTED: std::ops::RangeInclusive<u16> = 301..=340;
const PORTS: &str = "[ports]\nsip-udp = [5060, 5062]\nsip-tcp = [5060, 5062]\n\
                     sip-tls = [5061, 5063]\nsip-ws = [8088, 8089]\n";
const HEP_MODULES: &str = "load=res_hep.so\nload=res_hep_pjsip.so\n";
const HEP: &str = "[general]\nenabled = yes\ncapture_address = 127.0.0.1:9060\ncapture_id = 1\n";
/// chan_sip waits 32 s for an ACK.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Attack {
    WrongPassword,
    UnknownUser,
    Invite,
    InviteNotAcknowledged,
    AccessList,
}

/// Who saw what an alert is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sensor {
    /// The tap.
    Wire,
    /// Asterisk's log.
    Log,
    /// The manager interface.
    Ami,
    /// What `res_hep` sends of the messages that Asterisk has decrypted.
    Hep,
}

struct Cell {
    attack: Attack,
    transport: Transport,
    /// Who can see it.
    sensor: Sensor,
    source: SocketAddr,
}

#[test]
fn every_attack_on_chan_sip_is_found_once_over_every_transport() {
    if can_run() {
        attack_everywhere(Driver::ChanSip, Sensor::Log);
    }
}

#[test]
fn what_the_manager_interface_alone_tells_of_chan_sip_is_as_good_as_the_log() {
    if can_run() {
        attack_everywhere(Driver::ChanSip, Sensor::Ami);
    }
}

#[test]
fn every_attack_on_pjsip_is_found_once_over_every_transport() {
    if can_run() {
        attack_everywhere(Driver::Pjsip, Sensor::Log);
    }
}

#[test]
fn what_pjsip_tells_over_hep_is_as_good_as_the_wire() {
    if can_run() {
        attack_everywhere(Driver::Pjsip, Sensor::Hep);
    }
}

fn can_run() -> bool {
    crate::can_run() && require(&[Need::Program("openssl")])
}

/// Over TLS, with and without WebSocket, this sensor is the only one.
fn attack_everywhere(driver: Driver, encrypted: Sensor) {
    let lab = Lab::new().unwrap();
    lab.router.route(INTERNET, ATTACKER).unwrap();
    lab.attacker.own_all(INTERNET).unwrap();
    let asterisk = Asterisk::start(&lab.pbx, &settings(driver, encrypted)).unwrap();
    let folder = TempDir::new().unwrap();
    let config = config(encrypted, &asterisk, folder.path());
    let program = Path::new(env!("CARGO_BIN_EXE_sipward"));
    let guard = Guard::start_with(program, &lab.pbx, &config).unwrap();
    if encrypted == Sensor::Ami {
        let is_on = || guard.json(&["status"]).unwrap()["sensors"]["ami"]["state"] == "on";
        wait_until("the manager interface", PATIENCE, is_on).unwrap();
    }

    let cells = cells(encrypted);
    let mut agents = UserAgents::new(&lab).unwrap();
    agents.trust(&asterisk.certificate().unwrap()).unwrap();
    let mut exchanges = Vec::new();
    for (number, cell) in (0..).zip(&cells) {
        for exchange in cell.exchanges(driver, number) {
            exchanges.push(agents.name(exchange));
        }
    }
    let attempts = exchanges.len();
    for (address, transport, extension) in PHONES {
        lab.phones
            .address("eth0", &format!("{address}/24"))
            .unwrap();
        for exchange in mistypes_and_calls(driver, address, transport, extension) {
            exchanges.push(agents.name(exchange));
        }
    }
    let outcomes = agents.play(exchanges, Pace::Live).unwrap();
    let refused = if driver == Driver::ChanSip { 403 } else { 401 };
    for outcomes in outcomes[attempts..].chunks(4) {
        assert_eq!(outcomes, [refused, refused, 200, 200].map(Some));
    }
    let is_over = || cells.iter().all(|cell| !alerts(&guard, cell).is_empty());
    let waited = wait_until("an alert in every cell", PATIENCE, is_over);

    // Attacks after all others, by the wire and without it: theirs are the last alerts.
    let last = [Transport::Udp, Transport::Tls].map(|transport| {
        let number = cells.len() + usize::from(transport == Transport::Tls);
        Cell::new(Attack::WrongPassword, transport, encrypted, number)
    });
    let exchanges = (25..).zip(&last);
    let exchanges = exchanges.flat_map(|(number, cell)| cell.exchanges(driver, number));
    let exchanges = exchanges.map(|exchange| agents.name(exchange)).collect();
    agents.play(exchanges, Pace::Live).unwrap();
    let is_over = || last.iter().all(|cell| !alerts(&guard, cell).is_empty());
    let waited = waited.and_then(|()| wait_until("the last alerts", PATIENCE, is_over));

    let unattributed = match (driver, encrypted) {
        (Driver::ChanSip, Sensor::Log) => unattributed(&guard, &asterisk, &cells),
        (Driver::ChanSip | Driver::Pjsip, _) => String::new(),
    };
    let mut table = format!("{driver:?}\n");
    let mut wrong = String::new();
    for cell in &cells {
        let found = Found::of(&guard, cell);
        let (attack, transport) = (cell.attack.words(), cell.transport.name());
        let _ = writeln!(table, "  {attack:<28} {transport:<4} {found}");
        if found != cell.expected() {
            let _ = writeln!(wrong, "{attack} over {transport}: {found}");
        }
    }
    println!("{table}{unattributed}");
    for (address, transport, _) in PHONES {
        let why = guard.json(&["why", address]).unwrap();
        assert_eq!(why["trusted"], true, "{transport:?} {why}");
        assert_eq!(why["alerts"], Value::Array(Vec::new()), "{why}");
        assert_eq!(why["banned"], false, "{why}");
    }
    assert!(
        wrong.is_empty() && waited.is_ok(),
        "{wrong}{waited:?}\n{}",
        guard.log()
    );
}

/// What chan_sip says itself of the calls that nobody acknowledged: no wire shows their Call-ID, so
/// nobody is blamed, but it is not passed over either.
fn unattributed(guard: &Guard<'_>, asterisk: &Asterisk, cells: &[Cell]) -> String {
    let own =
        |cell: &&Cell| cell.attack == Attack::InviteNotAcknowledged && cell.sensor == Sensor::Log;
    let mut said = String::new();
    for cell in cells.iter().filter(own) {
        let of_cell = |line: &&str| {
            line.contains("Timeout on") && line.contains(&format!("@{}", cell.source.ip()))
        };
        let is_there = |log: &str| log.lines().any(|line| of_cell(&line));
        asterisk
            .wait_for_log("messages", PATIENCE, is_there)
            .unwrap();
        let log = asterisk.log("messages");
        let line = log.lines().find(of_cell).unwrap();
        let _ = writeln!(said, "  {}, by Asterisk: {line}", cell.transport.name());
    }
    let warns = || guard.log().contains("unattributed: Asterisk gave up on");
    wait_until("a warning", PATIENCE, warns).unwrap();
    said
}

/// A phone whose user mistypes twice, and then calls.
fn mistypes_and_calls(
    driver: Driver,
    address: &str,
    transport: Transport,
    extension: u16,
) -> [Exchange; 4] {
    let server = driver.address_over(transport).to_string();
    let (source, user) = (format!("{address}:5060"), extension.to_string());
    let password = Asterisk::password(extension);
    let phone = |method, password: &str, seconds| {
        Exchange::new(&source, &server, method, &user)
            .over(transport)
            .password(password)
            .at(Duration::from_secs(seconds))
    };
    [
        phone("REGISTER", "Q7-mistyped", 0),
        phone("REGISTER", "q7-Mistyped", 2),
        phone("REGISTER", &password, 4),
        phone("INVITE", &password, 5).to(ECHO_EXTENSION),
    ]
}

fn cells(encrypted: Sensor) -> Vec<Cell> {
    let mut cells = Vec::new();
    for attack in ATTACKS {
        for transport in TRANSPORTS {
            let number = cells.len();
            cells.push(Cell::new(attack, transport, encrypted, number));
        }
    }
    cells
}

fn config(encrypted: Sensor, asterisk: &Asterisk, folder: &Path) -> String {
    let logs = match encrypted {
        Sensor::Ami => Vec::from([folder.join("none")]),
        Sensor::Wire | Sensor::Log | Sensor::Hep => ["security", "messages"]
            .map(|name| asterisk.log_path(name))
            .into(),
    };
    let more = match encrypted {
        Sensor::Hep => "[sensors]\nhep = \"127.0.0.1:9060\"\n".to_owned(),
        Sensor::Ami => {
            let secret = folder.join("secret");
            fs::write(&secret, MANAGER_SECRET).unwrap();
            fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
            format!("[asterisk.ami]\nuser = \"{MANAGER_USER}\"\nsecret-file = {secret:?}\n")
        }
        Sensor::Wire | Sensor::Log => String::new(),
    };
    format!("{PORTS}[asterisk]\nlogs = {logs:?}\n{more}")
}

fn settings(driver: Driver, encrypted: Sensor) -> Settings {
    let (mut sip, mut pjsip) = (String::new(), String::new());
    let access_list = "deny = 0.0.0.0/0\npermit = 198.51.100.0/24";
    for extension in RESTRICTED {
        let _ = writeln!(sip, "[{extension}](phone)\nsecret = x\n{access_list}");
        let _ = writeln!(pjsip, "[{extension}](phone)\n{access_list}");
    }
    let mut appended = BTreeMap::from([("sip.conf", sip), ("pjsip.conf", pjsip)]);
    match encrypted {
        Sensor::Hep => {
            appended.insert("modules.conf", HEP_MODULES.to_owned());
            appended.insert("hep.conf", HEP.to_owned());
        }
        Sensor::Wire | Sensor::Log | Sensor::Ami => {}
    }
    Settings {
        tls_and_web_socket: Some(driver),
        appended,
        ..Settings::default()
    }
}

impl Attack {
    fn words(self) -> &'static str {
        match self {
            Self::WrongPassword => "wrong passwords",
            Self::UnknownUser => "unknown users",
            Self::Invite => "INVITEs without credentials",
            Self::InviteNotAcknowledged => "INVITEs, never acknowledged",
            Self::AccessList => "refused by an access list",
        }
    }
}

impl Cell {
    fn new(attack: Attack, transport: Transport, encrypted: Sensor, number: usize) -> Self {
        let sensor = match transport {
            Transport::Udp | Transport::Tcp | Transport::Ws => Sensor::Wire,
            Transport::Tls | Transport::Wss => encrypted,
        };
        Self {
            attack,
            transport,
            sensor,
            source: format!("100.64.{number}.7:5070").parse().unwrap(),
        }
    }

    /// The attack of the cell of this number. Nobody else uses its accounts.
    fn exchanges(&self, driver: Driver, number: u16) -> Vec<Exchange> {
        let server = driver.address_over(self.transport).to_string();
        let from = |method, user: u16| {
            Exchange::new(&self.source.to_string(), &server, method, &user.to_string())
                .over(self.transport)
        };
        let account = 110 + number;
        let times = match (self.attack, self.sensor) {
            (Attack::Invite | Attack::InviteNotAcknowledged, Sensor::Log | Sensor::Ami) => 24,
            (_, Sensor::Wire | Sensor::Log | Sensor::Ami | Sensor::Hep) => 8,
        };
        let one = |n: u16| {
            let dialled = format!("90044{}", 5_550_100 + 1_913 * u32::from(n));
            let exchange = match self.attack {
                Attack::WrongPassword => from("REGISTER", account).password(&format!("q7-{n}-Zk")),
                Attack::UnknownUser => from("REGISTER", 7000 + 100 * number + n),
                Attack::Invite => from("INVITE", account).to(&dialled),
                Attack::InviteNotAcknowledged => from("INVITE", account).to(&dialled).silent(),
                Attack::AccessList => from("REGISTER", RESTRICTED.start() + 8 * (number % 5) + n),
            };
            exchange.at(Duration::from_millis(200) * n.into())
        };
        (0..times).map(one).collect()
    }

    fn expected(&self) -> Found {
        let detector = match (self.attack, self.sensor) {
            (Attack::WrongPassword, _) => "password-guessing",
            (Attack::UnknownUser | Attack::AccessList, _) => "extension-enumeration",
            (Attack::Invite | Attack::InviteNotAcknowledged, Sensor::Log | Sensor::Ami) => {
                "server-probing"
            }
            (Attack::Invite, Sensor::Wire | Sensor::Hep) => "toll-fraud-probe",
            (Attack::InviteNotAcknowledged, Sensor::Wire | Sensor::Hep) => "unanswered-invite",
        };
        Found {
            alerts: vec![(detector.to_owned(), self.sensor)],
            bans: 1,
        }
    }
}

/// What a cell came to.
#[derive(Debug, PartialEq, Eq)]
struct Found {
    alerts: Vec<(String, Sensor)>,
    bans: usize,
}

impl Found {
    fn of(guard: &Guard<'_>, cell: &Cell) -> Self {
        let bans = guard.json(&["bans"]).unwrap();
        let prefix = format!("{}/32", cell.source.ip());
        let own = bans.as_array().unwrap().iter();
        let alerts = alerts(guard, cell);
        let sensor = |alert: &Value| {
            let evidence = alert["evidence"].as_array().unwrap();
            let all = |mark: &str| {
                let has_it = |e: &Value| e["summary"].as_str().unwrap().contains(mark);
                evidence.iter().all(has_it)
            };
            if all(".c: ") {
                return Sensor::Log;
            }
            if all("Event: ") {
                return Sensor::Ami;
            }
            match cell.sensor {
                Sensor::Hep => Sensor::Hep,
                Sensor::Wire | Sensor::Log | Sensor::Ami => Sensor::Wire,
            }
        };
        Self {
            alerts: alerts
                .iter()
                .map(|alert| {
                    (
                        alert["detector"].as_str().unwrap().to_owned(),
                        sensor(alert),
                    )
                })
                .collect(),
            bans: own.filter(|ban| ban["prefix"] == prefix).count(),
        }
    }
}

impl std::fmt::Display for Found {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (detector, sensor) in &self.alerts {
            write!(f, "{detector} ({sensor:?}) ")?;
        }
        write!(f, "{} ban(s)", self.bans)
    }
}

fn alerts(guard: &Guard<'_>, cell: &Cell) -> Vec<Value> {
    let why = guard.json(&["why", &cell.source.ip().to_string()]).unwrap();
    why["alerts"].as_array().unwrap().clone()
}
