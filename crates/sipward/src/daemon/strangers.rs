//! Under which addresses strangers come. Behind a router that puts its own address on whom it lets
//! in, nobody can be told from anybody else; the administrator has to hear of it.

use std::{collections::BTreeSet, net::IpAddr};

use sipward_engine::{Direction, Message, Protected, Protection};
use sipward_wire::sip::StartLine;

use super::machine::is_private;

/// A router that speaks SIP itself has one port, or two. So many ports are of as many callers.
const CALLERS: usize = 3;

/// What was seen since the start.
#[derive(Debug, Default)]
pub struct Strangers {
    gateway: Option<IpAddr>,
    /// The gateway's ports from which requests came, as far as they are counted.
    ports: BTreeSet<u16>,
    /// Somebody came from a public address: then strangers keep theirs.
    have_addresses: bool,
}

impl Strangers {
    /// Takes a message. True where it shows that strangers come from the gateway's address.
    pub fn see(&mut self, message: &Message<'_>, protected: &Protected) -> bool {
        let is_request = matches!(message.sip.start_line(), StartLine::Request(_));
        if self.have_addresses || message.direction == Direction::Outbound || !is_request {
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
        self.gateway = Some(address);
        self.ports.len() < CALLERS && self.ports.insert(port) && self.ports.len() == CALLERS
    }

    /// The gateway from whose address all strangers come.
    pub fn gateway(&self) -> Option<IpAddr> {
        let are_hidden = !self.have_addresses && self.ports.len() >= CALLERS;
        self.gateway.filter(|_| are_hidden)
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use sipward_engine::{Place, Transport};
    use sipward_wire::sip;
    use test_case::test_case;

    use super::*;

    fn hidden(messages: &[(&str, &str)]) -> bool {
        let mut protected = Protected::default();
        protected.set(Protection::Gateway, ["172.17.0.1/32".parse().unwrap()]);
        protected.set(Protection::Peer, ["172.17.0.9/32".parse().unwrap()]);
        let mut strangers = Strangers::default();
        for (source, line) in messages {
            let bytes = format!("{line}\r\nCall-ID: 1\r\n\r\n").into_bytes();
            let source: SocketAddr = source.parse().unwrap();
            let message = Message {
                direction: Direction::Inbound,
                source,
                destination: "172.17.0.2:5060".parse().unwrap(),
                transport: Transport::Udp,
                established: false,
                decrypted: false,
                place: Place::Packet(1),
                sip: &sip::Message::parse(&bytes),
            };
            strangers.see(&message, &protected);
        }
        strangers.gateway().is_some()
    }

    const REQUEST: &str = "OPTIONS sip:100@172.17.0.2 SIP/2.0";
    const RESPONSE: &str = "SIP/2.0 200 OK";

    #[test_case(&[("172.17.0.1:1", REQUEST), ("172.17.0.1:2", REQUEST), ("172.17.0.1:3", REQUEST)], true; "many callers of the gateway")]
    #[test_case(&[("172.17.0.1:1", REQUEST), ("192.168.1.5:5060", REQUEST), ("172.17.0.1:2", REQUEST), ("172.17.0.1:3", REQUEST)], true; "and a phone of the own network")]
    #[test_case(&[("172.17.0.1:1", REQUEST), ("172.17.0.1:2", REQUEST), ("172.17.0.1:2", REQUEST)], false; "a gateway that speaks itself")]
    #[test_case(&[("172.17.0.1:1", REQUEST), ("203.0.113.7:5060", REQUEST), ("172.17.0.1:2", REQUEST), ("172.17.0.1:3", REQUEST)], false; "a stranger with an address")]
    #[test_case(&[("172.17.0.1:1", RESPONSE), ("172.17.0.1:2", RESPONSE), ("172.17.0.1:3", RESPONSE)], false; "answers only")]
    #[test_case(&[("172.17.0.9:1", REQUEST), ("172.17.0.9:2", REQUEST), ("172.17.0.9:3", REQUEST)], false; "a peer")]
    fn strangers_are_hidden(messages: &[(&str, &str)], expected: bool) {
        assert_eq!(hidden(messages), expected);
    }
}
