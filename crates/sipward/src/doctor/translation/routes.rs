//! Where packets go, and by which interface.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr},
    path::Path,
};

use ipnet::{IpNet, Ipv4Net};
use serde_json::Value;

use super::programs;
use crate::daemon::is_private;

/// What a provider gives to those who share an address (RFC 6598).
const SHARED: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(100, 64, 0, 0), 10);

/// Of all tables of routes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Routes {
    /// Networks, by which interface, and by which gateway.
    pub routes: Vec<Route>,
    /// This machine's addresses, and of which interface.
    pub own: Vec<(IpAddr, String)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Route {
    pub net: IpNet,
    pub interface: String,
    pub gateway: Option<IpAddr>,
}

impl Route {
    /// To everywhere, or to one of the halves of it that a tunnel takes.
    pub fn is_default(&self) -> bool {
        self.net.prefix_len() <= 1
    }
}

impl Routes {
    pub fn look() -> Self {
        let said =
            |family| programs::run("ip", &["-json", family, "route", "show", "table", "all"]);
        let mut all = Self::default();
        all.read(&said("-4").unwrap_or_default(), "0.0.0.0/0");
        all.read(&said("-6").unwrap_or_default(), "::/0");
        all
    }

    /// Of `ip -json route`: `[{"dst":"172.17.0.0/16","dev":"docker0",…},{"dst":"default",…},
    /// {"type":"local","dst":"172.17.0.1","dev":"docker0","table":"local",…}]`
    pub fn read(&mut self, text: &str, default: &str) {
        let Ok(Value::Array(routes)) = serde_json::from_str(text) else {
            return;
        };
        for route in &routes {
            let to = match route["dst"].as_str() {
                Some("default") => default,
                Some(to) => to,
                None => continue,
            };
            let address = to.parse::<IpAddr>();
            let Ok(net) = to.parse().or_else(|_| address.clone().map(IpNet::from)) else {
                continue;
            };
            // Of several ways, each names its interface.
            let ways = route["nexthops"].as_array();
            for way in ways.into_iter().flatten().chain([route]) {
                let Some(interface) = way["dev"].as_str().map(str::to_owned) else {
                    continue;
                };
                match (route["type"].as_str().unwrap_or("unicast"), &address) {
                    ("local", Ok(address)) => self.own.push((*address, interface)),
                    ("unicast", _) => {
                        let gateway = way["gateway"].as_str().and_then(|it| it.parse().ok());
                        self.routes.push(Route {
                            net,
                            interface,
                            gateway,
                        });
                    }
                    // Broadcast, multicast, and what is refused.
                    _ => {}
                }
            }
        }
    }

    /// The route that an address takes; none to this machine itself.
    pub fn to(&self, address: IpAddr) -> Option<&Route> {
        if self.own.iter().any(|(own, _)| *own == address) {
            return None;
        }
        let of_it = self
            .routes
            .iter()
            .filter(|route| route.net.contains(&address));
        of_it.max_by_key(|route| route.net.prefix_len())
    }

    /// Those by an interface.
    pub fn by<'a>(&'a self, interface: &'a str) -> impl Iterator<Item = &'a Route> {
        self.routes
            .iter()
            .filter(move |route| route.interface == interface)
    }

    /// A private network by one of these interfaces: who is there needs no public address to reach us.
    pub fn private_by(&self, interfaces: &[String]) -> Option<&Route> {
        let is_gateway = |net: &IpNet| {
            let mut gateways = self.routes.iter().filter_map(|route| route.gateway);
            gateways.any(|gateway| IpNet::from(gateway) == *net)
        };
        self.routes.iter().find(|route| {
            let net = &route.net;
            interfaces.contains(&route.interface)
                && !route.is_default()
                && !is_public(net.addr())
                && !is_of_the_link(net.addr())
                && !is_gateway(net)
        })
    }

    /// Whether one of these interfaces has a public address.
    pub fn are_public(&self, interfaces: &[String]) -> bool {
        let mut own = self.own.iter();
        own.any(|(address, of)| interfaces.contains(of) && is_public(*address))
    }
}

/// Whether the Internet's routers know the address.
pub(super) fn is_public(address: IpAddr) -> bool {
    let is_shared = |address: IpAddr| match address {
        IpAddr::V4(v4) => SHARED.contains(&v4),
        IpAddr::V6(_) => false,
    };
    !is_private(address) && !is_shared(address.to_canonical())
}

/// Whether no router forwards what has this address.
fn is_of_the_link(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

/// Whether what comes in by one interface may leave by another; `folder`: `/proc/sys/net`; `is_bridged`:
/// whether a guarded one is a port of a bridge. True where it cannot be read.
pub(super) fn may_forward(folder: &Path, is_bridged: bool) -> bool {
    let is_on = |path: &Path| fs::read_to_string(path).map_or(true, |text| text.trim() != "0");
    let any_on = |family: &str| {
        let interfaces = fs::read_dir(folder.join(family).join("conf")).ok()?;
        let mut interfaces = interfaces.flatten().map(|interface| interface.path());
        Some(interfaces.any(|path| !path.ends_with("default") && is_on(&path.join("forwarding"))))
    };
    // Rules may see what a bridge carries, too.
    let bridged = ["bridge-nf-call-iptables", "bridge-nf-call-ip6tables"];
    let mut bridged = bridged
        .map(|name| folder.join("bridge").join(name))
        .into_iter();
    any_on("ipv4").unwrap_or(true)
        || any_on("ipv6").unwrap_or(false)
        || is_bridged && bridged.any(|path| path.exists() && is_on(&path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use test_case::test_case;

    #[test]
    fn routes_are_read() {
        let text = r#"[{"dst":"default","gateway":"192.0.2.254","dev":"eth0"},
            {"dst":"172.17.0.0/16","dev":"docker0"},{"dst":"10.9.0.2","dev":"wg0","table":"51820"},
            {"type":"local","dst":"172.17.0.1","dev":"docker0","table":"local"},
            {"type":"local","dst":"127.0.0.0/8","dev":"lo","table":"local"},
            {"type":"broadcast","dst":"172.17.255.255","dev":"docker0","table":"local"},
            {"type":"unreachable","dst":"10.0.0.0/8","dev":"lo"},
            {"dst":"10.7.0.0/24","nexthops":[{"gateway":"10.5.0.1","dev":"br0"},{"dev":"br1"}]}]"#;
        let mut routes = Routes::default();
        routes.read(text, "0.0.0.0/0");
        let expected = [
            ("0.0.0.0/0", "eth0", Some("192.0.2.254")),
            ("172.17.0.0/16", "docker0", None),
            ("10.9.0.2/32", "wg0", None),
            ("10.7.0.0/24", "br0", Some("10.5.0.1")),
            ("10.7.0.0/24", "br1", None),
        ];
        let expected = expected.map(|(net, interface, gateway)| Route {
            net: net.parse().unwrap(),
            interface: interface.to_owned(),
            gateway: gateway.map(|it| it.parse().unwrap()),
        });
        assert_eq!(routes.routes, expected);
        let own = ("172.17.0.1".parse().unwrap(), "docker0".to_owned());
        assert_eq!(routes.own, [own]);
        let to = |address: &str| {
            routes
                .to(address.parse().unwrap())
                .map(|it| it.interface.as_str())
        };
        assert_eq!(to("172.17.0.2"), Some("docker0"));
        assert_eq!(to("198.51.100.1"), Some("eth0"));
        assert_eq!(to("172.17.0.1"), None, "this machine");
    }

    #[test_case(&[("ipv4/conf/all", "0"), ("ipv4/conf/eth0", "0"), ("ipv4/conf/default", "1")], false; "nothing")]
    #[test_case(&[("ipv4/conf/all", "0"), ("ipv4/conf/eth0", "1")], true; "one interface")]
    #[test_case(&[("ipv4/conf/all", "0"), ("ipv6/conf/all", "1")], true; "IPv6 only")]
    #[test_case(&[], true; "what cannot be read")]
    fn a_machine_forwards(settings: &[(&str, &str)], expected: bool) {
        let folder = tempfile::tempdir().unwrap();
        for (path, value) in settings {
            let path = folder.path().join(path);
            fs::create_dir_all(&path).unwrap();
            fs::write(path.join("forwarding"), format!("{value}\n")).unwrap();
        }
        assert_eq!(may_forward(folder.path(), false), expected);
    }

    #[test]
    fn rules_for_what_a_bridge_carries_count() {
        let folder = tempfile::tempdir().unwrap();
        for (path, name, value) in [
            ("ipv4/conf/all", "forwarding", "0"),
            ("bridge", "bridge-nf-call-iptables", "1"),
        ] {
            fs::create_dir_all(folder.path().join(path)).unwrap();
            fs::write(folder.path().join(path).join(name), value).unwrap();
        }
        assert!(may_forward(folder.path(), true));
        assert!(!may_forward(folder.path(), false));
    }
}
