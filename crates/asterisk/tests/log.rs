//! The log reader against a table of lines: written by a running Asterisk 16 while it was attacked
//! and while honest phones used it, and by hand for the forms of other versions.
#![expect(clippy::unwrap_used, reason = "a broken table is the test's failure")]

mod event_text;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use event_text::shown;
use sipward_asterisk::log::{self, Level, LogLine, Program, Reader, Stamp};
use sipward_testkit::require::{Need, fail2ban, require};
use test_case::test_case;

/// One row: who caused the lines, who wrote them, what is to be read from them.
struct Row {
    party: &'static str,
    origin: &'static str,
    expected: &'static str,
    lines: Vec<u8>,
}

/// Of Asterisk.
fn table() -> Vec<Row> {
    rows(include_str!("log/lines.tsv"))
}

/// Of FreeSWITCH and Kamailio.
fn table_of_others() -> Vec<Row> {
    rows(include_str!("log/other.tsv"))
}

fn rows(table: &'static str) -> Vec<Row> {
    table
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| {
            let mut columns = line.splitn(4, '\t');
            let mut next = || columns.next().unwrap();
            Row {
                party: next(),
                origin: next(),
                expected: next(),
                lines: unescape(next()),
            }
        })
        .collect()
}

fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = text.bytes();
    let mut out = Vec::new();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'\\' => match bytes.next().unwrap() {
                b'n' => b'\n',
                b'r' => b'\r',
                b't' => b'\t',
                b'e' => 0x1b,
                b'\\' => b'\\',
                other => panic!("unknown escape \\{}", other as char),
            },
            other => other,
        });
    }
    out
}

fn read(lines: &[u8]) -> String {
    let all: Vec<String> = Reader::new()
        .read(lines)
        .map(|(_, line)| shown(&line.event))
        .collect();
    if all.is_empty() {
        "-".to_owned()
    } else {
        all.join(" & ")
    }
}

#[test]
fn every_line_says_what_the_table_says() {
    let rows = table();
    for row in &rows {
        let lines = String::from_utf8_lossy(&row.lines);
        assert_eq!(read(&row.lines), row.expected, "{lines}");
    }

    let count = |party: &[&str], origin: &str| {
        rows.iter()
            .filter(|row| party.contains(&row.party) && row.origin.starts_with(origin))
            .count()
    };
    assert!(rows.len() >= 120);
    assert!(count(&["attacker", "honest"], "asterisk-16") >= 60);
    assert!(count(&["honest"], "asterisk-16") >= 20);
    assert!(count(&["nobody"], "") >= 40);
    assert!(count(&["forger"], "") >= 15);
}

#[test]
fn every_line_of_other_servers_says_what_the_table_says() {
    for row in table_of_others() {
        let lines = String::from_utf8_lossy(&row.lines);
        assert_eq!(read(&row.lines), row.expected, "{lines}");
    }
}

/// A large file is read in parts, of which each knows what stands behind it.
#[test]
fn a_file_in_parts_reads_like_the_whole() {
    for table in [table(), table_of_others()] {
        for row in table {
            let lines = [&row.lines[..], b"\n"].concat();
            let starts = lines.split_inclusive(|&b| b == b'\n').scan(0, |at, line| {
                *at += line.len();
                Some(*at)
            });
            for cut in starts {
                let mut reader = Reader::new();
                let mut part = reader.read_part(&lines, cut);
                let mut found: Vec<String> = part.by_ref().map(|(_, l)| shown(&l.event)).collect();
                let rest = part.rest();
                found.extend(reader.read(rest).map(|(_, line)| shown(&line.event)));
                let found = found.join(" & ");
                let found = if found.is_empty() { "-" } else { &found };
                assert_eq!(found, row.expected, "cut at {cut}");
            }
        }
    }
}

#[test]
fn a_file_is_read_as_what_its_first_line_is() {
    let mut reader = Reader::new();
    assert_eq!(reader.program(), None);
    let asterisk = "[Nov 22 18:55:40] VERBOSE[1] pbx.c: x\n";
    assert_eq!(reader.read(asterisk.as_bytes()).count(), 0);
    assert_eq!(reader.program(), Some(Program::Asterisk));
    for row in table_of_others() {
        let first = row.lines.split_inclusive(|&b| b == b'\n').next().unwrap();
        let is_asterisk = row.lines.starts_with(b"[");
        assert!(is_asterisk || reader.read(first).next().is_none());
    }
}

#[test_case("[Nov  2 18:55:31] NOTICE[1] x.c: y", "-11-02 18:55:31.0 -"; "the default of Asterisk")]
#[test_case("[2026-11-22 18:55:31] NOTICE[1] x.c: y", "2026-11-22 18:55:31.0 -"; "an ISO date")]
#[test_case("[2026-11-22 18:55:31.571] NOTICE[1] x.c: y", "2026-11-22 18:55:31.571000000 -"; "milliseconds")]
#[test_case("[2026-11-22 18:55:31.571234] NOTICE[1] x.c: y", "2026-11-22 18:55:31.571234000 -"; "microseconds")]
#[test_case("[2026-11-22T18:55:31.571+0100] NOTICE[1] x.c: y", "2026-11-22 18:55:31.571000000 3600"; "with a zone")]
#[test_case("[Nov 22 18:55:31.571] NOTICE[1] x.c: y", "-11-22 18:55:31.571000000 -"; "no year, milliseconds")]
#[test_case("\u{1b}[0;37m[Nov 22 18:55:31] NOTICE[1] x.c: y", "-11-22 18:55:31.0 -"; "coloured")]
#[test_case("Nov 22 18:55:31 pbx asterisk[1]: NOTICE[1]: x.c: y", "-11-22 18:55:31.0 -"; "syslog")]
#[test_case("2026-11-22T18:55:31-0530 pbx asterisk[1]: NOTICE[1]: x.c: y", "2026-11-22 18:55:31.0 -19800"; "the journal, short-iso")]
#[test_case("2026-11-22T18:55:31.571234567Z stdout F [Nov 22 17:00:00] NOTICE[1] x.c: y", "2026-11-22 18:55:31.571234567 0"; "Kubernetes")]
#[test_case("pbx-1  | [2026-11-22 18:55:31] NOTICE[1] x.c: y", "2026-11-22 18:55:31.0 -"; "Compose")]
#[test_case("2026-11-22 18:55:31.571234 [WARNING] sofia_reg.c:1 x", "2026-11-22 18:55:31.571234000 -"; "FreeSWITCH")]
#[test_case("0a1b2c3d-1111-2222-3333-0123456789ab 2026-11-22 18:55:31.5 [WARNING] x.c:1 x", "2026-11-22 18:55:31.500000000 -"; "FreeSWITCH with a session")]
#[test_case("11-22 18:55:31.026299 [WARN] [SOFIA] [sofia_reg.c:1] x", "-11-22 18:55:31.26299000 -"; "older FreeSWITCH")]
#[test_case("[Nov 22 24:00:00] NOTICE[1] x.c: y", "none"; "no such hour")]
#[test_case("[2026-13-22 18:55:31] NOTICE[1] x.c: y", "none"; "no such month")]
#[test_case("NOTICE[1] x.c: y", "none"; "no time")]
#[test_case("", "none"; "nothing")]
fn a_line_says_when_it_was_written(line: &str, expected: &str) {
    let shown = Stamp::of(line.as_bytes()).map(|stamp| {
        let year = stamp.year.map_or(String::new(), |year| year.to_string());
        let offset = stamp
            .offset
            .map_or("-".to_owned(), |offset| offset.to_string());
        format!(
            "{year}-{:02}-{:02} {:02}:{:02}:{:02}.{} {offset}",
            stamp.month, stamp.day, stamp.hour, stamp.minute, stamp.second, stamp.nanosecond,
        )
    });
    assert_eq!(shown.as_deref().unwrap_or("none"), expected);
}

#[test]
fn the_parties_are_those_of_the_bench() {
    // Addresses of the lab: 203.0.113.0/24 and 2001:db8:7::7 attack, 198.51.100.10 and
    // 2001:db8:51::10 are honest phones, and forgers put the blame on 198.51.100.66.
    for row in table().into_iter().chain(table_of_others()) {
        for (_, line) in Reader::new().read(&row.lines) {
            let Some(remote) = line.event.remote else {
                continue;
            };
            let address = remote.address.ip();
            let honest = ["198.51.100.10", "2001:db8:51::10"];
            let is_honest = honest
                .iter()
                .any(|text| address == text.parse::<IpAddr>().unwrap());
            let is_attacker = match address {
                IpAddr::V4(v4) => v4.octets()[..3] == [203, 0, 113],
                IpAddr::V6(v6) => v6.segments()[..3] == [0x2001, 0xdb8, 7],
            };
            let fits = match row.party {
                "honest" => is_honest,
                "attacker" | "forger" => is_attacker,
                _ => false,
            };
            assert!(fits, "{} {address}: {}", row.party, row.expected);
        }
    }
}

#[test]
fn a_file_reads_like_its_lines() {
    // Rows that tear or dump say something about the lines behind them; all others do not.
    let rows: Vec<Row> = table()
        .into_iter()
        .filter(|row| !row.lines.contains(&b'\n'))
        .collect();
    let mut file = Vec::new();
    for row in &rows {
        file.extend_from_slice(&row.lines);
        file.push(b'\n');
    }
    let numbers: Vec<usize> = Reader::new().read(&file).map(|(n, _)| n).collect();
    let expected: Vec<usize> = (0..rows.len())
        .filter(|&n| rows[n].expected != "-")
        .collect();
    assert_eq!(numbers, expected);

    let kinds = |lines: Vec<LogLine<'_>>| -> Vec<String> {
        lines
            .iter()
            .map(|line| format!("{:?}", line.event.kind))
            .collect()
    };
    let mut reader = Reader::new();
    let whole = kinds(reader.read(&file).map(|(_, line)| line).collect());
    let alone = kinds(
        rows.iter()
            .filter_map(|row| log::parse(&row.lines))
            .collect(),
    );
    assert_eq!(whole, alone);
}

#[test]
fn a_packet_in_the_log_is_skipped_across_reads() {
    let forged =
        "[Nov 22 18:55:40] NOTICE[1] manager.c: 198.51.100.66 failed to authenticate as 'x'\n";
    let packet = format!("OPTIONS sip:x SIP/2.0\n{forged}{forged}");
    let head = format!(
        "[Nov 22 18:55:40] VERBOSE[7] res_pjsip_logger.c: <--- Received SIP request ({} bytes) \
         from UDP:203.0.113.9:5071 --->\n",
        packet.len()
    );
    let real = "[Nov 22 18:55:41] NOTICE[7] manager.c: 203.0.113.9 failed to authenticate as 'y'\n";
    let whole = format!("{head}{packet}\n{real}");
    for (at, _) in whole.match_indices('\n') {
        let (before, after) = whole.split_at(at + 1);
        let mut reader = Reader::new();
        let mut found = Vec::new();
        for part in [before, after] {
            found.extend(
                reader
                    .read(part.as_bytes())
                    .map(|(_, line)| shown(&line.event)),
            );
        }
        assert_eq!(
            found,
            ["WrongPassword|Manager|203.0.113.9:0|-|y|-"],
            "cut at {at}"
        );
    }
}

#[test]
fn sip_debugging_takes_every_address_away_and_says_so() {
    let mut reader = Reader::new();
    let line =
        b"[Nov 22 18:55:41] NOTICE[7] manager.c: 203.0.113.9 failed to authenticate as 'y'\n";
    assert!(
        reader
            .read(line)
            .all(|(_, line)| line.event.remote.is_some())
    );
    assert!(!reader.debugs_sip());
    let debug = b"[Nov 22 18:55:41] VERBOSE[7] chan_sip.c: \n\
        <--- SIP read from UDP:203.0.113.9:5071 --->\nOPTIONS sip:x SIP/2.0\n<------------->\n";
    assert_eq!(reader.read(debug).count(), 0);
    assert!(reader.debugs_sip());
    assert!(
        reader
            .read(line)
            .all(|(_, line)| line.event.remote.is_none())
    );

    // Behind the longest packet without another one, it is off.
    let quiet = "[Nov 22 18:55:42] NOTICE[7] loader.c: quiet\n".repeat(65_535 / 44 + 1);
    assert_eq!(reader.read(quiet.as_bytes()).count(), 0);
    assert!(!reader.debugs_sip());
}

#[test]
fn what_asterisk_also_writes_as_an_event_is_known() {
    let twice = |text: &str| log::parse(text.as_bytes()).unwrap().has_a_security_event();
    assert!(twice(
        "[x] NOTICE[1] manager.c: 203.0.113.9 failed to authenticate as 'y'"
    ));
    assert!(twice(
        "[x] NOTICE[1] chan_sip.c: Call from '1' (203.0.113.9:5) to extension '2' rejected because extension not found in context 'p'."
    ));
    assert!(!twice(
        "[x] NOTICE[1] chan_iax2.c: Host 203.0.113.9 failed to authenticate as y"
    ));
    assert!(!twice(
        "[x] NOTICE[1] res_pjsip_session.c:  1: Call (UDP:203.0.113.9:5) to extension '2' rejected because extension not found in context 'p'."
    ));
    let security = table()
        .iter()
        .filter_map(|row| {
            log::parse(&row.lines).map(|line| (line.level, line.has_a_security_event()))
        })
        .filter(|(level, _)| *level == Level::Security)
        .collect::<Vec<_>>();
    assert!(security.len() > 50 && security.iter().all(|(_, twice)| !twice));
}

/// Fail2Ban's stock filter on the same lines. It is no measure of what is right, only of what an
/// operator gives up or gains.
#[test]
fn the_stock_filter_of_fail2ban_beside_ours() {
    if !require(&[Need::Fail2Ban]) {
        return;
    }
    let rows = table();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("log");
    let mut all = Vec::new();
    for row in &rows {
        all.extend_from_slice(&row.lines);
        all.push(b'\n');
    }
    std::fs::write(&file, &all).unwrap();
    let hits = fail2ban_hits(&file);

    let framed: IpAddr = "198.51.100.66".parse().unwrap();
    let mut counts: BTreeMap<(&str, &str), [usize; 4]> = BTreeMap::new();
    for row in &rows {
        let theirs: Vec<IpAddr> = row
            .lines
            .split(|&b| b == b'\n')
            .filter_map(|line| hits.get(String::from_utf8_lossy(line).trim_end()))
            .flatten()
            .copied()
            .collect();
        let ours: Vec<IpAddr> = Reader::new()
            .read(&row.lines)
            .filter(|(_, line)| is_failure(line))
            .filter_map(|(_, line)| Some(line.event.remote?.address.ip()))
            .collect();
        let count = counts.entry((row.party, row.origin)).or_default();
        count[0] += 1;
        count[1] += usize::from(!ours.is_empty());
        count[2] += usize::from(!theirs.is_empty());
        count[3] += usize::from(theirs.contains(&framed));
        assert!(!ours.contains(&framed));
    }
    eprintln!("party     written by    rows  ours  fail2ban  fail2ban blames a bystander");
    for ((party, origin), [rows, ours, theirs, framed]) in counts {
        eprintln!("{party:9} {origin:12} {rows:5} {ours:5} {theirs:9} {framed:12}");
    }
    assert!(!hits.is_empty(), "fail2ban-regex found nothing at all");

    let lines: Vec<u8> = rows
        .iter()
        .filter(|row| !row.lines.contains(&b'\n') && !row.lines.is_empty())
        .flat_map(|row| [row.lines.as_slice(), b"\n"].concat())
        .collect();
    let many = lines.repeat(20);
    std::fs::write(&file, &many).unwrap();
    let start = Instant::now();
    let read = Reader::new().read(&many).count();
    let ours = start.elapsed().as_secs_f64();
    let start = Instant::now();
    fail2ban_hits(&file);
    let theirs = start.elapsed().as_secs_f64();
    let count = bytecount(&many);
    eprintln!(
        "{count} lines, {read} of them events: {:.0} a second, fail2ban-regex {:.0}",
        count as f64 / ours,
        count as f64 / theirs
    );
}

fn bytecount(text: &[u8]) -> usize {
    text.split(|&b| b == b'\n').count() - 1
}

fn is_failure(line: &LogLine<'_>) -> bool {
    use log::Kind;
    match line.event.kind {
        Kind::WrongPassword
        | Kind::ChallengeResponseFailed
        | Kind::UnknownAccount
        | Kind::RefusedByAcl
        | Kind::RefusedGuest { .. }
        | Kind::InvalidTransport => true,
        Kind::Misdial
        | Kind::ChallengeSent
        | Kind::SuccessfulAuth
        | Kind::BadRequest
        | Kind::UnexpectedAddress
        | Kind::SessionLimit
        | Kind::LoadAverageLimit
        | Kind::InviteTimeout
        | Kind::AnswerTimeout
        | Kind::RefusedDevice { .. }
        | Kind::DroppedPacket { .. }
        | Kind::Blocked
        | Kind::Unread => false,
    }
}

/// The addresses that it would count, by line.
fn fail2ban_hits(file: &Path) -> BTreeMap<String, Vec<IpAddr>> {
    let root = fail2ban();
    let output = Command::new("/usr/bin/python3")
        .env("PYTHONPATH", root.join("usr/lib/python3/dist-packages"))
        .arg(root.join("usr/bin/fail2ban-regex"))
        .arg("--config")
        .arg(root.join("etc/fail2ban"))
        .args(["--out", "<ip> <matches>"])
        .arg(file)
        .arg("asterisk")
        .output()
        .unwrap();
    let mut hits: BTreeMap<String, Vec<IpAddr>> = BTreeMap::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        if let Some((address, line)) = line.split_once(' ')
            && let Ok(address) = address.parse()
        {
            hits.entry(line.trim_end().to_owned())
                .or_default()
                .push(address);
        }
    }
    hits
}
