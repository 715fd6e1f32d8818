//! The policy as text for `nft`: the same questions in the same order as the kernel program's.
//!
//! ```text
//!  prerouting, -450 ─► ipv4 / ipv6 ─► allowed? ─► banned? ─► later fragment? follows? ─► port
//!        sip: banned in scope sip? ─► trusted? ─► tiny fragment? ─► answer? request? ─► unknown
//! ```
//!
//! What differs from the kernel program:
//! - no signatures: the daemon looks for them in what the tap logs;
//! - a table of sources that is full takes no new one, where the other forgets the oldest: sources
//!   beyond 131,072 in half a minute have no bucket of their own, but share that of all strangers, and
//!   a stranger gets no further beside some 2,000 refusals a second; a first fragment is remembered
//!   for 3 s, so that it takes 20,000 a second to fill that table;
//! - a retransmission is known again by the datagram's length and checksum, over TCP by its ports;
//!   a repeated packet less than 0.4 s after the first is refused even where others came between;
//! - ends of bans stand still while the machine sleeps; the daemon lifts what has lapsed;
//! - a limit refills at once where the policy changes.

mod limits;

use std::fmt::Write as _;

use self::limits::{
    ANSWERS, Bucket, bare, first_fragments, later_fragments, pair, strangers, take,
};
use super::{
    EVENTS_GROUP, TABLE, TAP_GROUP,
    interfaces::Called,
    sets::{Family, Purpose, Set, Shape},
};
use crate::{Limits, Mode, Over, Policy, PortClass, Reason, Scope, TapPorts};

/// Names the chain that tells whose table it is, and of which layout.
pub const LAYOUT: &str = "sipward-layout-2";
/// Begins the names of those of all layouts.
pub const ANY_LAYOUT: &str = "sipward-layout-";
/// The chains of the tap.
pub const TAP_CHAINS: [&str; 4] = ["behind", "outbound", "tapped", "logged"];
/// Where packets come in, once the policy is in force.
pub const ENTRY: &str = "prerouting";
/// Before connection tracking puts fragments together (-400): behind it there are none to judge.
const BEFORE_DEFRAGMENTATION: i32 = -450;
/// Bytes of IPv4, UDP and 256 of payload: a first fragment of a stranger brings as many.
const FIRST_FRAGMENT_V4: u32 = 20 + 8 + 256;
/// The same over IPv6, where the length begins behind the first header: fragment header, UDP.
const FIRST_FRAGMENT_V6: u32 = 8 + 8 + 256;
/// What all families have a chain for.
const COMMON_CHAINS: [&str; 6] = [
    "unknown",
    "unknown-answers",
    "unknown-segments",
    "fragments",
    "refused",
    "retransmitted",
];
/// What each family has its own chain for.
const FAMILY_CHAINS: [&str; 17] = [
    "judge",
    "udp",
    "tcp",
    "sip-udp",
    "sip-tcp",
    "bare",
    "acknowledged",
    "fragments",
    "opaque",
    "tripwire",
    "ssh",
    "known",
    "answers",
    "over",
    "reject",
    "refused-udp",
    "refused-tcp",
];
/// In a logged packet's prefix in the place of the reason: dropped for its rate, and to be rejected.
pub const REJECT: &str = "reject";
/// Bans in one set at most.
pub const BANS_MAX: u32 = 1_048_576;

/// Everything but bans, allowlist, trusted sources and the entry; without a policy nothing is
/// judged by it.
pub fn table() -> String {
    let mut text = format!("add table inet {TABLE}\nadd chain inet {TABLE} {LAYOUT}\n");
    for reason in Reason::ALL {
        for name in [passed(*reason), dropped(*reason)] {
            line(&mut text, &format!("add counter inet {TABLE} {name}"));
        }
    }
    for family in Family::ALL {
        let (digit, kind) = (family.digit(), family.kind());
        let mut set = |name: &str, key: &str, size: u32, more: &str| {
            let flags = "flags dynamic,timeout";
            line(
                &mut text,
                &format!(
                    "add set inet {TABLE} {name}{digit} {{ {key}; {flags}; size {size}; {more} }}"
                ),
            );
        };
        let address = format!("type {kind}");
        let pair = format!("type {kind} . {kind}");
        set("requests", &address, 131_072, "");
        set("responses", &address, 131_072, "");
        set("trusted-rate", &address, 65_536, "");
        set("ssh", &pair, 16_384, "");
        set("first-fragments", &pair, 65_536, "timeout 3s;");
        set("limited", &address, 65_536, "timeout 2m;");
        set("told", &address, 65_536, "timeout 1s;");
        set("retransmitters", &address, 65_536, "timeout 32s;");
        let datagram = format!("typeof {} . udp length . udp checksum", family.field());
        let connection = format!("type {kind} . inet_service . inet_service");
        for (protocol, key) in [("udp", datagram), ("tcp", connection)] {
            set(&format!("refused-{protocol}"), &key, 65_536, "timeout 32s;");
            let just = format!("just-refused-{protocol}");
            set(&just, &key, 65_536, "timeout 400ms;");
        }
        line(
            &mut text,
            &format!("add set inet {TABLE} trusted{digit} {{ type {kind}; size 65536; }}"),
        );
    }
    for name in chains() {
        line(&mut text, &format!("add chain inet {TABLE} {name}"));
    }
    text
}

/// The chains that the policy fills, those without a hook.
fn chains() -> Vec<String> {
    let common = COMMON_CHAINS.map(str::to_owned).into_iter();
    let reasons = Reason::ALL.iter().map(|reason| reason.name().to_owned());
    let each = Family::ALL.into_iter().flat_map(|family| {
        let own = FAMILY_CHAINS.map(|name| format!("{name}{}", family.digit()));
        let lookups = Purpose::ALL.map(|purpose| lookup(purpose, family));
        own.into_iter().chain(lookups)
    });
    common.chain(reasons).chain(each).collect()
}

/// The chain that looks a family's addresses up for a purpose.
fn lookup(purpose: Purpose, family: Family) -> String {
    format!("look-{}{}", purpose.name(), family.digit())
}

/// A new set of bans or allowed prefixes.
pub fn new_set(set: &Set) -> String {
    let (name, kind) = (set.name(), set.family.kind());
    let kind = match set.shape {
        Shape::Prefix(_) => kind.to_owned(),
        Shape::Port => format!("{kind} . inet_service"),
    };
    let lasts = match set.purpose {
        Purpose::Allowed => "",
        Purpose::Banned(_) => "flags timeout; counter;",
        Purpose::SshSessions => "flags timeout;",
    };
    format!("add set inet {TABLE} {name} {{ type {kind}; {lasts} size {BANS_MAX}; }}\n")
}

/// The rules that look into these sets, in the place of those that looked into others before.
pub fn lookups(sets: &[Set]) -> String {
    let mut text = String::new();
    for purpose in Purpose::ALL {
        let found = match purpose {
            Purpose::Allowed => Reason::Allowed,
            Purpose::Banned(_) => Reason::Banned,
            Purpose::SshSessions => Reason::Clean,
        };
        for family in Family::ALL {
            let chain = lookup(purpose, family);
            line(&mut text, &format!("flush chain inet {TABLE} {chain}"));
            let own = |set: &&Set| set.purpose == purpose && set.family == family;
            for set in sets.iter().filter(own) {
                let (name, field) = (set.name(), family.field());
                let key = match set.shape {
                    Shape::Prefix(length) if length == family.longest() => field.to_owned(),
                    Shape::Prefix(length) => format!("{field} & {}", family.mask(length)),
                    Shape::Port => format!("meta l4proto {{ tcp, udp }} {field} . th sport"),
                };
                let rule = format!("{key} @{name} goto {}", found.name());
                line(&mut text, &format!("add rule inet {TABLE} {chain} {rule}"));
            }
        }
    }
    text
}

/// Puts a policy in the place of another; the buckets begin full.
pub fn policy(policy: &Policy) -> String {
    let mut text = String::new();
    for chain in chains().iter().filter(|chain| !chain.starts_with("look-")) {
        line(&mut text, &format!("flush chain inet {TABLE} {chain}"));
    }
    for family in Family::ALL {
        for set in ["requests", "responses", "trusted-rate", "ssh", "limited"] {
            let digit = family.digit();
            line(&mut text, &format!("flush set inet {TABLE} {set}{digit}"));
        }
    }
    let mut rule = |chain: &str, rule: &str| {
        line(&mut text, &format!("add rule inet {TABLE} {chain} {rule}"));
    };
    for reason in Reason::ALL {
        verdict(*reason, policy.mode, &mut rule);
    }
    strangers(&policy.limits, &mut rule);
    for family in Family::ALL {
        family_rules(policy, family, &mut rule);
    }
    text
}

/// Has the packets of these interfaces judged.
pub fn entry(interfaces: &Called) -> String {
    let mut text = format!(
        "add chain inet {TABLE} {ENTRY} {{ type filter hook prerouting priority \
         {BEFORE_DEFRAGMENTATION}; policy accept; }}\n\
         flush chain inet {TABLE} {ENTRY}\n\
         add chain inet {TABLE} judge\n\
         flush chain inet {TABLE} judge\n\
         add rule inet {TABLE} judge meta nfproto vmap {{ ipv4 : jump judge4, ipv6 : jump judge6 }}\n"
    );
    for of_them in among(interfaces, "iif") {
        let rule = format!("add rule inet {TABLE} {ENTRY} {of_them} goto judge");
        line(&mut text, &rule);
    }
    for mark in interfaces.marks() {
        line(&mut text, &format!("add chain inet {TABLE} {mark}"));
    }
    text
}

/// What a packet of these interfaces fits, `way` being `iif` or `oif`. Each has to end in a `goto`:
/// a packet may fit both.
fn among(interfaces: &Called, way: &str) -> Vec<String> {
    let names = interfaces.names.iter().map(|name| format!("\"{name}\""));
    // One that is called `7` would be taken for index 7: it is judged by its name.
    let indices = interfaces.indices();
    let indices = indices.iter().map(u32::to_string);
    let matches = [
        (format!("{way}name"), listed(names)),
        (way.to_owned(), listed(indices)),
    ];
    let some = matches.into_iter().filter(|(_, list)| !list.is_empty());
    some.map(|(key, list)| format!("{key} {{ {list} }}"))
        .collect()
}

/// Logs for the tap what passes: right behind our own drops, and last of all on its way out.
pub fn tap(interfaces: &Called, ports: &TapPorts) -> String {
    let mut text = String::new();
    for (chain, hook, priority) in [
        ("behind", "prerouting", "raw + 1"),
        ("outbound", "postrouting", "300"),
    ] {
        let hook = format!("type filter hook {hook} priority {priority}; policy accept;");
        line(
            &mut text,
            &format!("add chain inet {TABLE} {chain} {{ {hook} }}"),
        );
    }
    for chain in ["tapped", "logged"] {
        line(&mut text, &format!("add chain inet {TABLE} {chain}"));
    }
    for chain in TAP_CHAINS {
        line(&mut text, &format!("flush chain inet {TABLE} {chain}"));
    }
    let mut rule = |chain: &str, rule: &str| {
        line(&mut text, &format!("add rule inet {TABLE} {chain} {rule}"));
    };
    for (chain, way) in [("behind", "iif"), ("outbound", "oif")] {
        for of_them in among(interfaces, way) {
            rule(chain, &format!("{of_them} goto tapped"));
        }
    }
    for (protocol, ports) in [("udp", &ports.udp), ("tcp", &ports.tcp)] {
        if ports.is_empty() {
            continue;
        }
        let ports = listed(ports.iter());
        for side in ["dport", "sport"] {
            rule(
                "tapped",
                &format!("{protocol} {side} {{ {ports} }} goto logged"),
            );
        }
    }
    if !ports.handshakes.is_empty() {
        let ports = listed(ports.handshakes.iter());
        let of_handshakes = [
            format!("tcp dport {{ {ports} }} goto logged"),
            format!("tcp flags & (fin|syn|rst) != 0 tcp sport {{ {ports} }} goto logged"),
        ];
        for rule_of in &of_handshakes {
            rule("tapped", rule_of);
        }
    }
    rule("tapped", "ip frag-off & 0x3fff != 0 goto logged");
    rule("tapped", "exthdr frag exists goto logged");
    rule("tapped", "icmp type destination-unreachable goto logged");
    rule("tapped", "icmpv6 type destination-unreachable goto logged");
    rule(
        "logged",
        &format!("log group {TAP_GROUP} queue-threshold 1"),
    );
    text
}

/// What becomes of a packet whose reason this is: a chain of the reason's name.
fn verdict(reason: Reason, mode: Mode, rule: &mut impl FnMut(&str, &str)) {
    let chain = reason.name();
    let is_dropped = drops(reason);
    let (counter, end) = match mode {
        Mode::Protect if is_dropped => (dropped(reason), "drop"),
        Mode::Protect | Mode::Observe => (passed(reason), "accept"),
    };
    rule(chain, &format!("counter name \"{counter}\""));
    let is_let_through = drops(reason) && mode == Mode::Observe;
    if is_let_through || matches!(reason, Reason::Clean | Reason::NotProtected) {
        first_fragments(chain, rule);
    }
    if reason == Reason::Tripwire {
        // As many as the kernel program tells of.
        let limit = "limit rate 1000/second burst 1024 packets";
        rule(chain, &format!("{limit} {}", logged(reason.name())));
    }
    rule(chain, end);
}

fn family_rules(policy: &Policy, family: Family, rule: &mut impl FnMut(&str, &str)) {
    let Limits {
        sip,
        responses,
        trusted,
        ssh,
        ..
    } = policy.limits;
    let (digit, source) = (family.digit(), family.source());
    let chain = |name: &str| format!("{name}{digit}");
    let jump_to = |purpose| format!("jump {}", lookup(purpose, family));
    let sip_bans = jump_to(Purpose::Banned(Scope::Sip));

    let judge = chain("judge");
    rule(&judge, &jump_to(Purpose::Allowed));
    rule(&judge, &jump_to(Purpose::Banned(Scope::All)));
    let later = match family {
        Family::V4 => "ip frag-off & 0x1fff != 0",
        Family::V6 => "frag frag-off != 0",
    };
    rule(&judge, &format!("{later} goto fragments{digit}"));
    rule(
        &judge,
        &format!("meta l4proto vmap {{ udp : goto udp{digit}, tcp : goto tcp{digit} }}"),
    );
    rule(&judge, "goto not-protected");
    for (protocol, ports) in [("udp", &policy.ports.udp), ("tcp", &policy.ports.tcp)] {
        let chain = chain(protocol);
        if !ports.is_empty() {
            let class = |(port, class): &(u16, PortClass)| {
                let name = match class {
                    PortClass::Sip => format!("sip-{protocol}"),
                    PortClass::SipOpaque => "opaque".to_owned(),
                    PortClass::Ssh => "ssh".to_owned(),
                    PortClass::Tripwire => "tripwire".to_owned(),
                };
                format!("{port} : goto {name}{digit}")
            };
            let classes: Vec<String> = ports.iter().map(class).collect();
            let classes = classes.join(", ");
            rule(&chain, &format!("{protocol} dport vmap {{ {classes} }}"));
        }
        rule(&chain, "goto not-protected");
    }

    rule(&chain("opaque"), &sip_bans);
    rule(&chain("opaque"), "goto clean");
    rule(&chain("tripwire"), &sip_bans);
    rule(&chain("tripwire"), "goto tripwire");

    let connections = Bucket {
        set: "ssh",
        key: pair(family),
        rate: ssh,
        counted: false,
    };
    rule(
        &chain("ssh"),
        "tcp flags & (fin|syn|rst|ack) != syn goto clean",
    );
    rule(&chain("ssh"), &jump_to(Purpose::SshSessions));
    rule(
        &chain("ssh"),
        &format!("{} goto rate", take(&connections, family)),
    );
    rule(&chain("ssh"), "goto clean");

    let bucket = |set, rate, counted| {
        let bucket = Bucket {
            set,
            key: source.to_owned(),
            rate,
            counted,
        };
        take(&bucket, family)
    };
    let fragment = match family {
        Family::V4 => format!("ip frag-off & 0x2000 != 0 ip length < {FIRST_FRAGMENT_V4}"),
        Family::V6 => format!("frag more-fragments 1 ip6 length < {FIRST_FRAGMENT_V6}"),
    };
    let requests = bucket("requests", sip, true);
    let beyond = match policy.over {
        Over::Drop => "over",
        Over::Reject => "reject",
    };
    for protocol in ["udp", "tcp"] {
        let chain = format!("sip-{protocol}{digit}");
        rule(&chain, &sip_bans);
        if protocol == "tcp" {
            rule(&chain, &format!("tcp flags & syn == 0 jump bare{digit}"));
        }
        rule(
            &chain,
            &format!("{source} @trusted{digit} goto known{digit}"),
        );
        rule(&chain, &format!("{fragment} goto tiny-fragment"));
        if protocol == "udp" {
            for answer in ANSWERS {
                rule(&chain, &format!("{answer} goto answers{digit}"));
            }
        }
        rule(&chain, &format!("{requests} goto {beyond}{digit}"));
        if protocol == "tcp" {
            rule(&chain, "tcp flags & syn == 0 goto unknown-segments");
        }
        rule(&chain, "goto unknown");
    }
    bare(family, rule);
    later_fragments(family, rule);

    let answers = bucket("responses", responses, false);
    rule(&chain("answers"), &format!("{answers} goto over{digit}"));
    rule(&chain("answers"), "goto unknown-answers");
    let acknowledged = chain("acknowledged");
    rule(
        &acknowledged,
        &format!("{source} @trusted{digit} goto clean"),
    );
    rule(&acknowledged, &format!("{answers} goto over{digit}"));
    rule(&acknowledged, "goto unknown-segments");
    let known = bucket("trusted-rate", trusted, false);
    rule(&chain("known"), &format!("{known} goto over{digit}"));
    rule(&chain("known"), "goto clean");

    // Told once a second and source, and 200 times a second in all.
    for (over, prefix) in [("over", Reason::Rate.name()), ("reject", REJECT)] {
        let over = chain(over);
        rule(
            &over,
            &format!("update @limited{digit} {{ {source} counter }}"),
        );
        rule(&over, &format!("{source} @told{digit} goto rate"));
        rule(
            &over,
            &format!(
                "limit rate 200/second burst 200 packets add @told{digit} {{ {source} }} {}",
                logged(prefix)
            ),
        );
        rule(&over, "goto rate");
    }
}

fn logged(prefix: &str) -> String {
    format!("log prefix \"{prefix}\" group {EVENTS_GROUP} queue-threshold 1")
}

/// Whether a packet of this reason is dropped, where the mode is to protect.
const fn drops(reason: Reason) -> bool {
    match reason {
        Reason::NotIp
        | Reason::NotUnderstood
        | Reason::Allowed
        | Reason::NotProtected
        | Reason::LaterFragment
        | Reason::Clean
        | Reason::CleanLong => false,
        Reason::Banned
        | Reason::Tripwire
        | Reason::Rate
        | Reason::RateUnknown
        | Reason::TinyFragment
        | Reason::Signature => true,
    }
}

/// The counter of packets of this reason that passed.
pub fn passed(reason: Reason) -> String {
    format!("passed-{}", reason.name())
}

/// The counter of packets of this reason that were dropped.
pub fn dropped(reason: Reason) -> String {
    format!("dropped-{}", reason.name())
}

impl Family {
    const fn kind(self) -> &'static str {
        match self {
            Self::V4 => "ipv4_addr",
            Self::V6 => "ipv6_addr",
        }
    }

    const fn protocol(self) -> &'static str {
        match self {
            Self::V4 => "ipv4",
            Self::V6 => "ipv6",
        }
    }

    const fn field(self) -> &'static str {
        match self {
            Self::V4 => "ip saddr",
            Self::V6 => "ip6 saddr",
        }
    }

    /// A source is an IPv4 address or an IPv6 /64.
    const fn source(self) -> &'static str {
        match self {
            Self::V4 => "ip saddr",
            Self::V6 => "ip6 saddr & ffff:ffff:ffff:ffff::",
        }
    }

    const fn destination(self) -> &'static str {
        match self {
            Self::V4 => "ip daddr",
            Self::V6 => "ip6 daddr",
        }
    }

    fn mask(self, length: u8) -> String {
        let zeroes = u32::from(self.longest() - length);
        match self {
            Self::V4 => {
                let mask = u32::MAX.checked_shl(zeroes).unwrap_or(0);
                std::net::Ipv4Addr::from(mask).to_string()
            }
            Self::V6 => {
                let mask = u128::MAX.checked_shl(zeroes).unwrap_or(0);
                std::net::Ipv6Addr::from(mask).to_string()
            }
        }
    }
}

fn listed<T: ToString>(items: impl Iterator<Item = T>) -> String {
    let items: Vec<String> = items.map(|item| item.to_string()).collect();
    items.join(", ")
}

fn line(text: &mut String, line: &str) {
    // Writing to a string does not fail.
    let _ = writeln!(text, "{line}");
}
