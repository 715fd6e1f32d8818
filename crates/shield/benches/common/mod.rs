//! What the benchmarks of packets have in common: a road, and figures.

use std::{
    fs,
    net::UdpSocket,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
    sys::socket::{setsockopt, sockopt},
};
use sipward_shield::{Policy, Ports, Shield};
use sipward_signature::{Profile, SignatureSet, Tables};
use sipward_testkit::{namespace::Namespace, process::wait_until};

/// The bytes of the SIP message; 42 of headers stand before it.
pub const MESSAGE_LEN: usize = 715;
pub const INTERFACE: &str = "eth0";
pub const BPF_FS: &str = "/sys/fs/bpf";

/// A way of its own from a phone to a PBX. It ends at a bound UDP socket whose buffer is full, so
/// that nobody has to be woken to read.
pub struct Road {
    pub pbx: Namespace,
    pub phone: UdpSocket,
    pub message: Vec<u8>,
    /// Never read, so that its buffer stays full.
    _server: UdpSocket,
}

impl Road {
    pub fn new(phones: &Namespace, number: usize, message: Vec<u8>) -> Result<Self> {
        let pbx = Namespace::new(&format!("pbx{number}"))?;
        let phone_interface = format!("phone{number}");
        // The addresses of RFC 2544, which are for benchmarks.
        let (phone_address, pbx_address) = (
            format!("198.18.{number}.1:5060"),
            format!("198.18.{number}.2:5060"),
        );
        phones.veth(&phone_interface, &pbx, INTERFACE)?;
        phones.address(&phone_interface, &format!("198.18.{number}.1/24"))?;
        pbx.address(INTERFACE, &format!("198.18.{number}.2/24"))?;
        let server = pbx.enter(|| UdpSocket::bind(&pbx_address))?;
        // The kernel takes its smallest size, a packet or two.
        setsockopt(&server, sockopt::RcvBuf, &1)?;
        let phone = phones.enter(|| UdpSocket::bind(&phone_address))?;
        phone.connect(&pbx_address)?;
        Ok(Self {
            pbx,
            phone,
            message,
            _server: server,
        })
    }

    /// The whole time for so many packets.
    pub fn send(&self, packets: u32) -> Result<Duration> {
        let start = Instant::now();
        for _ in 0..packets {
            self.phone.send(&self.message)?;
        }
        Ok(start.elapsed())
    }

    /// Packets that reached the server's socket and found no room.
    pub fn arrived(&self) -> Result<u64> {
        let snmp = self
            .pbx
            .enter(|| fs::read_to_string("/proc/thread-self/net/snmp"))?;
        let mut udp = snmp.lines().filter_map(|line| line.strip_prefix("Udp:"));
        let (names, values) = (udp.next(), udp.next());
        let (names, values) = names.zip(values).context("no UDP in /proc/net/snmp")?;
        names
            .split_whitespace()
            .zip(values.split_whitespace())
            .find(|(name, _)| *name == "RcvbufErrors")
            .context("no RcvbufErrors in /proc/net/snmp")?
            .1
            .parse()
            .context("RcvbufErrors")
    }

    pub fn wait_for_arrival(&self, expected: u64) -> Result<()> {
        // The last packets may be left to ksoftirqd.
        let all = || self.arrived().is_ok_and(|arrived| arrived >= expected);
        wait_until("all packets to arrive", Duration::from_secs(2), all)?;
        let arrived = self.arrived()?;
        ensure!(
            arrived == expected,
            "{arrived} packets arrived, not {expected}"
        );
        Ok(())
    }
}

/// A phone's REGISTER of [`MESSAGE_LEN`] bytes: a longer User-Agent makes the device's id shorter.
pub fn register(user_agent: &str) -> Vec<u8> {
    let message = |id: &str| {
        format!(
            "REGISTER sip:pbx.example.org SIP/2.0\r\n\
             Via: SIP/2.0/UDP 203.0.113.7:5060;branch=z9hG4bK2839174650;rport\r\n\
             Max-Forwards: 70\r\n\
             From: \"Anna\" <sip:101@pbx.example.org>;tag=1709384562\r\n\
             To: \"Anna\" <sip:101@pbx.example.org>\r\n\
             Call-ID: 0_293847105638@203.0.113.7\r\n\
             CSeq: 2 REGISTER\r\n\
             Contact: <sip:101@203.0.113.7:5060>;reg-id=1;+sip.instance=\"<urn:uuid:{id}>\"\r\n\
             Authorization: Digest username=\"101\", realm=\"asterisk\", nonce=\"5a3c91f7\", \
             uri=\"sip:pbx.example.org\", response=\"6629fae49393a05397450978507c4ef1\", \
             algorithm=MD5\r\n\
             Allow: INVITE, ACK, BYE, CANCEL, OPTIONS, NOTIFY, REFER, INFO, MESSAGE, UPDATE\r\n\
             User-Agent: {user_agent}\r\n\
             Supported: path\r\n\
             Expires: 3600\r\n\
             Content-Length: 0\r\n\r\n"
        )
    };
    let room = MESSAGE_LEN - message("").len();
    let id: String = "7b1d0e52-93c4-4f1a-8a60-0004f2a1c935"
        .chars()
        .cycle()
        .take(room)
        .collect();
    message(&id).into_bytes()
}

/// The default policy but for the limits, which nothing here reaches.
pub fn configure(shield: &mut impl Shield, profile: Profile) -> Result<()> {
    shield.set_policy(&Policy::without_limits(Ports::sip(&[5060])))?;
    let tables: Tables = SignatureSet::builtin().compile(profile, &[])?;
    shield.set_signatures(&tables)?;
    Ok(())
}

/// Figures of the same thing, measured several times.
#[derive(Clone, Copy)]
pub struct Spread {
    pub min: f64,
    pub median: f64,
    pub max: f64,
}

impl Spread {
    pub fn of(figures: &[f64]) -> Self {
        let mut sorted = figures.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |place: usize| sorted.get(place).copied().unwrap_or(f64::NAN);
        Self {
            min: at(0),
            median: at(sorted.len() / 2),
            max: at(sorted.len().saturating_sub(1)),
        }
    }
}

/// Mounts nothing but this process sees: pins and the names of namespaces end with it, however
/// it ends.
pub fn own_mounts() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>)?;
    mount(
        Some("bpf"),
        BPF_FS,
        Some("bpf"),
        MsFlags::empty(),
        None::<&str>,
    )
    .with_context(|| format!("mounting {BPF_FS}"))
}
