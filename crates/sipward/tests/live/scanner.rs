//! A scanner's packet is dropped, its sender banned, and the reason told.

use std::net::UdpSocket;

use sipward_testkit::{
    lab::{ATTACKER, Lab, PBX, PHONES},
    packet::Packet,
    pcap::PcapWriter,
    require::{Need, require},
};

use crate::place::{PATIENCE, Place, stop};

const GUARD: &str = "interfaces = [\"eth0\"]";

/// With a terminal's escape sequence in a header that `why` may show.
const SCAN: &[u8] = b"OPTIONS sip:100@192.0.2.1 SIP/2.0\r\n\
    Via: SIP/2.0/UDP 203.0.113.7:5060;branch=z9hG4bK-1\r\n\
    From: \"x\x1b[2J\"<sip:100@192.0.2.1>;tag=1\r\n\
    User-Agent: friendly-scanner\x1b]0;owned\x07\r\n\r\n";
const CALL: &[u8] = b"OPTIONS sip:100@192.0.2.1 SIP/2.0\r\n\
    Via: SIP/2.0/UDP 198.51.100.10:5060;branch=z9hG4bK-2\r\n\
    User-Agent: a phone\r\n\r\n";

fn send(text: &[u8]) {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.send_to(text, (PBX, 5060)).unwrap();
}

#[test]
fn a_scanner_is_dropped_banned_and_explained_and_a_phone_is_heard() {
    if !require(&[Need::Root]) {
        return;
    }
    let lab = Lab::new().unwrap();
    let place = Place::new(GUARD);
    let daemon = place.start(&lab.pbx);
    let pbx = lab.pbx.enter(|| UdpSocket::bind((PBX, 5060)).unwrap());
    pbx.set_read_timeout(Some(PATIENCE)).unwrap();

    lab.attacker.enter(|| send(SCAN));
    place.wait_for_ban(&format!("{ATTACKER}/32"));
    lab.phones.enter(|| send(CALL));
    let mut buffer = [0; 1000];
    let (length, from) = pbx.recv_from(&mut buffer).unwrap();
    assert_eq!(
        from.ip().to_string(),
        PHONES,
        "the first packet to arrive is the phone's"
    );
    assert_eq!(&buffer[..length], CALL);

    let ban = &place.bans()[0];
    assert_eq!(ban["detector"], "scanner-signature");
    assert_eq!(ban["signature"], "sipvicious-friendly-scanner");
    assert_eq!(ban["signature_hits"], 1);
    assert_eq!(
        (&ban["origin"], &ban["scope"]),
        (&"local".into(), &"sip".into()),
        "unproven: UDP"
    );

    let why = place.sipward(&format!("why {ATTACKER}"));
    assert_eq!(why.code, 0, "{why:?}");
    for part in [
        "is banned until",
        "sipvicious-friendly-scanner",
        "OPTIONS sip:100@192.0.2.1",
        "User-Agent: friendly-scanner\\x1b]0;owned\\x07",
        "sipward unban 203.0.113.7",
    ] {
        assert!(
            why.stdout.contains(part),
            "{part:?} is not in {}",
            why.stdout
        );
    }
    assert!(!why.stdout.contains(['\x1b', '\x07']), "{:?}", why.stdout);

    let status = place.json("status");
    assert_eq!(status["packets"]["dropped"]["signature"], 1);
    let hits = &status["signatures"][0];
    assert_eq!(
        (&hits["name"], &hits["packets"]),
        (&"sipvicious-friendly-scanner".into(), &1.into())
    );
    assert_eq!(status["bans"], 1);

    let unbanned = place.sipward(&format!("unban {ATTACKER}"));
    assert_eq!(unbanned.code, 0, "{unbanned:?}");
    lab.attacker.enter(|| send(CALL));
    let (_, from) = pbx.recv_from(&mut buffer).unwrap();
    assert_eq!(from.ip().to_string(), ATTACKER);
    stop(daemon);
}

#[test]
fn observing_drops_nothing_and_tells_all() {
    if !require(&[Need::Root]) {
        return;
    }
    let lab = Lab::new().unwrap();
    let place = Place::new("interfaces = [\"eth0\"]\nmode = \"observe\"");
    let daemon = place.start(&lab.pbx);
    let pbx = lab.pbx.enter(|| UdpSocket::bind((PBX, 5060)).unwrap());
    pbx.set_read_timeout(Some(PATIENCE)).unwrap();
    lab.attacker.enter(|| send(SCAN));
    place.wait_for_ban(&format!("{ATTACKER}/32"));
    lab.attacker.enter(|| send(SCAN));
    for _ in 0..2 {
        let (_, from) = pbx.recv_from(&mut [0; 1000]).unwrap();
        assert_eq!(from.ip().to_string(), ATTACKER);
    }
    stop(daemon);
}

#[test]
fn explain_runs_each_packet_through_the_real_program() {
    if !require(&[Need::Root]) {
        return;
    }
    let place = Place::new("");
    let file = place.config().with_file_name("x.pcap");
    let mut pcap = PcapWriter::create(&file).unwrap();
    for (number, payload) in [CALL, SCAN].into_iter().enumerate() {
        let frame = Packet::udp("203.0.113.7:5060", "192.0.2.1:5060")
            .payload(payload)
            .build();
        pcap.write(std::time::Duration::from_secs(number as u64), &frame)
            .unwrap();
    }
    pcap.finish().unwrap();
    let line = format!(
        "explain {} --config {}",
        file.display(),
        place.config().display()
    );
    let explained = place.json(&line);
    assert_eq!(explained[0]["packet"], 1);
    assert_eq!(
        (&explained[0]["verdict"], &explained[0]["reason"]),
        (&"pass".into(), &"clean".into())
    );
    assert_eq!(
        (&explained[1]["verdict"], &explained[1]["reason"]),
        (&"drop".into(), &"signature".into())
    );
    assert_eq!(explained[1]["signature"], "sipvicious-friendly-scanner");
    assert_eq!(explained[1]["source"], "203.0.113.7:5060");

    let second = place.sipward(&format!("{line} --packet 2"));
    assert!(
        second
            .stdout
            .contains("drop signature sipvicious-friendly-scanner"),
        "{second:?}"
    );
    assert!(
        !second.stdout.contains('\x1b') && !second.stdout.contains("a phone"),
        "{second:?}"
    );
    let third = place.sipward(&format!("{line} --packet 3"));
    third.assert_one_line(2, &["there is no packet 3, the file has 2"]);
}
