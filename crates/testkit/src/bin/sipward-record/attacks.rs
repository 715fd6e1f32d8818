//! Attackers whom one address gives away within minutes.

use anyhow::{Context, Result, ensure};
use sipward_testkit::asterisk::{Asterisk, Driver};
use sipward_testkit::evasions::{EVASIONS, Evasion, Field, Request, Wire};
use sipward_testkit::lab::{ATTACKER, PBX};
use sipward_testkit::process::Process;
use sipward_testkit::recording::ExpectedBan;
use sipward_testkit::scanner::Scanner;
use sipward_testkit::user_agent::{Exchange, Login, Transport};

use crate::scenario::{
    DRIVERS, SERVER, Scenario, Server, address_v6, attack, ban, millis, minutes, seconds,
};
use crate::studio::Studio;

/// Whose password is guessed, in vain.
pub const VICTIM: &str = "110";

const GENUINE: &str = "Yealink SIP-T46S 66.86.0.15";

pub fn all() -> Vec<Scenario> {
    let mut all = vec![
        guessing("REGISTER", Server::Kamailio),
        guessing("INVITE", Server::Kamailio),
        enumeration(Server::Kamailio),
    ];
    for driver in DRIVERS {
        all.extend(scanners(driver));
        all.extend(
            methods(driver)
                .iter()
                .map(|method| guessing(method, driver)),
        );
        all.extend([
            enumeration(driver),
            oracle(driver),
            never_acked(driver, false),
            never_acked(driver, true),
            login_then_enumeration(driver),
            split(driver),
        ]);
    }
    all
}

/// A request of the attacker.
pub fn from(source: &str, method: &'static str, user: &str) -> Exchange {
    Exchange::new(source, SERVER, method, user)
}

/// A password that is nobody's and in no list.
pub fn password(n: u32) -> String {
    format!("zq{n}-Xw{}", n * 7919)
}

fn own() -> String {
    format!("{ATTACKER}:5070")
}

/// Name, tool, arguments, User-Agent where it is not the tool's own, detector.
type Scan = (
    &'static str,
    Scanner,
    &'static [&'static str],
    Option<&'static str>,
    &'static str,
);

const SIGNATURE: &str = "scanner-signature";
const GUESSING: &str = "password-guessing";
const ENUMERATION: &str = "extension-enumeration";
const PROBING: &str = "server-probing";

/// svwar gives up where an unknown extension gets the same answer as a known one, so it meets a
/// PBX that tells them apart.
const SCANS: &[Scan] = &[
    ("svmap", Scanner::Svmap, &[PBX], None, SIGNATURE),
    (
        "svmap-compact",
        Scanner::Svmap,
        &["-c", PBX],
        None,
        SIGNATURE,
    ),
    (
        "svwar",
        Scanner::Svwar,
        &["-e", "100-160", PBX],
        None,
        SIGNATURE,
    ),
    (
        "svwar-invite",
        Scanner::Svwar,
        &["-m", "INVITE", "-e", "100-120", PBX],
        None,
        SIGNATURE,
    ),
    (
        "svwar-options",
        Scanner::Svwar,
        &["-m", "OPTIONS", "-e", "100-160", PBX],
        None,
        SIGNATURE,
    ),
    (
        "svwar-compact",
        Scanner::Svwar,
        &["-c", "-e", "100-250", PBX],
        None,
        SIGNATURE,
    ),
    (
        "svcrack",
        Scanner::Svcrack,
        &["-u", "100", "-r", "100-160", PBX],
        None,
        SIGNATURE,
    ),
    (
        "svcrack-compact",
        Scanner::Svcrack,
        &["-c", "-u", "100", "-r", "100-160", PBX],
        None,
        SIGNATURE,
    ),
    (
        "sipsak",
        Scanner::Sipsak,
        &["-s", "sip:100@192.0.2.1"],
        None,
        SIGNATURE,
    ),
    ("nmap", Scanner::Nmap, &["-p", "5060", PBX], None, SIGNATURE),
    (
        "svwar-genuine",
        Scanner::Svwar,
        &["-e", "100-250", PBX],
        Some(GENUINE),
        ENUMERATION,
    ),
    (
        "svwar-options-genuine",
        Scanner::Svwar,
        &["-m", "OPTIONS", "-e", "100-250", PBX],
        Some(GENUINE),
        PROBING,
    ),
    (
        "svcrack-genuine",
        Scanner::Svcrack,
        &["-u", "100", "-r", "100-160", PBX],
        Some(GENUINE),
        GUESSING,
    ),
];

fn scanners(driver: Driver) -> Vec<Scenario> {
    let scan = |(name, scanner, arguments, user_agent, by): &Scan| {
        let (scanner, arguments, user_agent) = (*scanner, *arguments, *user_agent);
        let mut banned = ban(ATTACKER, by);
        match *by {
            // Without a User-Agent its first request is dropped and bans nobody.
            SIGNATURE if *name == "svcrack-compact" => banned.packet = Some(3),
            SIGNATURE if scanner != Scanner::Nmap => banned.packet = Some(1),
            GUESSING => banned.refused = Some(6),
            PROBING => banned.answers = Some(20),
            ENUMERATION => banned.answers = Some(30),
            _ => {}
        }
        let (line, says) = match user_agent {
            None => (1, "unmodified"),
            Some(_) => (2, "with the User-Agent and tags of a phone"),
        };
        let scenario = attack(line, name, driver);
        // Its users are not all attackers: what it sends is dropped, and it is not banned.
        let scenario = match scanner {
            Scanner::Sipsak => scenario.stopped(ATTACKER),
            Scanner::Svmap | Scanner::Svwar | Scanner::Svcrack | Scanner::Nmap => {
                scenario.ban(banned)
            }
        };
        scenario
            .about(&format!("{scanner:?}, {says}: {}.", arguments.join(" ")))
            .asterisk("sip.conf", "[general](+)\nalwaysauthreject = no\n")
            .play(move |studio| {
                let mut command = match user_agent {
                    None => scanner.command(&studio.lab.attacker),
                    Some(user_agent) => scanner
                        .disguised(&studio.lab.attacker, user_agent)
                        .context("only SIPVicious can be disguised")?,
                };
                Process::run(command.args(arguments), minutes(2))?;
                Ok(())
            })
    };
    let is_at_work = |scan: &&Scan| driver == Driver::ChanSip || scan.1 != Scanner::Svwar;
    SCANS.iter().filter(is_at_work).map(scan).collect()
}

fn enumeration(server: impl Into<Server>) -> Scenario {
    attack(2, "enumeration", server)
        .about("Whether an extension exists is asked ten times a second, with the User-Agent of a phone.")
        .ban(ExpectedBan {
            answers: Some(50),
            scope: Some("sip".to_owned()),
            ..ban(ATTACKER, ENUMERATION)
        })
        .play(|studio| {
            let ask = |n: u32| from(&own(), "REGISTER", &(180 + n).to_string()).at(millis(100) * n);
            studio.expect(&[401], (0..100).map(ask).collect())
        })
}

/// Those that this driver asks a password for.
fn methods(driver: Driver) -> &'static [&'static str] {
    match driver {
        Driver::ChanSip => &["REGISTER", "INVITE", "SUBSCRIBE", "MESSAGE"],
        Driver::Pjsip => &[
            "REGISTER",
            "INVITE",
            "SUBSCRIBE",
            "MESSAGE",
            "OPTIONS",
            "REFER",
        ],
    }
}

fn guessing(method: &'static str, server: impl Into<Server>) -> Scenario {
    attack(4, &format!("guessing-{}", method.to_lowercase()), server)
        .about(&format!(
            "Passwords of one account are guessed by {method}, ten a second."
        ))
        .ban(ExpectedBan {
            refused: Some(6),
            scope: Some("all".to_owned()),
            ..ban(ATTACKER, GUESSING)
        })
        .play(move |studio| {
            let guess = |n: u32| {
                let target = if method == "REGISTER" { "" } else { "600" };
                let guess = from(&own(), method, VICTIM).to(target);
                guess.password(&password(n)).at(millis(100) * n)
            };
            studio.expect(&[401, 403, 407], (0..16).map(guess).collect())
        })
}

fn oracle(driver: Driver) -> Scenario {
    attack(3, "oracle", driver)
        .about(
            "Passwords are tried with a nonce that the PBX never issued: stale=true in its answer \
             tells the right one, which is the 30th.",
        )
        .ban(ExpectedBan {
            answers: Some(7),
            scope: Some("sip".to_owned()),
            ..ban(ATTACKER, GUESSING)
        })
        .play(|studio| {
            let mut passwords: Vec<String> = (0..29).map(password).collect();
            passwords.push(Asterisk::password(VICTIM.parse()?));
            let oracle = from(&own(), "REGISTER", VICTIM).login(Login::Oracle(passwords));
            studio.expect(&[401], vec![oracle])
        })
}

fn never_acked(driver: Driver, tcp: bool) -> Scenario {
    let transport = if tcp { "TCP" } else { "UDP" };
    attack(5, &format!("never-acked-{}", transport.to_lowercase()), driver)
        .about(&format!(
            "INVITEs over {transport} to ever new numbers, one every 2 s, whose 401 is never acknowledged."
        ))
        .ban(ExpectedBan {
            answers: Some(12),
            scope: Some(if tcp { "all" } else { "sip" }.to_owned()),
            ..ban(ATTACKER, "unanswered-invite")
        })
        .play(move |studio| {
            let call = |n: u32| {
                let number = format!("90044{:07}", 5_550_100 + 1_913 * n);
                let call = from(&own(), "INVITE", "100").to(&number).silent().at(seconds(2) * n);
                if tcp { call.over(Transport::Tcp) } else { call }
            };
            studio.expect(&[401], (0..8).map(call).collect())?;
            studio.agents.linger(seconds(33))
        })
}

fn login_then_enumeration(driver: Driver) -> Scenario {
    attack(7, "login-then-enumeration", driver)
        .about(
            "One valid login, and then one extension after the other with a wrong password, every \
             70 s.",
        )
        .stretched()
        .ban(ExpectedBan {
            port: Some(5070),
            refused: Some(8),
            ..ban(ATTACKER, ENUMERATION)
        })
        .play(|studio| {
            let login = from(&own(), "REGISTER", "101").password(&Asterisk::password(101));
            studio.expect(&[200], vec![login])?;
            let guess = |n: u32| {
                let guess = from(&own(), "REGISTER", &(120 + n).to_string());
                guess.password("x0-Yz-9").at(seconds(5) + seconds(70) * n)
            };
            studio.expect(&[401, 403], (0..15).map(guess).collect())
        })
}

/// What one packet does not show, and this driver reads.
fn evasions(driver: Driver) -> impl Iterator<Item = (usize, &'static Evasion)> {
    EVASIONS.iter().enumerate().filter(move |(_, evasion)| {
        !evasion.seen_in_one_packet && evasion.port.is_none() && evasion.read_by.contains(&driver)
    })
}

/// No PBX gets it: a first fragment of 8 bytes is dropped.
fn is_stopped_early(evasion: &Evasion) -> bool {
    matches!(evasion.wire, Wire::Fragments(8) | Wire::Ipv6Fragments(8))
}

fn split(driver: Driver) -> Scenario {
    let scenario = attack(11, "split", driver).about(
        "A scanner's request in fragments of 8 bytes, segments of one byte, behind a huge header: \
         each way from an address of its own.",
    );
    let scenario = evasions(driver).fold(scenario, |scenario, (number, evasion)| {
        let source = evasion.source(number).ip();
        let scenario = scenario.parameter(&source.to_string(), evasion.name);
        if is_stopped_early(evasion) {
            scenario.stopped(&source.to_string())
        } else {
            scenario.ban(ban(&source.to_string(), SIGNATURE))
        }
    });
    scenario.ipv6_too().play(|studio| {
        // A header of 60,000 bytes would be too many fragments for the driver's socket.
        studio.lab.pbx_mtu(9000)?;
        let mut open = Vec::new();
        for (number, evasion) in evasions(studio.asterisk()?.1) {
            open.push(send(studio, number, evasion)?);
            studio.agents.linger(millis(300))?;
        }
        Ok(())
    })
}

fn send(studio: &Studio, number: usize, evasion: &Evasion) -> Result<impl Sized + use<>> {
    let destination = if evasion.is_ipv6() {
        address_v6()
    } else {
        SERVER.parse()?
    };
    let value = match evasion.field {
        Field::UserAgent => "friendly-scanner 1.0",
        Field::FromUser => "friendly-scanner",
    };
    let request = Request {
        field: evasion.field,
        value: value.to_owned(),
        call_id: format!("evasion-{number}"),
        source: evasion.source(number),
        destination,
        transport: evasion.transport,
    };
    let sent = evasion.send(studio.lab, &request, seconds(10))?;
    ensure!(sent.packets > 0, "{} was not sent", evasion.name);
    Ok(sent)
}
