//! Others that block: Fail2Ban, SipBan, CrowdSec's bouncer, and rules of iptables that look for
//! text in every packet.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{
    Check, State,
    programs::{self, Said, Trouble},
};

/// What a rule with `-m string` costs each packet that passes it, in nanoseconds: 74 rules on a
/// REGISTER of 715 bytes cost 36 µs (`make bench`, Linux 6.18).
const STRING_RULE_NS: usize = 480;

/// The jails of Fail2Ban that are about SIP.
const JAILS: &[&str] = &["asterisk", "freeswitch", "kamailio", "opensips", "sip"];

/// What runs and which rules there are.
pub(super) struct Facts {
    pub is_root: bool,
    /// The names of the processes of this network namespace, of which the kernel keeps 15 bytes.
    pub processes: Vec<String>,
    /// `fail2ban-client status`, where Fail2Ban runs.
    pub jails: Option<Said>,
    /// `iptables-save` and `ip6tables-save`.
    pub iptables: [Said; 2],
    /// `nft list chains`.
    pub nftables: Said,
    /// `ipset list -name`.
    pub sets: Said,
}

impl Facts {
    pub(super) fn look(is_root: bool) -> Self {
        let processes = processes(Path::new("/proc"));
        let has_fail2ban = processes.iter().any(|name| is_fail2ban(name));
        Self {
            is_root,
            jails: has_fail2ban.then(|| programs::run("fail2ban-client", &["status"])),
            iptables: ["iptables-save", "ip6tables-save"].map(|name| programs::run(name, &[])),
            nftables: programs::run("nft", &["list", "chains"]),
            sets: programs::run("ipset", &["list", "-name"]),
            processes,
        }
    }

    /// Every line of every rule set that could be read.
    fn rules(&self) -> impl Iterator<Item = &str> {
        let texts = self.iptables.iter().chain([&self.nftables, &self.sets]);
        texts.flat_map(|said| said.as_deref().unwrap_or_default().lines())
    }

    /// Whether a rule set is there that could not be read.
    fn is_blind(&self) -> bool {
        let all = self.iptables.iter().chain([&self.nftables, &self.sets]);
        all.into_iter()
            .any(|said| matches!(said, Err(Trouble::Refused(_))))
    }

    /// What is not there, as far as it could be looked.
    fn absent(&self, name: &'static str, found: &str) -> Check {
        match (self.is_blind(), self.is_root) {
            (false, _) => Check::ok(name, found),
            (true, false) => {
                Check::needs_root(name, "no process of it; whether rules of it are left")
            }
            (true, true) => {
                let found = "no process of it; whether rules of it are left cannot be read";
                Check::new(name, State::Unknown, found, "nft list ruleset")
            }
        }
    }

    fn has_rule(&self, part: &str) -> bool {
        self.rules()
            .any(|line| line.to_ascii_lowercase().contains(part))
    }

    fn runs(&self, name: &str) -> bool {
        self.processes
            .iter()
            .any(|process| process.to_ascii_lowercase().starts_with(name))
    }
}

fn is_fail2ban(process: &str) -> bool {
    process.starts_with("fail2ban-server") || process.starts_with("f2b/")
}

/// Fail2Ban is a program of Python's, which gives its process another name at times.
fn processes(proc: &Path) -> Vec<String> {
    let name = |process: PathBuf| {
        let line = fs::read(process.join("cmdline")).ok()?;
        let is_server = |word: &[u8]| word.ends_with(b"/fail2ban-server");
        if line.split(|byte| *byte == 0).take(3).any(is_server) {
            return Some("fail2ban-server".to_owned());
        }
        let name = fs::read_to_string(process.join("comm")).ok()?;
        Some(name.trim_end().to_owned())
    };
    programs::processes(proc).filter_map(name).collect()
}

pub(super) fn judge(facts: &Facts) -> Vec<Check> {
    let mut checks = vec![fail2ban(facts), sipban(facts), crowdsec(facts)];
    checks.extend(string_rules(facts));
    checks.extend(unread(facts));
    checks
}

fn fail2ban(facts: &Facts) -> Check {
    const NAME: &str = "fail2ban";
    let advice = |jail: &str| {
        format!(
            "it bans later, and unban does not reach it: fail2ban-client stop {jail}, and [{jail}] \
             enabled = false in /etc/fail2ban/jail.local"
        )
    };
    match &facts.jails {
        Some(Ok(status)) => {
            let jails = jails(status);
            let sip: Vec<&str> = jails
                .iter()
                .copied()
                .filter(|jail| JAILS.iter().any(|name| jail.contains(name)))
                .collect();
            match sip.first() {
                Some(jail) => {
                    let found = format!("Fail2Ban's jail {} is active too", sip.join(", "));
                    Check::new(NAME, State::Warning, found, advice(jail))
                }
                None => Check::ok(NAME, "runs, with no jail for SIP"),
            }
        }
        Some(Err(_)) if !facts.is_root => Check::needs_root(NAME, "Fail2Ban runs; its jails"),
        Some(Err(_)) => {
            let found = "Fail2Ban runs, and `fail2ban-client status` does not say with which jails";
            Check::new(NAME, State::Unknown, found, "fail2ban-client status")
        }
        None if JAILS
            .iter()
            .any(|jail| facts.has_rule(&format!("f2b-{jail}"))) =>
        {
            let found = "chains of Fail2Ban's jail are there, and Fail2Ban is not";
            let advice = "start and stop it, or: iptables -S | grep f2b-";
            Check::new(NAME, State::Warning, found, advice)
        }
        None => facts.absent(NAME, "does not run"),
    }
}

/// The jails of `fail2ban-client status`.
fn jails(status: &str) -> Vec<&str> {
    let list = status
        .lines()
        .find_map(|line| line.split_once("Jail list:"));
    let jails = list.map_or("", |(_, jails)| jails).split(',');
    jails
        .map(str::trim)
        .filter(|jail| !jail.is_empty())
        .collect()
}

fn sipban(facts: &Facts) -> Check {
    if !facts.runs("sipban") && !facts.has_rule("sipban") {
        return facts.absent("sipban", "not there");
    }
    let found = "SipBan, or its chain, is active too";
    let advice = "stop it and remove its chain: iptables -S | grep -i sipban";
    Check::new("sipban", State::Warning, found, advice)
}

fn crowdsec(facts: &Facts) -> Check {
    if !facts.runs("crowdsec-firewa") && !facts.has_rule("crowdsec") {
        return facts.absent("crowdsec", "no bouncer");
    }
    let found = "CrowdSec's firewall bouncer is active too: what it bans, `sipward unban` does not \
                 let in";
    let advice = "cscli decisions list --ip ADDRESS; cscli decisions delete --ip ADDRESS";
    Check::new("crowdsec", State::Warning, found, advice)
}

/// Rules of the kind that guides give: a text anywhere in the packet.
fn string_rules(facts: &Facts) -> Option<Check> {
    let rules: Vec<&str> = facts
        .rules()
        .filter(|line| line.contains("-m string "))
        .collect();
    if rules.is_empty() {
        return None;
    }
    let tenths = rules.len() * STRING_RULE_NS / 100;
    let mut found = format!(
        "{} rules of iptables look for a text anywhere in a packet; that costs each SIP packet some \
         {}.{} µs",
        rules.len(),
        tenths / 10,
        tenths % 10
    );
    // `Call-ID` has one.
    let drops_all = |rule: &&&str| rule.contains("--string \"-\"") || rule.contains("--string - ");
    let advice = "sipward signatures list has the names, each bound to its header; then: \
                  iptables-save | grep -v -- '-m string' | iptables-restore";
    if rules.iter().any(|rule| drops_all(&rule)) {
        found += ", and the one for \"-\" is in every SIP packet";
        return Some(Check::new("iptables-strings", State::Failed, found, advice));
    }
    Some(Check::new(
        "iptables-strings",
        State::Warning,
        found,
        advice,
    ))
}

/// What could not be asked, beside what is not installed.
fn unread(facts: &Facts) -> Option<Check> {
    let [v4, v6] = &facts.iptables;
    let all = [
        ("iptables-save", v4),
        ("ip6tables-save", v6),
        ("nft", &facts.nftables),
        ("ipset", &facts.sets),
    ];
    let refused = all.iter().filter_map(|(name, said)| match said {
        Err(Trouble::Refused(why)) => Some((*name, why)),
        Ok(_) | Err(Trouble::Missing) => None,
    });
    let (names, whys): (Vec<&str>, Vec<String>) = refused
        .map(|(name, why)| (name, format!("{name} ({why})")))
        .unzip();
    if names.is_empty() {
        return None;
    }
    Some(if facts.is_root {
        let found = format!("cannot be read: {}", whys.join(", "));
        Check::new(
            "firewall",
            State::Unknown,
            found,
            "iptables-save; nft list ruleset",
        )
    } else {
        Check::needs_root("firewall", &format!("rules of {}", names.join(", ")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use test_case::test_case;

    fn facts() -> Facts {
        Facts {
            is_root: true,
            processes: vec!["systemd".to_owned(), "asterisk".to_owned()],
            jails: None,
            iptables: [Ok(String::new()), Ok(String::new())],
            nftables: Ok("table inet filter {\n\tchain input {\n\t}\n}\n".to_owned()),
            sets: Err(Trouble::Missing),
        }
    }

    fn findings(facts: &Facts) -> Vec<(&'static str, State)> {
        let checks = judge(facts).into_iter();
        let states = checks.map(|check| (check.name, check.state));
        states.filter(|(_, state)| *state != State::Ok).collect()
    }

    fn with_rules(rules: &str) -> Facts {
        Facts {
            iptables: [Ok(rules.to_owned()), Ok(String::new())],
            ..facts()
        }
    }

    #[test]
    fn a_machine_with_a_firewall_of_its_own_has_no_finding() {
        assert_eq!(findings(&facts()), []);
    }

    #[test_case("sshd", None; "another jail")]
    #[test_case("asterisk, sshd", Some(State::Warning); "the stock jail")]
    #[test_case("sshd, asterisk-tcp", Some(State::Warning); "a jail of ones own")]
    #[test_case("", None; "no jail")]
    fn jails_of_fail2ban(list: &str, expected: Option<State>) {
        let status = format!("Status\n|- Number of jail:\t2\n`- Jail list:\t{list}\n");
        let facts = Facts {
            jails: Some(Ok(status)),
            ..facts()
        };
        let expected: Vec<_> = expected
            .map(|state| ("fail2ban", state))
            .into_iter()
            .collect();
        assert_eq!(findings(&facts), expected);
    }

    #[test]
    fn a_fail2ban_that_cannot_be_asked_is_unknown() {
        let jails = Some(Err(Trouble::Missing));
        let facts = Facts { jails, ..facts() };
        assert_eq!(findings(&facts), [("fail2ban", State::Unknown)]);
    }

    #[test_case(":f2b-asterisk-udp - [0:0]\n", "fail2ban")]
    #[test_case(":SIPBAN - [0:0]\n-A INPUT -j SIPBAN\n", "sipban")]
    #[test_case("-A INPUT -j CROWDSEC_CHAIN\n", "crowdsec")]
    #[test_case(
        "-A INPUT -p udp -m string --string \"friendly-scanner\" --algo bm --to 65535 -j DROP\n",
        "iptables-strings"
    )]
    fn rules_of_others_are_found(rules: &str, check: &'static str) {
        assert_eq!(findings(&with_rules(rules)), [(check, State::Warning)]);
    }

    #[test]
    fn sets_and_tables_of_crowdsec_are_found() {
        let sets = Ok("crowdsec-blacklists-0\n".to_owned());
        assert_eq!(
            findings(&Facts { sets, ..facts() }),
            [("crowdsec", State::Warning)]
        );
        let nftables = Ok("table ip6 crowdsec6 {\n}\n".to_owned());
        let facts = Facts {
            nftables,
            ..facts()
        };
        assert_eq!(findings(&facts), [("crowdsec", State::Warning)]);
    }

    #[test]
    fn the_cost_of_string_rules_is_told_and_the_one_that_drops_all_fails() {
        let rule = |text: &str| {
            format!(
                "-A INPUT -p udp -m udp --dport 5060 -m string --string {text} --algo bm -j DROP\n"
            )
        };
        let many = rule("\"Cisco\"").repeat(74);
        let check = string_rules(&with_rules(&many)).unwrap();
        assert!(
            check.found.contains("74 rules") && check.found.contains("35.5 µs"),
            "{check:?}"
        );
        assert_eq!(check.state, State::Warning);
        let check = string_rules(&with_rules(&rule("\"-\""))).unwrap();
        assert_eq!(check.state, State::Failed);
    }

    #[test]
    fn what_refuses_needs_root_or_is_unknown() {
        let refused = || Err(Trouble::Refused("Operation not permitted".to_owned()));
        let facts = |is_root| Facts {
            is_root,
            nftables: refused(),
            ..facts()
        };
        let all = ["fail2ban", "sipban", "crowdsec", "firewall"];
        let unknown = all.map(|name| (name, State::Unknown));
        assert_eq!(findings(&facts(true)), unknown);
        assert_eq!(findings(&facts(false)), unknown);
        let check = unread(&facts(false)).unwrap();
        assert_eq!(check.found, "rules of nft: needs root");
        let check = unread(&facts(true)).unwrap();
        assert!(
            check.found.ends_with("nft (Operation not permitted)"),
            "{check:?}"
        );
    }
}
