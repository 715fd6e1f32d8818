//! For `nft -f`, as `/etc/nftables.conf`.

use std::fmt::Write;

use sipward_shield::Rate;

use super::{Family, KEEP_ALIVE, Protection, Protocols, rate_text, refill_seconds};
use crate::{
    address,
    config::BanScope,
    control::api::BanView,
    export::{disjoint, nft_set},
};

/// Sources that one limit remembers; the next one passes.
const SOURCES: u32 = 65_536;

const FAMILIES: [(Family, &str, &str, &str); 2] = [
    (Family::V4, "v4", "ip", "ipv4_addr"),
    (Family::V6, "v6", "ip6", "ipv6_addr"),
];

/// The rules of both families, in a table of their own.
#[must_use]
pub fn nftables(protection: &Protection<'_>) -> String {
    let mut text = format!("#!/usr/sbin/nft -f\n{}", protection.title());
    text.push_str(
        "# nftables cannot search a packet for text: the signatures of scanners are not in here \
         (--format\n# iptables has them). Bans end so long after this is loaded as they had left \
         when it was written.\n",
    );
    for prefix in protection.too_wide() {
        line(
            &mut text,
            format!("# Left out, for it bans too much: {prefix}"),
        );
    }
    text.push_str(
        "table inet sipward-rules\ndelete table inet sipward-rules\ntable inet sipward-rules {\n",
    );
    sets(&mut text, protection);
    prerouting(&mut text, protection);
    sip(&mut text, protection);
    text.push_str("}\n");
    text
}

fn sets(text: &mut String, protection: &Protection<'_>) {
    let now = protection.now;
    for (family, version, _, kind) in FAMILIES {
        let allowed = protection.allowed(family).map(|net| (*net, None));
        nft_set(
            text,
            &format!("allowed-{version}"),
            family,
            &disjoint(allowed),
            now,
        );
        for (name, scope) in [("banned", BanScope::All), ("banned-sip", BanScope::Sip)] {
            let of_scope = |ban: &&BanView| ban.scope == scope && ban.port.is_none();
            let bans = protection.bans(family).filter(of_scope);
            let bans = disjoint(bans.map(|ban| (ban.prefix, ban.until)));
            nft_set(text, &format!("{name}-{version}"), family, &bans, now);
        }
        let limits = protection.config.policy().limits;
        for (name, kind, rate) in [
            ("requests", kind.to_owned(), &limits.sip),
            ("answers", kind.to_owned(), &limits.responses),
            ("ssh", format!("{kind} . {kind}"), &limits.ssh),
        ] {
            let seconds = refill_seconds(rate);
            line(
                text,
                format!(
                    "\tset {name}-{version} {{\n\t\ttype {kind}\n\t\tsize {SOURCES}\n\t\tflags \
                     dynamic,timeout\n\t\ttimeout {seconds}s\n\t}}"
                ),
            );
        }
    }
}

fn prerouting(text: &mut String, protection: &Protection<'_>) {
    let ports = protection.ports();
    text.push_str(
        "\t# Before connection tracking: a banned source is dropped in an established connection, \
         too.\n\tchain prerouting {\n\t\ttype filter hook prerouting priority raw; policy \
         accept;\n\t\tiif \"lo\" accept comment \"this machine with itself\"\n",
    );
    for (_, version, ip, _) in FAMILIES {
        line(
            text,
            format!("\t\t{ip} saddr @allowed-{version} accept comment \"the allowlist\""),
        );
    }
    for (family, version, ip, _) in FAMILIES {
        line(
            text,
            format!("\t\t{ip} saddr @banned-{version} counter drop"),
        );
        bans_of_ports(text, protection, family, BanScope::All);
    }
    at(
        text,
        &ports.opaque,
        "jump banned-sip comment \"encrypted SIP, or IAX2: bans only\"",
    );
    at(
        text,
        &ports.tripwire,
        "counter drop comment \"ports that nobody uses\"",
    );
    if !ports.ssh.is_empty() {
        let rate = &protection.config.policy().limits.ssh;
        for (_, version, ip, _) in FAMILIES {
            let source = masked(ip);
            let over = over(
                &format!("ssh-{version}"),
                &format!("{source} . {ip} daddr"),
                rate,
            );
            line(
                text,
                format!(
                    "\t\ttcp dport {} tcp flags & (fin|syn|rst|ack) == syn {over} comment \"new \
                     SSH connections\"",
                    set_of(&ports.ssh)
                ),
            );
        }
    }
    at(text, &ports.sip, "goto sip");
    text.push_str("\t}\n");
}

fn sip(text: &mut String, protection: &Protection<'_>) {
    let limits = protection.config.policy().limits;
    text.push_str("\tchain banned-sip {\n");
    for (family, version, ip, _) in FAMILIES {
        line(
            text,
            format!("\t\t{ip} saddr @banned-sip-{version} counter drop"),
        );
        bans_of_ports(text, protection, family, BanScope::Sip);
    }
    text.push_str("\t}\n\tchain answers {\n");
    for (_, version, ip, _) in FAMILIES {
        let over = over(
            &format!("answers-{version}"),
            &masked(ip),
            &limits.responses,
        );
        line(text, format!("\t\t{over}"));
    }
    // A UDP header is 8 bytes and counts; "SIP/2.0 " is where the payload begins; a TCP header is
    // 60 bytes at most, and the length of IPv6 is without its header of 40.
    line(
        text,
        format!(
            "\t}}\n\tchain sip {{\n\t\tjump banned-sip\n\t\tudp length <= {} goto answers comment \
             \"keep-alives\"\n\t\tmeta l4proto udp @th,64,64 0x5349502f322e3020 goto answers comment \
             \"responses\"\n\t\tmeta l4proto tcp ip length <= 80 goto answers comment \"segments \
             with next to nothing in them\"\n\t\tmeta l4proto tcp ip6 length <= 60 goto answers",
            8 + KEEP_ALIVE
        ),
    );
    for (_, version, ip, _) in FAMILIES {
        let over = over(&format!("requests-{version}"), &masked(ip), &limits.sip);
        line(
            text,
            format!("\t\t{over} comment \"requests of one source\""),
        );
    }
    text.push_str("\t}\n");
}

/// Bans of one source port: these are few.
fn bans_of_ports(text: &mut String, protection: &Protection<'_>, family: Family, scope: BanScope) {
    let ip = match family {
        Family::V4 => "ip",
        Family::V6 => "ip6",
    };
    for ban in protection.bans(family).filter(|ban| ban.scope == scope) {
        let Some(port) = ban.port else {
            continue;
        };
        let end = ban.until.map(|until| until.as_second());
        let end = end
            .map(|end| format!(" meta time < {end}"))
            .unwrap_or_default();
        let net = address::show(&ban.prefix);
        line(
            text,
            format!("\t\t{ip} saddr {net} th sport {port}{end} counter drop"),
        );
    }
}

/// A rule for these ports.
fn at(text: &mut String, protocols: &Protocols, then: &str) {
    for (protocol, ports) in protocols.each() {
        line(
            text,
            format!("\t\t{protocol} dport {} {then}", set_of(ports)),
        );
    }
}

fn set_of(ports: &[u16]) -> String {
    let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
    format!("{{ {} }}", ports.join(", "))
}

/// The source, of IPv6 its /64.
fn masked(ip: &str) -> String {
    match ip {
        "ip6" => "ip6 saddr & ffff:ffff:ffff:ffff::".to_owned(),
        _ => "ip saddr".to_owned(),
    }
}

fn over(set: &str, key: &str, rate: &Rate) -> String {
    format!(
        "update @{set} {{ {key} limit rate over {} burst {} packets }} counter drop",
        rate_text(rate),
        rate.burst
    )
}

fn line(text: &mut String, line: String) {
    // Writing to a string does not fail.
    let _ = writeln!(text, "{line}");
}
