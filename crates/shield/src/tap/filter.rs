//! The tap's filter in classic BPF, which the kernel runs before it copies a frame: media streams
//! cost nothing.
//!
//! It lets pass, behind at most two VLAN tags in the frame:
//! - UDP and TCP from or to one of the ports;
//! - of TCP from or to some others SYN, FIN and RST, and every segment to them, cut short: nothing in
//!   a packet tells the acknowledgement that completes a handshake from the later ones, and it may
//!   have PSH and data;
//! - every IPv4 and IPv6 fragment, for only the first one has ports;
//! - IPv6 with any other extension header, but for multicast's own reports (RFC 3810): they are
//!   rare, and not worth walking here;
//! - ICMP and ICMPv6 "destination unreachable".

use std::collections::BTreeSet;

use libc::{
    BPF_ABS, BPF_ADD, BPF_ALU, BPF_AND, BPF_B, BPF_H, BPF_IMM, BPF_IND, BPF_JA, BPF_JEQ, BPF_JGE,
    BPF_JGT, BPF_JMP, BPF_JSET, BPF_K, BPF_LD, BPF_LDX, BPF_LSH, BPF_MAXINSNS, BPF_MEM, BPF_MISC,
    BPF_RET, BPF_ST, BPF_TAX, BPF_TXA, BPF_X,
};

use super::TapPorts;
use crate::Error;

/// Bytes of a frame that are copied: all.
const WHOLE: u32 = u32::MAX;
const NOTHING: u32 = 0;
/// Bytes copied of a segment of which only the header is wanted: Ethernet's with two tags, IPv4's and
/// TCP's longest.
const HEADERS: u32 = 256;
/// Source and destination port, of UDP and TCP.
const FROM: u32 = 0;
const TO: u32 = 2;
const TCP_FLAGS: u32 = 13;
const FIN_SYN_RST: u32 = 0x07;

const ETHERNET: u32 = 14;
const ETHERTYPE_AT: u32 = 12;
const VLAN: u32 = 0x8100;
const QINQ: u32 = 0x88a8;
const VLAN_TAGS: u32 = 2;
const VLAN_TAG: u32 = 4;
const IPV4: u32 = 0x0800;
const IPV6: u32 = 0x86dd;
const IPV4_PROTOCOL: u32 = 9;
const IPV4_FRAGMENT: u32 = 6;
/// "More fragments", or an offset.
const IS_FRAGMENT: u32 = 0x3fff;
const IPV6_NEXT_HEADER: u32 = 6;
const IPV6_HEADER: u32 = 40;
const HOP_BY_HOP: u32 = 0;
/// Routing, fragment, authentication, destination options, mobility, host identity, shim6.
const IPV6_EXTENSIONS: [u32; 7] = [43, 44, 51, 60, 135, 139, 140];
const ICMP: u32 = 1;
const ICMP_UNREACHABLE: u32 = 3;
const ICMPV6: u32 = 58;
const ICMPV6_UNREACHABLE: u32 = 1;
const TCP: u32 = 6;
const UDP: u32 = 17;
/// The scratch cell that keeps the protocol.
const PROTOCOL: u32 = 0;

/// One instruction: `struct sock_filter`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Instruction {
    code: u16,
    jump_if: u8,
    jump_else: u8,
    operand: u32,
}

/// The filter for these ports.
///
/// # Errors
/// [`Error::TooManyPorts`] where the kernel would refuse its length.
pub fn program(ports: &TapPorts) -> Result<Vec<Instruction>, Error> {
    let udp = [of_ports(&ports.udp, WHOLE), vec![ret(NOTHING)]].concat();
    let tcp = [of_ports(&ports.tcp, WHOLE), handshakes(&ports.handshakes)].concat();
    let transport = [
        vec![if_equal(UDP, 1, 0), skip(&udp)],
        udp,
        vec![if_equal(TCP, 1, 0), ret(NOTHING)],
        tcp,
    ]
    .concat();
    let ipv6 = ipv6();
    let mut ipv4 = ipv4();
    ipv4.push(skip(&ipv6));
    let program = [
        ethertype(),
        vec![if_not(IPV4, &ipv4)],
        ipv4,
        ipv6,
        transport,
    ]
    .concat();
    if program.len() > usize::try_from(BPF_MAXINSNS).unwrap_or_default() {
        return Err(Error::TooManyPorts(
            ports.udp.len() + ports.tcp.len() + ports.handshakes.len(),
        ));
    }
    Ok(program)
}

/// Leaves the EtherType in A and the length of the VLAN tags in X.
fn ethertype() -> Vec<Instruction> {
    let mut code = vec![
        of(BPF_LDX | BPF_IMM, 0),
        of(BPF_LD | BPF_H | BPF_ABS, ETHERTYPE_AT),
    ];
    for tags in 1..=VLAN_TAGS {
        code.extend([
            if_equal(VLAN, 1, 0),
            if_equal(QINQ, 0, 2),
            of(BPF_LDX | BPF_IMM, tags * VLAN_TAG),
            of(BPF_LD | BPF_H | BPF_IND, ETHERTYPE_AT),
        ]);
    }
    code
}

/// Leaves the protocol in A and what precedes its header, but for Ethernet's, in X.
fn ipv4() -> Vec<Instruction> {
    let mut code = vec![
        half(IPV4_FRAGMENT),
        of_jump(BPF_JSET, IS_FRAGMENT, 0, 1),
        ret(WHOLE),
        byte(IPV4_PROTOCOL),
        of(BPF_ST, PROTOCOL),
        byte(0),
        of(BPF_ALU | BPF_AND | BPF_K, 15),
        of(BPF_ALU | BPF_LSH | BPF_K, 2),
        of(BPF_ALU | BPF_ADD | BPF_X, 0),
        of(BPF_MISC | BPF_TAX, 0),
        of(BPF_LD | BPF_MEM, PROTOCOL),
    ];
    code.extend(unreachable(ICMP, ICMP_UNREACHABLE));
    code
}

/// The same for IPv6, from the EtherType on.
fn ipv6() -> Vec<Instruction> {
    let mut code = vec![if_equal(IPV6, 1, 0), ret(NOTHING), byte(IPV6_NEXT_HEADER)];
    for extension in IPV6_EXTENSIONS {
        code.extend([if_equal(extension, 0, 1), ret(WHOLE)]);
    }
    code.extend([
        if_equal(HOP_BY_HOP, 0, 4),
        byte(IPV6_HEADER),
        if_equal(ICMPV6, 1, 0),
        ret(WHOLE),
        ret(NOTHING),
        of(BPF_ST, PROTOCOL),
        of(BPF_MISC | BPF_TXA, 0),
        of(BPF_ALU | BPF_ADD | BPF_K, IPV6_HEADER),
        of(BPF_MISC | BPF_TAX, 0),
        of(BPF_LD | BPF_MEM, PROTOCOL),
    ]);
    code.extend(unreachable(ICMPV6, ICMPV6_UNREACHABLE));
    code
}

fn unreachable(protocol: u32, kind: u32) -> [Instruction; 5] {
    [
        if_equal(protocol, 0, 4),
        byte(0),
        if_equal(kind, 0, 1),
        ret(WHOLE),
        ret(NOTHING),
    ]
}

/// Returns: a segment to one of the ports passes, and one from them that opens or closes a
/// connection; another does not.
fn handshakes(ports: &[u16]) -> Vec<Instruction> {
    let mut code = of_port(TO, ports, HEADERS);
    code.extend([
        byte(TCP_FLAGS),
        of_jump(BPF_JSET, FIN_SYN_RST, 1, 0),
        ret(NOTHING),
    ]);
    code.extend(of_port(FROM, ports, HEADERS));
    code.push(ret(NOTHING));
    code
}

/// Returns so many bytes of a packet from or to one of the ports; another falls through.
fn of_ports(ports: &[u16], bytes: u32) -> Vec<Instruction> {
    [FROM, TO].map(|end| of_port(end, ports, bytes)).concat()
}

/// The same for one end only, [`FROM`] or [`TO`].
fn of_port(end: u32, ports: &[u16], bytes: u32) -> Vec<Instruction> {
    let mut code = vec![half(end)];
    for (first, last) in ranges(ports) {
        if first == last {
            code.push(if_equal(first, 0, 1));
        } else {
            code.push(of_jump(BPF_JGE, first, 0, 2));
            code.push(of_jump(BPF_JGT, last, 1, 0));
        }
        code.push(ret(bytes));
    }
    code
}

/// The ports as the fewest ranges, first and last.
fn ranges(ports: &[u16]) -> Vec<(u32, u32)> {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for port in ports.iter().copied().collect::<BTreeSet<u16>>() {
        let port = u32::from(port);
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == port => *last = port,
            Some(_) | None => ranges.push((port, port)),
        }
    }
    ranges
}

/// A := one byte of what follows the Ethernet header and X.
const fn byte(at: u32) -> Instruction {
    of(BPF_LD | BPF_B | BPF_IND, ETHERNET + at)
}

/// A := two bytes of the same.
const fn half(at: u32) -> Instruction {
    of(BPF_LD | BPF_H | BPF_IND, ETHERNET + at)
}

const fn ret(bytes: u32) -> Instruction {
    of(BPF_RET | BPF_K, bytes)
}

const fn if_equal(value: u32, jump_if: u8, jump_else: u8) -> Instruction {
    of_jump(BPF_JEQ, value, jump_if, jump_else)
}

/// Jumps over `code`, which is shorter than 256, where A is not `value`.
fn if_not(value: u32, code: &[Instruction]) -> Instruction {
    if_equal(value, 0, u8::try_from(code.len()).unwrap_or(u8::MAX))
}

/// Jumps over `code`, however long it is.
fn skip(code: &[Instruction]) -> Instruction {
    let length = u32::try_from(code.len()).unwrap_or(u32::MAX);
    of(BPF_JMP | BPF_JA, length)
}

const fn of_jump(test: u32, operand: u32, jump_if: u8, jump_else: u8) -> Instruction {
    Instruction {
        jump_if,
        jump_else,
        ..of(BPF_JMP | test | BPF_K, operand)
    }
}

const fn of(code: u32, operand: u32) -> Instruction {
    Instruction {
        // Every code of classic BPF fits into 8 bits.
        code: code as u16,
        jump_if: 0,
        jump_else: 0,
        operand,
    }
}

#[cfg(test)]
mod tests {
    use std::{io::ErrorKind, os::unix::net::UnixDatagram};

    use sipward_testkit::packet::{Extension, Packet, protocol};
    use test_case::test_case;

    use super::*;
    use crate::tap::socket;

    fn ports() -> TapPorts {
        TapPorts {
            udp: vec![5062, 5060, 5061],
            tcp: vec![5060, 8088],
            handshakes: vec![5061],
        }
    }

    /// What the kernel makes of a frame: filters work on any socket.
    fn passes(frame: &[u8]) -> bool {
        let (to, from) = UnixDatagram::pair().unwrap();
        socket::filter(&from, &program(&ports()).unwrap()).unwrap();
        from.set_nonblocking(true).unwrap();
        to.send(frame).unwrap();
        let mut buffer = vec![0; 2 * frame.len()];
        match from.recv(&mut buffer) {
            Ok(length) => {
                assert_eq!(length, frame.len(), "it is copied as a whole");
                true
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => false,
            Err(error) => panic!("{error}"),
        }
    }

    const V4: [&str; 2] = ["203.0.113.7", "192.0.2.1"];
    const V6: [&str; 2] = ["[2001:db8:7::7]", "[2001:db8:2::1]"];

    fn udp([from, to]: [&str; 2], source: u16, destination: u16) -> Packet {
        Packet::udp(format!("{from}:{source}"), format!("{to}:{destination}")).payload(b"x")
    }

    fn tcp([from, to]: [&str; 2], source: u16, destination: u16) -> Packet {
        Packet::tcp(format!("{from}:{source}"), format!("{to}:{destination}")).payload(b"x")
    }

    fn icmp(number: u8, [from, to]: [&str; 2], kind: u8) -> Packet {
        let bare = |address: &str| address.trim_matches(['[', ']']).to_owned();
        Packet::ip(bare(from), bare(to), number).payload(&[kind, 1, 0, 0, 0, 0, 0, 0])
    }

    const ICMPV6: u8 = 58;

    #[test_case(&udp(V4, 40_000, 5060); "to a port")]
    #[test_case(&udp(V4, 5062, 40_000); "from a port")]
    #[test_case(&udp(V4, 5061, 5061); "within a range")]
    #[test_case(&udp(V6, 40_000, 5060); "over IPv6")]
    #[test_case(&udp(V6, 5060, 40_000); "from a port over IPv6")]
    #[test_case(&tcp(V4, 40_000, 8088); "TCP")]
    #[test_case(&tcp(V6, 5060, 40_000); "TCP over IPv6")]
    #[test_case(&udp(V4, 40_000, 5060).ipv4_options(&[1, 1, 1, 1]); "behind IPv4 options")]
    #[test_case(&udp(V4, 40_000, 5060).vlan(5); "in a VLAN")]
    #[test_case(&tcp(V6, 40_000, 5060).tag(QINQ as u16, 9).vlan(5); "in a VLAN in a service VLAN")]
    #[test_case(&udp(V4, 40_000, 9).fragment(0, true); "a first fragment")]
    #[test_case(&udp(V4, 40_000, 9).fragment(1480, false); "a last fragment")]
    #[test_case(&udp(V6, 40_000, 9).fragment(8, false); "a fragment over IPv6")]
    #[test_case(&udp(V6, 1, 9).extension(Extension::HopByHop(vec![])); "behind an extension")]
    #[test_case(&icmp(protocol::ICMP, V4, 3); "unreachable")]
    #[test_case(&icmp(protocol::ICMP, V4, 3).vlan(5); "unreachable in a VLAN")]
    #[test_case(&icmp(ICMPV6, V6, 1); "unreachable over IPv6")]
    fn what_concerns_sip_passes(packet: &Packet) {
        assert!(passes(&packet.build()));
    }

    #[test_case(&udp(V4, 40_000, 10_000); "media")]
    #[test_case(&udp(V6, 10_000, 40_000); "media over IPv6")]
    #[test_case(&udp(V4, 10_000, 40_000).vlan(5); "media in a VLAN")]
    #[test_case(&udp(V4, 5059, 5063); "beside a range")]
    #[test_case(&udp(V4, 40_000, 8088); "TCP's port over UDP")]
    #[test_case(&tcp(V4, 40_000, 5062); "UDP's port over TCP")]
    #[test_case(&tcp(V6, 22, 40_000); "another service")]
    #[test_case(&tcp(V4, 5061, 40_000).tcp_flags(0x18); "what the server says where handshakes are wanted")]
    #[test_case(&tcp(V4, 5061, 40_000).tcp_flags(0x10); "its bare acknowledgements")]
    #[test_case(&icmp(protocol::ICMP, V4, 8); "ping")]
    #[test_case(&icmp(ICMPV6, V6, 135); "neighbour discovery")]
    #[test_case(&icmp(ICMPV6, V6, 143).extension(Extension::HopByHop(vec![])); "multicast's reports")]
    #[test_case(&icmp(47, V4, 3); "another protocol")]
    #[test_case(&udp(V4, 40_000, 5060).vlan(1).vlan(2).vlan(3); "three tags, as the shield")]
    fn what_does_not_is_not_copied(packet: &Packet) {
        assert!(!passes(&packet.build()));
    }

    #[test]
    fn what_breaks_off_is_not_copied() {
        let frame = udp(V4, 40_000, 5060).build();
        for length in [1, 13, 14, 20, 33, 34, 36] {
            assert!(!passes(&frame[..length]), "{length} bytes");
        }
    }

    #[test_case(&tcp(V4, 40_000, 5061).tcp_flags(0x02); "SYN")]
    #[test_case(&tcp(V4, 5061, 40_000).tcp_flags(0x12); "the answer to it")]
    #[test_case(&tcp(V4, 40_000, 5061).tcp_flags(0x10); "ACK")]
    #[test_case(&tcp(V6, 40_000, 5061).tcp_flags(0xd0); "ACK with congestion's flags over IPv6")]
    #[test_case(&tcp(V4, 40_000, 5061).tcp_flags(0x18); "with PSH, and data")]
    #[test_case(&tcp(V6, 40_000, 5061).tcp_flags(0x38).payload(b""); "with PSH and URG, and without data")]
    #[test_case(&tcp(V6, 5061, 40_000).tcp_flags(0x11); "FIN")]
    #[test_case(&tcp(V4, 5061, 40_000).tcp_flags(0x04).vlan(5); "RST in a VLAN")]
    fn handshakes_pass_where_no_more_is_wanted(packet: &Packet) {
        assert!(passes(&packet.build()));
    }

    #[test]
    fn of_a_long_segment_where_no_more_is_wanted_the_headers_pass() {
        let frame = tcp(V4, 40_000, 5061)
            .payload(&[b'x'; 1_400])
            .tcp_flags(0x10);
        let (to, from) = UnixDatagram::pair().unwrap();
        socket::filter(&from, &program(&ports()).unwrap()).unwrap();
        to.send(&frame.build()).unwrap();
        assert_eq!(from.recv(&mut [0; 2_000]).unwrap(), 256);
    }

    #[test]
    fn neighbouring_ports_are_one_range() {
        assert_eq!(
            ranges(&[5062, 5060, 5061, 5060, 65_535]),
            [(5060, 5062), (65_535, 65_535)]
        );
        assert!(ranges(&[]).is_empty());
    }

    #[test]
    fn hundreds_of_ports_fit_and_a_thousand_apart_are_an_error() {
        let every_other = |count: u16| TapPorts {
            udp: (0..count).map(|number| 2 * number).collect(),
            tcp: vec![5060],
            handshakes: Vec::new(),
        };
        let (to, _from) = UnixDatagram::pair().unwrap();
        socket::filter(&to, &program(&every_other(800)).unwrap()).unwrap();
        let error = program(&every_other(1_100)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "1101 ports are more than the tap can tell apart: name ranges of neighbours, at most 1,000"
        );
    }
}
