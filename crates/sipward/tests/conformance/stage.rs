//! The network in which a backend is tried, and what comes through it.

use std::{
    net::UdpSocket,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use sipward_testkit::{
    count::{PacketCounter, kernel_counter},
    guard::Guard,
    lab::{Lab, PBX, PBX_V6, PHONES},
    namespace::Namespace,
    packet::Packet,
    process::{Process, wait_until},
    require::{self, Need},
    scanner::Scanner,
};

/// A port that nobody protects.
pub const FREE: u16 = 9_999;
/// From where what must arrive is sent.
const CONTROL: &str = "198.51.100.250:9999";

const PATIENCE: Duration = Duration::from_secs(30);
/// In a machine everything takes its time.
pub const PATIENCE_EMULATED: Duration = Duration::from_secs(120);

const REGISTER: &str = "REGISTER sip:192.0.2.1 SIP/2.0\r\n\
    Via: SIP/2.0/UDP 198.51.100.10:5060;branch=z9hG4bK1;rport\r\n\
    From: <sip:101@192.0.2.1>;tag=1\r\nTo: <sip:101@192.0.2.1>\r\n\
    Call-ID: login@198.51.100.10\r\nCSeq: 1 REGISTER\r\n\
    Contact: <sip:101@198.51.100.10:5060>\r\nContent-Length: 0\r\n\r\n";
const CHALLENGE: &str = "SIP/2.0 401 Unauthorized\r\n\
    Via: SIP/2.0/UDP 198.51.100.10:5060;branch=z9hG4bK1;received=198.51.100.10;rport=5060\r\n\
    From: <sip:101@192.0.2.1>;tag=1\r\nTo: <sip:101@192.0.2.1>;tag=as1\r\n\
    Call-ID: login@198.51.100.10\r\nCSeq: 1 REGISTER\r\n\
    WWW-Authenticate: Digest algorithm=MD5, realm=\"asterisk\", nonce=\"4f2a11d0\"\r\n\
    Content-Length: 0\r\n\r\n";
const CREDENTIALS: &str = "REGISTER sip:192.0.2.1 SIP/2.0\r\n\
    Via: SIP/2.0/UDP 198.51.100.10:5060;branch=z9hG4bK2;rport\r\n\
    From: <sip:101@192.0.2.1>;tag=1\r\nTo: <sip:101@192.0.2.1>\r\n\
    Call-ID: login@198.51.100.10\r\nCSeq: 2 REGISTER\r\n\
    Authorization: Digest username=\"101\", realm=\"asterisk\", nonce=\"4f2a11d0\", \
    uri=\"sip:192.0.2.1\", response=\"0f343b0931126a20f133d67c2b018a3b\", algorithm=MD5\r\n\
    Contact: <sip:101@198.51.100.10:5060>\r\nContent-Length: 0\r\n\r\n";
const ACCEPTED: &str = "SIP/2.0 200 OK\r\n\
    Via: SIP/2.0/UDP 198.51.100.10:5060;branch=z9hG4bK2;received=198.51.100.10;rport=5060\r\n\
    From: <sip:101@192.0.2.1>;tag=1\r\nTo: <sip:101@192.0.2.1>;tag=as1\r\n\
    Call-ID: login@198.51.100.10\r\nCSeq: 2 REGISTER\r\n\
    Contact: <sip:101@198.51.100.10:5060>;expires=300\r\nContent-Length: 0\r\n\r\n";

/// sipward and these tools, for a machine; none where this one lacks one. Of tools that busybox has,
/// too, those are named on which its own would not do: its `nsenter` runs its own `ip`.
pub fn programs(tools: &[&'static str]) -> Option<Vec<PathBuf>> {
    let needs: Vec<Need> = tools.iter().copied().map(Need::Program).collect();
    if !require::require(&needs) {
        return None;
    }
    let tools = tools.iter().filter_map(|tool| require::program(tool));
    Some(
        tools
            .chain([env!("CARGO_BIN_EXE_sipward").into()])
            .collect(),
    )
}

/// What enforces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    Native,
    Generic,
    Nftables,
}

impl Backend {
    pub const ALL: [Self; 3] = [Self::Native, Self::Generic, Self::Nftables];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Native => "xdp native",
            Self::Generic => "xdp generic",
            Self::Nftables => "nftables",
        }
    }

    pub const fn configuration(self) -> &'static str {
        match self {
            Self::Native => "backend = \"xdp\"\nxdp-mode = \"native\"\n",
            Self::Generic => "backend = \"xdp\"\nxdp-mode = \"generic\"\n",
            Self::Nftables => "backend = \"nftables\"\n",
        }
    }
}

/// Of the packets sent, those that came through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub sent: u32,
    pub passed: u32,
    pub took: Duration,
}

pub struct Stage<'a> {
    pub guard: Guard<'a>,
    configuration: String,
    lab: &'a Lab,
    sockets: Vec<UdpSocket>,
    control: UdpSocket,
}

/// A stateful firewall, as most machines have: it has fragments put together, and lets in whatever
/// belongs to a connection.
const FIREWALL: &str = "add table inet firewall; \
    add chain inet firewall input { type filter hook input priority 0; policy accept; }; \
    add rule inet firewall input ct state established,related accept";

impl<'a> Stage<'a> {
    pub fn new(lab: &'a Lab, backend: Backend) -> Self {
        lab.pbx.run(&format!("nft {FIREWALL}")).unwrap();
        let configuration = format!("{}[ports]\ntripwire = [5090]\n", backend.configuration());
        let program = Path::new(env!("CARGO_BIN_EXE_sipward"));
        let guard = Guard::start_with(program, &lab.pbx, &configuration).unwrap();
        let status = guard.json(&["status"]).unwrap();
        let mode = status["interfaces"][0]["xdp_mode"].as_str();
        let found = mode.map_or("nftables".to_owned(), |mode| format!("xdp {mode}"));
        assert_eq!(found, backend.name());
        let (sockets, control) = lab.pbx.enter(|| {
            let bind = |host: &str, port: u16| {
                let socket = UdpSocket::bind((host, port)).unwrap();
                socket.set_nonblocking(true).unwrap();
                socket
            };
            let sockets =
                [PBX, PBX_V6].map(|host| [5060, 4569, 5090, FREE].map(|port| bind(host, port)));
            let control = UdpSocket::bind((PBX, 9_998)).unwrap();
            control.set_read_timeout(Some(PATIENCE)).unwrap();
            (sockets.into_iter().flatten().collect(), control)
        });
        Self {
            guard,
            configuration,
            lab,
            sockets,
            control,
        }
    }

    /// Sends these datagrams and counts those that a program of the PBX receives.
    pub fn send(&self, packets: &[Packet]) -> Outcome {
        self.send_frames(&packets.iter().map(Packet::build).collect::<Vec<_>>())
    }

    /// The same with what needs not be whole datagrams.
    pub fn send_frames(&self, frames: &[Vec<u8>]) -> Outcome {
        self.drain();
        let began = Instant::now();
        let mut passed = 0;
        // No more at once than a socket holds.
        for some in frames.chunks(50) {
            for frame in some {
                self.lab.inject(frame).unwrap();
            }
            self.catch_up();
            passed += self.drain();
        }
        Outcome {
            sent: u32::try_from(frames.len()).unwrap(),
            passed,
            took: began.elapsed(),
        }
    }

    /// What a limit drops of these: `status` tells of as many as did not arrive.
    pub fn limited(&self, send: impl FnOnce(&Self) -> Outcome) -> Outcome {
        let told = || {
            let status = self.guard.json(&["status"]).unwrap();
            status["packets"]["dropped"]["rate"].as_u64().unwrap()
        };
        let before = told();
        let outcome = send(self);
        let missing = u64::from(outcome.sent - outcome.passed);
        assert_eq!(told() - before, missing, "{outcome:?}");
        outcome
    }

    /// One datagram of a phone, from this address and port to this port of the PBX.
    pub fn phone(&self, source: &str, port: u16) -> Outcome {
        self.send(&[from(source, port, &request("Snom D785/10.1.64"))])
    }

    /// Counts what comes to a TCP port.
    pub fn send_tcp(&self, source: &str, packets: &[Packet]) -> Outcome {
        let began = Instant::now();
        let counter = PacketCounter::new(&self.lab.pbx, source, 22).unwrap();
        for packet in packets {
            self.lab.inject(&packet.build()).unwrap();
        }
        self.catch_up();
        Outcome {
            sent: u32::try_from(packets.len()).unwrap(),
            passed: u32::try_from(counter.packets().unwrap()).unwrap(),
            took: began.elapsed(),
        }
    }

    /// Counts the fragments that the PBX's kernel begins to put together.
    pub fn send_fragments(&self, frames: &[Vec<u8>]) -> Outcome {
        let began = Instant::now();
        let before = self.fragments();
        for frame in frames {
            self.lab.inject(frame).unwrap();
        }
        self.catch_up();
        Outcome {
            sent: u32::try_from(frames.len()).unwrap(),
            passed: self.fragments() - before,
            took: began.elapsed(),
        }
    }

    fn fragments(&self) -> u32 {
        let begun = kernel_counter(&self.lab.pbx, "IpReasmReqds").unwrap();
        u32::try_from(begun).unwrap()
    }

    /// Puts more lines of configuration in force.
    pub fn reload(&mut self, more: &str) {
        let configuration = format!("{}{more}", self.configuration);
        self.guard.reload(&configuration).unwrap();
    }

    /// A phone registers, with a server that takes any password.
    pub fn log_in(&self) {
        let phone = self.lab.phones.enter(|| {
            let phone = UdpSocket::bind((PHONES, 5_060)).unwrap();
            phone.set_read_timeout(Some(PATIENCE)).unwrap();
            phone
        });
        let server = self.sockets.first().expect("the PBX listens");
        let mut buffer = [0; 2_048];
        for (request, answer) in [(REGISTER, CHALLENGE), (CREDENTIALS, ACCEPTED)] {
            phone.send_to(request.as_bytes(), (PBX, 5_060)).unwrap();
            wait_until("the request", PATIENCE, || server.recv(&mut buffer).is_ok()).unwrap();
            server.send_to(answer.as_bytes(), (PHONES, 5_060)).unwrap();
            phone.recv(&mut buffer).unwrap();
        }
        wait_until("the login to count", PATIENCE, || {
            let trusted = self.guard.json(&["trusted"]).unwrap();
            trusted.to_string().contains(PHONES)
        })
        .unwrap();
    }

    /// Gives the daemon an order that it must carry out.
    pub fn order(&self, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        let said = self.guard.ask(&words).unwrap();
        assert!(said.status.success(), "{line}: {}", said.stderr);
    }

    pub fn wait_for_ban(&self, prefix: &str) {
        wait_until("the ban", PATIENCE, || self.guard.bans(prefix).unwrap()).unwrap();
    }

    /// Waits until all that was sent before has come through or not: frames keep their order.
    fn catch_up(&self) {
        let packet = Packet::udp(CONTROL, format!("{PBX}:9998")).payload(b"after it");
        self.lab.inject(&packet.build()).unwrap();
        self.control
            .recv(&mut [0; 64])
            .expect("what nobody drops arrives");
    }

    fn drain(&self) -> u32 {
        let mut buffer = [0; 2_048];
        let received = self.sockets.iter().map(|socket| {
            let mut count = 0;
            while socket.recv(&mut buffer).is_ok() {
                count += 1;
            }
            count
        });
        received.sum()
    }
}

/// A datagram to a port of the PBX, over the IP version of its source.
pub fn from(source: &str, port: u16, payload: &[u8]) -> Packet {
    let host = if source.starts_with('[') {
        format!("[{PBX_V6}]")
    } else {
        PBX.to_owned()
    };
    Packet::udp(source, format!("{host}:{port}")).payload(payload)
}

/// A REGISTER with this User-Agent.
pub fn request(user_agent: &str) -> Vec<u8> {
    format!(
        "REGISTER sip:192.0.2.1 SIP/2.0\r\n\
         Via: SIP/2.0/UDP 203.0.113.7:5060;branch=z9hG4bK7f2e;rport\r\n\
         Max-Forwards: 70\r\n\
         From: \"Anna\" <sip:101@192.0.2.1>;tag=41fe\r\n\
         To: \"Anna\" <sip:101@192.0.2.1>\r\n\
         Call-ID: 5f1c8a@203.0.113.7\r\n\
         CSeq: 1 REGISTER\r\n\
         Contact: <sip:101@203.0.113.7:5060>\r\n\
         User-Agent: {user_agent}\r\n\
         Content-Length: 0\r\n\r\n"
    )
    .into_bytes()
}

/// Guesses passwords, by nothing else to be known. It would go on for long without an answer; dropped,
/// it ends.
pub fn guess(from: &Namespace, server: &str) -> Process {
    let command = Scanner::Svcrack.disguised(from, "Yealink SIP-T46S 66.86.0.15");
    let mut command = command.expect("a tool of SIPVicious");
    command.args(["-u", "101", "-r", "100-999"]);
    if server.contains(':') {
        command.arg("-6");
    }
    Process::spawn(command.arg(server)).unwrap()
}
