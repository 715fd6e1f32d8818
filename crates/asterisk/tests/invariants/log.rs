//! What holds for every log file: shared by the fuzz target and the replay of its corpus.

use std::net::{IpAddr, SocketAddr};

use sipward_asterisk::log::{self, Level, LogLine, Program, Reader};

/// Reads an input as a file and line by line, and checks what must hold.
pub fn check(input: &[u8]) {
    let lines: Vec<&[u8]> = input.split_inclusive(|&b| b == b'\n').collect();
    let mut next = 0;
    for (number, line) in Reader::new().read(input) {
        assert!(number >= next, "line {number} comes again");
        next = number + 1;
        is_of(&line, lines.get(number).expect("a line that was given"));
    }
    for line in &lines {
        if let Some(found) = log::parse(line) {
            is_of(&found, line);
        }
    }
    let cut = lines.len() / 2;
    let mut reader = Reader::new();
    for part in [&lines[..cut], &lines[cut..]] {
        let part = part.concat();
        for (number, line) in reader.read(&part) {
            let line_given = part.split_inclusive(|&b| b == b'\n').nth(number);
            is_of(&line, line_given.expect("a line that was given"));
        }
    }
}

/// Nothing is said that does not stand in the line, and the address where Asterisk writes it.
fn is_of(found: &LogLine<'_>, line: &[u8]) {
    for text in [found.event.account, found.event.call_id]
        .into_iter()
        .flatten()
    {
        assert!(
            text.is_empty() || line.windows(text.len()).any(|window| window == text),
            "{} is not in the line",
            text.escape_ascii()
        );
    }
    let Some(remote) = found.event.remote else {
        return;
    };
    // The time is Asterisk's own.
    let text = String::from_utf8_lossy(line);
    let bracketed = text
        .strip_prefix('[')
        .and_then(|text| text.split_once("] "));
    let text = bracketed.map_or(&*text, |(_time, rest)| rest);
    if found.program != Program::Asterisk {
        let fields = fields_of_others(text);
        assert!(fields.iter().any(|field| is_address(field, remote.address)));
        return;
    }
    let fields = match found.level {
        Level::Security => last_remote_address(text).into_iter().collect(),
        Level::Notice | Level::Warning | Level::Error => trusted_fields(text),
        Level::Other => Vec::new(),
    };
    assert!(
        fields.iter().any(|field| is_address(field, remote.address)),
        "{} stands in no trusted field of {text:?}: {fields:?}",
        remote.address
    );
}

/// FreeSWITCH and Kamailio write it last, but for what a script says of the cause.
fn fields_of_others(text: &str) -> Vec<String> {
    let line = text.trim_end().trim_end_matches("\u{1b}[0m").trim_end();
    let last = |head: &str| line.rsplit(head).next().unwrap_or("").to_owned();
    let mut fields = vec![last("] from ip "), last("] from "), last(" traffic from ")];
    fields.push(last(" request from "));
    fields.push(last(" (IP:").trim_end_matches(')').to_owned());
    let before = |head: &str, end: &str| last(head).split(end).next().unwrap_or("").to_owned();
    fields.push(before(" BLOCKing ip ", ", node=0x"));
    fields.push(before(" from ", " cause "));
    fields.extend(["source IP ", "IP ", "ip "].map(|word| before(word, " cause ")));
    fields.extend(
        line.split("IP ")
            .map(|rest| rest.split(' ').next().unwrap_or("").to_owned()),
    );
    fields
}

fn last_remote_address(text: &str) -> Option<String> {
    let value = text.rsplit(",RemoteAddress=\"").next()?.split('"').next()?;
    let parts: Vec<&str> = value.split('/').collect();
    let [_, _, address, port] = parts[..] else {
        return None;
    };
    Some(format!("[{address}]:{port}"))
}

/// Behind each of these words Asterisk writes the address, and no stranger's text can stand before
/// it but where the rest says otherwise.
fn trusted_fields(text: &str) -> Vec<String> {
    let mut fields = Vec::new();
    let until = |text: &str, ends: &[char]| text.split(ends).next().unwrap_or("").to_owned();
    let between = |head: &str| text.split_once(head).map(|(_, rest)| rest.to_owned());
    // The To before it may hold the same words, the address is behind the last.
    if text.contains("Registration from '") {
        fields.extend(
            text.rsplit("' failed for '")
                .next()
                .map(|rest| until(rest, &['\''])),
        );
    }
    // The From ends with a bracket that PJSIP wrote; a Call-ID with the same words stands behind.
    if text.contains("(callid: ") {
        for (at, _) in text.match_indices(">' failed for '") {
            fields.push(until(&text[at + 15..], &['\'']));
        }
    }
    if let Some(before) = text.split(") to extension '").next() {
        let inside = before.rsplit('(').next().unwrap_or("");
        fields.push(inside.to_owned());
        fields.extend(inside.split_once(':').map(|(_, rest)| rest.to_owned()));
    }
    // Whatever stands before it is Asterisk's own prefix.
    for head in [": Host ", ": Rejected connect attempt from "] {
        for (at, _) in text.match_indices(head) {
            fields.push(until(&text[at + head.len()..], &[' ', ',']));
        }
    }
    fields.extend(
        text.rsplit(" (from ")
            .next()
            .map(|rest| until(rest.trim_end(), &[')'])),
    );
    if let Some(rest) = between(" bytes packet from ") {
        let address = rest.split(' ').nth(1).unwrap_or("").trim_end();
        fields.push(address.trim_end_matches(':').to_owned());
        fields.push(address.to_owned());
    }
    fields.extend(between("manager.c").map(|rest| {
        let rest = rest
            .rsplit_once(": ")
            .map_or(rest.clone(), |_| rest.clone());
        let words: Vec<&str> = rest.split(' ').collect();
        words
            .iter()
            .find(|word| is_any_address(word))
            .unwrap_or(&"")
            .to_string()
    }));
    for head in [
        "Rejecting unknown SIP connection from ",
        "hacking attempt detected '",
    ] {
        fields.extend(
            text.rsplit(head)
                .next()
                .map(|rest| until(rest, &['"', '\''])),
        );
    }
    fields
}

fn is_any_address(text: &str) -> bool {
    text.parse::<IpAddr>().is_ok() || text.parse::<SocketAddr>().is_ok()
}

fn is_address(text: &str, address: SocketAddr) -> bool {
    let without = |text: &str| -> String { text.replace(['[', ']'], "") };
    if let Ok(found) = without(text).parse::<IpAddr>() {
        // An IPv6 address with a port and without brackets is an address as well.
        if found == address.ip() && address.port() == 0 {
            return true;
        }
    }
    text.rsplit_once(':').is_some_and(|(host, port)| {
        without(host).parse() == Ok(address.ip()) && port.parse() == Ok(address.port())
    })
}
