//! For `iptables-restore` and `ip6tables-restore`, as `/etc/iptables/rules.v4` and `rules.v6`.

use std::fmt::Write;

use jiff::{Timestamp, tz::TimeZone};
use sipward_engine::escape_at_most;
use sipward_shield::Rate;
use sipward_signature::Action;

use super::{Family, KEEP_ALIVE, Ports, Protection, headers::texts, rate_text, refill_seconds};
use crate::{address, config::BanScope, control::api::BanView};

/// Ports of one `multiport` match at most (iptables-extensions(8)).
const MULTIPORT: usize = 15;

/// The last second that `--datestop` can say: 2038-01-19, as of iptables 1.8.9.
const LAST_DATE: i64 = i32::MAX as i64;

/// Bytes of a packet in which a signature is looked for, as in the shield.
const SEARCHED: u32 = 2_048;

/// Bytes of a TCP header at most.
const TCP_HEADER: u32 = 60;

/// The rules of one family.
#[must_use]
pub fn iptables(protection: &Protection<'_>, family: Family) -> String {
    let mut rules = Rules {
        text: protection.title(),
        family,
    };
    let ports = protection.ports();
    rules.head(protection);
    rules.allowlist(protection);
    rules.bans(protection);
    rules.order(&ports, protection);
    rules.limits(protection);
    rules.scanners(protection);
    rules.text.push_str("COMMIT\n");
    rules.text
}

struct Rules {
    text: String,
    family: Family,
}

impl Rules {
    /// A line; writing to a string does not fail.
    fn line(&mut self, line: impl std::fmt::Display) {
        let _ = writeln!(self.text, "{line}");
    }

    fn head(&mut self, protection: &Protection<'_>) {
        self.line(
            "# They take the place of what is in the table raw, and of nothing else. There they are \
             before\n# connection tracking: a banned source is dropped in an established connection, \
             too.",
        );
        let family = self.family;
        for prefix in protection.too_wide().filter(|net| family.has(net)) {
            self.line(format!("# Left out, for it bans too much: {prefix}"));
        }
        self.line("*raw\n:PREROUTING ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]");
        for chain in CHAINS {
            self.line(format!(":{chain} - [0:0]"));
        }
        self.line("-A PREROUTING -j sipward");
        self.line("# This machine with itself.\n-A sipward -i lo -j RETURN");
    }

    fn allowlist(&mut self, protection: &Protection<'_>) {
        self.line("# The allowlist: nothing below drops it.");
        for net in protection.allowed(self.family) {
            self.line(format!("-A sipward -s {net} -j RETURN"));
        }
    }

    fn bans(&mut self, protection: &Protection<'_>) {
        self.line("# Bans, until their end in UTC.");
        for ban in protection.bans(self.family) {
            let chain = match ban.scope {
                BanScope::All => BANNED,
                BanScope::Sip => BANNED_SIP,
            };
            let net = address::show(&ban.prefix);
            let until = until(ban);
            match ban.port {
                None => self.line(format!("-A {chain} -s {net}{until} -j DROP")),
                Some(port) => {
                    for protocol in ["udp", "tcp"] {
                        self.line(format!(
                            "-A {chain} -s {net} -p {protocol} --sport {port}{until} -j DROP"
                        ));
                    }
                }
            }
        }
    }

    fn order(&mut self, ports: &Ports, protection: &Protection<'_>) {
        self.line(format!("# Bans of everything.\n-A sipward -j {BANNED}"));
        self.line("# SIP that is encrypted, or IAX2: bans only.");
        for (protocol, numbers) in ports.opaque.each() {
            self.at("sipward", protocol, numbers, &format!("-j {BANNED_SIP}"));
        }
        if ports.tripwire.each().next().is_some() {
            self.line("# Ports that nobody uses.");
        }
        for (protocol, numbers) in ports.tripwire.each() {
            self.at("sipward", protocol, numbers, "-j DROP");
        }
        if !ports.ssh.is_empty() {
            self.line("# New SSH connections of a source to a destination.");
            let limit = self.over(&protection.config.policy().limits.ssh, "ssh", "srcip,dstip");
            let new = format!("--tcp-flags FIN,SYN,RST,ACK SYN {limit}");
            self.at("sipward", "tcp", &ports.ssh, &new);
        }
        self.line("# SIP.");
        for (protocol, numbers) in ports.sip.each() {
            self.at("sipward", protocol, numbers, &format!("-g {SIP}"));
        }
    }

    fn limits(&mut self, protection: &Protection<'_>) {
        let limits = protection.config.policy().limits;
        let ip = self.ip_header();
        self.line(format!("-A {SIP} -j {BANNED_SIP}"));
        self.line(
            "# Keep-alives and responses have a limit of their own; over TCP, segments with next \
             to nothing\n# in them.",
        );
        let small = [("udp", ip + 8 + KEEP_ALIVE), ("tcp", ip + TCP_HEADER)];
        for (protocol, bytes) in small {
            self.line(format!(
                "-A {SIP} -p {protocol} -m length --length 0:{bytes} -g {ANSWERS}"
            ));
        }
        let payload = ip + 8;
        self.line(format!(
            "-A {SIP} -p udp -m string --algo bm --from {payload} --to {} --string \"SIP/2.0 \" -g \
             {ANSWERS}",
            payload + 1
        ));
        let over = self.over(&limits.responses, "answers", "srcip");
        self.line(format!("-A {ANSWERS} {over}"));
        self.line("# Requests of one source.");
        let over = self.over(&limits.sip, "sip", "srcip");
        self.line(format!("-A {SIP} {over}"));
        self.line(format!("-A {SIP} -j {SCANNERS}"));
    }

    fn scanners(&mut self, protection: &Protection<'_>) {
        self.line(
            "# Scanners by what they call themselves: the beginning of a header's value, or all of \
             it. A\n# name further on in the value, a folded line and a header in compact form are \
             not found.",
        );
        let profile: sipward_signature::Profile = protection.config.signatures.profile.into();
        let signatures = protection.signatures.iter();
        let (from, to) = (self.ip_header() + 8, self.ip_header() + SEARCHED);
        for signature in signatures.filter(|signature| profile.action_of(signature) == Action::Drop)
        {
            let name = &signature.name;
            match texts(signature) {
                Ok(texts) => {
                    for text in texts {
                        let text = hex_string(&text);
                        self.line(format!(
                            "-A {SCANNERS} -m string --algo bm --from {from} --to {to} --icase \
                             --hex-string \"{text}\" -m comment --comment {name} -j DROP"
                        ));
                    }
                }
                Err(why) => {
                    let pattern = escape_at_most(signature.pattern.as_bytes(), 60);
                    self.line(format!("# Left out: {name} ({pattern}): {why}"));
                }
            }
        }
    }

    /// A rule for these ports, in as many as it takes.
    fn at(&mut self, chain: &str, protocol: &str, ports: &[u16], then: &str) {
        for ports in ports.chunks(MULTIPORT) {
            let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
            let ports = ports.join(",");
            // The options of tcp want their match named.
            self.line(format!(
                "-A {chain} -p {protocol} -m {protocol} -m multiport --dports {ports} {then}"
            ));
        }
    }

    /// Drops what is over the limit, each source by itself; of IPv6 each /64.
    fn over(&self, rate: &Rate, name: &str, mode: &str) -> String {
        let mask = match self.family {
            Family::V4 => 32,
            Family::V6 => 64,
        };
        let expire = refill_seconds(rate) * 1_000;
        format!(
            "-m hashlimit --hashlimit-above {} --hashlimit-burst {} --hashlimit-mode {mode} \
             --hashlimit-srcmask {mask} --hashlimit-name sipward-{name} --hashlimit-htable-size 24593 \
             --hashlimit-htable-max 65536 --hashlimit-htable-expire {expire} -j DROP",
            rate_text(rate),
            rate.burst
        )
    }

    const fn ip_header(&self) -> u32 {
        match self.family {
            Family::V4 => 20,
            Family::V6 => 40,
        }
    }
}

const BANNED: &str = "sipward-banned";
const BANNED_SIP: &str = "sipward-banned-sip";
const SIP: &str = "sipward-sip";
const ANSWERS: &str = "sipward-answers";
const SCANNERS: &str = "sipward-scanners";
const CHAINS: [&str; 6] = ["sipward", BANNED, BANNED_SIP, SIP, ANSWERS, SCANNERS];

/// The match that ends a ban, where it has an end that can be said.
fn until(ban: &BanView) -> String {
    let sayable = |until: &Timestamp| until.as_second() < LAST_DATE;
    let Some(until) = ban.until.filter(sayable) else {
        return String::new();
    };
    let until = until.to_zoned(TimeZone::UTC).strftime("%Y-%m-%dT%H:%M:%S");
    format!(" -m time --datestop {until}")
}

/// As `--hex-string` takes it: letters as they are, everything that a reader of the file could take
/// for something else as bytes.
fn hex_string(text: &[u8]) -> String {
    let mut out = String::new();
    for byte in text {
        if byte.is_ascii_alphanumeric() || b" -_./:;<>@()+,=".contains(byte) {
            out.push(char::from(*byte));
        } else {
            // As in `line`.
            let _ = write!(out, "|{byte:02x}|");
        }
    }
    out.replace("||", "")
}
