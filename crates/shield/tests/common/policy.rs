//! The rules that an administrator gets by default, and a tripwire.

use sipward_shield::{Limits, Mode, Over, Policy, PortClass, Ports, Rate};

const fn per_second(packets: u32, burst: u32) -> Rate {
    Rate {
        packets,
        per_seconds: 1,
        burst,
    }
}

pub fn policy() -> Policy {
    Policy {
        mode: Mode::Protect,
        over: Over::Drop,
        ports: Ports {
            udp: vec![
                (5060, PortClass::Sip),
                (5080, PortClass::Sip),
                (4569, PortClass::SipOpaque),
                (5090, PortClass::Tripwire),
            ],
            tcp: vec![
                (5060, PortClass::Sip),
                (5061, PortClass::SipOpaque),
                (22, PortClass::Ssh),
                (5090, PortClass::Tripwire),
            ],
        },
        limits: Limits {
            sip: per_second(5, 120),
            responses: per_second(50, 500),
            unknown: per_second(300, 600),
            trusted: per_second(200, 1000),
            ssh: Rate {
                packets: 3,
                per_seconds: 60,
                burst: 10,
            },
        },
    }
}
