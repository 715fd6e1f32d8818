//! Names on the allowlist, looked up where the machine looks them up: here in a hosts file that
//! only this daemon sees.

use std::{
    fs,
    net::UdpSocket,
    path::{Path, PathBuf},
};

use sipward_testkit::{
    lab::{ATTACKER, Lab, PBX},
    process::{Process, wait_until},
    require::{Need, require},
};

use crate::place::{PATIENCE, Place, program, stop};

const NAME: &str = "trunk.sipward.test";

/// Puts a file in the place of /etc/hosts for the program that follows, and for nobody else.
const WITH_HOSTS: &str = "mount --bind \"$0\" /etc/hosts && exec \"$@\"";

fn start(place: &Place, lab: &Lab, hosts: &Path) -> Process {
    let mut command = lab.pbx.command("unshare");
    command
        .args([
            "--mount",
            "--propagation",
            "private",
            "sh",
            "-c",
            WITH_HOSTS,
        ])
        .arg(hosts)
        .arg(program())
        .args(place.run_arguments());
    let mut daemon = Process::spawn(&mut command).unwrap();
    daemon
        .wait_for("sipward", PATIENCE, |said| said.contains("ready: "))
        .unwrap();
    daemon
}

fn stands_for(place: &Place, address: &str) -> bool {
    let allowed = place.json("allowed");
    let mut allowed = allowed.as_array().unwrap().iter();
    allowed.any(|allowed| allowed["prefix"] == address && allowed["name"] == NAME)
}

#[test]
fn a_name_is_allowed_and_followed_when_it_moves() {
    if !require(&[Need::Root]) {
        return;
    }
    let lab = Lab::new().unwrap();
    let place = Place::new("interfaces = [\"eth0\"]");
    let hosts: PathBuf = place.config().with_file_name("hosts");
    fs::write(&hosts, format!("192.0.2.77 {NAME}\n")).unwrap();
    let daemon = start(&place, &lab, &hosts);
    let said = place.sipward(&format!("allow {NAME}"));
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(said.stderr, format!("{NAME} is allowed: 192.0.2.77\n"));
    assert!(stands_for(&place, "192.0.2.77/32"));
    place
        .sipward("allow nobody.sipward.test")
        .assert_one_line(2, &["nobody.sipward.test: "]);

    // It moves while the daemon is away, and the move is noticed by itself.
    stop(daemon);
    fs::write(&hosts, format!("{ATTACKER} {NAME}\n")).unwrap();
    let daemon = start(&place, &lab, &hosts);
    let moved = || stands_for(&place, &format!("{ATTACKER}/32"));
    wait_until("the name to have moved", PATIENCE, moved).unwrap();
    let pbx = lab.pbx.enter(|| UdpSocket::bind((PBX, 5060)).unwrap());
    pbx.set_read_timeout(Some(PATIENCE)).unwrap();
    lab.attacker.enter(|| {
        let socket = UdpSocket::bind((ATTACKER, 5060)).unwrap();
        let scan = b"OPTIONS sip:100@192.0.2.1 SIP/2.0\r\nUser-Agent: friendly-scanner\r\n\r\n";
        socket.send_to(scan, (PBX, 5060)).unwrap();
    });
    let (_, from) = pbx.recv_from(&mut [0; 100]).unwrap();
    assert_eq!(from.ip().to_string(), ATTACKER);

    // It is gone: what it stood for stays allowed.
    stop(daemon);
    fs::write(&hosts, "").unwrap();
    let mut daemon = start(&place, &lab, &hosts);
    daemon
        .wait_for("the look-up", PATIENCE, |said| {
            said.contains(&format!("{NAME}: ")) && said.contains("stays allowed")
        })
        .unwrap();
    assert!(moved());
    assert_eq!(place.sipward(&format!("disallow {NAME}")).code, 0);
    assert_eq!(place.json("allowed"), serde_json::json!([]));
    stop(daemon);
}
