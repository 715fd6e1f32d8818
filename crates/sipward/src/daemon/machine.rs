//! What this machine is and lives on: its addresses, gateways, name and time servers, the open
//! SSH sessions, and the interfaces of its default routes. All of it is read anew each time; what
//! cannot be read protects nothing and is no error.

use std::{
    collections::BTreeSet,
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::Path,
};

use ipnet::IpNet;
use nix::ifaddrs::getifaddrs;
use sipward_engine::{Protected, Protection, Time};

use super::ssh_sessions::Session;
use crate::sensors::Connections;

/// TCP's state ESTABLISHED in `/proc/net/tcp`.
const ESTABLISHED: &str = "01";
/// Flag of a route that is in use (`RTF_UP` in linux/route.h).
const ROUTE_UP: u32 = 1;

/// Looks at the machine and replaces what is protected for its sake.
pub fn protect(protected: &mut Protected) {
    let set = |addresses: Vec<IpAddr>| addresses.into_iter().map(IpNet::from).collect::<Vec<_>>();
    protected.set(Protection::Own, set(own_addresses()));
    let routes = default_routes(Path::new("/proc/net"));
    let gateways = routes.iter().filter_map(|route| route.gateway).collect();
    protected.set(Protection::Gateway, set(gateways));
    protected.set(
        Protection::Resolver,
        set(resolvers(Path::new("/etc/resolv.conf"))),
    );
    protected.set(Protection::TimeServer, set(time_servers(Path::new("/"))));
}

/// The established connections to these ports of this machine.
pub fn ssh_sessions(ports: &[u16]) -> Vec<Session> {
    sessions(Path::new("/proc/net"), ports)
}

/// Adds the connections that are there: of some nobody saw how they began.
pub fn connections(connections: &mut Connections, now: Time) {
    for connection in established(Path::new("/proc/net")) {
        connections.add(connection.remote, connection.local, now);
    }
}

/// The interfaces of the default routes, in the order of their names.
#[must_use]
pub fn default_interfaces() -> Vec<String> {
    let routes = default_routes(Path::new("/proc/net"));
    let names: BTreeSet<String> = routes.into_iter().map(|route| route.interface).collect();
    names.into_iter().filter(|name| name != "lo").collect()
}

/// Whether an address is of a network that is not the Internet's (RFC 1918, RFC 3927, RFC 4193).
#[must_use]
pub fn is_private(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.is_private() || v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}

/// The addresses of this machine's interfaces.
#[must_use]
pub fn own_addresses() -> Vec<IpAddr> {
    let Ok(interfaces) = getifaddrs() else {
        return Vec::new();
    };
    interfaces
        .filter_map(|interface| {
            let address = interface.address?;
            let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
            v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
        })
        .collect()
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct DefaultRoute {
    interface: String,
    gateway: Option<IpAddr>,
}

fn default_routes(proc_net: &Path) -> Vec<DefaultRoute> {
    let v4 = read(&proc_net.join("route"));
    let v6 = read(&proc_net.join("ipv6_route"));
    v4.lines()
        .filter_map(default_route_v4)
        .chain(v6.lines().filter_map(default_route_v6))
        .collect()
}

/// `Iface Destination Gateway Flags RefCnt Use Metric Mask …`, addresses in the host's order.
fn default_route_v4(line: &str) -> Option<DefaultRoute> {
    let mut words = line.split_whitespace();
    let interface = words.next()?.to_owned();
    let [destination, gateway, flags] = [words.next()?, words.next()?, words.next()?];
    let mask = words.nth(3)?;
    let number = |word| u32::from_str_radix(word, 16).ok();
    if number(destination)? != 0 || number(mask)? != 0 || number(flags)? & ROUTE_UP == 0 {
        return None;
    }
    let gateway = IpAddr::V4(Ipv4Addr::from(number(gateway)?.to_ne_bytes()));
    Some(DefaultRoute {
        interface,
        gateway: Some(gateway).filter(|it| !it.is_unspecified()),
    })
}

/// `destination length source length next-hop metric references use flags interface`.
fn default_route_v6(line: &str) -> Option<DefaultRoute> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [
        destination,
        length,
        _,
        _,
        next_hop,
        _,
        _,
        _,
        flags,
        interface,
    ] = words[..]
    else {
        return None;
    };
    let flags = u32::from_str_radix(flags, 16).ok()?;
    let number = |word| u128::from_str_radix(word, 16).ok();
    // The kernel keeps an unreachable default route on the loopback.
    if number(destination)? != 0 || length != "00" || flags & ROUTE_UP == 0 || interface == "lo" {
        return None;
    }
    let gateway = IpAddr::V6(Ipv6Addr::from(number(next_hop)?));
    let gateway = Some(gateway).filter(|it| !it.is_unspecified());
    Some(DefaultRoute {
        interface: interface.to_owned(),
        gateway,
    })
}

/// The name servers of this machine.
pub fn resolvers(resolv_conf: &Path) -> Vec<IpAddr> {
    read(resolv_conf)
        .lines()
        .filter_map(|line| line.trim().strip_prefix("nameserver"))
        .filter_map(|rest| rest.split_whitespace().next().and_then(scoped))
        .collect()
}

/// Time servers that are configured by address, of chrony, ntpd and systemd-timesyncd.
fn time_servers(root: &Path) -> Vec<IpAddr> {
    let files = [
        "etc/chrony/chrony.conf",
        "etc/chrony.conf",
        "etc/ntp.conf",
        "etc/ntpsec/ntp.conf",
    ];
    let mut servers: Vec<IpAddr> = files
        .iter()
        .flat_map(|file| {
            let text = read(&root.join(file));
            text.lines().filter_map(ntp_server).collect::<Vec<_>>()
        })
        .collect();
    for line in read(&root.join("etc/systemd/timesyncd.conf")).lines() {
        let Some((key, names)) = line.split_once('=') else {
            continue;
        };
        if matches!(key.trim(), "NTP" | "FallbackNTP") {
            servers.extend(names.split_whitespace().filter_map(scoped));
        }
    }
    servers
}

fn ntp_server(line: &str) -> Option<IpAddr> {
    let mut words = line.split_whitespace();
    match words.next()? {
        "server" | "peer" | "pool" => scoped(words.next()?),
        _ => None,
    }
}

fn sessions(proc_net: &Path, ports: &[u16]) -> Vec<Session> {
    established(proc_net)
        .filter(|connection| ports.contains(&connection.local))
        .map(|connection| Session {
            remote: connection.remote.ip(),
            socket: connection.socket,
        })
        .collect()
}

/// An established connection of this machine.
#[derive(Clone, Copy, Debug)]
struct Connection {
    remote: SocketAddr,
    /// The port here.
    local: u16,
    /// The inode of its socket; 0 before somebody has accepted it.
    socket: u64,
}

fn established(proc_net: &Path) -> impl Iterator<Item = Connection> {
    let tables = ["tcp", "tcp6"].map(|name| read(&proc_net.join(name)));
    let connections: Vec<_> = tables
        .iter()
        .flat_map(|table| table.lines().skip(1))
        .filter_map(connection)
        .collect();
    connections.into_iter()
}

/// `sl local_address rem_address st tx:rx tr:when retrnsmt uid timeout inode …`, each address as
/// `HEX:PORT`.
fn connection(line: &str) -> Option<Connection> {
    let mut words = line.split_whitespace().skip(1);
    let [local, remote, state] = [words.next()?, words.next()?, words.next()?];
    if state != ESTABLISHED {
        return None;
    }
    let port = |end: &str| u16::from_str_radix(end.split_once(':')?.1, 16).ok();
    let address = socket_address(remote.split_once(':')?.0)?;
    Some(Connection {
        remote: SocketAddr::new(address, port(remote)?),
        local: port(local)?,
        socket: words.nth(5)?.parse().ok()?,
    })
}

/// An address as the kernel prints it: words of 32 bits, each in the host's order.
fn socket_address(text: &str) -> Option<IpAddr> {
    let word = |index: usize| {
        let digits = text.get(index * 8..index * 8 + 8)?;
        u32::from_str_radix(digits, 16).ok().map(u32::to_ne_bytes)
    };
    match text.len() {
        8 => Some(IpAddr::V4(Ipv4Addr::from(word(0)?))),
        32 => {
            let words = [word(0)?, word(1)?, word(2)?, word(3)?];
            let bytes: [u8; 16] = words.concat().try_into().ok()?;
            Some(IpAddr::V6(Ipv6Addr::from(bytes)).to_canonical())
        }
        _ => None,
    }
}

/// An address, with or without a scope (`fe80::1%eth0`).
fn scoped(text: &str) -> Option<IpAddr> {
    text.split('%').next()?.parse().ok()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    fn folder(files: &[(&str, &str)]) -> TempDir {
        let folder = TempDir::new().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        folder
    }

    fn addresses(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn default_routes_of_both_families_are_found() {
        let proc_net = folder(&[
            (
                "route",
                "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
                 eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
                 ppp0\t00000000\t00000000\t0001\t0\t0\t0\t00000000\t0\t0\t0\n\
                 eth1\t00000000\t010200C0\t0002\t0\t0\t0\t00000000\t0\t0\t0\n\
                 eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n",
            ),
            (
                "ipv6_route",
                "00000000000000000000000000000000 00 00000000000000000000000000000000 00 20010db8000000000000000000000001 00000400 00000003 00000000 00000003 eth2\n\
                 00000000000000000000000000000000 00 00000000000000000000000000000000 00 00000000000000000000000000000000 ffffffff 00000001 00000000 00200200 lo\n\
                 20010db8000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001 eth0\n",
            ),
        ]);
        let found: Vec<_> = default_routes(proc_net.path())
            .into_iter()
            .map(|route| {
                (
                    route.interface,
                    route.gateway.map(|gateway| gateway.to_string()),
                )
            })
            .collect();
        let expected = [
            ("eth0".to_owned(), Some("192.0.2.1".to_owned())),
            ("ppp0".to_owned(), None),
            ("eth2".to_owned(), Some("2001:db8::1".to_owned())),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn established_sessions_to_an_ssh_port_are_found_and_nothing_else() {
        let proc_net = folder(&[
            (
                "tcp",
                "  sl  local_address rem_address   st tx_queue\n\
                 0: 00000000:0016 00000000:0000 0A 00000000:00000000\n\
                 1: 010200C0:0016 077100CB:C350 01 00000000:00000000 02:000A 00000000 0 0 4711 2\n\
                 2: 010200C0:01BB 087100CB:C350 01 00000000:00000000 00:0000 00000000 0 0 4712 1\n\
                 3: 010200C0:0016 097100CB:C350 06 00000000:00000000 00:0000 00000000 0 0 0 3\n\
                 4: 010200C0:0016 0B7100CB:C350 01 00000000:00000000 00:0000 00000000 0 0 0 1\n",
            ),
            (
                "tcp6",
                "  sl  local_address rem_address   st tx_queue\n\
                 0: B80D0120000000000000000001000000:0016 B80D0120000000000000000007000000:C350 01 0:0 0:0 0 0 0 4713 1\n\
                 1: 0000000000000000FFFF0000010200C0:0016 0000000000000000FFFF00000A7100CB:C350 01 0:0 0:0 0 0 0 4714 1\n",
            ),
        ]);
        let session = |remote: &str, socket| Session {
            remote: remote.parse().unwrap(),
            socket,
        };
        assert_eq!(
            sessions(proc_net.path(), &[22]),
            [
                session("203.0.113.7", 4_711),
                session("203.0.113.11", 0),
                session("2001:db8::7", 4_713),
                session("203.0.113.10", 4_714),
            ]
        );
    }

    #[test]
    fn name_and_time_servers_given_as_addresses_are_found() {
        let root = folder(&[
            (
                "etc/resolv.conf",
                "# nameserver 192.0.2.9\nsearch x\nnameserver 192.0.2.53\nnameserver fe80::1%eth0\n",
            ),
            (
                "etc/chrony/chrony.conf",
                "pool 2.debian.pool.ntp.org iburst\nserver 192.0.2.123 iburst\n",
            ),
            (
                "etc/systemd/timesyncd.conf",
                "[Time]\n#NTP=192.0.2.9\nNTP=192.0.2.124 ntp.example.org 2001:db8::123\n",
            ),
        ]);
        assert_eq!(
            resolvers(&root.path().join("etc/resolv.conf")),
            addresses(&["192.0.2.53", "fe80::1"])
        );
        assert_eq!(
            time_servers(root.path()),
            addresses(&["192.0.2.123", "192.0.2.124", "2001:db8::123"])
        );
    }

    #[test]
    fn nothing_to_read_is_nothing_to_protect() {
        let empty = TempDir::new().unwrap();
        assert_eq!(default_routes(empty.path()), []);
        assert_eq!(sessions(empty.path(), &[22]), []);
    }

    #[test]
    fn the_loopback_address_is_an_own_one() {
        assert!(own_addresses().contains(&"127.0.0.1".parse().unwrap()));
    }
}
