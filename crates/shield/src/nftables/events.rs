//! What is logged of our own drops, as the events that the kernel program tells.

use std::net::IpAddr;

use sipward_wire::{LinkType, Packet, Transport, ip};

use super::{Nftables, nflog::Logged, ruleset::REJECT, sets, sets::Family, source_of};
use crate::{BootTime, Event, Quote, Reason, SAMPLE_LEN, Verdict, abi::QUOTE_LEN};

/// Sources whose drops are remembered for the next event.
const MOST_LIMITED: usize = 65_536;

/// What the counters of a source said last.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    all: u64,
    dropped: u64,
}

impl Nftables {
    /// An event as the kernel program tells it.
    pub fn event(&mut self, logged: &Logged) -> Option<Event> {
        let is_rejected = logged.prefix == REJECT;
        let reason = if is_rejected {
            Reason::Rate
        } else {
            let mut named = Reason::ALL.iter();
            *named.find(|reason| reason.name() == logged.prefix)?
        };
        let packet = Packet::parse(LinkType::RawIp, &logged.bytes);
        let (ip, (source_port, destination_port)) = (packet.ip?, packet.ports()?);
        let payload = match packet.transport {
            Transport::Udp(udp) => udp.payload,
            Transport::Tcp(tcp) => tcp.payload,
            Transport::Icmp(_)
            | Transport::Other
            | Transport::LaterFragment
            | Transport::NotUnderstood(_) => &[],
        };
        let protocol = match packet.transport {
            Transport::Tcp(_) => ip::PROTOCOL_TCP,
            Transport::Udp(_)
            | Transport::Icmp(_)
            | Transport::Other
            | Transport::LaterFragment
            | Transport::NotUnderstood(_) => ip::PROTOCOL_UDP,
        };
        let since = if reason == Reason::Rate {
            self.since_last(source_of(ip.source))
        } else {
            Seen { all: 1, dropped: 1 }
        };
        Some(Event {
            at: BootTime::now(),
            source: ip.source,
            destination: ip.destination,
            source_port,
            destination_port,
            protocol,
            verdict: Verdict::Drop,
            reason,
            signature: None,
            count: narrow(since.dropped.max(1)),
            passed: narrow(since.all.saturating_sub(since.dropped)),
            payload_len: narrow(payload.len() as u64),
            quote: is_rejected.then(|| Quote {
                head: logged.bytes.iter().copied().take(QUOTE_LEN).collect(),
                length: logged.bytes.len(),
            }),
            sample: payload.iter().copied().take(SAMPLE_LEN).collect(),
        })
    }

    /// What the counters of a source have gone up by since this was asked last.
    fn since_last(&mut self, source: IpAddr) -> Seen {
        let family = Family::of(source).digit();
        let count = |set: &str| {
            let socket = &mut self.socket.borrow_mut();
            let counted = sets::counted(socket, &format!("{set}{family}"), source);
            // Too little is told where the kernel cannot be asked: the next event makes up for it.
            counted.unwrap_or_default()
        };
        let now = Seen {
            all: count("requests"),
            dropped: count("limited"),
        };
        if self.limited.len() >= MOST_LIMITED {
            self.limited.clear();
        }
        let before = self.limited.insert(source, now).unwrap_or_default();
        // An element that lapsed and came again counts from zero.
        let since = |now: u64, before: u64| now.checked_sub(before).unwrap_or(now);
        Seen {
            all: since(now.all, before.all),
            dropped: since(now.dropped, before.dropped),
        }
    }
}

fn narrow(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
