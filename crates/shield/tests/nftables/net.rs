//! A PBX's machine behind the table, and a neighbour who puts any frame on its link.

use std::time::Duration;

use ipnet::IpNet;
use sipward_shield::{
    Ban, BootTime, Count, Counters, Event, Reason, Scope, Shield as _, Target, nftables::Nftables,
};
use sipward_testkit::{
    link::PacketSocket,
    namespace::Namespace,
    packet::Packet,
    process::wait_until,
    require::{Need, require},
};

use crate::policy::policy;

pub const PBX: &str = "192.0.2.1:5060";
pub const PBX6: &str = "[2001:db8:2::1]:5060";

/// The log groups of the shield and of its tap.
const LOG_GROUPS: [u16; 2] = [5060, 5061];

pub struct Net {
    pub pbx: Namespace,
    neighbour: Namespace,
    injector: PacketSocket,
    macs: [[u8; 6]; 2],
    shield: Option<Nftables>,
}

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    pub dropped: bool,
    pub reason: Reason,
}

impl Net {
    /// With [`policy`] in force.
    pub fn guarded() -> Option<Self> {
        if !require(&[Need::Root, Need::Program("ip"), Need::Program("nft")]) {
            return None;
        }
        let pbx = Namespace::new("pbx").unwrap();
        let neighbour = Namespace::new("neighbour").unwrap();
        pbx.veth("wan", &neighbour, "lan").unwrap();
        pbx.address("wan", "192.0.2.1/24").unwrap();
        pbx.address("wan", "2001:db8:2::1/64").unwrap();
        neighbour.address("lan", "192.0.2.7/24").unwrap();
        // The PBX's own neighbour discovery would be counted among what the tests send.
        pbx.set("net/ipv6/conf/wan/accept_ra", "0").unwrap();
        let mut net = Self {
            injector: PacketSocket::open(&neighbour, "lan").unwrap(),
            macs: [pbx.mac("wan").unwrap(), neighbour.mac("lan").unwrap()],
            pbx,
            neighbour,
            shield: None,
        };
        net.open();
        net.shield(|shield| {
            shield.set_policy(&policy()).unwrap();
            shield.attach().unwrap();
        });
        Some(net)
    }

    pub fn open(&mut self) {
        let opened = self.pbx.enter(|| Nftables::open(&["wan".to_owned()]));
        self.shield = Some(opened.unwrap());
    }

    /// As SIGKILL does: nothing of it is tidied up.
    pub fn kill(&mut self) {
        self.shield = None;
        for group in LOG_GROUPS {
            self.pbx.await_log_group(group).unwrap();
        }
    }

    /// Gives an interface of the PBX another name.
    pub fn rename(&self, from: &str, to: &str) {
        for change in [
            format!("{from} down"),
            format!("{from} name {to}"),
            format!("{to} up"),
        ] {
            self.pbx.run(&format!("ip link set {change}")).unwrap();
        }
    }

    /// Has the shield do something, in its namespace.
    pub fn shield<T: Send>(&mut self, work: impl FnOnce(&mut Nftables) -> T + Send) -> T {
        let shield = self.shield.as_mut().expect("it is open");
        self.pbx.enter(|| work(shield))
    }

    pub fn events(&mut self) -> Vec<Event> {
        self.shield(|shield| {
            let mut events = Vec::new();
            shield.drain_events(&mut |event| events.push(event));
            events
        })
    }

    /// Puts a frame on the link and tells under which reason it was counted.
    pub fn seen(&mut self, frame: &[u8]) -> Seen {
        let before = self.counts();
        self.send(frame);
        let mut seen = None;
        wait_until("the packet to be judged", Duration::from_secs(10), || {
            seen = risen(&before, &self.counts());
            seen.is_some()
        })
        .unwrap();
        seen.unwrap()
    }

    /// Puts frames on the link as fast as it takes them and tells how many passed.
    pub fn passed(&mut self, frames: &[Vec<u8>]) -> u64 {
        let before = self.counts();
        for frame in frames {
            self.send(frame);
        }
        let (mut passed, mut judged) = (0, 0);
        wait_until("the packets to be judged", Duration::from_secs(10), || {
            let after = self.counts();
            // Neighbour discovery is not protected.
            let counted = Reason::ALL.iter().filter(|of| **of != Reason::NotProtected);
            (passed, judged) = counted.fold((0, 0), |(passed, judged), reason| {
                let (before, now) = (before.of(*reason), after.of(*reason));
                let more = now.passed - before.passed;
                (passed + more, judged + more + now.dropped - before.dropped)
            });
            judged >= frames.len() as u64
        })
        .unwrap();
        passed
    }

    /// Whether a datagram of this address reaches a program at port 5060.
    pub fn reaches(&self, source: &str) -> bool {
        let sip = self.pbx.udp_socket(PBX).unwrap();
        let control = self.pbx.udp_socket("192.0.2.1:9999").unwrap();
        sip.set_nonblocking(true).unwrap();
        let wait = Some(Duration::from_secs(10));
        control.set_read_timeout(wait).unwrap();
        let datagram = |source: &str, port: u16| {
            let to = format!("192.0.2.1:{port}");
            Packet::udp(format!("{source}:5060"), to).payload(&phone())
        };
        self.send(&datagram(source, 5060).build());
        // Frames keep their order: what follows shows that the other one is not on its way.
        self.send(&datagram("192.0.2.7", 9999).build());
        let mut buffer = [0; 2048];
        control.recv(&mut buffer).expect("what nobody bans arrives");
        sip.recv(&mut buffer).is_ok()
    }

    pub fn nft(&self, text: &str) {
        let path = std::env::temp_dir().join(format!("{}.nft", self.pbx.name()));
        std::fs::write(&path, text).unwrap();
        self.pbx.run(&format!("nft -f {}", path.display())).unwrap();
        std::fs::remove_file(path).unwrap();
    }

    fn send(&self, frame: &[u8]) {
        let mut frame = frame.to_vec();
        frame[..6].copy_from_slice(&self.macs[0]);
        frame[6..12].copy_from_slice(&self.macs[1]);
        self.injector.send(&frame).unwrap();
    }

    fn counts(&mut self) -> Counters {
        self.shield(|shield| shield.counters().unwrap())
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        // The namespaces end with their names; the neighbour is told apart by the link only.
        let _ = &self.neighbour;
    }
}

/// The reason whose count went up. Neighbour discovery is not protected, and nothing that a test
/// sends.
fn risen(before: &Counters, after: &Counters) -> Option<Seen> {
    let mut found = None;
    for reason in Reason::ALL {
        let (Count { passed, dropped }, now) = (before.of(*reason), after.of(*reason));
        if now.dropped > dropped || now.passed > passed {
            let seen = Seen {
                dropped: now.dropped > dropped,
                reason: *reason,
            };
            if *reason != Reason::NotProtected || found.is_none() {
                found = Some(seen);
            }
        }
    }
    found
}

/// A REGISTER as a phone sends it.
pub fn phone() -> Vec<u8> {
    request(1)
}

/// One of many.
pub fn request(number: u32) -> Vec<u8> {
    format!(
        "REGISTER sip:pbx.example SIP/2.0\r\n\
         Via: SIP/2.0/UDP 203.0.113.7:5060;branch=z9hG4bK7f2e{number};rport\r\n\
         Max-Forwards: 70\r\n\
         From: \"Anna\" <sip:101@pbx.example>;tag=41fe\r\n\
         To: \"Anna\" <sip:101@pbx.example>\r\n\
         Call-ID: 5f1c8a@203.0.113.7\r\n\
         CSeq: {number} REGISTER\r\n\
         Contact: <sip:101@203.0.113.7:5060>\r\n\
         User-Agent: Snom D785/10.1.64\r\n\
         Content-Length: 0\r\n\r\n"
    )
    .into_bytes()
}

/// So many seconds from now.
pub fn until(seconds: u64) -> BootTime {
    BootTime(BootTime::now().0 + seconds * 1_000_000_000)
}

/// UDP with this payload.
pub fn udp(source: &str, destination: &str, payload: &[u8]) -> Packet {
    Packet::udp(source, destination).payload(payload)
}

pub fn target(prefix: &str) -> Target {
    let address = prefix
        .parse()
        .map(|address: std::net::IpAddr| address.into());
    Target {
        prefix: prefix.parse::<IpNet>().or(address).unwrap(),
        port: None,
    }
}

pub fn ban(prefix: &str, scope: Scope, until: BootTime) -> Ban {
    Ban {
        target: target(prefix),
        scope,
        until,
    }
}
