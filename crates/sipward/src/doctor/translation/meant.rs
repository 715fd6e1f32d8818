//! For whom a rule of source NAT is: every condition of it can except callers from outside, and where
//! one cannot be judged, nobody is said to be safe.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{
    Facts,
    routes::is_public,
    rules::{Forwards, Rule},
};

/// So many chains are followed back to where packets come in.
const DEEPEST: usize = 8;
/// Conditions by which a rule is for what another one has chosen.
const CHOSEN: &[&str] = &["mark", "--mark", "--match-set", "--pol"];

/// For whom, and the less that is known the more.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Meant {
    /// Not for what comes in from outside.
    NoCaller,
    /// What keeps from telling.
    Unknown(String),
    Callers,
}

impl Meant {
    pub fn of(rule: &Rule, facts: &Facts) -> Self {
        within(rule, facts, DEEPEST)
    }
}

fn within(rule: &Rule, facts: &Facts, depth: usize) -> Meant {
    let own = conditions(rule, facts);
    let come = match rule.hook.as_deref() {
        Some("input") => Meant::Callers,
        Some(_) if facts.forwards => Meant::Callers,
        Some(_) => Meant::NoCaller,
        None if own == Meant::NoCaller => Meant::NoCaller,
        None => {
            let chain = &rule.chain;
            let unknown = Meant::Unknown(format!(
                "what comes into the chain {chain} other rules decide"
            ));
            let jumps = facts.rules.iter().filter(|jump| jump.leads_to(rule));
            let come = jumps.map(|jump| match depth {
                0 => Meant::Callers,
                _ => within(jump, facts, depth - 1),
            });
            // A chain to which nothing leads is not in use.
            come.max().unwrap_or(Meant::NoCaller).min(unknown)
        }
    };
    own.min(come)
}

/// All of them have to fit.
fn conditions(rule: &Rule, facts: &Facts) -> Meant {
    let all = [
        senders(rule, facts),
        way_in(rule, facts),
        ports(rule, facts),
        chosen(rule),
        way_out(rule, facts),
    ];
    all.into_iter().min().unwrap_or(Meant::Callers)
}

/// Senders of the inside only.
fn senders(rule: &Rule, facts: &Facts) -> Meant {
    let Some(wanted) = rule.wanted(&["-s", "--source", "saddr"]) else {
        return Meant::Callers;
    };
    if wanted.is_negated {
        return Meant::Callers;
    }
    let all = wanted.values.iter().map(|value| {
        let address = value.parse::<IpAddr>().map(IpNet::from);
        match value.parse().or(address) {
            Ok(net) => of_net(net, facts),
            Err(_) => Meant::Unknown(format!("which senders {value:?} has it does not show")),
        }
    });
    all.max().unwrap_or(Meant::Callers)
}

fn of_net(net: IpNet, facts: &Facts) -> Meant {
    if net.prefix_len() <= 1 {
        return Meant::Callers;
    }
    let mut own = facts.routes.own.iter();
    if own.any(|(address, _)| net == IpNet::from(*address)) {
        return Meant::NoCaller;
    }
    let is_outer = |name: &String| facts.outer.contains(name);
    let mut outside = facts
        .routes
        .routes
        .iter()
        .filter(|it| is_outer(&it.interface) && !it.is_default());
    if let Some(there) = outside.find(|it| net.contains(&it.net) || it.net.contains(&net)) {
        let (there, interface) = (there.net, &there.interface);
        return Meant::Unknown(format!(
            "callers of {there}, which is outside at {interface}, are among {net}"
        ));
    }
    let inner = facts.routes.to(net.addr()).filter(|it| !it.is_default());
    if inner.is_some() || !is_public(net.addr()) {
        return Meant::NoCaller;
    }
    Meant::Unknown(format!(
        "callers may be among {net}, a public network that is not behind this machine"
    ))
}

/// What has come in by an inner interface only.
fn way_in(rule: &Rule, facts: &Facts) -> Meant {
    let wanted = rule.wanted(&["-i", "--in-interface", "iifname", "iif"]);
    let is_inner =
        |name: &&str| is_known(name, facts) && !facts.outer.iter().any(|outer| outer == name);
    match wanted {
        Some(wanted) if !wanted.is_negated && wanted.values.iter().all(is_inner) => Meant::NoCaller,
        Some(_) | None => Meant::Callers,
    }
}

/// Ports of something else only: neither those of SIP, nor those to which they are forwarded.
fn ports(rule: &Rule, facts: &Facts) -> Meant {
    let forwarded = facts
        .rules
        .iter()
        .filter_map(|rule| match rule.forwards(&facts.ports) {
            Forwards::To(_, port) => port,
            Forwards::Somewhere | Forwards::Nothing => None,
        });
    let ports: Vec<u16> = facts.ports.iter().copied().chain(forwarded).collect();
    if rule.may_be_for(&ports) {
        return Meant::Callers;
    }
    Meant::NoCaller
}

fn chosen(rule: &Rule) -> Meant {
    if rule.has(CHOSEN) {
        return Meant::Unknown(
            "which packets have its mark, or are in its set, it does not show".to_owned(),
        );
    }
    Meant::Callers
}

/// What leaves by an interface to which no caller comes.
fn way_out(rule: &Rule, facts: &Facts) -> Meant {
    let Some(wanted) = rule.wanted(&["-o", "--out-interface", "oifname", "oif"]) else {
        return Meant::Callers;
    };
    let values = wanted.values.iter();
    if let Some(why) = values.clone().find_map(|word| is_no_name(word)) {
        return Meant::Unknown(why);
    }
    if wanted.is_negated {
        let is_excepted = |name: &&String| wanted.values.iter().any(|pattern| fits(pattern, name));
        let others = facts.interfaces.iter().filter(|name| !is_excepted(name));
        return others
            .map(|name| by(name, facts))
            .max()
            .unwrap_or(Meant::NoCaller);
    }
    let one = |pattern: &&str| {
        let fitting = facts.interfaces.iter().filter(|name| fits(pattern, name));
        let unknown = || Meant::Unknown(format!("no interface is called {pattern:?} now"));
        fitting
            .map(|name| by(name, facts))
            .max()
            .unwrap_or_else(unknown)
    };
    values.map(one).max().unwrap_or(Meant::Callers)
}

/// What keeps from telling which interfaces a word is: a set, a map, an index.
fn is_no_name(word: &str) -> Option<String> {
    if word.starts_with('@') {
        return Some(format!("which interfaces are in {word} it does not show"));
    }
    if [".", "map", "vmap"].contains(&word) {
        return Some("its interfaces are in a map, or in a set with something else".to_owned());
    }
    let index: u32 = word.parse().ok()?;
    Some(format!("no interface here has the index {index}"))
}

/// `docker+` of iptables and `docker*` of nftables are all interfaces whose names begin so.
fn fits(pattern: &str, name: &str) -> bool {
    let beginning = pattern.strip_suffix(['+', '*']);
    beginning.map_or(pattern == name, |beginning| name.starts_with(beginning))
}

fn is_known(name: &str, facts: &Facts) -> bool {
    facts.interfaces.iter().any(|known| known == name)
}

/// Whether callers leave by this interface: a rule forwards a port of SIP to an address there, or they
/// are routed there.
fn by(interface: &str, facts: &Facts) -> Meant {
    let forwarded = |rule: &&Rule| match rule.forwards(&facts.ports) {
        Forwards::To(address, _) => facts
            .routes
            .to(address)
            .is_some_and(|it| it.interface == interface),
        Forwards::Somewhere | Forwards::Nothing => false,
    };
    if facts.rules.iter().any(|rule| forwarded(&rule)) {
        return Meant::Callers;
    }
    if interface == "lo" || facts.outer.iter().any(|outer| outer == interface) {
        return Meant::NoCaller;
    }
    let mut routes = facts.routes.by(interface).peekable();
    if routes.peek().is_none() {
        return Meant::Unknown(format!("no route leads by {interface} now"));
    }
    let (defaults, nets): (Vec<_>, Vec<_>) = routes.partition(|route| route.is_default());
    if nets.iter().any(|route| is_public(route.net.addr())) {
        return Meant::Callers;
    }
    if !defaults.is_empty() {
        return Meant::Unknown(format!("a default route leads by {interface}"));
    }
    let somewhere = |rule: &&Rule| rule.forwards(&facts.ports) == Forwards::Somewhere;
    if let Some(rule) = facts.rules.iter().find(somewhere) {
        return Meant::Unknown(format!(
            "whether {:?} forwards SIP to {interface} its text does not tell",
            rule.text
        ));
    }
    if facts.has_ipvs {
        return Meant::Unknown(format!(
            "whether IPVS forwards SIP to {interface} no rule tells"
        ));
    }
    if let Some(route) = facts.routes.private_by(&facts.outer) {
        let (net, outer) = (route.net, &route.interface);
        return Meant::Unknown(format!(
            "no rule forwards SIP to {interface}, and yet callers of {net}, outside at {outer}, may be \
             routed there"
        ));
    }
    if !facts.routes.are_public(&facts.outer) {
        return Meant::Unknown(format!(
            "from which networks callers are routed to {interface} is not known"
        ));
    }
    Meant::NoCaller
}
