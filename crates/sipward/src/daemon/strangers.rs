//! Under which addresses strangers come. Behind a router that puts its own address on whom it lets
//! in, nobody can be told from anybody else; the administrator has to hear of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use sipward_engine::{Direction, Message, Protected, Protection, Transport};
use sipward_wire::sip::StartLine;

use super::machine::is_private;

/// A router that speaks SIP itself has one port, or two; a program on it that asks for itself has one
/// name. So many of both are of as many callers.
const CALLERS: usize = 3;

/// What was seen since the start.
#[derive(Debug, Default)]
pub struct Strangers {
    /// Who came from each gateway.
    gateways: BTreeMap<IpAddr, Callers>,
    /// Somebody came from a public address: then strangers keep theirs.
    have_addresses: bool,
}

/// From which ports requests came, and under which names, as far as they are counted.
#[derive(Debug, Default)]
struct Callers {
    ports: BTreeSet<u16>,
    names: BTreeSet<Vec<u8>>,
}

impl Callers {
    fn are_many(&self) -> bool {
        self.ports.len() >= CALLERS && self.names.len() >= CALLERS
    }
}

impl Strangers {
    /// Takes a message. True where it shows that strangers come from the gateway's address.
    pub fn see(&mut self, message: &Message<'_>, protected: &Protected) -> bool {
        let is_request = matches!(message.sip.start_line(), StartLine::Request(_));
        // Over TCP each connection has another port.
        let is_datagram = message.transport == Transport::Udp;
        let is_outbound = message.direction == Direction::Outbound;
        if self.have_addresses || is_outbound || !is_request || !is_datagram {
            return false;
        }
        let (address, port) = (message.source.ip(), message.source.port());
        let is = |protection| protected.is(protection, address);
        if is(Protection::Peer) || is(Protection::Allowlist) {
            return false;
        }
        if !is(Protection::Gateway) {
            self.have_addresses = !is_private(address);
            return false;
        }
        let callers = self.gateways.entry(address).or_default();
        if callers.are_many() {
            return false;
        }
        if callers.ports.len() < CALLERS {
            callers.ports.insert(port);
        }
        let name = message.sip.from().and_then(|from| from.uri.user);
        if let Some(name) = name.filter(|_| callers.names.len() < CALLERS) {
            callers.names.insert(name.to_vec());
        }
        callers.are_many()
    }

    /// The gateway from whose address all strangers come.
    pub fn gateway(&self) -> Option<IpAddr> {
        let (address, _) = self
            .gateways
            .iter()
            .find(|(_, callers)| callers.are_many())?;
        (!self.have_addresses).then_some(*address)
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use sipward_engine::{Place, Transport};
    use sipward_wire::sip;
    use test_case::test_case;

    use super::*;

    fn hidden(messages: &[(&str, &str)], transport: Transport) -> bool {
        let mut protected = Protected::default();
        protected.set(Protection::Gateway, ["172.17.0.1/32".parse().unwrap()]);
        protected.set(Protection::Peer, ["172.17.0.9/32".parse().unwrap()]);
        let mut strangers = Strangers::default();
        for (source, line) in messages {
            let source: SocketAddr = source.parse().unwrap();
            let caller = source.port();
            let bytes = format!("{line}\r\nFrom: <sip:{caller}@pbx.example.org>;tag=1\r\n\r\n");
            let message = Message {
                direction: Direction::Inbound,
                source,
                destination: "172.17.0.2:5060".parse().unwrap(),
                transport,
                established: false,
                decrypted: false,
                place: Place::Packet(1),
                sip: &sip::Message::parse(bytes.as_bytes()),
            };
            strangers.see(&message, &protected);
        }
        strangers.gateway().is_some()
    }

    const REQUEST: &str = "OPTIONS sip:100@172.17.0.2 SIP/2.0";
    const MONITOR: &str = "OPTIONS sip:172.17.0.2 SIP/2.0\r\nFrom: <sip:ping@172.17.0.1>;tag=1";
    const RESPONSE: &str = "SIP/2.0 200 OK";

    #[test_case(&[("172.17.0.1:1", REQUEST), ("172.17.0.1:2", REQUEST), ("172.17.0.1:3", REQUEST)], true; "many callers of the gateway")]
    #[test_case(&[("172.17.0.1:1", REQUEST), ("192.168.1.5:5060", REQUEST), ("172.17.0.1:2", REQUEST), ("172.17.0.1:3", REQUEST)], true; "and a phone of the own network")]
    #[test_case(&[("172.17.0.1:1", REQUEST), ("172.17.0.1:2", REQUEST), ("172.17.0.1:2", REQUEST)], false; "a gateway that speaks itself")]
    #[test_case(&[("172.17.0.1:1", REQUEST), ("203.0.113.7:5060", REQUEST), ("172.17.0.1:2", REQUEST), ("172.17.0.1:3", REQUEST)], false; "a stranger with an address")]
    #[test_case(&[("172.17.0.1:1", MONITOR), ("172.17.0.1:2", MONITOR), ("172.17.0.1:3", MONITOR)], false; "a monitor on the gateway")]
    #[test_case(&[("172.17.0.1:1", RESPONSE), ("172.17.0.1:2", RESPONSE), ("172.17.0.1:3", RESPONSE)], false; "answers only")]
    #[test_case(&[("172.17.0.9:1", REQUEST), ("172.17.0.9:2", REQUEST), ("172.17.0.9:3", REQUEST)], false; "a peer")]
    fn strangers_are_hidden(messages: &[(&str, &str)], expected: bool) {
        assert_eq!(hidden(messages, Transport::Udp), expected);
    }

    #[test]
    fn connections_of_a_gateway_are_not_told_apart() {
        let connections = [1, 2, 3].map(|port| format!("172.17.0.1:{port}"));
        let messages = connections
            .each_ref()
            .map(|source| (source.as_str(), REQUEST));
        assert!(hidden(&messages, Transport::Udp));
        assert!(!hidden(&messages, Transport::Tcp));
    }
}
