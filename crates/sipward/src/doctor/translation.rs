//! Whether strangers come under an address of their own. Behind a router that puts its own address
//! on what it forwards, an attacker and the phones are one, and a ban would hit all of them.

mod meant;
mod routes;
mod rules;

use std::{collections::BTreeSet, fs, net::IpAddr, path::Path};

use self::{
    meant::Meant,
    routes::Routes,
    rules::{Forwards, Rule},
};
use super::{
    Check, State,
    network::Interface,
    programs::{self, Said, Trouble},
    stacked::{self, Link},
};

const NAME: &str = "translation";
const NO_SOURCE_NAT: &str = "bind the rule to what goes out (-o with the outer interface, or -s with \
                             the inner network)";

/// What may hide a sender.
#[derive(Debug)]
pub(super) struct Facts {
    pub is_root: bool,
    /// Of `iptables-save`, `ip6tables-save` and `nft list ruleset`.
    rules: Vec<Rule>,
    /// Rules that could not be read, and why.
    unread: Vec<String>,
    proxies: Vec<Proxy>,
    routes: Routes,
    /// All of this network namespace.
    interfaces: Vec<String>,
    /// Those by which callers come.
    outer: Vec<String>,
    /// Whether what comes in by one interface may leave by another.
    forwards: bool,
    /// Whether services of IPVS are there, which forward without a rule.
    has_ipvs: bool,
    /// The default gateway from which all strangers come, as a running daemon saw.
    gateway: Option<IpAddr>,
    /// The ports of SIP.
    ports: Vec<u16>,
}

/// A `docker-proxy`, which receives for a container and hands on from its own address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Proxy {
    pub host: String,
    pub port: u16,
}

impl Facts {
    /// `guarded`: the interfaces to guard; `links`: all.
    pub(super) fn look(
        is_root: bool,
        guarded: &[Interface],
        links: &[Link],
        ports: Vec<u16>,
        gateway: Option<IpAddr>,
    ) -> Self {
        let saved = ["iptables-save", "ip6tables-save"].map(|name| programs::run(name, &[]));
        // Lists of bans may have a million elements.
        let listed = programs::run("nft", &["--terse", "list", "ruleset"]);
        let guarded: Vec<String> = guarded.iter().map(|it| it.name.clone()).collect();
        // What comes in by a port of a bridge is the bridge's when it is routed.
        let masters: Vec<&str> = stacked::masters(links, &guarded).collect();
        let is_bridged = !masters.is_empty();
        let masters = masters.into_iter().map(str::to_owned);
        let outer = guarded.iter().cloned().chain(masters).collect();
        let [v4, v6] = saved
            .each_ref()
            .map(|said| said.as_deref().unwrap_or_default());
        Self {
            is_root,
            rules: rules::read(
                [("ip", v4), ("ip6", v6)],
                listed.as_deref().unwrap_or_default(),
            ),
            unread: unread(&saved, &listed, &legacy_tables(Path::new("/proc/self/net"))),
            proxies: proxies(Path::new("/proc")),
            routes: Routes::look(),
            interfaces: links.iter().map(|link| link.name.clone()).collect(),
            outer,
            forwards: routes::may_forward(Path::new("/proc/sys/net"), is_bridged),
            has_ipvs: has_ipvs(Path::new("/proc/self/net/ip_vs")),
            gateway,
            ports,
        }
    }
}

/// Where rules of destination NAT send SIP, of those whose text tells.
pub(super) fn forwarded_to(facts: &Facts) -> BTreeSet<IpAddr> {
    let to = facts
        .rules
        .iter()
        .filter_map(|rule| match rule.forwards(&facts.ports) {
            Forwards::To(address, _) => Some(address),
            Forwards::Somewhere | Forwards::Nothing => None,
        });
    to.collect()
}

/// Whether the older iptables, whose rules nft does not show, has a table `nat`: of IPv4, of IPv6.
fn legacy_tables(proc_net: &Path) -> [bool; 2] {
    ["ip_tables_names", "ip6_tables_names"].map(|name| {
        let names = fs::read_to_string(proc_net.join(name)).unwrap_or_default();
        names.lines().any(|name| name == "nat")
    })
}

/// `saved`: of iptables-save and ip6tables-save; `listed`: of nft; `legacy`: of [`legacy_tables`].
fn unread(saved: &[Said; 2], listed: &Said, legacy: &[bool; 2]) -> Vec<String> {
    let mut unread = Vec::new();
    let names = ["iptables", "ip6tables"];
    for ((name, said), has_legacy) in names.into_iter().zip(saved).zip(legacy) {
        match said {
            Err(Trouble::Refused(why)) => unread.push(format!("{name}-save ({why})")),
            Ok(text) if *has_legacy && rules::is_of_nf_tables(text) => {
                unread.push(format!(
                    "{name}-legacy-save ({name}-save shows the newer ones only)"
                ));
            }
            Err(Trouble::Missing) if *has_legacy => {
                unread.push(format!("{name}-save (not installed)"))
            }
            // What it would show is in nf_tables, if anywhere.
            Ok(_) | Err(Trouble::Missing) => {}
        }
    }
    match listed {
        Err(Trouble::Refused(why)) => unread.push(format!("nft ({why})")),
        Err(Trouble::Missing) => unread.push("nft (not installed)".to_owned()),
        Ok(_) => {}
    }
    unread
}

/// Three lines of heading, and then the services.
fn has_ipvs(path: &Path) -> bool {
    fs::read_to_string(path).is_ok_and(|text| text.lines().count() > 3)
}

/// `docker-proxy -proto udp -host-ip :: -host-port 5060 -container-ip 172.17.0.2 …`.
fn proxies(proc: &Path) -> Vec<Proxy> {
    let processes = programs::processes(proc);
    processes
        .filter_map(|process| proxy(&fs::read(process.join("cmdline")).ok()?))
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
    let translating = facts.rules.iter().filter(|rule| rule.translates_source());
    let translating: Vec<(&str, Meant)> = translating
        .map(|rule| (rule.text.as_str(), Meant::of(rule, facts)))
        .collect();
    let total = translating.len();
    for ((rule, meant), times) in counted(translating) {
        checks.extend(hiding(rule, &times, &meant));
    }
    checks.extend(proxied(facts));
    if !facts.unread.is_empty() {
        checks.push(unreadable(facts));
    }
    if checks.is_empty() {
        checks.push(Check::ok(NAME, nothing(total, facts)));
    }
    checks
}

/// What a rule of source NAT does to callers.
fn hiding(rule: &str, times: &str, meant: &Meant) -> Option<Check> {
    match meant {
        Meant::NoCaller => None,
        Meant::Callers => {
            let found = format!(
                "the rule {rule:?}{times} puts this machine's address on what comes in: a PBX behind it \
                 sees and logs that in the place of each caller's"
            );
            Some(Check::new(NAME, State::Warning, found, NO_SOURCE_NAT))
        }
        Meant::Unknown(why) => {
            let found = format!(
                "it cannot be told whether the rule {rule:?}{times} puts this machine's address on callers: \
                 {why}"
            );
            let advice = format!(
                "is a PBX behind it? Where its log has callers' own addresses, all is well; else {NO_SOURCE_NAT}"
            );
            Some(Check::new(NAME, State::Warning, found, advice))
        }
    }
}

fn proxied(facts: &Facts) -> Option<Check> {
    let receiving = facts.proxies.iter().filter(|proxy| receives(proxy, facts));
    let places: BTreeSet<String> = receiving
        .map(|proxy| format!("port {} of {}", proxy.port, proxy.host))
        .collect();
    if places.is_empty() {
        return None;
    }
    let places = places.into_iter().collect::<Vec<_>>().join(", ");
    let advice = "\"userland-proxy\": false, with \"iptables\": true and \"ip6tables\": true, in \
                  /etc/docker/daemon.json; or network_mode: host";
    // Docker starts it beside its rules, too, and then nothing comes to it.
    if !facts.unread.is_empty() {
        let found = format!(
            "docker-proxy waits at {places}; whether a rule leaves anything to it is not known"
        );
        return Some(if facts.is_root {
            Check::new(NAME, State::Unknown, found, advice)
        } else {
            Check::needs_root(NAME, &found)
        });
    }
    let found = format!(
        "docker-proxy takes {places}: in the PBX's log every caller there, and every attacker, wears the \
         proxy's address, the bridge's, which is never banned; who they are only the packets at \
         this machine's interface tell"
    );
    Some(Check::new(NAME, State::Warning, found, advice))
}

fn unreadable(facts: &Facts) -> Check {
    if !facts.is_root {
        return Check::needs_root(
            NAME,
            "whether a rule puts this machine's address on callers",
        );
    }
    let unread = facts.unread.join(", ");
    let found =
        format!("whether a rule puts this machine's address on callers, for want of {unread}");
    let advice = "look for MASQUERADE and SNAT: nft list ruleset; iptables-save -t nat; \
                  iptables-legacy-save -t nat";
    Check::new(NAME, State::Unknown, found, advice)
}

/// That there is nothing to tell, `total` being the rules of source NAT.
fn nothing(total: usize, facts: &Facts) -> String {
    match (total, facts.forwards) {
        (0, _) => "no rule, proxy or gateway puts its own address on callers".to_owned(),
        (_, true) => format!(
            "no proxy or gateway puts its own address on callers, nor does a rule: {total} of source NAT are \
             not for what comes in"
        ),
        (_, false) => format!(
            "no proxy or gateway puts its own address on callers, nor does a rule: {total} of source NAT are \
             there, and this machine forwards nothing"
        ),
    }
}

/// Each once, with how often it was there where that was more than once.
fn counted<T: PartialEq>(items: Vec<T>) -> Vec<(T, String)> {
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

/// Whether a proxy takes SIP from strangers: where a rule sends the port on, it gets none.
fn receives(proxy: &Proxy, facts: &Facts) -> bool {
    let Ok(host) = proxy.host.parse::<IpAddr>() else {
        return false;
    };
    let is_sent_on = |rule: &Rule| match rule.forwards(&[proxy.port]) {
        Forwards::To(address, _) => address.is_ipv6() == host.is_ipv6(),
        Forwards::Somewhere | Forwards::Nothing => false,
    };
    facts.ports.contains(&proxy.port) && !host.is_loopback() && !facts.rules.iter().any(is_sent_on)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::translation::routes::Route;
    use test_case::test_case;

    /// A machine with a public address, a container's bridge and a tunnel, and these rules.
    fn facts(lines: &[&str]) -> Facts {
        let (saved, listed): (Vec<&str>, Vec<&str>) =
            lines.iter().partition(|line| line.starts_with("-A"));
        let saved = format!("*nat\n{}\n", saved.join("\n"));
        let listed = listed.join("\n");
        let listed = format!(
            "table ip own {{\n\tchain out {{\n\t\ttype nat hook postrouting priority srcnat; policy accept;\n\
             {listed}\n\t}}\n}}\n"
        );
        Facts {
            is_root: true,
            rules: rules::read([("ip", &saved), ("ip6", "")], &listed),
            unread: Vec::new(),
            proxies: Vec::new(),
            routes: Routes {
                routes: [
                    ("0.0.0.0/0", "eth0"),
                    ("192.0.2.0/24", "eth0"),
                    ("172.17.0.0/16", "docker0"),
                    ("10.9.0.0/24", "wg0"),
                ]
                .map(|(net, name)| route(net, name))
                .into(),
                own: vec![("192.0.2.1".parse().unwrap(), "eth0".to_owned())],
            },
            interfaces: ["lo", "eth0", "docker0", "wg0"].map(str::to_owned).into(),
            outer: vec!["eth0".to_owned()],
            forwards: true,
            has_ipvs: false,
            gateway: None,
            ports: vec![5060, 5061],
        }
    }

    fn route(net: &str, interface: &str) -> Route {
        Route {
            net: net.parse().unwrap(),
            interface: interface.to_owned(),
            gateway: None,
        }
    }

    /// How sure it is that callers are hidden, by the words of the one check.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Told {
        No,
        Perhaps,
        Yes,
    }

    use Told::{No, Perhaps, Yes};

    fn told(facts: &Facts) -> Told {
        let checks = judge(facts);
        assert!(checks.len() == 1 && checks[0].name == NAME, "{checks:#?}");
        let is_mild = checks[0].found.contains("cannot be told");
        match (checks[0].state, is_mild) {
            (State::Ok, false) => No,
            (State::Warning, true) => Perhaps,
            (State::Warning, false) => Yes,
            _ => panic!("{checks:#?}"),
        }
    }

    fn state(facts: &Facts) -> State {
        judge(facts)[0].state
    }

    const TO_CONTAINER: &str = "-A DOCKER ! -i docker0 -p udp -m udp --dport 5060 -j DNAT \
                                --to-destination 172.17.0.2:5060";
    const TO_ANOTHER_PORT: &str = "-A DOCKER ! -i docker0 -p udp -m udp --dport 5060 -j DNAT \
                                   --to-destination 172.17.0.2:15060";

    #[test_case("-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE", No; "dockers own")]
    #[test_case("-A POSTROUTING -s 172.17.0.2/32 -d 172.17.0.2/32 -p udp -m udp --dport 5060 -j MASQUERADE", No; "dockers hairpin")]
    #[test_case("-A POSTROUTING ! -s 172.17.0.0/16 -o docker0 -j MASQUERADE", Yes; "all but the inside")]
    #[test_case("\t\tip saddr != 172.17.0.0/16 oifname \"docker0\" masquerade", Yes; "nft all but the inside")]
    #[test_case("-A POSTROUTING -s 10.0.0.0/8 -o docker0 -j MASQUERADE", No; "what no route has and is private")]
    #[test_case("-A POSTROUTING -s 192.0.2.0/24 -o docker0 -j MASQUERADE", Perhaps; "neighbours outside")]
    #[test_case("-A POSTROUTING -s 203.0.113.0/24 -o docker0 -j MASQUERADE", Perhaps; "some of the internet")]
    #[test_case("-A POSTROUTING -s 192.0.2.1/32 -o docker0 -j SNAT --to-source 172.17.0.1", No; "this machine")]
    #[test_case("\t\tip saddr @inside oifname \"docker0\" masquerade", Perhaps; "nft a set of senders")]
    #[test_case("\t\tip saddr { 10.9.0.0/24, 172.17.0.0/16 } masquerade", No; "nft senders of the inside")]
    #[test_case("-A POSTROUTING -o eth0 -j MASQUERADE", No; "what goes out")]
    #[test_case("-A POSTROUTING -o eth+ -j MASQUERADE", No; "what goes out by a pattern")]
    #[test_case("\t\toif 7 masquerade", Perhaps; "nft an interface that is gone")]
    #[test_case("-A POSTROUTING ! -o docker0 -j MASQUERADE", No; "what goes out elsewhere")]
    #[test_case("\t\toifname != \"wg0\" masquerade", Yes; "nft what goes out elsewhere, and to a PBX")]
    #[test_case("\t\toifname != \"lo\" masquerade", Yes; "nft everything but loopback")]
    #[test_case("-A POSTROUTING -o docker0 -j MASQUERADE", Yes; "what comes in")]
    #[test_case("-A POSTROUTING -o docker+ -j MASQUERADE", Yes; "what comes in by a pattern")]
    #[test_case("-A POSTROUTING -o br-+ -j MASQUERADE", Perhaps; "a pattern that fits nothing")]
    #[test_case("\t\toifname \"docker*\" masquerade", Yes; "nft what comes in by a pattern")]
    #[test_case("\t\toifname @inner masquerade", Perhaps; "nft a set of interfaces")]
    #[test_case("\t\toifname . ip daddr { \"wg0\" . 10.9.0.1 } masquerade", Perhaps; "nft a set of pairs")]
    #[test_case("-A POSTROUTING -o br9 -j MASQUERADE", Perhaps; "an interface that is not there")]
    #[test_case("-A POSTROUTING -j MASQUERADE", Yes; "everything")]
    #[test_case("-A POSTROUTING -m mark --mark 0x4000/0x4000 -j MASQUERADE", Perhaps; "what is marked")]
    #[test_case("-A POSTROUTING -d 10.0.0.5/32 -p udp -m udp --dport 5060 -j SNAT --to-source 10.0.0.1", Yes; "the port of SIP")]
    #[test_case("-A POSTROUTING -p udp -m multiport --dports 443,5061 -j SNAT --to-source 10.0.0.1", Yes; "a list of ports")]
    #[test_case("-A POSTROUTING -p udp -m multiport --dports 443,5000:5100 -j SNAT --to-source 10.0.0.1", Yes; "a list with a range")]
    #[test_case("-A POSTROUTING -p udp -m multiport ! --dports 443 -j SNAT --to-source 10.0.0.1", Yes; "all but another port")]
    #[test_case("-A POSTROUTING -d 172.17.0.2/32 -p udp -m udp --dport 15060 -j MASQUERADE", Yes; "the port to which SIP is forwarded")]
    #[test_case("-A POSTROUTING -d 10.0.0.5/32 -p tcp -m tcp --dport 80 -j SNAT --to-source 10.0.0.1", No; "another port")]
    #[test_case("\t\toifname \"docker0\" counter packets 0 bytes 0 masquerade", Yes; "nft what comes in")]
    #[test_case("\t\tiifname \"wg0\" oifname \"docker0\" masquerade", No; "nft what comes from the inside")]
    #[test_case("\t\toifname { \"docker0\", \"eth0\" } masquerade", Yes; "nft with the outer one")]
    #[test_case("\t\toifname { \"wg0\", \"eth0\" } masquerade", No; "nft without the PBX")]
    #[test_case("\t\toifname != \"br0\" ip saddr 172.17.0.0/16 masquerade", No; "nft dockers own")]
    #[test_case("\t\tip daddr 10.0.0.5 udp dport 5060 snat to 10.0.0.1", Yes; "nft the port of SIP")]
    #[test_case("-A INPUT -p udp -m udp --dport 5060 -j SNAT --to-source 10.0.0.1", Yes; "what comes to this machine itself")]
    #[test_case("-A INPUT -p udp -m comment --comment \"SNAT is elsewhere\" -j ACCEPT", No; "no translation")]
    fn beside_a_container_with_a_pbx_a_rule_hides_callers(rule: &str, expected: Told) {
        assert_eq!(told(&facts(&[TO_ANOTHER_PORT, rule])), expected);
    }

    #[test_case(&["-A POSTROUTING -s 172.17.0.0/16 -j CNI", "-A CNI ! -d 224.0.0.0/4 -j MASQUERADE"], No; "of a container")]
    #[test_case(&["-A POSTROUTING -j KUBE", "-A KUBE -j MASQUERADE"], Perhaps; "of all")]
    #[test_case(&["-A POSTROUTING -o eth0 -j UP", "-A UP -j OUT", "-A OUT -j MASQUERADE"], No; "by another one")]
    #[test_case(&["-A UP -j UP", "-A UP -j MASQUERADE"], Perhaps; "of a ring")]
    #[test_case(&["-A UNUSED -j MASQUERADE"], No; "to which nothing leads")]
    #[test_case(&["\t\tjump own\n\t}\n\tchain own {\n\t\tmasquerade"], Perhaps; "nft of all")]
    fn a_chain_of_somebodys_own_hides_callers(rules: &[&str], expected: Told) {
        assert_eq!(told(&facts(rules)), expected);
    }

    const HIDES_IN_TUNNEL: &str = "-A POSTROUTING -o wg0 -j MASQUERADE";

    #[test_case("", "10.9.0.0/24", No; "nothing is forwarded")]
    #[test_case("-A PREROUTING -p udp -m udp --dport 5060 -j DNAT --to-destination 10.9.0.2:5060", "10.9.0.0/24", Yes; "the port of SIP is forwarded there")]
    #[test_case("-A PREROUTING -p udp -m udp --dport 5060:5080 -j DNAT --to-destination 10.9.0.2", "10.9.0.0/24", Yes; "a range of ports is")]
    #[test_case("-A PREROUTING -p udp -m udp --dport 5060 -j DNAT --to-destination 172.17.0.2:5060", "10.9.0.0/24", No; "it is forwarded elsewhere")]
    #[test_case("-A PREROUTING -p tcp -m tcp --dport 443 -j DNAT --to-destination 10.9.0.2", "10.9.0.0/24", No; "another port is forwarded")]
    #[test_case("\t\tudp dport { 5060, 5061 } dnat ip6 to [fd09::2]:5060", "fd09::/64", Yes; "nft forwards there")]
    #[test_case("\t\tudp dport 5060 dnat to numgen inc mod 2 map { 0 : 10.8.0.2, 1 : 10.8.0.3 }", "10.9.0.0/24", Perhaps; "it is not told whither")]
    #[test_case("", "198.51.100.0/24", Yes; "public addresses are there")]
    #[test_case("", "100.64.0.0/10", No; "shared addresses are there")]
    #[test_case("", "0.0.0.0/0", Perhaps; "a tunnel for everything is there")]
    fn a_rule_for_an_inner_interface_hides_callers(rule: &str, there: &str, expected: Told) {
        let mut facts = facts(&[HIDES_IN_TUNNEL, rule, HIDES_IN_TUNNEL]);
        facts.routes.routes.push(route(there, "wg0"));
        assert_eq!(told(&facts), expected);
        let found = &judge(&facts)[0].found;
        let is_named = found.contains("-o wg0") && found.contains("(2 times)");
        assert_eq!(is_named, expected != No, "{found}");
    }

    #[test]
    fn private_networks_outside_may_be_routed_to_inner_ones() {
        let mut facts = facts(&[HIDES_IN_TUNNEL]);
        facts.routes.routes.push(route("169.254.0.0/16", "eth0"));
        assert_eq!(told(&facts), No);
        facts.routes.routes.push(route("10.0.0.0/8", "eth0"));
        assert_eq!(told(&facts), Perhaps);
        let check = &judge(&facts)[0];
        assert!(check.found.contains("callers of 10.0.0.0/8"), "{check:?}");
        // Where nothing is forwarded, nobody is.
        facts.forwards = false;
        assert_eq!(told(&facts), No);
    }

    #[test]
    fn a_gateway_in_a_private_network_is_no_network_outside() {
        let mut facts = facts(&[HIDES_IN_TUNNEL]);
        facts.routes.routes[0].gateway = Some("172.31.1.1".parse().unwrap());
        facts.routes.routes[1] = route("172.31.1.1/32", "eth0");
        assert_eq!(told(&facts), No);
    }

    #[test_case(|facts| facts.has_ipvs = true; "services of IPVS")]
    #[test_case(|facts| facts.routes.own.clear(); "no public address outside")]
    #[test_case(|facts| facts.outer.clear(); "no interface outside")]
    #[test_case(|facts| facts.routes.routes.retain(|it| it.interface != "wg0"); "no route inside")]
    fn where_this_is_so_an_inner_interface_may_be_reached(change: fn(&mut Facts)) {
        let mut facts = facts(&[HIDES_IN_TUNNEL]);
        assert_eq!(told(&facts), No);
        change(&mut facts);
        assert_eq!(told(&facts), Perhaps);
    }

    #[test]
    fn rules_that_cannot_be_read_are_unknown() {
        const SAVED: &str = "# Generated by iptables-save v1.8.9 (nf_tables) on Mon Nov 23\n";
        let refused = || Err(Trouble::Refused("Operation not permitted".to_owned()));
        let saved = |text: &str| [Ok(text.to_owned()), Ok(text.to_owned())];
        let listed = Ok(String::new());
        assert_eq!(unread(&saved(SAVED), &listed, &[false, false]), [""; 0]);
        assert_eq!(
            unread(
                &saved("# by iptables-save v1.8.9\n"),
                &listed,
                &[true, true]
            ),
            [""; 0]
        );
        // nft shows what iptables keeps in nf_tables.
        let missing = [Err(Trouble::Missing), Err(Trouble::Missing)];
        assert_eq!(unread(&missing, &listed, &[false, false]), [""; 0]);
        for (saved, listed, legacy) in [
            (saved(SAVED), listed.clone(), [true, false]),
            (missing, listed.clone(), [false, true]),
            (saved(SAVED), Err(Trouble::Missing), [false, false]),
            (saved(SAVED), refused(), [false, false]),
            ([refused(), Ok(String::new())], listed, [false, false]),
        ] {
            let unread = unread(&saved, &listed, &legacy);
            assert_eq!(unread.len(), 1, "{unread:?}");
            let facts = Facts {
                unread,
                ..facts(&[])
            };
            assert_eq!(state(&facts), State::Unknown);
        }
    }

    #[test_case("0.0.0.0", 5060, &[TO_CONTAINER], State::Ok; "beside a rule")]
    #[test_case("0.0.0.0", 5060, &["\t\tudp dport 5060 dnat ip to 172.17.0.2:5060"], State::Ok; "beside a rule of nft")]
    #[test_case("0.0.0.0", 5060, &[], State::Warning; "alone")]
    #[test_case("::", 5060, &[TO_CONTAINER], State::Warning; "alone over IPv6")]
    #[test_case("127.0.0.1", 5060, &[], State::Ok; "for this machine")]
    #[test_case("0.0.0.0", 80, &[], State::Ok; "for something else")]
    fn a_proxy_of_docker_is(host: &str, port: u16, rules: &[&str], expected: State) {
        let facts = Facts {
            proxies: vec![waiting(host, port)],
            ..facts(rules)
        };
        assert_eq!(state(&facts), expected);
    }

    fn waiting(host: &str, port: u16) -> Proxy {
        let line = format!(
            "/usr/bin/docker-proxy\0-proto\0udp\0-host-ip\0{host}\0-host-port\0{port}\0\
             -container-ip\x00172.17.0.2\0-container-port\0{port}\0"
        );
        proxy(line.as_bytes()).unwrap()
    }

    #[test]
    fn whether_anything_comes_to_a_proxy_only_the_rules_tell() {
        for is_root in [false, true] {
            let facts = Facts {
                is_root,
                unread: vec!["nft (Operation not permitted)".to_owned()],
                proxies: vec![waiting("0.0.0.0", 5060)],
                ..facts(&[])
            };
            let checks = judge(&facts);
            let states: Vec<State> = checks.iter().map(|check| check.state).collect();
            assert_eq!(states, [State::Unknown; 2], "{checks:#?}");
            assert!(
                checks[0].found.contains("port 5060 of 0.0.0.0"),
                "{checks:#?}"
            );
        }
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
