//! Rules of iptables and nftables, as far as they change addresses.

use std::net::{IpAddr, SocketAddr};

/// The chains of iptables that packets come into by themselves.
const BUILT_IN: &[&str] = &["PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"];
/// Words before the name of a chain.
const JUMPS: &[&str] = &["-j", "--jump", "-g", "--goto", "jump", "goto"];

/// A rule, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    /// As the program printed it.
    pub text: String,
    pub chain: String,
    /// Where packets come into the chain, as `postrouting`; none for one that other rules lead to.
    pub hook: Option<String>,
    /// Which table, of which program: names of chains are its own.
    table: String,
    words: Vec<String>,
}

/// What a rule wants of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted<'a> {
    pub is_negated: bool,
    /// One, or those of a set.
    pub values: Vec<&'a str>,
}

/// What a rule of destination NAT does with some ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Forwards {
    Nothing,
    /// To this port, if it names one.
    To(IpAddr, Option<u16>),
    /// To what its text does not tell.
    Somewhere,
}

impl Rule {
    /// Whether it puts another address in the place of the sender's.
    pub fn translates_source(&self) -> bool {
        self.words.iter().enumerate().any(|(at, word)| {
            let is_chain = at.checked_sub(1).and_then(|before| self.words.get(before));
            let is_chain =
                is_chain.is_some_and(|before| ["jump", "goto"].contains(&before.as_str()));
            ["MASQUERADE", "SNAT", "masquerade", "snat"].contains(&word.as_str()) && !is_chain
        })
    }

    /// What it does with what comes to one of these ports.
    pub fn forwards(&self, ports: &[u16]) -> Forwards {
        if self.has(&["NETMAP"]) {
            return Forwards::Somewhere;
        }
        if !self.has(&["DNAT", "dnat"]) || !self.may_be_for(ports) {
            return Forwards::Nothing;
        }
        let to = self.wanted(&["--to-destination", "to"]);
        let to = to
            .and_then(|to| to.values.first().copied())
            .unwrap_or_default();
        if let Ok(to) = to.parse::<SocketAddr>() {
            return Forwards::To(to.ip(), Some(to.port()));
        }
        let address = to.trim_matches(['[', ']']).parse();
        address.map_or(Forwards::Somewhere, |address| Forwards::To(address, None))
    }

    /// False where it is for other ports only. A range is taken for one with them in it.
    pub fn may_be_for(&self, ports: &[u16]) -> bool {
        let is_other = |word: &&str| word.parse().is_ok_and(|port| !ports.contains(&port));
        let wanted = self.wanted(&["--dport", "--dports", "dport"]);
        wanted.is_none_or(|wanted| wanted.is_negated || !wanted.values.iter().all(is_other))
    }

    /// Whether it sends packets on into this one's chain.
    pub fn leads_to(&self, other: &Self) -> bool {
        let leads = |pair: &[String]| match pair {
            [jump, chain] => JUMPS.contains(&jump.as_str()) && *chain == other.chain,
            _ => false,
        };
        self.table == other.table && self.words.windows(2).any(leads)
    }

    /// What follows one of these words.
    pub fn wanted(&self, options: &[&str]) -> Option<Wanted<'_>> {
        let words = &self.words;
        let at = words
            .iter()
            .position(|word| options.contains(&word.as_str()))?;
        let before = at.checked_sub(1).and_then(|before| words.get(before));
        let mut values = words.iter().skip(at + 1).map(String::as_str).peekable();
        let is_unequal = values.next_if_eq(&"!=").is_some();
        values.next_if_eq(&"==");
        Some(Wanted {
            is_negated: is_unequal || before.is_some_and(|before| before == "!"),
            values: match values.next_if_eq(&"{") {
                Some(_) => values.take_while(|word| *word != "}").collect(),
                // iptables has lists of ports, which no brace ends.
                None => {
                    let first = values.next();
                    let is_number =
                        |word: &str| word.starts_with(|first: char| first.is_ascii_digit());
                    let more =
                        values.take_while(|word| first.is_some_and(is_number) && is_number(word));
                    first.into_iter().chain(more).collect()
                }
            },
        })
    }

    pub fn has(&self, wanted: &[&str]) -> bool {
        self.words
            .iter()
            .any(|word| wanted.contains(&word.as_str()))
    }
}

/// All rules. Those that iptables keeps in nf_tables both programs show: tables that it has shown are
/// left out of nft's.
///
/// `iptables`: by the family of addresses, `ip` or `ip6`, what iptables-save printed.
pub(super) fn read(iptables: [(&str, &str); 2], nft: &str) -> Vec<Rule> {
    let mut rules: Vec<Rule> = iptables
        .iter()
        .flat_map(|(of, text)| saved(of, text))
        .collect();
    let is_shown = |family: &str, name: &str| {
        let shows = |(of, text): &(&str, &str)| {
            *of == family
                && is_of_nf_tables(text)
                && text
                    .lines()
                    .any(|line| line.strip_prefix('*') == Some(name))
        };
        iptables.iter().any(shows)
    };
    rules.extend(listed(nft, &is_shown));
    rules
}

/// Whether this iptables-save is the one that reads nf_tables.
pub(super) fn is_of_nf_tables(saved: &str) -> bool {
    let first = saved.lines().next();
    first.is_some_and(|line| line.contains("(nf_tables)"))
}

/// Of `iptables-save`.
fn saved(family: &str, text: &str) -> Vec<Rule> {
    let mut table = String::new();
    let mut rules = Vec::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('*') {
            table = format!("{family} {name} of iptables");
        }
        let words = words(line);
        let [first, chain, ..] = words.as_slice() else {
            continue;
        };
        if first != "-A" {
            continue;
        }
        let is_base = BUILT_IN.contains(&chain.as_str());
        rules.push(Rule {
            text: line.to_owned(),
            chain: chain.clone(),
            hook: is_base.then(|| chain.to_ascii_lowercase()),
            table: table.clone(),
            words,
        });
    }
    rules
}

/// Of `nft list ruleset`, but for tables of which this is so.
fn listed(text: &str, is_left_out: &dyn Fn(&str, &str) -> bool) -> Vec<Rule> {
    let mut table: Option<String> = None;
    let mut chain: Option<(String, Option<String>)> = None;
    let mut rules = Vec::new();
    for line in text.lines() {
        let words = words(line);
        let all: Vec<&str> = words.iter().map(String::as_str).collect();
        match (all.as_slice(), &mut chain) {
            (["table", family, name, "{"], _) => {
                let is_read = !is_left_out(family, name);
                table = is_read.then(|| format!("{family} {name}"));
            }
            (["chain", name, "{"], _) => chain = Some(((*name).to_owned(), None)),
            (["}"] | [], _) => chain = None,
            (["type", _, "hook", at, ..], Some((_, hook))) => *hook = Some((*at).to_owned()),
            (_, Some((chain, hook))) => rules.extend(table.clone().map(|table| Rule {
                text: line.trim().to_owned(),
                chain: chain.clone(),
                hook: hook.clone(),
                table,
                words,
            })),
            // A set, a map, a counter.
            (_, None) => {}
        }
    }
    rules
}

/// The words of a rule; what is quoted is one, braces are words, and comments are left out.
fn words(line: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut chars = line.chars().peekable();
    while let Some(char) = chars.next() {
        match char {
            '"' => {
                let mut word = String::new();
                while let Some(char) = chars.next().filter(|char| *char != '"') {
                    word.extend(if char == '\\' {
                        chars.next()
                    } else {
                        Some(char)
                    });
                }
                words.push(word);
            }
            '{' | '}' => words.push(char.to_string()),
            ',' => {}
            char if char.is_whitespace() => {}
            char => {
                let mut word = char.to_string();
                let is_word =
                    |char: &char| !char.is_whitespace() && !['"', '{', '}', ','].contains(char);
                while let Some(char) = chars.next_if(is_word) {
                    word.push(char);
                }
                words.push(word);
            }
        }
    }
    let is_comment = |word: &String| word == "--comment" || word == "comment";
    if let Some(at) = words.iter().position(is_comment) {
        words.drain(at..words.len().min(at + 2));
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use test_case::test_case;

    fn one(line: &str) -> Rule {
        let mut rules = saved("ip", &format!("*nat\n{line}\n"));
        if rules.is_empty() {
            let table = format!("table ip own {{\n\tchain out {{\n\t\t{line}\n\t}}\n}}\n");
            rules = listed(&table, &|_, _| false);
        }
        assert_eq!(rules.len(), 1, "{rules:?}");
        rules.remove(0)
    }

    #[test_case("-A POSTROUTING -o docker0 -j MASQUERADE", true)]
    #[test_case("-A POSTROUTING -m comment --comment \"no \\\"SNAT\\\" here\" -j RETURN", false; "a comment")]
    #[test_case(
        "oifname \"docker0\" counter packets 0 bytes 0 masquerade fully-random",
        true
    )]
    #[test_case("oifname \"docker0\" jump snat", false; "a chain of that name")]
    #[test_case("oifname \"docker0\" accept comment \"no masquerade\"", false; "a comment of nft")]
    #[test_case("counter packets 0 bytes 0 xt target \"MASQUERADE\"", true; "what nft cannot show")]
    fn a_rule_that_translates_is_told(line: &str, expected: bool) {
        assert_eq!(one(line).translates_source(), expected);
    }

    #[test_case("-A POSTROUTING ! -o docker0 -j SNAT", true, &["docker0"]; "iptables")]
    #[test_case("oifname != \"docker0\" masquerade", true, &["docker0"]; "nft")]
    #[test_case("oifname { \"docker0\", \"wg0\" } ip saddr 10.0.0.0/8 masquerade", false, &["docker0", "wg0"]; "a set")]
    #[test_case("oifname @inner masquerade", false, &["@inner"]; "a named set")]
    fn the_way_out_is_read(line: &str, is_negated: bool, values: &[&str]) {
        let rule = one(line);
        let values = values.to_vec();
        let wanted = rule.wanted(&["-o", "oifname"]);
        assert_eq!(wanted, Some(Wanted { is_negated, values }));
    }

    #[test_case("-A PREROUTING -p udp --dport 5060 -j DNAT --to-destination 10.9.0.2:5070", Forwards::To("10.9.0.2".parse().unwrap(), Some(5070)))]
    #[test_case("-A KUBE-SEP -p udp -j DNAT --to-destination 10.9.0.2", Forwards::To("10.9.0.2".parse().unwrap(), None); "without a port")]
    #[test_case("-A PREROUTING -p udp --dport 5000:6000 -j DNAT --to-destination 10.9.0.2", Forwards::To("10.9.0.2".parse().unwrap(), None); "a range of ports")]
    #[test_case("-A PREROUTING -p tcp -m multiport --dports 80,443 -j DNAT --to-destination 10.9.0.2", Forwards::Nothing; "other ports")]
    #[test_case("-A PREROUTING -p tcp -m multiport ! --dports 80,443 -j DNAT --to-destination 10.9.0.2", Forwards::To("10.9.0.2".parse().unwrap(), None); "all but other ports")]
    #[test_case("udp dport { 5060, 5061 } dnat ip6 to [fd09::2]:5060", Forwards::To("fd09::2".parse().unwrap(), Some(5060)); "nft")]
    #[test_case("udp dport 5060 dnat ip6 to fd09::2", Forwards::To("fd09::2".parse().unwrap(), None); "nft without a port")]
    #[test_case("dnat ip to udp dport map { 5060 : 10.8.0.2 }", Forwards::Somewhere; "a map")]
    #[test_case("-A PREROUTING -d 192.0.2.0/24 -j NETMAP --to 10.9.0.0/24", Forwards::Somewhere; "a network")]
    #[test_case("-A PREROUTING -p udp --dport 5060 -j REDIRECT --to-ports 5070", Forwards::Nothing; "to this machine")]
    fn a_rule_forwards(line: &str, expected: Forwards) {
        assert_eq!(one(line).forwards(&[5060, 5061]), expected);
    }

    #[test]
    fn rules_are_read_with_their_chains() {
        const SAVED: &str = "*filter\n:DOCKER - [0:0]\n-A FORWARD -j DOCKER\nCOMMIT\n*nat\n\
            -A POSTROUTING -s 10.88.0.0/16 -j CNI\n-A CNI -j MASQUERADE\nCOMMIT\n";
        const LISTED: &str = "table inet firewalld {\n\tset inner {\n\t\ttype ifname\n\
            \t\telements = { \"wg0\" }\n\t}\n\n\tchain nat_POST {\n\
            \t\ttype nat hook postrouting priority srcnat + 10; policy accept;\n\
            \t\toifname vmap { \"eth0\" : goto public, \"wg0\" : goto CNI }\n\t}\n\n\
            \tchain CNI {\n\t\tmasquerade\n\t}\n}\n";
        let rules = read([("ip", SAVED), ("ip6", "")], LISTED);
        let places: Vec<_> = rules
            .iter()
            .map(|rule| (rule.chain.as_str(), rule.hook.as_deref()))
            .collect();
        let expected = [
            ("FORWARD", Some("forward")),
            ("POSTROUTING", Some("postrouting")),
            ("CNI", None),
            ("nat_POST", Some("postrouting")),
            ("CNI", None),
        ];
        assert_eq!(places, expected);
        let leads = |from: usize, to: usize| rules[from].leads_to(&rules[to]);
        assert!(leads(1, 2) && leads(3, 4));
        // Chains of other tables have the same name.
        assert!(!leads(1, 4) && !leads(3, 2) && !leads(0, 2));
    }

    #[test]
    fn what_iptables_keeps_in_nf_tables_is_read_once() {
        const SAVED: &str = "# Generated by iptables-save v1.8.9 (nf_tables) on Mon Nov 23\n*nat\n\
            -A POSTROUTING -o docker0 -j MASQUERADE\nCOMMIT\n";
        const LISTED: &str = "table ip nat {\n\tchain POSTROUTING {\n\
            \t\toifname \"docker0\" counter packets 0 bytes 0 masquerade\n\t}\n}\n\
            table ip own {\n\tchain out {\n\t\tmasquerade\n\t}\n}\n";
        let translating = |saved: &str| {
            let rules = read([("ip", saved), ("ip6", "")], LISTED);
            rules.iter().filter(|rule| rule.translates_source()).count()
        };
        assert_eq!(translating(SAVED), 2);
        // The older iptables keeps its rules elsewhere, and this table is somebody else's.
        assert_eq!(translating(&SAVED.replace(" (nf_tables)", "")), 3);
    }
}
