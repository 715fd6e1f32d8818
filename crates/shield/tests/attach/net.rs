//! The network of a test, and its guard.

use std::{fs, path::PathBuf, process::Command, time::Duration};

use sipward_shield::{
    Ban, BootTime, Error, GuardedInterface, Policy, Ports, Scope, Shield as _, Target, XdpMode,
    xdp::{Interface, Options, Xdp},
};
use sipward_testkit::{
    namespace::Namespace,
    require::{Need, require},
};

const PBX: &str = "192.0.2.1:5060";
pub const PATIENCE: Duration = Duration::from_secs(30);
/// Where a process of its own keeps its pins.
pub const VICTIM: &str = "SIPWARD_TEST_VICTIM";

/// A PBX's machine and a neighbour, and a folder for pins that goes with the test.
pub struct Net {
    pub pbx: Namespace,
    pub neighbour: Namespace,
    pub pin_dir: PathBuf,
}

impl Net {
    pub fn new() -> Option<Self> {
        if !require(&[Need::Root, Need::Program("ip")]) {
            return None;
        }
        let pbx = Namespace::new("pbx").unwrap();
        let neighbour = Namespace::new("neighbour").unwrap();
        let pin_dir = PathBuf::from("/sys/fs/bpf").join(pbx.name());
        let net = Self {
            pbx,
            neighbour,
            pin_dir,
        };
        net.wire();
        Some(net)
    }

    pub fn wire(&self) {
        self.pbx.veth("wan", &self.neighbour, "lan").unwrap();
        self.pbx.address("wan", "192.0.2.1/24").unwrap();
        self.neighbour.address("lan", "192.0.2.7/24").unwrap();
    }

    pub fn open(&self, mode: Option<XdpMode>) -> Result<Xdp, Error> {
        self.open_at(self.pin_dir.clone(), "wan", mode)
            .map(|(xdp, _)| xdp)
    }

    pub fn interfaces(&self, xdp: &mut Xdp) -> Vec<GuardedInterface> {
        self.pbx.enter(|| xdp.interfaces().unwrap())
    }

    /// Looks at the interfaces again, as upon an event.
    pub fn reattach(&self, xdp: &mut Xdp) -> Vec<String> {
        self.pbx.enter(|| xdp.reattach(&mut |_, _| Ok(())).unwrap())
    }

    /// This test as a process of its own at the PBX, told where to keep its pins.
    pub fn this_test_again(&self) -> Command {
        let mut command = self.pbx.command(std::env::current_exe().unwrap());
        let name = std::thread::current().name().unwrap().to_owned();
        command
            .args(["--exact", "--nocapture", &name])
            .env(VICTIM, &self.pin_dir);
        command
    }

    /// Gives an interface of the PBX another name.
    pub fn rename(&self, from: &str, to: &str) {
        self.pbx.run(&format!("ip link set {from} down")).unwrap();
        self.pbx
            .run(&format!("ip link set {from} name {to}"))
            .unwrap();
        self.pbx.run(&format!("ip link set {to} up")).unwrap();
    }

    /// Pinned links.
    pub fn links(&self) -> usize {
        let pins = fs::read_dir(self.pin_dir.join("layout-1")).unwrap();
        let names = pins.map(|pin| pin.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with("link-")).count()
    }

    /// Opens again, and what that noted.
    pub fn reopen(&self) -> (Xdp, Vec<String>) {
        self.open_at(self.pin_dir.clone(), "wan", None).unwrap()
    }

    pub fn open_at(
        &self,
        pin_dir: PathBuf,
        name: &str,
        mode: Option<XdpMode>,
    ) -> Result<(Xdp, Vec<String>), Error> {
        let mut options = options(pin_dir, &[name]);
        options.interfaces[0].mode = mode;
        self.pbx.enter(|| guard(options))
    }

    /// Whether a datagram from the neighbour reaches the PBX: it is followed by one to a port that
    /// nobody protects and that no ban of scope sip hits, so that its absence is known for sure.
    pub fn reaches(&self) -> bool {
        let sip = self.pbx.udp_socket(PBX).unwrap();
        let control = self.pbx.udp_socket("192.0.2.1:9999").unwrap();
        sip.set_nonblocking(true).unwrap();
        let wait = Some(Duration::from_secs(10));
        control.set_read_timeout(wait).unwrap();
        let phone = self.neighbour.udp_socket("192.0.2.7:5060").unwrap();
        phone
            .send_to(b"OPTIONS sip:100@192.0.2.1 SIP/2.0\r\n\r\n", PBX)
            .unwrap();
        phone.send_to(b"after it", "192.0.2.1:9999").unwrap();
        let mut buffer = [0; 64];
        control
            .recv(&mut buffer)
            .expect("what is not protected arrives");
        sip.recv(&mut buffer).is_ok()
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.pin_dir);
    }
}

pub fn options(pin_dir: PathBuf, names: &[&str]) -> Options {
    let interface = |name: &&str| Interface {
        name: (*name).to_owned(),
        mode: None,
    };
    Options {
        pin_dir,
        interfaces: names.iter().map(interface).collect(),
    }
}

/// Guards, and what that noted.
pub fn guard(options: Options) -> Result<(Xdp, Vec<String>), Error> {
    let mut xdp = Xdp::open(&options)?;
    xdp.set_policy(&Policy::without_limits(Ports::sip(&[5060])))?;
    let notes = xdp.attach()?;
    Ok((xdp, notes))
}

pub fn ban(xdp: &mut Xdp) {
    let until = BootTime(BootTime::now().0 + 3_600_000_000_000);
    xdp.ban(&Ban {
        target: neighbour(),
        scope: Scope::Sip,
        until,
    })
    .unwrap();
}

pub fn neighbour() -> Target {
    Target {
        prefix: "192.0.2.7/32".parse().unwrap(),
        port: None,
    }
}
