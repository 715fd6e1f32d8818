//! Interfaces come late, go down, change their names, go, and are made anew: what comes in there is
//! judged all the same, and `status` tells where.

use std::{
    fs,
    net::UdpSocket,
    path::Path,
    time::{Duration, Instant},
};

use serde_json::Value;
use sipward_testkit::{
    guard::Guard,
    lab::{ATTACKER, ATTACKER_V6, Lab, PBX, PBX_V6, PHONES, PHONES_V6},
    process::wait_until,
    require::{Need, require},
};
use test_case::test_case;

use crate::stage::Backend;

const PATIENCE: Duration = Duration::from_secs(30);
/// On the interface that comes late.
const LATE: &str = "198.18.0.1";
const LATE_PHONE: &str = "198.18.0.2";
const LATE_ATTACKER: &str = "198.18.0.3";

struct Scene<'a> {
    lab: &'a Lab,
    guard: Guard<'a>,
    backend: Backend,
}

impl Scene<'_> {
    /// The interface that `status` lists at this place.
    fn interface(&self, at: usize) -> Value {
        let status = self.guard.json(&["status"]).unwrap();
        status["interfaces"][at].clone()
    }

    fn assert_guarded(&self, at: usize, name: &str) {
        let interface = self.interface(at);
        let mode = match self.backend {
            Backend::Native => Value::from("native"),
            Backend::Generic => Value::from("generic"),
            Backend::Nftables => Value::Null,
        };
        assert_eq!(interface["name"], name);
        assert_eq!(interface["attached"], true, "{interface}");
        assert_eq!(interface["xdp_mode"], mode);
    }

    /// Waits until an interface is guarded, and tells how long that took with the asking.
    fn wait_until_guarded(&self, at: usize) -> Duration {
        let begun = Instant::now();
        wait_until("the interface to be guarded", PATIENCE, || {
            self.interface(at)["attached"] == true
        })
        .unwrap_or_else(|error| panic!("{error:#}\n{}", self.guard.log()));
        begun.elapsed()
    }

    /// The PBX at this address. A program that another test starts just now may have the socket before
    /// for a moment.
    fn receiver(&self, address: &str) -> UdpSocket {
        let mut bound = None;
        wait_until("the port to be free", PATIENCE, || {
            bound = self.lab.pbx.enter(|| UdpSocket::bind((address, 5060)).ok());
            bound.is_some()
        })
        .unwrap();
        bound.expect("it is bound")
    }

    /// Of a banned attacker and a phone, only the phone's packets come through; over both versions
    /// of IP.
    fn assert_judged(&self) {
        for (pbx, phone, attacker) in [(PBX, PHONES, ATTACKER), (PBX_V6, PHONES_V6, ATTACKER_V6)] {
            let pbx = self.receiver(pbx);
            let to = pbx.local_addr().unwrap();
            let send = |from: &str| {
                let socket = UdpSocket::bind((from, 0)).unwrap();
                socket.send_to(from.as_bytes(), to).unwrap();
            };
            let senders = senders(&pbx, phone, || {
                self.lab.attacker.enter(|| send(attacker));
                self.lab.phones.enter(|| send(phone));
            });
            assert!(senders.iter().all(|sender| sender == phone), "{senders:?}");
        }
    }

    /// The same on the interface that comes late.
    fn assert_late_judged(&self) {
        let pbx = self.receiver(LATE);
        let send = |from: &str| {
            let socket = UdpSocket::bind((from, 0)).unwrap();
            socket.send_to(from.as_bytes(), (LATE, 5060)).unwrap();
        };
        let senders = senders(&pbx, LATE_PHONE, || {
            let both = [LATE_ATTACKER, LATE_PHONE];
            self.lab.router.enter(|| both.into_iter().for_each(send));
        });
        assert!(
            senders.iter().all(|sender| sender == LATE_PHONE),
            "{senders:?}"
        );
    }

    /// Gives the interface the addresses and routes of `eth0` in the laboratory again.
    fn set_up(&self, interface: &str) {
        let Lab { pbx, router, .. } = self.lab;
        for (address, gateway, net) in
            [(PBX, "192.0.2.254", "24"), (PBX_V6, "2001:db8:2::fe", "64")]
        {
            // What `ip link set down` leaves is there already.
            let _ = pbx.address(interface, &format!("{address}/{net}"));
            let _ = router.address("pbx", &format!("{gateway}/{net}"));
            let _ = pbx.route("default", gateway);
        }
    }

    /// Gives the interface of the laboratory another name.
    fn rename(&self, from: &str, to: &str) {
        let Lab { pbx, .. } = self.lab;
        for change in [
            format!("{from} down"),
            format!("{from} name {to}"),
            format!("{to} up"),
        ] {
            pbx.run(&format!("ip link set {change}")).unwrap();
        }
        self.set_up(to);
    }

    /// What a phone sends is seen by the tap.
    fn assert_read(&self) {
        let events = || {
            let status = self.guard.json(&["status"]).unwrap();
            status["sensors"]["packets"]["events"].as_u64().unwrap()
        };
        let before = events();
        let phone = self.lab.phones.enter(|| UdpSocket::bind((PHONES, 5060)));
        let phone = phone.unwrap();
        let options = b"OPTIONS sip:192.0.2.1 SIP/2.0\r\nCall-ID: 1\r\n\r\n";
        wait_until("a message to be seen", PATIENCE, || {
            phone.send_to(options, (PBX, 5060)).unwrap();
            events() > before
        })
        .unwrap_or_else(|error| panic!("{error:#}\n{}", self.guard.log()));
    }

    /// How many links are pinned.
    fn links(&self) -> usize {
        let Ok(pin) = self.guard.pin("link-") else {
            return 0;
        };
        let pins = fs::read_dir(pin.parent().unwrap()).unwrap();
        let names = pins.map(|pin| pin.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with("link-")).count()
    }

    /// A program for each interface, and no other.
    fn assert_links(&self, interfaces: usize) {
        let expected = match self.backend {
            Backend::Native | Backend::Generic => interfaces,
            Backend::Nftables => 0,
        };
        wait_until("links of what is gone to go", PATIENCE, || {
            self.links() == expected
        })
        .unwrap();
        let listed = self.lab.pbx.run("ip -details link show").unwrap();
        assert_eq!(listed.matches("prog/xdp").count(), expected, "{listed}");
    }
}

/// Whose datagrams have arrived when one of `awaited` has. They are sent again until then: on a link
/// that has just come up the kernel loses some.
fn senders(pbx: &UdpSocket, awaited: &str, send: impl Fn()) -> Vec<String> {
    pbx.set_read_timeout(Some(Duration::from_millis(200)))
        .unwrap();
    let mut buffer = [0; 64];
    let mut senders = Vec::new();
    wait_until("what is not banned", PATIENCE, || {
        send();
        while let Ok(length) = pbx.recv(&mut buffer) {
            senders.push(String::from_utf8_lossy(&buffer[..length]).into_owned());
        }
        senders.iter().any(|sender| sender == awaited)
    })
    .unwrap();
    senders
}

#[test_case(Backend::Native; "xdp native")]
#[test_case(Backend::Generic; "xdp generic")]
#[test_case(Backend::Nftables; "nftables")]
fn an_interface_renamed_while_nobody_guards_is_guarded_and_read_on(backend: Backend) {
    if !require(&[Need::Root, Need::Program("ip"), Need::Program("nft")]) {
        return;
    }
    let lab = Lab::new().unwrap();
    let configuration = format!(
        "interfaces = [\"eth0\", \"late0\"]\n{}",
        backend.configuration()
    );
    let program = Path::new(env!("CARGO_BIN_EXE_sipward"));
    let mut scene = Scene {
        guard: Guard::start_with(program, &lab.pbx, &configuration).unwrap(),
        lab: &lab,
        backend,
    };
    for address in [ATTACKER, ATTACKER_V6] {
        let said = scene.guard.ask(&["ban", address, "--for", "1h"]).unwrap();
        assert!(said.status.success(), "{}", said.stderr);
    }
    scene.guard.kill();
    scene.rename("eth0", "outside");
    scene.assert_judged();

    scene.guard.run().unwrap();
    scene.wait_until_guarded(0);
    scene.assert_guarded(0, "outside");
    let note = scene.interface(0)["note"].clone();
    assert!(note.as_str().unwrap().starts_with("was eth0"), "{note}");
    let missing = scene.interface(1);
    assert_eq!(
        (&missing["name"], &missing["attached"]),
        (&"late0".into(), &false.into())
    );
    for said in [
        "no interface \"late0\" here",
        "eth0 is called outside now and guarded on",
    ] {
        wait_until(said, PATIENCE, || scene.guard.log().contains(said))
            .unwrap_or_else(|error| panic!("{error:#}\n{}", scene.guard.log()));
    }
    scene.assert_judged();
    scene.assert_read();

    // Another one under the name that is wanted.
    lab.router.run("ip link set pbx down").unwrap();
    lab.router.run("ip link set pbx name old").unwrap();
    lab.pbx.run("ip address flush dev outside").unwrap();
    lab.pbx.veth("eth0", &lab.router, "pbx").unwrap();
    scene.set_up("eth0");
    wait_until("it to be guarded", PATIENCE, || {
        let interface = scene.interface(0);
        interface["name"] == "eth0" && interface["attached"] == true
    })
    .unwrap();
    scene.assert_guarded(0, "eth0");
    scene.assert_judged();
    scene.assert_read();
    scene.assert_links(1);
    scene.guard.stop().unwrap();
}

#[test_case(Backend::Native; "xdp native")]
#[test_case(Backend::Generic; "xdp generic")]
#[test_case(Backend::Nftables; "nftables")]
fn interfaces_are_guarded_whatever_becomes_of_them(backend: Backend) {
    if !require(&[Need::Root, Need::Program("ip"), Need::Program("nft")]) {
        return;
    }
    let lab = Lab::new().unwrap();
    let configuration = format!(
        "interfaces = [\"eth0\", \"late0\"]\n{}",
        backend.configuration()
    );
    let program = Path::new(env!("CARGO_BIN_EXE_sipward"));
    let mut scene = Scene {
        guard: Guard::start_with(program, &lab.pbx, &configuration).unwrap(),
        lab: &lab,
        backend,
    };
    for address in [ATTACKER, ATTACKER_V6, LATE_ATTACKER] {
        let said = scene.guard.ask(&["ban", address, "--for", "1h"]).unwrap();
        assert!(said.status.success(), "{}", said.stderr);
    }
    scene.assert_guarded(0, "eth0");
    scene.assert_judged();
    scene.assert_links(1);

    // One that is not there, and comes.
    let status = scene.guard.ask(&["status"]).unwrap();
    assert_eq!(status.status.code(), Some(1), "{}", status.stdout);
    let note = scene.interface(1)["note"].clone();
    let is_awaited = |note: &Value| note.as_str().unwrap().contains("as soon as it appears");
    assert!(is_awaited(&note), "{note}");
    lab.pbx.veth("late0", &lab.router, "late").unwrap();
    let late = scene.wait_until_guarded(1);
    scene.assert_guarded(1, "late0");
    lab.pbx.address("late0", &format!("{LATE}/24")).unwrap();
    for address in [LATE_PHONE, LATE_ATTACKER] {
        lab.router
            .address("late", &format!("{address}/24"))
            .unwrap();
    }
    scene.assert_late_judged();
    scene.assert_links(2);

    // Down and up.
    lab.pbx.run("ip link set eth0 down").unwrap();
    scene.assert_guarded(0, "eth0");
    lab.pbx.run("ip link set eth0 up").unwrap();
    scene.set_up("eth0");
    scene.assert_guarded(0, "eth0");
    scene.assert_judged();

    // Another name, and the old one again.
    for (from, to) in [("eth0", "outside"), ("outside", "eth0")] {
        scene.rename(from, to);
        scene.wait_until_guarded(0);
        scene.assert_guarded(0, to);
        let note = scene.interface(0)["note"].clone();
        assert_eq!(note.is_null(), to == "eth0", "{note}");
        scene.assert_judged();
    }
    scene.assert_links(2);

    // Gone, and made anew.
    lab.pbx.run("ip link del eth0").unwrap();
    wait_until("its absence to be told", PATIENCE, || {
        scene.interface(0)["attached"] == false
    })
    .unwrap();
    assert!(is_awaited(&scene.interface(0)["note"]));
    let state = || scene.guard.json(&["status"]).unwrap()["enforcement"]["state"].clone();
    assert_eq!(state(), "detached");
    scene.assert_links(1);
    scene.assert_late_judged();
    lab.pbx.veth("eth0", &lab.router, "pbx").unwrap();
    let anew = scene.wait_until_guarded(0);
    scene.assert_guarded(0, "eth0");
    scene.set_up("eth0");
    scene.assert_judged();
    scene.assert_links(2);
    wait_until("the tap to read it again", PATIENCE, || {
        state() != "detached"
    })
    .unwrap();

    // Another one under its name.
    lab.pbx.run("ip link set eth0 down").unwrap();
    lab.pbx.run("ip link set eth0 name old0").unwrap();
    lab.router
        .run("ip link set pbx name old")
        .unwrap_or_default();
    lab.pbx.run("ip address flush dev old0").unwrap();
    lab.pbx.veth("eth0", &lab.router, "pbx2").unwrap();
    let other = scene.wait_until_guarded(0);
    wait_until("the one before to be let go", PATIENCE, || {
        scene.interface(0)["name"] == "eth0"
    })
    .unwrap();
    scene.assert_guarded(0, "eth0");
    scene.assert_links(2);
    println!(
        "{}: guarded after it came late {late:.1?}, anew {anew:.1?}, in the place of another \
         {other:.1?}",
        backend.name()
    );

    scene.guard.stop().unwrap();
    scene.assert_links(0);
    assert_eq!(lab.pbx.run("nft list tables").unwrap(), "");
}
