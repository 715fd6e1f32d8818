//! Who listens on the protected ports, and where SIP is spoken that is not protected.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::IpAddr,
    path::Path,
};

use super::{Check, State};
use crate::config::PortLists;

/// SIP servers, by the names of their processes.
const SERVERS: &[&str] = &[
    "asterisk",
    "freeswitch",
    "kamailio",
    "opensips",
    "yate",
    "sipp",
    "drachtio",
];
/// Ports of Asterisk and FreeSWITCH for something else: SCCP, MGCP, UNISTIM, DUNDi, the manager
/// interface, FreeSWITCH's event socket.
const NO_SIP: &[u16] = &[2000, 2427, 2727, 4520, 5000, 5038, 5039, 8021];
/// Where SIP is spoken whoever listens.
const USUAL: std::ops::RangeInclusive<u16> = 5_060..=5_099;
/// Media has ports from here on, over UDP.
const MEDIA: u16 = 10_000;

/// Somebody who listens.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Listener {
    pub protocol: Protocol,
    pub port: u16,
    /// On a loopback address: no stranger reaches it.
    pub loopback: bool,
    /// The SIP server, where it is one and root looks.
    pub server: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Protocol {
    Udp,
    Tcp,
}

impl Protocol {
    const fn name(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
        }
    }

    /// The state of a socket that waits for strangers, in /proc/net: TCP_CLOSE for UDP.
    const fn listening(self) -> &'static str {
        match self {
            Self::Udp => "07",
            Self::Tcp => "0A",
        }
    }
}

pub(super) fn look() -> Vec<Listener> {
    let servers = servers_by_inode(Path::new("/proc"));
    let mut found = Vec::new();
    for (file, protocol) in [
        ("udp", Protocol::Udp),
        ("udp6", Protocol::Udp),
        ("tcp", Protocol::Tcp),
        ("tcp6", Protocol::Tcp),
    ] {
        let table = fs::read_to_string(Path::new("/proc/self/net").join(file)).unwrap_or_default();
        let lines = table.lines().skip(1);
        found.extend(lines.filter_map(|line| listener(line, protocol, &servers)));
    }
    found.sort();
    found.dedup();
    found
}

/// Whether strangers reach somebody at one of these TCP ports.
pub(super) fn reachable(listeners: &[Listener], ports: &[u16]) -> bool {
    let is_one =
        |it: &Listener| it.protocol == Protocol::Tcp && !it.loopback && ports.contains(&it.port);
    listeners.iter().any(is_one)
}

/// `sl local_address rem_address st tx:rx tr:when retrnsmt uid timeout inode …`.
fn listener(line: &str, protocol: Protocol, servers: &BTreeMap<u64, String>) -> Option<Listener> {
    let words: Vec<&str> = line.split_whitespace().collect();
    if *words.get(3)? != protocol.listening() {
        return None;
    }
    let (address, port) = words.get(1)?.split_once(':')?;
    let inode: u64 = words.get(9)?.parse().ok()?;
    Some(Listener {
        protocol,
        port: u16::from_str_radix(port, 16).ok()?,
        loopback: is_loopback(address),
        server: servers.get(&inode).cloned(),
    })
}

/// 127.0.0.0/8, ::1 and ::ffff:127.0.0.0/104 as the kernel prints them, words in the host's order.
fn is_loopback(address: &str) -> bool {
    let word = |text: &str| u32::from_str_radix(text, 16).map(u32::to_ne_bytes);
    let last = address
        .len()
        .checked_sub(8)
        .and_then(|at| address.get(at..));
    let Some(Ok(last)) = last.map(word) else {
        return false;
    };
    match address.len() {
        8 => last[0] == 127,
        32 => {
            let mapped = address.starts_with("0000000000000000") && last[0] == 127;
            mapped || (address.starts_with("000000000000000000000000") && last == [0, 0, 0, 1])
        }
        _ => false,
    }
}

/// The sockets of SIP servers, by their inodes; without root only those of one's own.
fn servers_by_inode(proc: &Path) -> BTreeMap<u64, String> {
    let mut found = BTreeMap::new();
    for process in fs::read_dir(proc).into_iter().flatten().flatten() {
        let Ok(name) = fs::read_to_string(process.path().join("comm")) else {
            continue;
        };
        let Some(server) = SERVERS.iter().find(|server| name.trim() == **server) else {
            continue;
        };
        let descriptors = fs::read_dir(process.path().join("fd"));
        for descriptor in descriptors.into_iter().flatten().flatten() {
            let target = fs::read_link(descriptor.path()).unwrap_or_default();
            let inode = target.to_str().and_then(|text| {
                text.strip_prefix("socket:[")?
                    .strip_suffix(']')?
                    .parse()
                    .ok()
            });
            if let Some(inode) = inode {
                found.insert(inode, (*server).to_owned());
            }
        }
    }
    found
}

/// Whether an Asterisk is among them.
pub(super) fn have_asterisk(listeners: &[Listener]) -> bool {
    let mut servers = listeners.iter().filter_map(|it| it.server.as_deref());
    servers.any(|server| server == "asterisk")
}

/// `forwarded`: where rules send what comes for SIP.
pub(super) fn judge(
    listeners: &[Listener],
    ports: &PortLists,
    forwarded: &BTreeSet<IpAddr>,
) -> Vec<Check> {
    let open: Vec<&Listener> = listeners.iter().filter(|it| !it.loopback).collect();
    let is_protected = |it: &Listener| {
        let lists: &[&[u16]] = match it.protocol {
            Protocol::Udp => &[&ports.sip_udp, &ports.iax2],
            Protocol::Tcp => &[&ports.sip_tcp, &ports.sip_tls, &ports.sip_ws],
        };
        lists.iter().any(|list| list.contains(&it.port))
    };
    let (protected, others): (Vec<&Listener>, Vec<&Listener>) =
        open.into_iter().partition(|it| is_protected(it));
    let mut checks = vec![served(&protected, forwarded)];
    let mut unprotected: Vec<&Listener> = others.into_iter().filter(|it| is_sip(it)).collect();
    unprotected.dedup_by_key(|it| (it.protocol, it.port));
    if !unprotected.is_empty() {
        let found = format!(
            "SIP may be spoken at {}, which [ports] does not name",
            list(&unprotected)
        );
        let advice = lines(&unprotected, ports);
        checks.push(Check::new("other-ports", State::Warning, found, advice));
    }
    checks
}

fn served(protected: &[&Listener], forwarded: &BTreeSet<IpAddr>) -> Check {
    if protected.is_empty() && !forwarded.is_empty() {
        let to: Vec<String> = forwarded.iter().map(IpAddr::to_string).collect();
        let found = format!(
            "SIP is forwarded to {}; nobody here listens at a port of [ports]",
            to.join(", ")
        );
        return Check::ok("ports", found);
    }
    if protected.is_empty() {
        let found = "nobody on this machine listens at a port of [ports]";
        let advice = "start the SIP server, or name its ports: [ports] sip-udp = [5060]; where it is on \
                      another machine behind this one, all is well";
        return Check::new("ports", State::Warning, found, advice);
    }
    Check::ok("ports", format!("[ports] names {}", list(protected)))
}

fn is_sip(listener: &Listener) -> bool {
    if USUAL.contains(&listener.port) {
        return true;
    }
    let media = listener.protocol == Protocol::Udp && listener.port >= MEDIA;
    listener.server.is_some() && !media && !NO_SIP.contains(&listener.port)
}

fn list(listeners: &[&Listener]) -> String {
    let mut words: Vec<String> = listeners
        .iter()
        .map(|it| {
            let server = it.server.as_ref().map(|name| format!(" ({name})"));
            let (protocol, server) = (it.protocol.name(), server.unwrap_or_default());
            format!("{protocol} {}{server}", it.port)
        })
        .collect();
    words.dedup();
    words.join(", ")
}

/// The lines for the configuration, with what is there already.
fn lines(unprotected: &[&Listener], ports: &PortLists) -> String {
    let line = |key: &str, protocol: Protocol, there: &[u16]| {
        let new = unprotected.iter().filter(|it| it.protocol == protocol);
        let new: Vec<u16> = new.map(|it| it.port).collect();
        let all: Vec<String> = there.iter().chain(&new).map(u16::to_string).collect();
        (!new.is_empty()).then(|| format!("{key} = [{}]", all.join(", ")))
    };
    let lines = [
        line("sip-udp", Protocol::Udp, &ports.sip_udp),
        line("sip-tcp", Protocol::Tcp, &ports.sip_tcp),
    ];
    let lines: Vec<String> = lines.into_iter().flatten().collect();
    format!("[ports] {}", lines.join(" and "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use test_case::test_case;

    #[test]
    #[cfg(target_endian = "little")]
    fn listeners_are_read_with_their_servers() {
        let servers = BTreeMap::from([(4711, "asterisk".to_owned())]);
        let read = |line, protocol| listener(line, protocol, &servers);
        let udp = read(
            " 12: 00000000:13C4 00000000:0000 07 00000000:00000000 00:00000000 00000000  0  0 4711 2 0 0",
            Protocol::Udp,
        );
        let expected = Listener {
            protocol: Protocol::Udp,
            port: 5060,
            loopback: false,
            server: Some("asterisk".to_owned()),
        };
        assert_eq!(udp, Some(expected));
        let established = "0: 0100007F:13C4 0200007F:C350 01 0:0 0:0 0 0 0 9 1";
        assert_eq!(read(established, Protocol::Tcp), None);
        let local = "0: 0100007F:13AE 00000000:0000 0A 0:0 0:0 0 0 0 9 1";
        assert!(read(local, Protocol::Tcp).unwrap().loopback);
    }

    #[test_case("0100007F", true)]
    #[test_case("00000000", false)]
    #[test_case("010200C0", false)]
    #[test_case("00000000000000000000000001000000", true; "v6 loopback")]
    #[test_case("0000000000000000FFFF00000100007F", true; "mapped")]
    #[test_case("00000000000000000000000000000000", false; "v6 any")]
    #[cfg(target_endian = "little")]
    fn loopback_is(address: &str, expected: bool) {
        assert_eq!(is_loopback(address), expected);
    }

    fn at(protocol: Protocol, port: u16, server: Option<&str>) -> Listener {
        Listener {
            protocol,
            port,
            loopback: false,
            server: server.map(str::to_owned),
        }
    }

    #[test]
    fn only_what_speaks_sip_is_missed() {
        let asterisk = Some("asterisk");
        let listeners = [
            at(Protocol::Udp, 2727, asterisk),
            at(Protocol::Udp, 5060, asterisk),
            at(Protocol::Udp, 5062, asterisk),
            at(Protocol::Udp, 5070, None),
            at(Protocol::Udp, 5353, None),
            at(Protocol::Udp, 14_000, asterisk),
            at(Protocol::Tcp, 22, None),
            at(Protocol::Tcp, 5038, asterisk),
            at(Protocol::Tcp, 8088, asterisk),
            Listener {
                loopback: true,
                ..at(Protocol::Tcp, 5090, asterisk)
            },
        ];
        let checks = judge(&listeners, &PortLists::default(), &BTreeSet::new());
        assert_eq!(
            checks[0].found,
            "[ports] names udp 5060 (asterisk), tcp 8088 (asterisk)"
        );
        assert_eq!(
            checks[1].found,
            "SIP may be spoken at udp 5062 (asterisk), udp 5070, which [ports] does not name"
        );
        let advice = checks[1].advice.as_deref();
        assert_eq!(advice, Some("[ports] sip-udp = [5060, 5080, 5062, 5070]"));
    }

    #[test]
    fn protected_ports_without_a_server_are_told_where_nothing_is_forwarded() {
        let state = |forwarded: &BTreeSet<IpAddr>| {
            let checks = judge(
                &[at(Protocol::Tcp, 22, None)],
                &PortLists::default(),
                forwarded,
            );
            assert_eq!(checks.len(), 1);
            checks[0].state
        };
        assert_eq!(state(&BTreeSet::new()), State::Warning);
        assert_eq!(state(&["172.17.0.2".parse().unwrap()].into()), State::Ok);
    }
}
