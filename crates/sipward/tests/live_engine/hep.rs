//! What a server tells of its encrypted messages over HEP.

use std::{net::UdpSocket, path::Path, time::Duration};

use sipward_testkit::{
    guard::Guard,
    lab::Lab,
    process::wait_until,
    require::{Need, require},
};

use crate::PORTS;

const PATIENCE: Duration = Duration::from_secs(5);

#[test]
fn a_scanner_over_tls_is_banned_by_what_the_server_tells() {
    if !require(&[Need::Root]) {
        return;
    }
    let lab = Lab::new().unwrap();
    let config = format!("{PORTS}[sensors]\nhep = \"127.0.0.1:9060\"\n");
    let program = Path::new(env!("CARGO_BIN_EXE_sipward"));
    let guard = Guard::start_with(program, &lab.pbx, &config).unwrap();
    let server = lab.pbx.enter(|| UdpSocket::bind("127.0.0.1:0")).unwrap();
    let scan = "OPTIONS sip:100@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/TLS 203.0.113.7:5070;branch=z9hG4bKs\r\n\
                From: <sip:1@x>;tag=1\r\nTo: <sip:1@x>\r\nCall-ID: s\r\nCSeq: 1 OPTIONS\r\n\
                User-Agent: friendly-scanner\r\nContent-Length: 0\r\n\r\n";
    server.send_to(&hep(scan), "127.0.0.1:9060").unwrap();
    let is_banned = || guard.bans("203.0.113.7/32").is_ok_and(|banned| banned);
    assert!(
        wait_until("a ban", PATIENCE, is_banned).is_ok(),
        "{}",
        guard.log()
    );
    let why = guard.json(&["why", "203.0.113.7"]).unwrap();
    assert_eq!(why["bans"][0]["detector"], "scanner-signature");
    assert_eq!(
        (&why["bans"][0]["proven"], &why["bans"][0]["scope"]),
        (&true.into(), &"all".into()),
        "{why}"
    );
}

/// As Asterisk's `res_hep` sends a message over TLS from 203.0.113.7:5070 to 192.0.2.1:5061.
fn hep(message: &str) -> Vec<u8> {
    let chunk = |kind: u16, value: &[u8]| {
        let length = 6 + value.len() as u16;
        [
            &[0, 0],
            &kind.to_be_bytes()[..],
            &length.to_be_bytes(),
            value,
        ]
        .concat()
    };
    let chunks = [
        chunk(1, &[2]),
        chunk(2, &[6]),
        chunk(3, &[203, 0, 113, 7]),
        chunk(4, &[192, 0, 2, 1]),
        chunk(7, &5070u16.to_be_bytes()),
        chunk(8, &5061u16.to_be_bytes()),
        chunk(11, &[1]),
        chunk(15, message.as_bytes()),
    ]
    .concat();
    let length = 6 + chunks.len() as u16;
    [b"HEP3", &length.to_be_bytes()[..], &chunks].concat()
}
