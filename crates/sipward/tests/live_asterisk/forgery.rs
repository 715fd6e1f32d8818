//! Lines in Asterisk's log that a stranger wrote, about somebody else.

use sipward_testkit::{
    asterisk::{Asterisk, Driver, Settings},
    lab::{ATTACKER, Lab, PBX, PHONES},
    user_agent::{Exchange, Pace, Transport, UserAgents},
};

use crate::{can_run, guard, logs_of, sensor, wait_for};

/// What the user name of a REGISTER becomes in the log.
const FORGED: [&str; 7] = [
    // Whole fields, and whole lines behind a line feed.
    "x\",SessionID=\"1\",LocalAddress=\"IPV4/TLS/192.0.2.1/1\",RemoteAddress=\"IPV4/TLS/198.51.100.10/9\"\r\n",
    "x\r\n[1] SECURITY[1] a: SecurityEvent=\"InvalidPassword\",Service=\"SIP\",AccountID=\"1\",RemoteAddress=\"IPV4/TLS/198.51.100.10/9\"\n",
    "x\r\n[1] NOTICE[1] manager.c: 198.51.100.10 failed to authenticate as 'a'\r\n\n\n\n\n\n\n\n\n\n",
    // Who is connected is so from some port.
    "x\r\n[1] NOTICE[1] chan_sip.c: Registration from 'a' failed for '198.51.100.10' - Wrong password\r\n\n\n\n\n\n\n",
    "x\r\n[1] SECURITY[1] a: SecurityEvent=\"InvalidPassword\",Service=\"SIP\",AccountID=\"1\",RemoteAddress=\"IPV4/TLS/198.51.100.10/0\"\r\n\n\n\n\n",
    // Of what no handshake ever proves.
    "x\r\n[1] NOTICE[1] chan_iax2.c: Host 198.51.100.20 failed MD5 authentication for 'a' (1 != 2)\r\n\n\n\n\n\n\n",
    // What would blind the sensor.
    "x\r\n<--- Received SIP request (65535 bytes) from UDP:1.1.1.1:1 --->\r\n",
];
/// The beginnings of its whole lines, as they stand in the log.
const LINES: [&str; 5] = [
    "\n[1] SECURITY[1] a: SecurityEvent=\"InvalidPassword\",Service=\"SIP\",AccountID=\"1\",RemoteAddress=\"IPV4/TLS/198.51.100.10/9\"",
    "\n[1] NOTICE[1] manager.c: 198.51.100.10 failed",
    "\n[1] NOTICE[1] chan_sip.c: Registration from 'a' failed for '198.51.100.10' - Wrong password",
    "\n[1] SECURITY[1] a: SecurityEvent=\"InvalidPassword\",Service=\"SIP\",AccountID=\"1\",RemoteAddress=\"IPV4/TLS/198.51.100.10/0\"",
    "\n[1] NOTICE[1] chan_iax2.c: Host 198.51.100.20 failed MD5 authentication",
];
/// Somebody whose lines would count unproven.
const OTHER: &str = "198.51.100.20";

/// As a SIP user name has it; a colon would begin a password.
fn escaped(name: &str) -> String {
    let escape = |byte: u8| match byte {
        b'\r' | b'\n' | b' ' | b'"' | b':' | b'[' | b']' | b'<' | b'>' | b',' => {
            format!("%{byte:02x}")
        }
        other => char::from(other).to_string(),
    };
    name.bytes().map(escape).collect()
}

#[test]
fn lines_that_a_stranger_wrote_ban_nobody_else_and_hide_nothing() {
    if !can_run() {
        return;
    }
    let lab = Lab::new().unwrap();
    lab.phones.address("eth0", &format!("{OTHER}/24")).unwrap();
    let settings = Settings {
        tls_and_web_socket: Some(Driver::ChanSip),
        ..Settings::default()
    };
    let asterisk = Asterisk::start(&lab.pbx, &settings).unwrap();
    let guard = guard(&lab.pbx, &logs_of(&asterisk));
    let mut parties = UserAgents::new(&lab).unwrap();
    parties.trust(&asterisk.certificate().unwrap()).unwrap();
    let over_tls = Driver::ChanSip.address_over(Transport::Tls).to_string();
    let connected = [PHONES, OTHER].map(|address| {
        let source = format!("{address}:5060");
        Exchange::new(&source, &over_tls, "OPTIONS", "101").over(Transport::Tls)
    });
    let connected = connected.map(|exchange| parties.name(exchange)).into();
    let answers = parties.play(connected, Pace::OneByOne).unwrap();
    assert!(answers.iter().all(Option::is_some), "{answers:?}");
    let server = Driver::ChanSip.address();
    for round in 0..10_u16 {
        for (number, name) in (0..).zip(FORGED) {
            // Each from a source of its own, so that no ban ends it.
            let source = format!("203.0.113.{}:5070", 10 + 7 * round + number);
            let name = escaped(name);
            let request = format!(
                "REGISTER sip:{PBX} SIP/2.0\r\nVia: SIP/2.0/UDP {source};branch=z9hG4bK{round}-{number}\r\n\
                 From: <sip:{name}@{PBX}>;tag=1\r\nTo: <sip:{name}@{PBX}>\r\n\
                 Call-ID: forged-{round}-{number}\r\nCSeq: 1 REGISTER\r\nContact: <sip:x@{source}>\r\n\
                 Max-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
            );
            parties
                .send(source.parse().unwrap(), server, request.as_bytes())
                .unwrap();
        }
    }
    asterisk
        .wait_for_log("security", crate::PATIENCE, |log| {
            LINES.iter().all(|line| log.matches(line).count() >= 9)
        })
        .unwrap();
    let written = || asterisk.log("security").matches("SecurityEvent=").count();
    // A line of Asterisk's own behind all that is read.
    let before = sensor(&guard)["events"].as_u64().unwrap();
    let lines = written();
    let last = format!(
        "REGISTER sip:{PBX} SIP/2.0\r\nVia: SIP/2.0/UDP {ATTACKER}:5071;branch=z9hG4bKlast\r\n\
         From: <sip:last@{PBX}>;tag=1\r\nTo: <sip:last@{PBX}>\r\nCall-ID: last\r\nCSeq: 1 REGISTER\r\n\
         Contact: <sip:x@{ATTACKER}:5071>\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
    );
    let source = format!("{ATTACKER}:5071").parse().unwrap();
    parties.send(source, server, last.as_bytes()).unwrap();
    wait_for("the last event", &guard, || written() > lines);
    wait_for("the last event to be read", &guard, || {
        sensor(&guard)["events"].as_u64().unwrap() > before
    });
    // Longer than a guess waits for the login that would excuse it.
    parties.linger(std::time::Duration::from_secs(12)).unwrap();
    assert!(!guard.bans(&format!("{PHONES}/32")).unwrap());
    let bans = guard.json(&["bans"]).unwrap();
    let is_proven = |ban: &serde_json::Value| ban["proven"] == true;
    assert!(!bans.as_array().unwrap().iter().any(is_proven), "{bans}");
    let trusted = guard.json(&["trusted"]).unwrap().to_string();
    for address in [PHONES, OTHER] {
        assert!(!trusted.contains(address), "{trusted}");
    }
    let why = guard.json(&["why", PHONES]).unwrap();
    assert_eq!(why["alerts"].as_array().unwrap().len(), 0, "{why}");
}

/// What ends a line, or might, and whether PJSIP reads a digest that has it in a value.
const LINE_ENDS: [(&str, bool); 5] = [
    ("\r\n ", false),
    ("\r\n", false),
    ("\n", false),
    ("\r", true),
    ("%0d%0a", true),
];

/// The fields of an answer to a challenge.
const DIGEST: [(&str, &str); 5] = [
    ("username", "101"),
    ("realm", "asterisk"),
    ("nonce", "1/2"),
    ("uri", "sip:192.0.2.1"),
    ("response", "00000000000000000000000000000000"),
];

#[test]
fn the_fields_of_a_digest_write_no_lines_into_the_log() {
    if !can_run() {
        return;
    }
    let lab = Lab::new().unwrap();
    let asterisk = Asterisk::start(&lab.pbx, &Settings::default()).unwrap();
    let mut parties = UserAgents::new(&lab).unwrap();
    let mut requests = Vec::new();
    for (forged, _) in DIGEST {
        for (end, is_read) in LINE_ENDS {
            let number = requests.len() + 10;
            let source = format!("203.0.113.{number}:5070");
            let line = "[1] NOTICE[1] manager.c: 198.51.100.10 failed to authenticate as 'a'";
            let fields = DIGEST.map(|(field, value)| {
                let tail = if field == forged {
                    format!("{end}{line}{end}")
                } else {
                    String::new()
                };
                format!("{field}=\"{value}{tail}\"")
            });
            let request = format!(
                "REGISTER sip:{PBX} SIP/2.0\r\nVia: SIP/2.0/UDP {source};branch=z9hG4bK{number}\r\n\
                 From: <sip:101@{PBX}>;tag=1\r\nTo: <sip:101@{PBX}>\r\nCall-ID: digest-{number}\r\n\
                 CSeq: 1 REGISTER\r\nContact: <sip:101@{source}>\r\n\
                 Authorization: Digest {}\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n",
                fields.join(", ")
            );
            let source = source.parse().unwrap();
            parties
                .send(source, Driver::Pjsip.address(), request.as_bytes())
                .unwrap();
            requests.push((forged, end, is_read, source, request.len()));
        }
    }
    for (field, end, is_read, source, length) in requests {
        let (log, word) = if is_read {
            let address = format!(
                "RemoteAddress=\"IPV4/UDP/{}/{}\"",
                source.ip(),
                source.port()
            );
            ("security", address)
        } else {
            (
                "messages",
                format!("Dropping {length} bytes packet from UDP {source} "),
            )
        };
        asterisk
            .wait_for_log(log, crate::PATIENCE, |log| log.contains(&word))
            .unwrap_or_else(|error| panic!("{field} with {end:?}: {error:#}"));
    }
    for log in ["messages", "security", "full"] {
        let text = asterisk.log(log);
        assert!(!text.contains("\n[1] NOTICE"), "{text}");
    }
}
