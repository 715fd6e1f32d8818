//! Output of `iptables-save`, and scripts and web pages with lines of iptables. A rule is taken
//! where a ban, or a signature, hits no more than the rule did.

use std::net::Ipv4Addr;

use ipnet::{IpNet, Ipv4Net};
use sipward_engine::overlap;

use super::{Kind, Reader, Searched, Why, quoted};
use crate::{
    address::Address,
    config::{BanScope, PortLists},
};

/// Whether a line is a rule.
pub(super) fn is(text: &str) -> bool {
    commands(text).any(|(_, words)| Rule::of(&words).is_some())
}

pub(super) fn read(text: &str, reader: &mut Reader<'_>) -> Kind {
    let accepted = accepted(text);
    let mut table = "filter".to_owned();
    for (line, words) in commands(text) {
        if let [word] = words.as_slice()
            && let Some(name) = word.strip_prefix('*')
        {
            name.clone_into(&mut table);
        }
        let Some(mut rule) = Rule::of(&words) else {
            continue;
        };
        rule.table.get_or_insert_with(|| table.clone());
        match rule.meaning(reader.context.ports) {
            Ok(Meaning::Bans(addresses, scope)) if rule.deletes => {
                for address in addresses {
                    withdraw(line, &address, scope, reader);
                }
            }
            Ok(Meaning::Bans(addresses, scope)) => {
                for written in addresses {
                    match source(&written) {
                        Some(address) if hits(&address, &accepted) => {
                            reader.skip(Some(line), quoted(written.as_bytes()), Why::Accepted);
                        }
                        Some(address) => {
                            let end = reader.end();
                            reader.take_all(line, address.prefixes(), end, scope);
                        }
                        None => reader.garbage(line, &written),
                    }
                }
            }
            Ok(Meaning::Searches(searched)) if rule.deletes => {
                reader.searched.retain(|taken| *taken != searched);
            }
            Ok(Meaning::Searches(searched)) => {
                if !reader.searched.contains(&searched) {
                    reader.searched.push(searched);
                }
            }
            Err(why) => {
                let what = quoted(words.join(" ").as_bytes());
                reader.skip(Some(line), what, why);
            }
        }
    }
    Kind::Iptables
}

/// What any rule lets through: which of two rules comes first, a script with `-I` does not show.
fn accepted(text: &str) -> Vec<IpNet> {
    commands(text)
        .filter_map(|(_, words)| Rule::of(&words))
        .filter(|rule| matches!(rule.target.as_str(), "ACCEPT" | "RETURN"))
        .flat_map(|rule| rule.sources)
        .filter_map(|written| source(&written))
        .flat_map(|address| address.prefixes().to_vec())
        .collect()
}

fn hits(address: &Address, accepted: &[IpNet]) -> bool {
    let hit = |net: &IpNet| accepted.iter().any(|through| overlap(net, through));
    address.prefixes().iter().any(hit)
}

/// A rule that is deleted takes back those before it.
fn withdraw(line: usize, written: &str, scope: Option<BanScope>, reader: &mut Reader<'_>) {
    let Some(address) = source(written) else {
        return;
    };
    let before = reader.bans.len();
    let deleted =
        |net: &IpNet, of: Option<BanScope>| of == scope && address.prefixes().contains(net);
    reader.bans.retain(|ban| !deleted(&ban.prefix, ban.scope));
    if reader.bans.len() < before {
        reader.skip(Some(line), quoted(written.as_bytes()), Why::Withdrawn);
    }
}

/// What a rule drops.
enum Meaning {
    /// Packets from these addresses.
    Bans(Vec<String>, Option<BanScope>),
    /// Packets with this text.
    Searches(Searched),
}

/// A rule, as far as it matters here.
#[derive(Debug, Default)]
struct Rule {
    deletes: bool,
    /// `None`: the one that the rules around it are of.
    table: Option<String>,
    chain: String,
    target: String,
    sources: Vec<String>,
    protocol: Option<String>,
    ports: Vec<(u16, u16)>,
    searched: Vec<Searched>,
    /// It asks for something that is not understood here, or for the opposite.
    more: bool,
}

impl Rule {
    /// The rule that a command adds or deletes.
    fn of(words: &[String]) -> Option<Self> {
        let options = match words.first()?.as_str() {
            "-A" | "-I" => words,
            _ => words.get(words.iter().position(|word| is_iptables(word))? + 1..)?,
        };
        let mut rule = Self::default();
        let mut negated = false;
        let mut options = options.iter().map(String::as_str).peekable();
        let mut is_rule = false;
        while let Some(option) = options.next() {
            let (option, inline) = match option.split_once('=') {
                Some((option, value)) if option.starts_with("--") => (option, Some(value)),
                Some(_) | None => (option, None),
            };
            let mut value = || inline.or_else(|| options.next()).unwrap_or_default();
            match option {
                "!" => {
                    negated = true;
                    continue;
                }
                "-A" | "--append" | "-I" | "--insert" | "-D" | "--delete" => {
                    is_rule = true;
                    rule.deletes = matches!(option, "-D" | "--delete");
                    value().clone_into(&mut rule.chain);
                    let number = |word: &&str| word.bytes().all(|byte| byte.is_ascii_digit());
                    options.next_if(number);
                }
                "-s" | "--source" | "--src" => {
                    let written = value();
                    rule.sources.extend(written.split(',').map(str::to_owned));
                }
                "--src-range" => rule.sources.push(value().to_owned()),
                "-j" | "--jump" | "-g" | "--goto" => value().clone_into(&mut rule.target),
                "-p" | "--protocol" => rule.protocol = Some(value().to_ascii_lowercase()),
                "--dport" | "--dports" | "--destination-port" | "--destination-ports" => {
                    match ports(value()) {
                        Some(ports) => rule.ports.extend(ports),
                        None => rule.more = true,
                    }
                }
                "--string" => rule.searched.push(Searched {
                    text: value().to_owned(),
                    to_line_end: false,
                }),
                "--hex-string" => rule.searched.extend(hex_string(value())),
                "-t" | "--table" => rule.table = Some(value().to_owned()),
                "-m" | "--match" | "--algo" | "--from" | "--to" | "--comment" | "--reject-with" => {
                    value();
                }
                "-w" | "--wait" => {
                    let number = |word: &&str| word.bytes().all(|byte| byte.is_ascii_digit());
                    options.next_if(number);
                }
                "--icase" | "-v" | "--verbose" | "-n" | "-4" | "-6" => {}
                _ => rule.more = true,
            }
            rule.more |= negated;
            negated = false;
        }
        is_rule.then_some(rule)
    }

    /// Other chains see what is forwarded, or what another rule sends them.
    fn sees_all_that_arrives(&self) -> bool {
        match self.chain.as_str() {
            "INPUT" => true,
            "PREROUTING" => matches!(self.table.as_deref(), Some("raw" | "mangle")),
            _ => false,
        }
    }

    fn meaning(&self, sip: &PortLists) -> Result<Meaning, Why> {
        if !matches!(self.target.as_str(), "DROP" | "REJECT") {
            return Err(Why::NoBan);
        }
        // The prefix of its chains, since 0.9 and before.
        if self.chain.starts_with("f2b-") || self.chain.starts_with("fail2ban-") {
            return Err(Why::OfFail2Ban);
        }
        let of_sip = |port: u16| {
            let lists = [
                &sip.sip_udp,
                &sip.sip_tcp,
                &sip.sip_tls,
                &sip.sip_ws,
                &sip.iax2,
            ];
            lists.iter().any(|ports| ports.contains(&port))
        };
        let only_sip = self
            .ports
            .iter()
            .all(|(first, last)| (*first..=*last).all(of_sip));
        let protocol = self.protocol.as_deref();
        let some_protocol = match protocol {
            None | Some("all" | "0" | "any") => false,
            Some("udp" | "17" | "tcp" | "6") => true,
            Some(_) => return Err(Why::Narrower),
        };
        if self.more || !only_sip || !self.sees_all_that_arrives() {
            return Err(Why::Narrower);
        }
        match (self.sources.as_slice(), self.searched.as_slice()) {
            ([], [searched]) => Ok(Meaning::Searches(searched.clone())),
            ([_, ..], []) => {
                let scope = (some_protocol || !self.ports.is_empty()).then_some(BanScope::Sip);
                Ok(Meaning::Bans(self.sources.clone(), scope))
            }
            ([], [] | [_, _, ..]) | ([_, ..], [_, ..]) => Err(Why::Narrower),
        }
    }
}

fn is_iptables(word: &str) -> bool {
    let name = word.rsplit('/').next().unwrap_or_default();
    let variable = word.starts_with('$') && word.to_ascii_uppercase().contains("IPT");
    variable
        || matches!(
            name,
            "iptables"
                | "ip6tables"
                | "iptables-legacy"
                | "ip6tables-legacy"
                | "iptables-nft"
                | "ip6tables-nft"
        )
}

/// `5060`, `5060:5061`, `5060,5080`
fn ports(text: &str) -> Option<Vec<(u16, u16)>> {
    let port = |text: &str| text.parse::<u16>().ok();
    let range = |part: &str| match part.split_once(':') {
        Some((first, last)) => Some((port(first)?, port(last)?)),
        None => port(part).map(|port| (port, port)),
    };
    text.split(',').map(range).collect()
}

/// An address as iptables takes it: with a prefix length or a netmask, and what is set behind it
/// does not count (iptables(8)).
fn source(written: &str) -> Option<Address> {
    let Some((address, mask)) = written.split_once('/') else {
        return written.parse().ok();
    };
    let length = match mask.parse::<Ipv4Addr>() {
        Ok(mask) => Ipv4Net::with_netmask(Ipv4Addr::UNSPECIFIED, mask)
            .ok()?
            .prefix_len(),
        Err(_) => mask.parse().ok()?,
    };
    let net = IpNet::new(address.parse().ok()?, length).ok()?;
    net.trunc().to_string().parse().ok()
}

/// `|66 72|iendly` (iptables-extensions(8)); none where a text has bytes that are no UTF-8.
fn hex_string(text: &str) -> Option<Searched> {
    let mut bytes = Vec::new();
    for (number, part) in text.split('|').enumerate() {
        if number % 2 == 0 {
            bytes.extend_from_slice(part.as_bytes());
            continue;
        }
        let digits: Vec<u8> = part
            .bytes()
            .filter(|byte| !byte.is_ascii_whitespace())
            .collect();
        for pair in digits.chunks(2) {
            bytes.push(u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?);
        }
    }
    let text = String::from_utf8(bytes).ok()?;
    let line = text.trim_end_matches(['\r', '\n']);
    Some(Searched {
        to_line_end: line.len() < text.len(),
        text: line.to_owned(),
    })
}

/// The commands with the number of the line on which each begins, as words a shell would make of
/// them; nothing is expanded.
fn commands(text: &str) -> impl Iterator<Item = (usize, Vec<String>)> {
    let mut lines = (1..).zip(text.lines());
    std::iter::from_fn(move || {
        let (number, line) = lines.next()?;
        let mut line = line.to_owned();
        while line.ends_with('\\') {
            line.pop();
            match lines.next() {
                Some((_, more)) => line.push_str(more),
                None => break,
            }
        }
        Some((number, line))
    })
    .flat_map(|(number, line)| words(&line).into_iter().map(move |words| (number, words)))
}

fn words(line: &str) -> Vec<Vec<String>> {
    let mut commands = vec![Vec::new()];
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut chars = line.chars();
    let end = |word: &mut Option<String>, commands: &mut Vec<Vec<String>>| {
        if let (Some(word), Some(command)) = (word.take(), commands.last_mut()) {
            command.push(word);
        }
    };
    while let Some(char) = chars.next() {
        match (quote, char) {
            (None, '#') if word.is_none() => break,
            (None, '"' | '\'') => {
                quote = Some(char);
                word.get_or_insert_default();
            }
            // As word processors set quotation marks.
            (None, '“' | '”') => {
                quote = Some('”');
                word.get_or_insert_default();
            }
            (Some('”'), '“' | '”') => quote = None,
            (Some(open), close) if open == close => quote = None,
            (None | Some('"'), '\\') => word.get_or_insert_default().extend(chars.next()),
            (None, ';' | '&') => {
                end(&mut word, &mut commands);
                commands.push(Vec::new());
            }
            (None, blank) if blank.is_whitespace() => end(&mut word, &mut commands),
            (_, char) => word.get_or_insert_default().push(char),
        }
    }
    end(&mut word, &mut commands);
    commands.retain(|words| !words.is_empty());
    commands
}
