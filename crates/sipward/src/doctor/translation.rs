//! Whether strangers come under an address of their own. Behind a router that puts its own address
//! on what it forwards, an attacker and the phones are one, and a ban would hit all of them.

use std::{fs, net::IpAddr, path::Path};

use super::{Check, State, programs};

const NAME: &str = "translation";
const NO_SOURCE_NAT: &str = "bind the rule to what goes out (-o with the outer interface, or -s with \
                             the inner network)";

/// What may hide a sender.
#[derive(Debug)]
pub(super) struct Facts {
    /// Rules that change addresses: of `iptables-save`, `ip6tables-save` and `nft list ruleset`.
    pub rules: Vec<String>,
    pub proxies: Vec<Proxy>,
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
        let said = [
            programs::run("iptables-save", &[]),
            programs::run("ip6tables-save", &[]),
            programs::run("nft", &["list", "ruleset"]),
        ];
        let lines = said.into_iter().flatten();
        let lines: Vec<String> = lines
            .flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>())
            .collect();
        Self {
            rules: lines,
            proxies: proxies(Path::new("/proc")),
            outer,
            gateway,
            ports,
        }
    }
}

/// `docker-proxy -proto udp -host-ip :: -host-port 5060 -container-ip 172.17.0.2 …`
fn proxies(proc: &Path) -> Vec<Proxy> {
    let processes = fs::read_dir(proc).into_iter().flatten().flatten();
    processes
        .filter_map(|process| proxy(&fs::read(process.path().join("cmdline")).ok()?))
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
    for rule in facts.rules.iter().filter(|rule| hides(rule, facts)) {
        let found = format!(
            "the rule {:?} puts this machine's address on what comes in: a PBX behind it sees and \
             logs that in the place of each caller's",
            rule.trim()
        );
        checks.push(Check::new(NAME, State::Warning, found, NO_SOURCE_NAT));
    }
    for proxy in facts.proxies.iter().filter(|proxy| receives(proxy, facts)) {
        let found = format!(
            "docker-proxy takes port {} of {} and hands on from the bridge's address: the PBX in the \
             container sees and logs that in the place of each caller's",
            proxy.port, proxy.host
        );
        let advice = "network_mode: host; or let docker write its rules (\"iptables\": true and \
                      \"ip6tables\": true in /etc/docker/daemon.json)";
        checks.push(Check::new(NAME, State::Warning, found, advice));
    }
    if checks.is_empty() {
        let found = "no rule, proxy or gateway that puts its own address on strangers";
        checks.push(Check::ok(NAME, found));
    }
    checks
}

/// Whether a rule of source NAT is for what comes in: not bound to senders of the inside, nor to an
/// outer interface as its way out, nor to ports of others.
fn hides(rule: &str, facts: &Facts) -> bool {
    let rule = rule.replace(['"', '{', '}', ','], " ");
    let words: Vec<&str> = rule.split_whitespace().collect();
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
        return false;
    }
    let behind = |option: &[&str]| {
        let at = words.iter().position(|word| option.contains(word));
        at.map_or(&[][..], |at| words.get(at + 1..).unwrap_or_default())
    };
    let way_out = behind(&["-o", "--out-interface", "oifname", "oif"]);
    let is_outer = |word: &&&str| facts.outer.iter().any(|name| name == **word);
    // `! -o docker0`, or `oifname != "docker0"`: out by another than the inner one.
    let is_negated =
        way_out.first() == Some(&"!=") || words.windows(2).any(|pair| pair == ["!", "-o"]);
    if is_negated || way_out.iter().find(is_outer).is_some() {
        return false;
    }
    let ports = behind(&["--dport", "--dports", "dport"]);
    let ports = ports.iter().map_while(|word| word.parse::<u16>().ok());
    let ports: Vec<u16> = ports.collect();
    ports.is_empty() || ports.iter().any(|port| facts.ports.contains(port))
}

/// Whether a proxy takes SIP from strangers: where a rule sends the port on, it gets none.
fn receives(proxy: &Proxy, facts: &Facts) -> bool {
    let is_v6 = proxy.host.contains(':');
    let port = proxy.port.to_string();
    let forwards = |rule: &&String| {
        let words: Vec<&str> = rule.split_whitespace().collect();
        let has = |word: &str| words.contains(&word);
        let to = words.last().copied().unwrap_or_default();
        // An address of IPv6 stands in brackets here.
        (has("DNAT") || has("dnat")) && has(&port) && to.starts_with('[') == is_v6
    };
    let is_loopback = proxy
        .host
        .parse()
        .is_ok_and(|host: IpAddr| host.is_loopback());
    facts.ports.contains(&proxy.port) && !is_loopback && facts.rules.iter().find(forwards).is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use test_case::test_case;

    fn facts(rules: &[&str]) -> Facts {
        Facts {
            rules: rules.iter().map(|rule| (*rule).to_owned()).collect(),
            proxies: Vec::new(),
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
