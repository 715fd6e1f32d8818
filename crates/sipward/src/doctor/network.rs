//! The interfaces to guard: that they are there, how XDP goes on them, and whose program is there.

use std::{fs, path::Path};

use serde_json::Value;
use sipward_engine::escape_at_most;

use super::{Check, INSTEAD, State, programs};
use crate::{control::api, daemon::default_interfaces};

/// The name of our program in the kernel.
const OURS: &str = "shield";

/// Drivers with XDP of their own in Linux 6.1; devices that are no hardware are not among them,
/// because generic XDP is cheaper there.
const NATIVE: &[&str] = &[
    "atlantic",
    "bnxt_en",
    "cpsw",
    "cpsw-switch",
    "dpaa2-eth",
    "ena",
    "fec",
    "fsl_dpa",
    "fsl_enetc",
    "gve",
    "hv_netvsc",
    "i40e",
    "iavf",
    "ice",
    "igb",
    "igc",
    "ixgbe",
    "ixgbevf",
    "mana",
    "mlx4_core",
    "mlx4_en",
    "mlx5_core",
    "mvneta",
    "mvpp2",
    "nfp",
    "nicvf",
    "octeontx2-nicpf",
    "qede",
    "rvu_nicpf",
    "sfc",
    "st_gmac",
    "stmmaceth",
    "tsnep",
    "virtio_net",
    "xen-netfront",
];

/// An interface as the kernel shows it.
pub(super) struct Interface {
    pub name: String,
    /// False where there is none of that name.
    pub exists: bool,
    /// Whether a cable or its like is there (`IFF_LOWER_UP`).
    pub carrier: bool,
    /// Whether its packets begin with an Ethernet header, without which XDP has nothing to judge.
    pub is_ethernet: bool,
    /// The driver, else the kind of the device (`veth`, `bridge`).
    pub driver: Option<String>,
    pub program: Program,
}

/// The XDP program on an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Program {
    Nobodys,
    /// Its id, and its name where the kernel tells it.
    Attached(u64, Option<String>),
    /// `ip` could not say.
    Unknown,
}

/// Those of these names, or where there are none, those of the default routes.
pub(super) fn look(names: &[String]) -> Vec<Interface> {
    let names = match names {
        [] => default_interfaces(),
        names => names.to_vec(),
    };
    names.into_iter().map(one).collect()
}

fn one(name: String) -> Interface {
    let folder = Path::new("/sys/class/net").join(&name);
    let driver = fs::read_link(folder.join("device/driver")).ok();
    let driver = driver.and_then(|path| Some(path.file_name()?.to_str()?.to_owned()));
    let said = programs::run("ip", &["-json", "-details", "link", "show", "dev", &name]);
    let link = said
        .ok()
        .and_then(|said| serde_json::from_str::<Value>(&said).ok());
    let link = link.as_ref().and_then(|links| links.get(0));
    Interface {
        exists: link.is_some() || nix::net::if_::if_nametoindex(name.as_str()).is_ok(),
        carrier: link.is_none_or(has_carrier),
        is_ethernet: link.is_none_or(is_ethernet),
        // What is no hardware has a kind, and what /sys shows may be of another namespace.
        driver: link
            .and_then(|link| Some(link["linkinfo"]["info_kind"].as_str()?.to_owned()))
            .or(driver),
        program: link.map_or(Program::Unknown, program),
        name,
    }
}

fn has_carrier(link: &Value) -> bool {
    let flags = link["flags"].as_array();
    flags.is_none_or(|flags| flags.iter().any(|flag| flag == "LOWER_UP"))
}

/// `none` for tun and WireGuard, `ppp`, and others.
fn is_ethernet(link: &Value) -> bool {
    let kind = link["link_type"].as_str();
    kind.is_none_or(|kind| ["ether", "loopback"].contains(&kind))
}

/// `xdp` of `ip -json link show`: one program, or a list where native and generic are both there.
fn program(link: &Value) -> Program {
    let xdp = &link["xdp"];
    let attached = xdp["attached"].get(0).unwrap_or(xdp);
    let program = &attached["prog"];
    match program["id"].as_u64() {
        Some(id) => Program::Attached(id, program["name"].as_str().map(str::to_owned)),
        None if xdp.is_null() => Program::Nobodys,
        None => Program::Unknown,
    }
}

/// `guarded`: the interfaces that a running daemon guards; `has_fallback`: where XDP cannot be,
/// nftables guards.
pub(super) fn judge(
    interfaces: &[Interface],
    guarded: &[&api::Interface],
    has_fallback: bool,
) -> Vec<Check> {
    if interfaces.is_empty() {
        let found = "no default route, and no interface in the configuration";
        let advice = "interfaces = [\"eth0\"]";
        return vec![Check::new("interface", State::Failed, found, advice)];
    }
    let mut checks = Vec::new();
    for interface in interfaces {
        checks.push(presence(interface, has_fallback));
        if interface.exists {
            let guard = Guard::of(&interface.name, guarded);
            checks.push(occupation(interface, guard, has_fallback));
        }
    }
    checks
}

/// With what a running daemon guards an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Guard {
    Nobody,
    Xdp,
    Nftables,
}

impl Guard {
    /// `guarded`: as for [`judge`].
    pub(super) fn of(name: &str, guarded: &[&api::Interface]) -> Self {
        let guard = guarded.iter().find(|it| it.name == name);
        match guard.map(|it| &it.xdp_mode) {
            None => Self::Nobody,
            Some(Some(_)) => Self::Xdp,
            Some(None) => Self::Nftables,
        }
    }
}

fn presence(interface: &Interface, has_fallback: bool) -> Check {
    let name = &interface.name;
    if !interface.exists {
        let found = format!("no interface {name:?} here");
        return Check::new("interface", State::Failed, found, "ip link");
    }
    if !interface.carrier {
        let found = format!("{name} has no carrier: no packet comes");
        return Check::new(
            "interface",
            State::Warning,
            found,
            format!("ip link set {name} up"),
        );
    }
    if !interface.is_ethernet {
        let found = format!("{name} is a tunnel or the like, which XDP cannot judge");
        if has_fallback {
            let advice = "nothing, if it is to be this one: of a scanner the first message passes, and bans it";
            return Check::new("interface", State::Warning, found + INSTEAD, advice);
        }
        return Check::new("interface", State::Failed, found, "backend = \"auto\"");
    }
    let found = match interface.driver.as_deref() {
        Some(driver) if NATIVE.contains(&driver) => {
            format!("{name}, driver {driver}: takes native XDP")
        }
        Some(driver) => format!("{name}, driver {driver}: takes generic XDP"),
        None => format!("{name}: takes generic XDP at least"),
    };
    Check::ok("interface", found)
}

fn occupation(interface: &Interface, guard: Guard, has_fallback: bool) -> Check {
    let name = &interface.name;
    let check = |state, found: String, advice: String| Check::new("xdp", state, found, advice);
    match (&interface.program, guard) {
        (Program::Nobodys, Guard::Xdp) => {
            let found =
                format!("{name}: the daemon says that it guards it, and no program is there");
            check(State::Failed, found, "restart the daemon".to_owned())
        }
        (Program::Nobodys, Guard::Nftables) => Check::ok(
            "xdp",
            format!("{name}: no XDP program on it; nftables guards"),
        ),
        (Program::Nobodys, Guard::Nobody) => {
            Check::ok("xdp", format!("{name}: no XDP program on it yet"))
        }
        (Program::Unknown, _) => {
            let found = format!("{name}: `ip` does not say whether an XDP program is there");
            check(
                State::Unknown,
                found,
                format!("ip -details link show dev {name}"),
            )
        }
        (Program::Attached(id, _), Guard::Xdp) => {
            Check::ok("xdp", format!("{name}: sipward's program (id {id})"))
        }
        (Program::Attached(id, Some(program)), _) if program == OURS => {
            let found = format!(
                "{name}: sipward's program (id {id}) of a daemon that is gone; its bans lapse by \
                 themselves, new ones do not come"
            );
            check(State::Warning, found, "sipward run".to_owned())
        }
        (Program::Attached(id, program), _) => {
            let program = program.as_deref().unwrap_or("without a name");
            let program = escape_at_most(program.as_bytes(), 40);
            let found = format!(
                "{name}: another XDP program is there, {program} (id {id}); sipward never evicts it"
            );
            let advice = format!("end what attached it, or: ip link set dev {name} xdp off");
            if has_fallback {
                return check(State::Warning, found + INSTEAD, advice);
            }
            check(State::Failed, found, advice)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use test_case::test_case;

    #[test_case(&json!({"ifname": "eth0"}), &Program::Nobodys; "none")]
    #[test_case(&json!({"xdp": {"mode": 2, "prog": {"id": 7, "name": "shield", "tag": "a"}}}),
        &Program::Attached(7, Some("shield".to_owned())); "one")]
    #[test_case(&json!({"xdp": {"mode": 1, "prog": {"id": 7}}}), &Program::Attached(7, None); "without a name")]
    #[test_case(&json!({"xdp": {"mode": 4, "attached": [{"mode": 1, "prog": {"id": 9, "name": "x"}}]}}),
        &Program::Attached(9, Some("x".to_owned())); "a list")]
    #[test_case(&json!({"xdp": {"mode": 1}}), &Program::Unknown; "no program told")]
    fn the_program_is(link: &Value, expected: &Program) {
        assert_eq!(program(link), *expected);
    }

    fn interface(program: Program) -> Interface {
        Interface {
            name: "eth0".to_owned(),
            exists: true,
            carrier: true,
            is_ethernet: true,
            driver: Some("virtio_net".to_owned()),
            program,
        }
    }

    fn attached(name: &str) -> Program {
        Program::Attached(7, Some(name.to_owned()))
    }

    #[test_case(Program::Nobodys, Guard::Nobody, false, State::Ok; "free")]
    #[test_case(Program::Nobodys, Guard::Xdp, false, State::Failed; "lost")]
    #[test_case(Program::Nobodys, Guard::Nftables, true, State::Ok; "of nftables")]
    #[test_case(attached("shield"), Guard::Xdp, false, State::Ok; "guarded")]
    #[test_case(attached("shield"), Guard::Nobody, false, State::Warning; "left behind")]
    #[test_case(attached("xdp_pass"), Guard::Nobody, false, State::Failed; "somebody elses")]
    #[test_case(attached("xdp_pass"), Guard::Nftables, true, State::Warning; "somebody elses beside nftables")]
    #[test_case(Program::Unknown, Guard::Nobody, false, State::Unknown; "not told")]
    fn an_interface_is(program: Program, guard: Guard, has_fallback: bool, expected: State) {
        let mode = match guard {
            Guard::Nobody | Guard::Nftables => None,
            Guard::Xdp => Some("generic".to_owned()),
        };
        let by = api::Interface {
            name: "eth0".to_owned(),
            xdp_mode: mode,
            attached: true,
            note: None,
        };
        let guarded = if guard == Guard::Nobody {
            vec![]
        } else {
            vec![&by]
        };
        let checks = judge(&[interface(program)], &guarded, has_fallback);
        assert_eq!(checks[0].state, State::Ok);
        assert_eq!((checks[1].name, checks[1].state), ("xdp", expected));
    }

    #[test]
    fn nothing_to_guard_and_what_is_not_there_fail() {
        assert_eq!(judge(&[], &[], false)[0].state, State::Failed);
        let gone = Interface {
            exists: false,
            ..interface(Program::Unknown)
        };
        let checks = judge(&[gone], &[], false);
        assert_eq!((checks.len(), checks[0].state), (1, State::Failed));
        let unplugged = Interface {
            carrier: false,
            ..interface(Program::Nobodys)
        };
        assert_eq!(judge(&[unplugged], &[], false)[0].state, State::Warning);
    }

    #[test_case(json!({"link_type": "ether"}), true, State::Ok; "ethernet")]
    #[test_case(json!({}), true, State::Ok; "what ip does not tell")]
    #[test_case(json!({"link_type": "none"}), true, State::Warning; "a tunnel that nftables guards")]
    #[test_case(json!({"link_type": "ppp"}), false, State::Failed; "a tunnel that nobody guards")]
    fn xdp_on_an_interface_is(link: Value, has_fallback: bool, expected: State) {
        let interface = Interface {
            is_ethernet: is_ethernet(&link),
            ..interface(Program::Nobodys)
        };
        assert_eq!(judge(&[interface], &[], has_fallback)[0].state, expected);
    }

    #[test]
    fn the_name_of_a_strange_program_is_made_harmless() {
        let checks = judge(&[interface(attached("\x1b[2J"))], &[], false);
        assert!(checks[1].found.contains("\\x1b[2J"), "{}", checks[1].found);
    }
}
