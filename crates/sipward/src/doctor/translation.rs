//! Whether strangers come under an address of their own. Behind a router that puts its own address
//! on what it forwards, an attacker and the phones are one, and a ban would hit all of them.

use std::{
    collections::BTreeSet,
    fs,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
};

use ipnet::IpNet;
use serde_json::Value;

use super::{Check, State, programs};
use crate::daemon::is_private;

const NAME: &str = "translation";
const NO_SOURCE_NAT: &str = "bind the rule to what goes out (-o with the outer interface, or -s with \
                             the inner network)";

/// What may hide a sender.
#[derive(Debug)]
pub(super) struct Facts {
    /// Rules that change addresses: of `iptables-save`, `ip6tables-save` and `nft list ruleset`.
    pub rules: Vec<String>,
    pub proxies: Vec<Proxy>,
    /// Where packets go, and by which interface.
    pub routes: Vec<(IpNet, String)>,
    /// The interfaces to guard.
    pub outer: Vec<String>,
    /// The default gateway from which all strangers come, as a running daemon saw.
    pub gateway: Option<IpAddr>,
    /// The ports of SIP.
    pub ports: Vec<u16>,
}

/// A `docker-proxy`, which receives for a container and hands on from its own address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Proxy {
    pub host: String,
    pub port: u16,
}

impl Facts {
    pub(super) fn look(outer: Vec<String>, ports: Vec<u16>, gateway: Option<IpAddr>) -> Self {
        let said =
            |program, arguments: &[&str]| programs::run(program, arguments).unwrap_or_default();
        Self {
            rules: rules(
                [
                    ("ip", &said("iptables-save", &[])),
                    ("ip6", &said("ip6tables-save", &[])),
                ],
                &said("nft", &["list", "ruleset"]),
            ),
            proxies: proxies(Path::new("/proc")),
            routes: [
                routes(&said("ip", &["-json", "-4", "route"]), "0.0.0.0/0"),
                routes(&said("ip", &["-json", "-6", "route"]), "::/0"),
            ]
            .concat(),
            outer,
            gateway,
            ports,
        }
    }
}

/// The lines of all rules. Those that iptables keeps in nf_tables both programs show: of the tables
/// that iptables has shown, nft's lines are left out.
fn rules(iptables: [(&str, &str); 2], nft: &str) -> Vec<String> {
    let is_shown = |table: &str| {
        let mut words = table.split_whitespace();
        let (Some("table"), Some(family), Some(name)) = (words.next(), words.next(), words.next())
        else {
            return false;
        };
        let shows = |(of, text): &(&str, &str)| {
            let is_nft = text
                .lines()
                .next()
                .is_some_and(|line| line.contains("(nf_tables)"));
            is_nft
                && *of == family
                && text
                    .lines()
                    .any(|line| line.strip_prefix('*') == Some(name))
        };
        iptables.iter().any(shows)
    };
    let mut is_left_out = false;
    let nft = nft.lines().filter(|line| {
        if line.starts_with("table ") {
            is_left_out = is_shown(line);
        }
        !is_left_out
    });
    let saved = iptables.iter().flat_map(|(_, text)| text.lines());
    saved.chain(nft).map(str::to_owned).collect()
}

/// Of `ip -json route`: `[{"dst":"172.17.0.0/16","dev":"docker0",…},{"dst":"default",…}]`
fn routes(text: &str, default: &str) -> Vec<(IpNet, String)> {
    let Ok(Value::Array(routes)) = serde_json::from_str(text) else {
        return Vec::new();
    };
    let route = |route: &Value| {
        let to = match route["dst"].as_str()? {
            "default" => default,
            to => to,
        };
        let host = || to.parse::<IpAddr>().ok().map(IpNet::from);
        let net = to.parse().ok().or_else(host)?;
        Some((net, route["dev"].as_str()?.to_owned()))
    };
    routes.iter().filter_map(route).collect()
}

/// `docker-proxy -proto udp -host-ip :: -host-port 5060 -container-ip 172.17.0.2 …`, in this network
/// namespace: in another one it takes nothing of what comes here.
fn proxies(proc: &Path) -> Vec<Proxy> {
    let network = |process: PathBuf| fs::read_link(process.join("ns/net")).ok();
    let own = network(proc.join("self"));
    let processes = fs::read_dir(proc).into_iter().flatten().flatten();
    processes
        .filter_map(|process| {
            proxy(&fs::read(process.path().join("cmdline")).ok()?).map(|proxy| (process, proxy))
        })
        .filter(|(process, _)| network(process.path()) == own)
        .map(|(_, proxy)| proxy)
        .collect()
}

fn proxy(command_line: &[u8]) -> Option<Proxy> {
    let words: Vec<&str> = command_line
        .split(|byte| *byte == 0)
        .map(|word| std::str::from_utf8(word).unwrap_or_default())
        .collect();
    let (program, options) = words.split_first()?;
    if !program.ends_with("docker-proxy") {
        return None;
    }
    let value = |option: &str| {
        let at = options.iter().position(|word| *word == option)?;
        options.get(at + 1).copied()
    };
    Some(Proxy {
        host: value("-host-ip")?.parse::<IpAddr>().ok()?.to_string(),
        port: value("-host-port")?.parse().ok()?,
    })
}

pub(super) fn judge(facts: &Facts) -> Vec<Check> {
    let mut checks = Vec::new();
    if let Some(gateway) = facts.gateway {
        let found = format!(
            "all strangers that speak SIP here come from {gateway}, the default gateway: a router, \
             its SIP ALG or docker's userland-proxy puts its own address on them; it is never banned, \
             and so no attacker behind it is"
        );
        let advice = "forward without source NAT, switch the SIP ALG off, or run sipward on the \
                      machine that forwards; with docker: network_mode: host";
        checks.push(Check::new(NAME, State::Failed, found, advice));
    }
    let hiding = facts.rules.iter().filter(|rule| hides(rule, facts));
    for (rule, times) in counted(hiding.map(|rule| rule.trim())) {
        let found = format!(
            "the rule {rule:?}{times} puts this machine's address on what comes in: a PBX behind it \
             sees and logs that in the place of each caller's"
        );
        checks.push(Check::new(NAME, State::Warning, found, NO_SOURCE_NAT));
    }
    let receiving = facts.proxies.iter().filter(|proxy| receives(proxy, facts));
    let places: BTreeSet<String> = receiving
        .map(|proxy| format!("port {} of {}", proxy.port, proxy.host))
        .collect();
    if !places.is_empty() {
        let places: Vec<String> = places.into_iter().collect();
        let found = format!(
            "docker-proxy takes {}: in the PBX's log every caller there, and every attacker, wears the \
             proxy's address, the bridge's, which is never banned; who they are only the packets at \
             this machine's interface tell",
            places.join(", ")
        );
        let advice = "\"userland-proxy\": false, with \"iptables\": true and \"ip6tables\": true, in \
                      /etc/docker/daemon.json; or network_mode: host";
        checks.push(Check::new(NAME, State::Warning, found, advice));
    }
    let inner = facts.rules.iter().filter(|rule| hides_nobody(rule, facts));
    for (rule, times) in counted(inner.map(|rule| rule.trim())) {
        let found = format!(
            "the rule {rule:?}{times} is for what leaves by an interface to which no SIP from outside \
             is forwarded"
        );
        checks.push(Check::ok(NAME, found));
    }
    if checks.is_empty() {
        let found = "no rule, proxy or gateway that puts its own address on strangers";
        checks.push(Check::ok(NAME, found));
    }
    checks
}

/// Each once, with how often it was there where that was more than once.
fn counted<T: PartialEq>(items: impl Iterator<Item = T>) -> Vec<(T, String)> {
    let mut counts: Vec<(T, usize)> = Vec::new();
    for item in items {
        match counts.iter_mut().find(|(known, _)| *known == item) {
            Some((_, count)) => *count += 1,
            None => counts.push((item, 1)),
        }
    }
    let times = |(item, count)| match count {
        1 => (item, String::new()),
        _ => (item, format!(" ({count} times)")),
    };
    counts.into_iter().map(times).collect()
}

/// Whether a rule of source NAT is for what comes in.
fn hides(rule: &str, facts: &Facts) -> bool {
    ways_out(rule, facts)
        .is_some_and(|names| names.is_empty() || names.iter().any(|name| is_reached(name, facts)))
}

/// Whether it would be, if SIP from outside went where the rule is for.
fn hides_nobody(rule: &str, facts: &Facts) -> bool {
    ways_out(rule, facts).is_some() && !hides(rule, facts)
}

/// Whether SIP from outside may leave by this interface: a rule forwards a port of SIP to an address
/// there, or what is there has public addresses, which need no such rule. True where nothing is known
/// of the routes.
fn is_reached(interface: &str, facts: &Facts) -> bool {
    let leads = |address: IpAddr| {
        let routes = facts.routes.iter();
        let of_it = routes.filter(|(net, _)| net.contains(&address));
        let longest = of_it.max_by_key(|(net, _)| net.prefix_len());
        longest.is_some_and(|(_, to)| to == interface)
    };
    let mut rules = facts.rules.iter();
    facts.routes.is_empty()
        || facts
            .routes
            .iter()
            .any(|(net, to)| to == interface && !is_private(net.addr()))
        || rules.any(|rule| match forwards(rule, &facts.ports) {
            Forwards::To(address) => leads(address),
            Forwards::Somewhere => true,
            Forwards::Nothing => false,
        })
}

/// What a rule of destination NAT does with some ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Forwards {
    Nothing,
    To(IpAddr),
    /// To what its text does not tell.
    Somewhere,
}

fn forwards(rule: &str, ports: &[u16]) -> Forwards {
    let words = words(rule);
    if !words.iter().any(|word| word.eq_ignore_ascii_case("dnat")) {
        return Forwards::Nothing;
    }
    let are_others = |word: &&str| word.parse().is_ok_and(|port| !ports.contains(&port));
    let named = behind(&words, &["--dport", "--dports", "dport"]);
    let named: Vec<&str> = named
        .iter()
        .copied()
        .take_while(|word| word.starts_with(|first: char| first.is_ascii_digit()))
        .collect();
    // A range is taken for one with them in it.
    if !named.is_empty() && named.iter().all(are_others) {
        return Forwards::Nothing;
    }
    let to = behind(&words, &["--to-destination", "to"]).first();
    let address = to.and_then(|to| {
        let socket = to.parse().map(|socket: SocketAddr| socket.ip());
        socket.or_else(|_| to.parse()).ok()
    });
    address.map_or(Forwards::Somewhere, Forwards::To)
}

/// The interfaces by which leaves what a rule of source NAT is for, none where that is any. `None`
/// for what is no such rule, or is bound to senders of the inside, to an outer interface as its way
/// out, or to ports of others.
fn ways_out(rule: &str, facts: &Facts) -> Option<Vec<String>> {
    let words = words(rule);
    let has = |wanted: &[&str]| words.iter().any(|word| wanted.contains(word));
    let translates = has(&["MASQUERADE", "SNAT", "masquerade", "snat"]);
    // Who gets into a chain of somebody's own, its line does not tell.
    let is_elsewhere = words.first() == Some(&"-A") && words.get(1) != Some(&"POSTROUTING");
    let is_bound = words.iter().enumerate().any(|(at, word)| {
        let is_negated =
            at > 0 && words.get(at - 1) == Some(&"!") || words.get(at + 1) == Some(&"!=");
        ["-s", "--source", "saddr"].contains(word) && !is_negated
    });
    if !translates || is_elsewhere || is_bound {
        return None;
    }
    let out = behind(&words, &["-o", "--out-interface", "oifname", "oif"]);
    let is_outer = |word: &&&str| facts.outer.iter().any(|name| name == **word);
    // `! -o docker0`, or `oifname != "docker0"`: out by another than the inner one.
    let is_negated = out.first() == Some(&"!=") || words.windows(2).any(|pair| pair == ["!", "-o"]);
    if is_negated || out.iter().find(is_outer).is_some() {
        return None;
    }
    let ports = behind(&words, &["--dport", "--dports", "dport"]);
    let ports = ports.iter().map_while(|word| word.parse::<u16>().ok());
    let ports: Vec<u16> = ports.collect();
    if !ports.is_empty() && !ports.iter().any(|port| facts.ports.contains(port)) {
        return None;
    }
    // Behind the first of them there may be more of a set, and what else the rule says.
    let is_interface = |word: &str| facts.routes.iter().any(|(_, name)| name == word);
    let names = out.iter().enumerate();
    let names = names.filter(|(at, word)| *at == 0 || is_interface(word));
    Some(names.map(|(_, word)| (*word).to_owned()).collect())
}

/// Of a rule as iptables or nft writes it; what stands in a set, one by one.
fn words(rule: &str) -> Vec<&str> {
    rule.split(|char: char| char.is_whitespace() || ['"', '{', '}', ','].contains(&char))
        .filter(|word| !word.is_empty())
        .collect()
}

/// What follows one of these words.
fn behind<'a, 'b>(words: &'b [&'a str], options: &[&str]) -> &'b [&'a str] {
    let at = words.iter().position(|word| options.contains(word));
    at.map_or(&[], |at| words.get(at + 1..).unwrap_or_default())
}

/// Whether a proxy takes SIP from strangers: where a rule sends the port on, it gets none.
fn receives(proxy: &Proxy, facts: &Facts) -> bool {
    let Ok(host) = proxy.host.parse::<IpAddr>() else {
        return false;
    };
    let is_sent_on = |rule: &String| match forwards(rule, &[proxy.port]) {
        Forwards::To(address) => address.is_ipv6() == host.is_ipv6(),
        Forwards::Somewhere | Forwards::Nothing => false,
    };
    facts.ports.contains(&proxy.port) && !host.is_loopback() && !facts.rules.iter().any(is_sent_on)
}

#[cfg(test)]
mod tests {
    use super::*;
    use test_case::test_case;

    fn facts(rules: &[&str]) -> Facts {
        Facts {
            rules: rules.iter().map(|rule| (*rule).to_owned()).collect(),
            proxies: Vec::new(),
            routes: Vec::new(),
            outer: vec!["eth0".to_owned()],
            gateway: None,
            ports: vec![5060, 5061],
        }
    }

    fn state(facts: &Facts) -> State {
        let checks = judge(facts);
        assert!(checks.iter().all(|check| check.name == NAME));
        checks[0].state
    }

    #[test_case("-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE", State::Ok; "dockers own")]
    #[test_case("-A POSTROUTING -s 172.17.0.2/32 -d 172.17.0.2/32 -p udp -m udp --dport 5060 -j MASQUERADE", State::Ok; "dockers hairpin")]
    #[test_case("-A POSTROUTING ! -s 172.17.0.0/16 -o docker0 -j MASQUERADE", State::Warning; "all but the inside")]
    #[test_case("\t\tip saddr != 172.17.0.0/16 oifname \"docker0\" masquerade", State::Warning; "nft all but the inside")]
    #[test_case("-A KUBE-POSTROUTING -j MASQUERADE", State::Ok; "what a chain of its own chooses")]
    #[test_case("-A POSTROUTING -o eth0 -j MASQUERADE", State::Ok; "what goes out")]
    #[test_case("-A POSTROUTING ! -o docker0 -j MASQUERADE", State::Ok; "what goes out elsewhere")]
    #[test_case("-A POSTROUTING -o docker0 -j MASQUERADE", State::Warning; "what comes in")]
    #[test_case("-A POSTROUTING -j MASQUERADE", State::Warning; "everything")]
    #[test_case("-A POSTROUTING -d 10.0.0.5/32 -p udp -m udp --dport 5060 -j SNAT --to-source 10.0.0.1", State::Warning; "the port of SIP")]
    #[test_case("-A POSTROUTING -p udp -m multiport --dports 443,5061 -j SNAT --to-source 10.0.0.1", State::Warning; "a list of ports")]
    #[test_case("-A POSTROUTING -d 10.0.0.5/32 -p tcp -m tcp --dport 80 -j SNAT --to-source 10.0.0.1", State::Ok; "another port")]
    #[test_case("\t\toifname \"docker0\" counter packets 0 bytes 0 masquerade", State::Warning; "nft what comes in")]
    #[test_case("\t\toifname { \"docker0\", \"eth0\" } masquerade", State::Ok; "nft with the outer one")]
    #[test_case("\t\toifname != \"br0\" ip saddr 172.17.0.0/16 masquerade", State::Ok; "nft dockers own")]
    #[test_case("\t\tip daddr 10.0.0.5 udp dport 5060 snat to 10.0.0.1", State::Warning; "nft the port of SIP")]
    #[test_case("-A INPUT -p udp -j ACCEPT", State::Ok; "no translation")]
    fn a_rule_is(rule: &str, expected: State) {
        assert_eq!(state(&facts(&[rule])), expected);
    }

    const TO_CONTAINER: &str = "-A DOCKER ! -i docker0 -p udp -m udp --dport 5060 -j DNAT \
                                --to-destination 172.17.0.2:5060";

    const HIDES_IN_TUNNEL: &str = "-A POSTROUTING -o wg0 -j MASQUERADE";

    #[test_case("", "10.9.0.0/24", State::Ok; "nothing is forwarded")]
    #[test_case("-A PREROUTING -p udp -m udp --dport 5060 -j DNAT --to-destination 10.9.0.2:5060", "10.9.0.0/24", State::Warning; "the port of SIP is forwarded there")]
    #[test_case("-A PREROUTING -p udp -m udp --dport 5060:5080 -j DNAT --to-destination 10.9.0.2", "10.9.0.0/24", State::Warning; "a range of ports is")]
    #[test_case("-A PREROUTING -p udp -m udp --dport 5060 -j DNAT --to-destination 10.8.0.2:5060", "10.9.0.0/24", State::Ok; "it is forwarded elsewhere")]
    #[test_case("-A PREROUTING -p tcp -m tcp --dport 443 -j DNAT --to-destination 10.9.0.2", "10.9.0.0/24", State::Ok; "another port is forwarded")]
    #[test_case("udp dport { 5060, 5061 } dnat ip6 to [fd09::2]:5060", "fd09::/64", State::Warning; "nft forwards there")]
    #[test_case("udp dport 5060 dnat to numgen inc mod 2 map { 0 : 10.8.0.2, 1 : 10.8.0.3 }", "10.9.0.0/24", State::Warning; "it is not told whither")]
    #[test_case("", "192.0.2.0/24", State::Warning; "public addresses are there")]
    fn a_rule_for_an_inner_interface_is(rule: &str, there: &str, expected: State) {
        let facts = Facts {
            routes: vec![
                ("10.8.0.0/24".parse().unwrap(), "br0".to_owned()),
                (there.parse().unwrap(), "wg0".to_owned()),
            ],
            ..facts(&[HIDES_IN_TUNNEL, rule, HIDES_IN_TUNNEL])
        };
        let checks = judge(&facts);
        assert_eq!((checks.len(), checks[0].state), (1, expected), "{checks:?}");
        let found = &checks[0].found;
        assert!(
            found.contains("-o wg0") && found.contains("(2 times)"),
            "{found}"
        );
    }

    #[test]
    fn what_iptables_keeps_in_nf_tables_is_read_once() {
        const SAVED: &str = "# Generated by iptables-save v1.8.9 (nf_tables) on Mon Nov 23\n*nat\n\
            -A POSTROUTING -o docker0 -j MASQUERADE\nCOMMIT\n";
        const LISTED: &str = "table ip nat {\n\tchain POSTROUTING {\n\
            \t\toifname \"docker0\" counter packets 0 bytes 0 masquerade\n\t}\n}\n\
            table ip own {\n\tchain out {\n\t\tmasquerade\n\t}\n}\n";
        let translating = |saved: &str| {
            let rules = rules([("ip", saved), ("ip6", "")], LISTED);
            let translates = |rule: &String| rule.to_lowercase().contains("masquerade");
            rules.into_iter().filter(translates).count()
        };
        assert_eq!(translating(SAVED), 2);
        // The older iptables keeps its rules elsewhere, and this table is somebody else's.
        assert_eq!(translating(&SAVED.replace(" (nf_tables)", "")), 3);
    }

    #[test]
    fn routes_are_read() {
        let text = r#"[{"dst":"default","gateway":"192.0.2.254","dev":"eth0"},
            {"dst":"172.17.0.0/16","dev":"docker0"},{"dst":"10.9.0.2","dev":"wg0"}]"#;
        let read = [
            ("0.0.0.0/0", "eth0"),
            ("172.17.0.0/16", "docker0"),
            ("10.9.0.2/32", "wg0"),
        ];
        let expected = read.map(|(net, name)| (net.parse().unwrap(), name.to_owned()));
        assert_eq!(routes(text, "0.0.0.0/0"), expected);
    }

    #[test_case("0.0.0.0", 5060, &[TO_CONTAINER], State::Ok; "beside a rule")]
    #[test_case("0.0.0.0", 5060, &["udp dport 5060 dnat ip to 172.17.0.2:5060"], State::Ok; "beside a rule of nft")]
    #[test_case("0.0.0.0", 5060, &[], State::Warning; "alone")]
    #[test_case("::", 5060, &[TO_CONTAINER], State::Warning; "alone over IPv6")]
    #[test_case("127.0.0.1", 5060, &[], State::Ok; "for this machine")]
    #[test_case("0.0.0.0", 80, &[], State::Ok; "for something else")]
    fn a_proxy_of_docker_is(host: &str, port: u16, rules: &[&str], expected: State) {
        let line = format!(
            "/usr/bin/docker-proxy\0-proto\0udp\0-host-ip\0{host}\0-host-port\0{port}\0\
             -container-ip\x00172.17.0.2\0-container-port\0{port}\0"
        );
        let facts = Facts {
            proxies: vec![proxy(line.as_bytes()).unwrap()],
            ..facts(rules)
        };
        assert_eq!(state(&facts), expected);
    }

    #[test]
    fn other_programs_are_no_proxies() {
        assert_eq!(proxy(b"/usr/bin/dockerd\0-H\0fd://\0"), None);
        assert_eq!(proxy(b""), None);
    }

    #[test]
    fn a_gateway_from_which_all_strangers_come_is_named() {
        let gateway = Some("172.17.0.1".parse().unwrap());
        let facts = Facts {
            gateway,
            ..facts(&[])
        };
        assert_eq!(state(&facts), State::Failed);
        assert!(judge(&facts)[0].found.contains("172.17.0.1"));
    }
}
