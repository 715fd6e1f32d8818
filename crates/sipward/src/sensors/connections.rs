//! Who has connected to the ports whose words cannot be read: TLS, WebSocket and the manager
//! interface. A line of a log about such a connection counts only where there was one, for anybody
//! can write the line, and nobody completes a handshake in another's name.
//!
//! The server's SYN+ACK to an address, and the acknowledgement of its number from there, prove the
//! address; with the segments that open and close a connection that is all that is looked at.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use sipward_engine::{Direction, LogTransport, Time};
use sipward_wire::{
    Packet, Transport,
    tcp::{Tcp, TcpFlags},
};

/// Handshakes that wait for their last segment, at most, the oldest out.
const MOST_OPENING: usize = 4_096;
/// Connections remembered at most: those that are over go first, the oldest before others.
const MOST: usize = 65_536;
/// A line about a connection may come so long after its end: a file that is read late, a log
/// that waits for its disk.
const REMEMBERED: Duration = Duration::from_secs(300);
/// Bytes that the server may have sent before the other end's first acknowledgement is seen.
const NEAR: u32 = 1 << 16;

/// Ports of the server, and what is spoken there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnectionPorts {
    /// SIP over TLS.
    pub tls: Vec<u16>,
    /// SIP over WebSocket, encrypted or not.
    pub websocket: Vec<u16>,
    /// The manager interface of Asterisk.
    pub manager: Vec<u16>,
}

impl ConnectionPorts {
    fn speaks(&self, port: u16) -> Option<LogTransport> {
        if self.tls.contains(&port) {
            Some(LogTransport::Tls)
        } else if self.websocket.contains(&port) {
            Some(LogTransport::Wss)
        } else if self.manager.contains(&port) {
            Some(LogTransport::Manager)
        } else {
            None
        }
    }
}

/// The connections.
#[derive(Debug, Default)]
pub struct Connections {
    ports: ConnectionPorts,
    /// What the other end has to acknowledge.
    opening: HashMap<Ends, u32>,
    opened: VecDeque<(Ends, u32)>,
    known: BTreeMap<Ends, Connection>,
    /// Not over before over, and since when.
    order: BTreeSet<(bool, Time, Ends)>,
}

/// The other end, and the port of the server: from one port of theirs somebody may connect to
/// several of ours.
type Ends = (SocketAddr, u16);

#[derive(Clone, Copy, Debug)]
struct Connection {
    transport: LogTransport,
    is_over: bool,
    /// Since when it is over, or there.
    since: Time,
}

impl Connections {
    /// None yet, at these ports.
    #[must_use]
    pub fn new(ports: ConnectionPorts) -> Self {
        Self {
            ports,
            ..Self::default()
        }
    }

    /// Looks at other ports from now on.
    pub fn set_ports(&mut self, ports: ConnectionPorts) {
        self.ports = ports;
    }

    /// What somebody speaks who is connected from this address and port, or was within five minutes:
    /// the first of these that one of their connections speaks.
    #[must_use]
    pub fn speaks(
        &self,
        remote: SocketAddr,
        spoken: &[LogTransport],
        now: Time,
    ) -> Option<LogTransport> {
        let remote = canonical(remote);
        let known = self.known.range((remote, 0)..=(remote, u16::MAX));
        let known = known
            .map(|(_, known)| known)
            .filter(|known| !known.is_over || now.since(known.since) < REMEMBERED);
        let mut spoken = spoken.iter().copied();
        spoken.find(|spoken| known.clone().any(|known| known.transport == *spoken))
    }

    /// A connection that is there, and whose beginning was perhaps not seen.
    pub fn add(&mut self, remote: SocketAddr, local: u16, now: Time) {
        let ends = (canonical(remote), local);
        let is_known = self.known.get(&ends).is_some_and(|known| !known.is_over);
        if let Some(transport) = self.ports.speaks(local)
            && !is_known
        {
            self.establish(ends, transport, now);
        }
    }

    /// SIP was read on this connection: it is not encrypted.
    pub fn is_readable(&mut self, remote: SocketAddr, local: u16) {
        if let Some(known) = self.known.get_mut(&(canonical(remote), local))
            && known.transport == LogTransport::Wss
        {
            known.transport = LogTransport::Ws;
        }
    }

    /// Takes a packet of the server's interface.
    pub fn take(&mut self, packet: &Packet<'_>, direction: Direction, now: Time) {
        let (Some(ip), Transport::Tcp(tcp)) = (packet.ip, packet.transport) else {
            return;
        };
        let (remote, local) = match direction {
            Direction::Inbound => ((ip.source, tcp.source_port), tcp.destination_port),
            Direction::Outbound => ((ip.destination, tcp.destination_port), tcp.source_port),
        };
        let Some(transport) = self.ports.speaks(local) else {
            return;
        };
        let ends = (canonical(remote.into()), local);
        match direction {
            Direction::Outbound => self.take_outbound(ends, &tcp, now),
            Direction::Inbound => self.take_inbound(ends, transport, &tcp, now),
        }
    }

    fn take_outbound(&mut self, ends: Ends, tcp: &Tcp<'_>, now: Time) {
        let is_answer = tcp.flags.contains(TcpFlags::SYN) && tcp.flags.contains(TcpFlags::ACK);
        if is_answer {
            let number = tcp.sequence.wrapping_add(1);
            while self.opened.len() >= MOST_OPENING {
                let Some((oldest, number)) = self.opened.pop_front() else {
                    break;
                };
                if self.opening.get(&oldest) == Some(&number) {
                    self.opening.remove(&oldest);
                }
            }
            self.opened.push_back((ends, number));
            self.opening.insert(ends, number);
        } else if tcp.flags.contains(TcpFlags::FIN) || tcp.flags.contains(TcpFlags::RST) {
            self.end(ends, now);
        }
    }

    fn take_inbound(&mut self, ends: Ends, transport: LogTransport, tcp: &Tcp<'_>, now: Time) {
        if !tcp.flags.contains(TcpFlags::ACK) || tcp.flags.contains(TcpFlags::SYN) {
            return;
        }
        let Some(number) = self.opening.get(&ends) else {
            return;
        };
        if tcp.acknowledgment.wrapping_sub(*number) < NEAR {
            self.opening.remove(&ends);
            self.establish(ends, transport, now);
        }
    }

    fn establish(&mut self, ends: Ends, transport: LogTransport, now: Time) {
        self.forget(&ends);
        while self.known.len() >= MOST {
            let over = self.order.range((true, Time::default(), LEAST)..).next();
            let Some((_, _, oldest)) = over.or_else(|| self.order.first()).copied() else {
                break;
            };
            self.forget(&oldest);
        }
        let connection = Connection {
            transport,
            is_over: false,
            since: now,
        };
        self.known.insert(ends, connection);
        self.order.insert((false, now, ends));
    }

    /// The server's word: what somebody sends in another's name does not end anything.
    fn end(&mut self, ends: Ends, now: Time) {
        let Some(known) = self.known.get_mut(&ends) else {
            return;
        };
        if known.is_over {
            return;
        }
        self.order.remove(&(false, known.since, ends));
        (known.is_over, known.since) = (true, now);
        self.order.insert((true, now, ends));
    }

    fn forget(&mut self, ends: &Ends) {
        if let Some(known) = self.known.remove(ends) {
            self.order.remove(&(known.is_over, known.since, *ends));
        }
    }
}

const LEAST: Ends = (
    SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), 0),
    0,
);

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

#[cfg(test)]
mod tests {
    use super::{ConnectionPorts, Connections, MOST, MOST_OPENING, REMEMBERED};
    use sipward_engine::{Direction, LogTransport, Time};
    use sipward_testkit::packet::Packet;
    use sipward_wire::LinkType;
    use std::net::SocketAddr;

    const SERVER: &str = "192.0.2.1";
    const PHONE: &str = "203.0.113.7:40000";
    const NOW: Time = Time(1_000_000_000_000);
    const ANY: [LogTransport; 4] = [
        LogTransport::Tls,
        LogTransport::Wss,
        LogTransport::Ws,
        LogTransport::Manager,
    ];
    const SYN: u8 = 0x02;
    const ACK: u8 = 0x10;
    const FIN: u8 = 0x01;

    fn connections() -> Connections {
        Connections::new(ConnectionPorts {
            tls: vec![5061],
            websocket: vec![8089],
            manager: vec![5038],
        })
    }

    fn take(connections: &mut Connections, frame: &[u8], direction: Direction, now: Time) {
        let packet = sipward_wire::Packet::parse(LinkType::Ethernet, frame);
        connections.take(&packet, direction, now);
    }

    fn segment(from: &str, to: &str, flags: u8, sequence: u32, acknowledges: u32) -> Vec<u8> {
        Packet::tcp(from, to)
            .tcp_flags(flags)
            .tcp_numbers(sequence, acknowledges)
            .build()
    }

    fn connect(connections: &mut Connections, remote: &str, port: u16, acknowledges: u32) {
        let server = format!("{SERVER}:{port}");
        let answer = segment(&server, remote, SYN | ACK, 700, 1);
        take(connections, &answer, Direction::Outbound, NOW);
        let last = segment(remote, &server, ACK, 1, acknowledges);
        take(connections, &last, Direction::Inbound, NOW);
    }

    fn speaks(connections: &Connections, remote: &str, now: Time) -> Option<LogTransport> {
        connections.speaks(remote.parse().unwrap(), &ANY, now)
    }

    #[test]
    fn who_acknowledges_the_servers_number_is_connected() {
        let mut connections = connections();
        for (remote, port, transport) in [
            (PHONE, 5061, LogTransport::Tls),
            ("203.0.113.7:40003", 8089, LogTransport::Wss),
            ("203.0.113.8:40002", 5038, LogTransport::Manager),
        ] {
            connect(&mut connections, remote, port, 701);
            assert_eq!(speaks(&connections, remote, NOW), Some(transport));
        }
        assert_eq!(speaks(&connections, "203.0.113.7:40001", NOW), None);
        assert_eq!(speaks(&connections, "203.0.113.9:40000", NOW), None);
        assert_eq!(speaks(&connections, "203.0.113.8:0", NOW), None);
    }

    #[test]
    fn who_only_guesses_the_number_is_not() {
        let mut connections = connections();
        connect(&mut connections, PHONE, 5061, 700);
        connect(&mut connections, PHONE, 5061, 90_000);
        assert_eq!(speaks(&connections, PHONE, NOW), None);
        let first = segment(PHONE, "192.0.2.1:5061", SYN, 0, 0);
        take(&mut connections, &first, Direction::Inbound, NOW);
        assert_eq!(speaks(&connections, PHONE, NOW), None);
        connect(&mut connections, PHONE, 22, 701);
        assert_eq!(speaks(&connections, PHONE, NOW), None);
    }

    #[test]
    fn it_is_remembered_for_a_while_after_the_server_has_ended_it() {
        let mut connections = connections();
        connect(&mut connections, PHONE, 5061, 701);
        let years = NOW + REMEMBERED * 1_000_000;
        assert_eq!(speaks(&connections, PHONE, years), Some(LogTransport::Tls));
        let theirs = segment(PHONE, "192.0.2.1:5061", FIN | ACK, 1, 701);
        take(&mut connections, &theirs, Direction::Inbound, NOW);
        assert_eq!(speaks(&connections, PHONE, years), Some(LogTransport::Tls));
        let own = segment("192.0.2.1:5061", PHONE, FIN | ACK, 701, 2);
        take(&mut connections, &own, Direction::Outbound, NOW);
        assert_eq!(speaks(&connections, PHONE, NOW), Some(LogTransport::Tls));
        assert_eq!(speaks(&connections, PHONE, NOW + REMEMBERED), None);
    }

    #[test]
    fn where_sip_was_read_it_is_not_encrypted() {
        let mut connections = connections();
        connect(&mut connections, PHONE, 8089, 701);
        connections.is_readable(PHONE.parse().unwrap(), 8089);
        assert_eq!(speaks(&connections, PHONE, NOW), Some(LogTransport::Ws));
        connections.add(PHONE.parse().unwrap(), 8089, NOW);
        assert_eq!(speaks(&connections, PHONE, NOW), Some(LogTransport::Ws));
    }

    #[test]
    fn another_connection_from_the_same_port_hides_none() {
        let mut connections = connections();
        let server = "192.0.2.1:5061";
        let answer = segment(server, PHONE, SYN | ACK, 700, 1);
        take(&mut connections, &answer, Direction::Outbound, NOW);
        for port in [8089, 5038] {
            connect(&mut connections, PHONE, port, 701);
            connections.is_readable(PHONE.parse().unwrap(), port);
        }
        let last = segment(PHONE, server, ACK, 1, 701);
        take(&mut connections, &last, Direction::Inbound, NOW);
        connections.is_readable(PHONE.parse().unwrap(), 5060);
        let phone = PHONE.parse().unwrap();
        for spoken in [LogTransport::Tls, LogTransport::Ws, LogTransport::Manager] {
            assert_eq!(connections.speaks(phone, &[spoken], NOW), Some(spoken));
        }
        assert_eq!(connections.speaks(phone, &[LogTransport::Wss], NOW), None);
    }

    #[test]
    fn memory_has_an_end() {
        let mut connections = connections();
        let remote = |n: u32| SocketAddr::new(std::net::Ipv4Addr::from(n).into(), 9);
        for n in 0..u32::try_from(MOST).unwrap() + 10 {
            connections.add(remote(n), 5061, Time(u64::from(n)));
        }
        assert_eq!(connections.known.len(), MOST);
        assert_eq!(connections.order.len(), MOST);
        assert_eq!(connections.speaks(remote(0), &ANY, NOW), None);
        for n in 0..u16::try_from(MOST_OPENING).unwrap() + 10 {
            let answer = segment(
                "192.0.2.1:5061",
                &format!("203.0.113.7:{n}"),
                SYN | ACK,
                7,
                1,
            );
            take(&mut connections, &answer, Direction::Outbound, NOW);
        }
        assert!(connections.opening.len() <= MOST_OPENING);
        assert!(connections.opened.len() <= MOST_OPENING);
    }
}
