//! What the kernel's program would say to the packets of a capture: each is run through the real
//! program, with the ports and signatures of the configuration, the allowlist, and the bans in
//! force.

use std::{borrow::Cow, fmt, path::Path};

use jiff::Timestamp;
use serde::Serialize;
use sipward_engine::escape_at_most;
use sipward_shield::{Rate, Reason, Shield, Simulator, Verdict};
use sipward_signature::Tables;
use sipward_wire::{
    LinkType, Packet, Transport,
    sip::{Message, is_sip},
};

use crate::{
    clock::{self, Clocks},
    config::Config,
    control::api::{AllowedView, BanView},
    exit::Failure,
    pcap::{self, Recorded},
    signatures,
};

/// Bytes of a start line or header that are shown.
const SHOWN: usize = 120;
/// Every packet is judged by itself: how fast a file is read says nothing of its sender.
const UNLIMITED: Rate = Rate {
    packets: 1_000_000_000,
    per_seconds: 1,
    burst: 1_000_000_000,
};

/// The program with what it is to judge by.
pub struct Explainer {
    simulator: Simulator,
    tables: Tables,
}

/// A packet and what was said to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// Its number in the file, from 1.
    pub packet: u64,
    /// When it was captured.
    pub at: Option<Timestamp>,
    /// Source address, with the port where there is one.
    pub source: Option<String>,
    /// Destination address, with the port where there is one.
    pub destination: Option<String>,
    /// What it is, safe to show.
    pub summary: String,
    /// `pass` or `drop`.
    pub verdict: &'static str,
    /// Why, by the name of the counter.
    pub reason: &'static str,
    /// The signature that hit.
    pub signature: Option<String>,
}

impl Explainer {
    /// Loads the program, unattached, and gives it what it is to judge by.
    ///
    /// # Errors
    /// Exit code 4 without privilege or BPF; signatures that cannot be compiled.
    pub fn new(
        config: &Config,
        bans: &[BanView],
        allowed: &[AllowedView],
    ) -> Result<Self, Failure> {
        let (tables, _) = signatures::compile(&config.signatures)?;
        let mut simulator = Simulator::new()?;
        let mut policy = config.policy();
        let limits = &mut policy.limits;
        for limit in [
            &mut limits.sip,
            &mut limits.responses,
            &mut limits.unknown,
            &mut limits.trusted,
            &mut limits.ssh,
        ] {
            *limit = UNLIMITED;
        }
        simulator.set_policy(&policy)?;
        simulator.set_signatures(&tables)?;
        let clocks = Clocks::now();
        for ban in bans {
            simulator.ban(&sipward_shield::Ban {
                target: sipward_shield::Target {
                    prefix: ban.prefix,
                    port: ban.port,
                },
                scope: ban.scope.into(),
                until: clocks.boot(ban.until.map(clock::time)),
            })?;
        }
        let configured = config.allowed().into_iter();
        for prefix in configured.chain(allowed.iter().map(|allowed| allowed.prefix)) {
            simulator.allow(prefix)?;
        }
        Ok(Self { simulator, tables })
    }

    /// Explains one packet of the file, or all.
    ///
    /// # Errors
    /// The file is no capture or damaged; there is no packet of that number.
    pub fn file(&mut self, path: &Path, only: Option<u64>) -> Result<Vec<Explanation>, Failure> {
        let mut explanations = Vec::new();
        let mut packets = 0;
        pcap::read(path, |recorded| {
            packets = recorded.number;
            if only.is_none_or(|number| number == recorded.number) {
                explanations.push(self.packet(&recorded)?);
            }
            Ok(())
        })?;
        match only {
            Some(number) if explanations.is_empty() => Err(Failure::input(format!(
                "{}: there is no packet {number}, the file has {packets}",
                path.display()
            ))),
            Some(_) | None => Ok(explanations),
        }
    }

    fn packet(&mut self, recorded: &Recorded<'_>) -> Result<Explanation, Failure> {
        let Some(link_type) = recorded.link_type else {
            return Ok(explanation(
                recorded,
                None,
                "a link type that is not read here".to_owned(),
            ));
        };
        let packet = Packet::parse(link_type, recorded.bytes);
        let mut explained = explanation(recorded, Some(&packet), summary(&packet));
        if recorded.is_cut {
            explained.summary.push_str(" (cut when it was captured)");
        }
        let judgement = self.simulator.run(&ethernet(link_type, recorded.bytes))?;
        explained.verdict = match judgement.verdict {
            Verdict::Pass => "pass",
            Verdict::Drop => "drop",
        };
        explained.reason = judgement.reason.name();
        explained.signature = judgement
            .signature
            .and_then(|hit| self.tables.signature(hit.slot))
            .map(|signature| signature.name.clone());
        Ok(explained)
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.at.map_or_else(
            || "-".to_owned(),
            |at| at.strftime("%H:%M:%S%.6f").to_string(),
        );
        let unknown = || "?".to_owned();
        let source = self.source.clone().unwrap_or_else(unknown);
        let destination = self.destination.clone().unwrap_or_else(unknown);
        writeln!(
            f,
            "{:>5}  {at}  {source} > {destination}  {}",
            self.packet, self.summary
        )?;
        write!(f, "       {} {}", self.verdict, self.reason)?;
        if let Some(signature) = &self.signature {
            write!(f, " {signature}")?;
        }
        writeln!(f)
    }
}

/// What is known of a packet before the program has judged it.
fn explanation(
    recorded: &Recorded<'_>,
    packet: Option<&Packet<'_>>,
    summary: String,
) -> Explanation {
    let end = |socket: Option<std::net::SocketAddr>, address: Option<std::net::IpAddr>| {
        socket
            .map(|socket| socket.to_string())
            .or_else(|| address.map(|address| address.to_string()))
    };
    Explanation {
        packet: recorded.number,
        at: recorded.at.map(clock::exact),
        source: packet.and_then(|packet| end(packet.source_socket(), packet.source())),
        destination: packet
            .and_then(|packet| end(packet.destination_socket(), packet.destination())),
        summary,
        verdict: "pass",
        reason: Reason::NotUnderstood.name(),
        signature: None,
    }
}

fn summary(packet: &Packet<'_>) -> String {
    let (name, payload) = match &packet.transport {
        Transport::Udp(udp) => ("UDP", udp.payload),
        Transport::Tcp(tcp) => ("TCP", tcp.payload),
        Transport::Icmp(_) => return "ICMP".to_owned(),
        Transport::Other => return "another protocol".to_owned(),
        Transport::LaterFragment => return "a later fragment".to_owned(),
        Transport::NotUnderstood(why) => return format!("not understood: {why:?}"),
    };
    if !is_sip(payload) {
        return format!("{name}, {} bytes", payload.len());
    }
    let message = Message::parse(payload);
    let start = payload
        .trim_ascii_start()
        .split(|byte| matches!(byte, b'\r' | b'\n'))
        .next();
    let start = escape_at_most(start.unwrap_or_default(), SHOWN);
    let agent = message.user_agent().map(|value| value.unfold());
    match agent {
        Some(agent) => format!(
            "{name} {start}, User-Agent: {}",
            escape_at_most(&agent, SHOWN)
        ),
        None => format!("{name} {start}"),
    }
}

/// The frame as the program would see it: captures of other links get an Ethernet header.
fn ethernet(link_type: LinkType, bytes: &[u8]) -> Cow<'_, [u8]> {
    let header = match link_type {
        LinkType::Ethernet => return Cow::Borrowed(bytes),
        LinkType::LinuxCooked => 16,
        LinkType::LinuxCooked2 => 20,
        LinkType::RawIp => 0,
        LinkType::Loopback => 4,
    };
    let packet = bytes.get(header..).unwrap_or_default();
    let ethertype: [u8; 2] = match packet.first().map(|byte| byte >> 4) {
        Some(4) => [0x08, 0x00],
        Some(6) => [0x86, 0xdd],
        Some(_) | None => [0, 0],
    };
    Cow::Owned([&[0; 12], &ethertype[..], packet].concat())
}

#[cfg(test)]
mod tests {
    use super::ethernet;
    use sipward_wire::LinkType;
    use test_case::test_case;

    #[test_case(LinkType::LinuxCooked, 16, 0x45, &[8, 0]; "cooked, version 4")]
    #[test_case(LinkType::LinuxCooked2, 20, 0x60, &[0x86, 0xdd]; "cooked 2, version 6")]
    #[test_case(LinkType::RawIp, 0, 0x60, &[0x86, 0xdd]; "no link header")]
    #[test_case(LinkType::Loopback, 4, 0x45, &[8, 0]; "loopback")]
    fn other_links_get_an_ethernet_header(
        link: LinkType,
        header: usize,
        first: u8,
        ethertype: &[u8],
    ) {
        let mut bytes = vec![0xaa; header];
        bytes.extend([first, 1, 2, 3]);
        let frame = ethernet(link, &bytes);
        assert_eq!(frame[..12], [0; 12]);
        assert_eq!(frame[12..14], *ethertype);
        assert_eq!(frame[14..], [first, 1, 2, 3]);
    }
}
