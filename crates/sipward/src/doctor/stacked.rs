//! Interfaces that stand on others: what comes in by a VLAN, a bridge, a bond or a macvlan is judged
//! where the program or the rules are, above or below, and not everywhere sees all of it.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Check, State, network::Guard, programs};

const NAME: &str = "stacked";
/// Before it, nobody knows which of the two guards.
const AFTER_THE_START: &str =
    "sipward run, and then sipward doctor again: it says which of them guards";

/// An interface, and what it stands on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Link {
    pub name: String,
    /// `vlan`, `bridge`, `macvlan` …; none for hardware.
    kind: Option<String>,
    /// The interface whose packets it takes some of.
    below: Option<String>,
    /// The identifier of a VLAN.
    vlan: Option<u64>,
    /// What it is a port of.
    master: Option<String>,
}

/// All of this network namespace.
pub(super) fn look() -> Vec<Link> {
    let said = programs::run("ip", &["-json", "-details", "link", "show"]);
    links(&said.unwrap_or_default())
}

fn links(text: &str) -> Vec<Link> {
    let Ok(Value::Array(links)) = serde_json::from_str(text) else {
        return Vec::new();
    };
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let link = |link: &Value| {
        let info = &link["linkinfo"];
        let kind = text(&info["info_kind"]);
        let stands = |kind: &String| ["vlan", "macvlan", "ipvlan"].contains(&kind.as_str());
        // Of a veth, this is its other end.
        let below = kind.as_ref().filter(|kind| stands(kind));
        Some(Link {
            name: text(&link["ifname"])?,
            below: below.and_then(|_| text(&link["link"])),
            vlan: info["info_data"]["id"]
                .as_u64()
                .filter(|_| kind.as_deref() == Some("vlan")),
            master: text(&link["master"]),
            kind,
        })
    };
    links.iter().filter_map(link).collect()
}

/// What some interfaces are ports of.
pub(super) fn masters<'a>(links: &'a [Link], names: &[String]) -> impl Iterator<Item = &'a str> {
    let ports = links.iter().filter(|link| names.contains(&link.name));
    ports.filter_map(|link| link.master.as_deref())
}

/// `guards`: the interfaces to guard, and with what they are; nobody, where that is not known before the
/// start.
pub(super) fn judge(links: &[Link], guards: &[(&str, Guard)]) -> Vec<Check> {
    let find = |name: &str| links.iter().find(|link| link.name == name);
    let mut checks = Vec::new();
    for (name, guard) in guards {
        let Some(link) = find(name) else {
            continue;
        };
        checks.extend(twice(link, *guard, links, guards));
        checks.extend(vlan(link));
        checks.extend(above(link, *guard, links, guards));
        checks.extend(port(link, *guard, links, guards));
    }
    checks
}

/// The interfaces by which what comes in by this one has come in before.
fn under(link: &Link, links: &[Link]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut open = vec![link.name.clone()];
    while let Some(name) = open.pop() {
        let of_it = links.iter().filter(|other| other.name == name);
        let below = of_it.filter_map(|other| other.below.clone());
        let ports = links
            .iter()
            .filter(|other| other.master.as_ref() == Some(&name));
        for lower in below.chain(ports.map(|port| port.name.clone())) {
            if found.insert(lower.clone()) {
                open.push(lower);
            }
        }
    }
    found
}

/// Only XDP meets a packet on more than one interface.
fn twice(link: &Link, guard: Guard, links: &[Link], guards: &[(&str, Guard)]) -> Option<Check> {
    if guard == Guard::Nftables {
        return None;
    }
    let under = under(link, links);
    let mut others = guards.iter().map(|(name, _)| *name);
    let lower = others.find(|name| under.contains(*name))?;
    let name = &link.name;
    let found = format!(
        "{name} stands on {lower}, and both are to be guarded: XDP judges a packet on each of them, and \
         counts it twice for every limit"
    );
    let advice = format!("leave {name} or {lower} out of interfaces");
    Some(Check::new(NAME, State::Warning, found, advice))
}

fn vlan(link: &Link) -> Option<Check> {
    let (id, below) = (link.vlan?, link.below.as_ref()?);
    let found = format!(
        "{} is VLAN {id} of {below}: what comes in by {below} without a tag or in other VLANs is not \
         guarded by it",
        link.name
    );
    Some(Check::ok(NAME, found))
}

/// What stands on it.
fn above(link: &Link, guard: Guard, links: &[Link], guards: &[(&str, Guard)]) -> Option<Check> {
    let stands = |other: &&Link| other.below.is_some() && under(other, links).contains(&link.name);
    let names: Vec<&str> = links
        .iter()
        .filter(stands)
        .map(|other| other.name.as_str())
        .collect();
    if names.is_empty() {
        return None;
    }
    let name = &link.name;
    let is_left = |other: &&&str| !guards.iter().any(|(guarded, _)| guarded == *other);
    let left: Vec<&str> = names.iter().filter(is_left).copied().collect();
    match guard {
        Guard::Xdp => {
            let names = names.join(", ");
            let found =
                format!("{names} on {name}: XDP on {name} judges what comes in by them, too");
            Some(Check::ok(NAME, found))
        }
        Guard::Nobody | Guard::Nftables if left.is_empty() => None,
        Guard::Nobody => {
            let left = left.join(", ");
            let found = format!(
                "{left} on {name}: XDP on {name} will judge what comes in by them, too; nftables, which \
                 guards where XDP cannot be, will not"
            );
            Some(Check::new(NAME, State::Warning, found, AFTER_THE_START))
        }
        Guard::Nftables => {
            let left = left.join(", ");
            let found = format!(
                "{left} on {name}: to nftables what comes in by them is not {name}'s, and nobody \
                 guards it"
            );
            let advice = format!("interfaces: add {left}; or --backend xdp");
            Some(Check::new(NAME, State::Warning, found, advice))
        }
    }
}

/// What it is a port of.
fn port(link: &Link, guard: Guard, links: &[Link], guards: &[(&str, Guard)]) -> Option<Check> {
    let (name, master) = (&link.name, link.master.as_ref()?);
    let kind = links
        .iter()
        .find(|other| other.name == *master)?
        .kind
        .as_deref()?;
    if !["bridge", "bond", "team"].contains(&kind) {
        return None;
    }
    if guard == Guard::Nftables {
        let found = format!(
            "{name} is a port of {kind} {master}: to nftables its packets are those of {master}"
        );
        let advice = format!("interfaces: {master} in the place of {name}; or --backend xdp");
        return Some(Check::new(NAME, State::Failed, found, advice));
    }
    if guard == Guard::Nobody {
        let found = format!(
            "{name} is a port of {kind} {master}: XDP guards it; nftables, which guards where XDP cannot \
             be, refuses it, because to it these packets are those of {master}"
        );
        let instead = format!("interfaces: {master} in the place of {name}");
        let advice = match kind {
            "bridge" => AFTER_THE_START,
            _ => instead.as_str(),
        };
        return Some(Check::new(NAME, State::Warning, found, advice));
    }
    let is_left = |other: &&Link| {
        other.master.as_ref() == Some(master)
            && !guards.iter().any(|(guarded, _)| *guarded == other.name)
    };
    let left = links
        .iter()
        .filter(is_left)
        .map(|other| other.name.as_str());
    let left: Vec<&str> = left.collect();
    if left.is_empty() {
        return None;
    }
    let left = left.join(", ");
    if kind == "bridge" {
        let found = format!(
            "{name} is a port of bridge {master}: all that comes in by it is judged, also what goes on \
             to other ports; what comes in by {left} is not"
        );
        return Some(Check::ok(NAME, found));
    }
    let found = format!(
        "{name} is a port of {kind} {master}: what comes in by its other ports ({left}) is not guarded"
    );
    let advice = format!("interfaces: {master} in the place of {name}");
    Some(Check::new(NAME, State::Warning, found, advice))
}

#[cfg(test)]
mod tests {
    use super::*;
    use test_case::test_case;

    fn link(name: &str, kind: &str, below: Option<&str>, master: Option<&str>) -> Link {
        Link {
            name: name.to_owned(),
            kind: Some(kind.to_owned()),
            below: below.map(str::to_owned),
            vlan: (kind == "vlan").then_some(42),
            master: master.map(str::to_owned),
        }
    }

    /// A VLAN on `eth0`, one in it, a bridge over `eth1` and `tap0`, a bond of `eth2` and `eth3`, a
    /// macvlan on that.
    fn machine() -> Vec<Link> {
        vec![
            link("eth0", "veth", None, None),
            link("eth0.7", "vlan", Some("eth0"), None),
            link("eth0.7.42", "vlan", Some("eth0.7"), None),
            link("br0", "bridge", None, None),
            link("eth1", "veth", None, Some("br0")),
            link("tap0", "tun", None, Some("br0")),
            link("bond0", "bond", None, None),
            link("eth2", "veth", None, Some("bond0")),
            link("eth3", "veth", None, Some("bond0")),
            link("mac0", "macvlan", Some("bond0"), None),
            link("eth4", "veth", None, None),
        ]
    }

    use Guard::{Nftables, Nobody, Xdp};

    #[test_case(&["eth4"], Xdp, &[]; "nothing on it")]
    #[test_case(&["eth0"], Xdp, &[(State::Ok, "eth0.7, eth0.7.42 on eth0: XDP on eth0 judges")]; "under VLANs")]
    #[test_case(&["eth0"], Nobody, &[(State::Warning, "eth0.7, eth0.7.42 on eth0: XDP on eth0 will judge what comes in by them, too; nftables")]; "before the start")]
    #[test_case(&["eth0", "eth0.7", "eth0.7.42"], Nobody, &[(State::Warning, "eth0.7 stands on eth0"), (State::Ok, "is VLAN 42"), (State::Warning, "eth0.7.42 stands on eth0"), (State::Ok, "is VLAN 42")]; "all before the start")]
    #[test_case(&["eth1"], Nobody, &[(State::Warning, "eth1 is a port of bridge br0: XDP guards it; nftables")]; "a port of a bridge before the start")]
    #[test_case(&["eth2"], Nobody, &[(State::Warning, "mac0 on eth2: XDP on eth2 will judge"), (State::Warning, "eth2 is a port of bond bond0: XDP guards it; nftables")]; "a port of a bond before the start")]
    #[test_case(&["eth0"], Nftables, &[(State::Warning, "eth0.7, eth0.7.42 on eth0: to nftables")]; "under VLANs with nftables")]
    #[test_case(&["eth0", "eth0.7", "eth0.7.42"], Nftables, &[(State::Ok, "eth0.7 is VLAN 42"), (State::Ok, "eth0.7.42 is VLAN 42")]; "all with nftables")]
    #[test_case(&["eth0.7.42"], Xdp, &[(State::Ok, "eth0.7.42 is VLAN 42 of eth0.7: what comes in by eth0.7 without")]; "a VLAN")]
    #[test_case(&["eth0", "eth0.7.42"], Xdp, &[(State::Ok, "judges"), (State::Warning, "eth0.7.42 stands on eth0, and both"), (State::Ok, "is VLAN 42")]; "both")]
    #[test_case(&["br0"], Xdp, &[]; "a bridge")]
    #[test_case(&["br0", "eth1"], Xdp, &[(State::Warning, "br0 stands on eth1"), (State::Ok, "eth1 is a port of bridge br0")]; "a bridge and its port")]
    #[test_case(&["eth1"], Xdp, &[(State::Ok, "what comes in by tap0 is not")]; "a port of a bridge")]
    #[test_case(&["eth1"], Nftables, &[(State::Failed, "those of br0")]; "a port of a bridge with nftables")]
    #[test_case(&["eth2"], Xdp, &[(State::Ok, "mac0 on eth2"), (State::Warning, "other ports (eth3) is not guarded")]; "a port of a bond")]
    #[test_case(&["eth2"], Nftables, &[(State::Warning, "mac0 on eth2"), (State::Failed, "port of bond bond0")]; "a port of a bond with nftables")]
    #[test_case(&["bond0"], Xdp, &[(State::Ok, "mac0 on bond0: XDP")]; "a bond")]
    #[test_case(&["bond0"], Nftables, &[(State::Warning, "mac0 on bond0: to nftables")]; "a bond under a macvlan with nftables")]
    #[test_case(&["eth9"], Nobody, &[]; "one that is not there")]
    fn an_interface_is(names: &[&str], guard: Guard, expected: &[(State, &str)]) {
        let guards: Vec<(&str, Guard)> = names.iter().map(|name| (*name, guard)).collect();
        let checks = judge(&machine(), &guards);
        assert_eq!(checks.len(), expected.len(), "{checks:#?}");
        for (check, (state, part)) in checks.iter().zip(expected) {
            assert!(
                check.state == *state && check.found.contains(part),
                "{check:#?}"
            );
        }
    }

    #[test]
    fn links_are_read() {
        let text = r#"[{"ifname":"eth0","link":"if7","link_netnsid":0,"linkinfo":{"info_kind":"veth"}},
            {"ifname":"eth0.42","link":"eth0","master":"br0","linkinfo":{"info_kind":"vlan",
             "info_data":{"protocol":"802.1Q","id":42},"info_slave_kind":"bridge"}},
            {"ifname":"ens3"}]"#;
        let expected = [
            link("eth0", "veth", None, None),
            link("eth0.42", "vlan", Some("eth0"), Some("br0")),
            Link {
                name: "ens3".to_owned(),
                ..Link::default()
            },
        ];
        assert_eq!(links(text), expected);
    }
}
