//! Interfaces that stand on others: VLANs, one in another, bridges, bonds and macvlan, guarded above
//! and below. Few kernels have all of them, so Debian's run this under qemu.

use std::{fs, net::UdpSocket, path::Path};

use sipward_testkit::{
    guard::Guard,
    machine::{self, Clock, Machine},
    namespace::Namespace,
    process::wait_until,
};

use crate::stage::{
    Backend::{self, Generic, Native, Nftables},
    PATIENCE_EMULATED, programs, request,
};

/// A cable between the PBX and its network, and what stands on it: `%` is the interface at its end.
struct Wire {
    name: &'static str,
    /// What is made at both ends, then at the PBX's.
    both: &'static [&'static str],
    pbx: &'static [&'static str],
    /// Offloads that the other end goes without.
    without: &'static [&'static str],
    /// What has the address at the PBX's end, and at the other.
    addressed: [&'static str; 2],
    guarded: &'static str,
    /// Who can guard it.
    backends: &'static [Backend],
}

const PLAIN: Wire = Wire {
    name: "",
    both: &[],
    pbx: &[],
    without: &[],
    addressed: ["%", "%"],
    guarded: "%",
    backends: &[Native, Generic],
};
const VLAN: &str = "link add link % name %.42 type vlan id 42";
const IN_A_VLAN: Wire = Wire {
    both: &[VLAN, "link set %.42 up"],
    addressed: ["%.42", "%.42"],
    ..PLAIN
};
const IN_TWO_VLANS: Wire = Wire {
    both: &[
        "link add link % name %.7 type vlan protocol 802.1ad id 7",
        "link add link %.7 name %.7.42 type vlan id 42",
        "link set %.7 up",
        "link set %.7.42 up",
    ],
    addressed: ["%.7.42", "%.7.42"],
    ..PLAIN
};
/// More tags than the program reads: it does not see the one beside the frame.
const IN_THREE_VLANS: Wire = Wire {
    both: &[
        "link add link % name %.7 type vlan protocol 802.1ad id 7",
        "link add link %.7 name %.7.42 type vlan id 42",
        "link add link %.7.42 name %.7.42.9 type vlan id 9",
        "link set %.7 up",
        "link set %.7.42 up",
        "link set %.7.42.9 up",
    ],
    addressed: ["%.7.42.9", "%.7.42.9"],
    ..PLAIN
};
const BRIDGED: Wire = Wire {
    pbx: &[
        "link add b% type bridge",
        "link set %.42 master b%",
        "link set b% up",
    ],
    addressed: ["b%", "%.42"],
    ..IN_A_VLAN
};
const BONDED: Wire = Wire {
    pbx: &[
        "link add b% type bond mode active-backup",
        "link set % down",
        "link set % master b%",
        "link set b% up",
    ],
    addressed: ["b%", "%"],
    ..PLAIN
};
const MACVLAN: Wire = Wire {
    pbx: &[
        "link add link % name m% type macvlan mode bridge",
        "link set m% up",
    ],
    addressed: ["m%", "%"],
    ..PLAIN
};

/// An offloading sender leaves the outermost tag beside the frame (`skb->vlan_tci`), and a veth hands
/// it on so; of a network card that takes tags out, frames come so too.
const WIRES: [Wire; 13] = [
    Wire {
        name: "a VLAN",
        guarded: "%.42",
        backends: &[Generic, Nftables],
        ..IN_A_VLAN
    },
    Wire {
        name: "a VLAN whose frames keep their tag",
        both: &[
            "link add link % name %.42 type vlan id 42 reorder_hdr off",
            "link set %.42 up",
        ],
        guarded: "%.42",
        backends: &[Generic, Nftables],
        ..IN_A_VLAN
    },
    Wire {
        name: "under a VLAN, the tag beside the frame",
        ..IN_A_VLAN
    },
    Wire {
        name: "under a VLAN, the tag in the frame",
        without: &["txvlan"],
        ..IN_A_VLAN
    },
    Wire {
        name: "under a VLAN in a service VLAN, one tag in the frame",
        ..IN_TWO_VLANS
    },
    Wire {
        name: "under a VLAN in a service VLAN, both in the frame",
        without: &["txvlan", "tx-vlan-stag-hw-insert"],
        ..IN_TWO_VLANS
    },
    Wire {
        name: "under three VLANs, two tags in the frame",
        ..IN_THREE_VLANS
    },
    Wire {
        name: "a bridge over a VLAN",
        guarded: "b%",
        backends: &[Generic, Nftables],
        ..BRIDGED
    },
    Wire {
        name: "a VLAN that is a bridge's port",
        guarded: "%.42",
        backends: &[Generic],
        ..BRIDGED
    },
    Wire {
        name: "a bond",
        guarded: "b%",
        backends: &[Native, Generic, Nftables],
        ..BONDED
    },
    Wire {
        name: "a bond's port",
        backends: &[Generic],
        ..BONDED
    },
    Wire {
        name: "a macvlan",
        guarded: "m%",
        backends: &[Generic, Nftables],
        ..MACVLAN
    },
    Wire {
        name: "under a macvlan",
        ..MACVLAN
    },
];

#[test]
fn what_stands_on_other_interfaces_is_guarded_on_linux_6_1() {
    on("bookworm", "6.1.");
}

#[test]
fn what_stands_on_other_interfaces_is_guarded_on_linux_6_12() {
    on("trixie", "6.12.");
}

fn on(suite: &'static str, release: &str) {
    let Some(programs) = programs(&["ip", "nft", "ethtool", "nsenter"]) else {
        return;
    };
    let machine = Machine {
        suite,
        release,
        programs: &programs,
        clock: Clock::Own,
    };
    machine::within(&machine, || {
        let scene = Scene::new();
        Backend::ALL
            .into_iter()
            .for_each(|backend| scene.play(backend));
        scene.assert_refused();
    });
}

#[derive(Clone, Copy)]
enum Host {
    Pbx = 1,
    Phone,
    Scanner,
}

#[derive(Clone, Copy, Debug)]
enum Version {
    IPv4,
    IPv6,
}

/// Of a host on a wire. Documentation's addresses, of which each wire has sixteen.
fn address(wire: usize, host: Host, version: Version) -> String {
    let host = host as usize;
    match version {
        Version::IPv4 => format!("203.0.113.{}", 16 * wire + host),
        Version::IPv6 => format!("2001:db8:{wire:x}:{host}::1"),
    }
}

/// The end of a wire, or what stands on it.
fn at_end(wire: usize, text: &str) -> String {
    text.replace('%', &format!("e{wire}"))
}

struct Scene {
    pbx: Namespace,
    lan: Namespace,
}

impl Scene {
    fn new() -> Self {
        let [pbx, lan] = ["pbx", "lan"].map(|role| Namespace::new(role).unwrap());
        // The interface under a macvlan would answer for its address.
        pbx.set("net/ipv4/conf/all/arp_ignore", "1").unwrap();
        let [mut pbx_lines, mut lan_lines] = [Vec::new(), Vec::new()];
        for (number, wire) in WIRES.iter().enumerate() {
            let end = at_end(number, "%");
            pbx.veth(&end, &lan, &end).unwrap();
            for feature in wire.without {
                lan.offload(&end, feature, false).unwrap();
            }
            let ends = [
                (&mut pbx_lines, wire.pbx, &[Host::Pbx][..]),
                (&mut lan_lines, &[], &[Host::Phone, Host::Scanner]),
            ];
            for ((lines, own, hosts), addressed) in ends.into_iter().zip(wire.addressed) {
                lines.extend(wire.both.iter().chain(own).map(|line| at_end(number, line)));
                let interface = at_end(number, addressed);
                for host in hosts {
                    let of = |version| address(number, *host, version);
                    let [v4, v6] = [Version::IPv4, Version::IPv6].map(of);
                    lines.push(format!("address add {v4}/28 dev {interface}"));
                    lines.push(format!("address add {v6}/48 dev {interface} nodad"));
                }
            }
        }
        let folder = tempfile::tempdir().unwrap();
        for (namespace, lines) in [(&pbx, pbx_lines), (&lan, lan_lines)] {
            let batch = folder.path().join("batch");
            fs::write(&batch, lines.join("\n")).unwrap();
            namespace
                .run(&format!("ip -batch {}", batch.display()))
                .unwrap();
        }
        Self { pbx, lan }
    }

    fn start(&self, names: &[String], backend: Backend) -> anyhow::Result<Guard<'_>> {
        let names: Vec<String> = names.iter().map(|name| format!("\"{name}\"")).collect();
        let interfaces = format!("interfaces = [{}]\n", names.join(", "));
        let program = Path::new(env!("CARGO_BIN_EXE_sipward"));
        Guard::start_with(program, &self.pbx, &(interfaces + backend.configuration()))
    }

    /// On every wire that the backend can guard: of a scanner nothing comes through, or what it is
    /// banned for, and nothing at all once it is; of a phone everything.
    fn play(&self, backend: Backend) {
        let wires = WIRES.iter().enumerate();
        let wires = wires.filter(|(_, wire)| wire.backends.contains(&backend));
        let wires: Vec<(usize, &Wire)> = wires.collect();
        let guarded = wires
            .iter()
            .map(|(number, wire)| at_end(*number, wire.guarded));
        let mut guard = self.start(&guarded.collect::<Vec<_>>(), backend).unwrap();

        let receivers = wires.iter().flat_map(|(number, wire)| {
            let on = |version| Receiver::new(self, *number, wire.name, version);
            [Version::IPv4, Version::IPv6].map(on)
        });
        let receivers: Vec<Receiver<'_>> = receivers.collect();
        for receiver in &receivers {
            receiver.send(Host::Scanner, "friendly-scanner");
        }
        wait_until("the scanners' bans", PATIENCE_EMULATED, || {
            let bans = guard.json(&["bans"]).unwrap();
            bans.as_array().unwrap().len() == receivers.len()
        })
        .unwrap_or_else(|error| panic!("{error:#}\n{}", guard.log()));
        let mut unguarded = Vec::new();
        for receiver in &receivers {
            receiver.send(Host::Scanner, "Snom D785/10.1.64");
            receiver.send(Host::Phone, "Snom D785/10.1.64");
            let senders = receiver.senders();
            let expected = match backend {
                Native | Generic => vec![Host::Phone],
                Nftables => vec![Host::Scanner, Host::Phone],
            };
            let expected = expected.into_iter().map(|host| receiver.address(host));
            let is_guarded = expected.eq(senders.iter().cloned());
            println!(
                "{:<55}{:<14}{:?}: {}",
                receiver.name,
                backend.name(),
                receiver.version,
                if is_guarded { "guarded" } else { "NOT GUARDED" },
            );
            if !is_guarded {
                unguarded.push(senders);
            }
        }
        assert!(unguarded.is_empty(), "{unguarded:?}\n{}", guard.log());
        let status = guard.json(&["status"]).unwrap();
        assert_eq!(status["enforcement"]["state"], "ok", "{status}");
        assert_eq!(status["enforcement"]["leaked_packets"], 0, "{status}");
        guard.stop().unwrap();
    }

    /// What comes through a bond's port comes to rules as the bond's.
    fn assert_refused(&self) {
        let bonded = WIRES.iter().position(|wire| wire.name == "a bond's port");
        let port = at_end(bonded.unwrap(), "%");
        let error = self
            .start(std::slice::from_ref(&port), Nftables)
            .err()
            .unwrap();
        let said = format!("{error:#}");
        assert!(
            said.contains(&format!("{port} is a port of bond b{port}")),
            "{said}"
        );
    }
}

/// The PBX on a wire.
struct Receiver<'a> {
    scene: &'a Scene,
    wire: usize,
    name: &'static str,
    version: Version,
    socket: UdpSocket,
}

impl<'a> Receiver<'a> {
    fn new(scene: &'a Scene, wire: usize, name: &'static str, version: Version) -> Self {
        let own = address(wire, Host::Pbx, version);
        let bind = || UdpSocket::bind((own.as_str(), 5060)).unwrap();
        let socket = scene.pbx.enter(bind);
        socket.set_read_timeout(Some(PATIENCE_EMULATED)).unwrap();
        Self {
            scene,
            wire,
            name,
            version,
            socket,
        }
    }

    fn address(&self, host: Host) -> String {
        address(self.wire, host, self.version)
    }

    fn send(&self, from: Host, user_agent: &str) {
        let from = self.address(from);
        let to = self.socket.local_addr().unwrap();
        self.scene.lan.enter(|| {
            let socket = UdpSocket::bind((from.as_str(), 0)).unwrap();
            socket.send_to(&request(user_agent), to).unwrap();
        });
    }

    /// Whose datagrams have come, to the phone's: they keep their order.
    fn senders(&self) -> Vec<String> {
        let phone = self.address(Host::Phone);
        let mut senders = Vec::new();
        while senders.last() != Some(&phone) {
            let (_, sender) = self.socket.recv_from(&mut [0; 2_048]).unwrap();
            senders.push(sender.ip().to_string());
        }
        senders
    }
}
