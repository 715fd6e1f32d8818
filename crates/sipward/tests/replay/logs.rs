//! Logs: alone, rotated, packed, and beside captures of the same time.

use std::{
    fs::{self, File, FileTimes},
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, SystemTime},
};

use flate2::{Compression, write::GzEncoder};
use serde_json::Value;
use tempfile::TempDir;
use test_case::test_case;

use super::{
    ATTACKER, Packet, Recording, array, broken, flags, registration, report, request, run,
};

/// A folder of logs.
struct Logs(TempDir);

impl Logs {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    fn packed(&self, name: &str, text: &str) -> PathBuf {
        let mut packed = GzEncoder::new(Vec::new(), Compression::default());
        packed.write_all(text.as_bytes()).unwrap();
        self.file(name, packed.finish().unwrap())
    }
}

/// When the file was changed last.
fn changed(path: &Path, date: &str) {
    let at: jiff::Timestamp = date.parse().unwrap();
    let at = SystemTime::UNIX_EPOCH + Duration::from_secs(at.as_second().unsigned_abs());
    let file = File::options().append(true).open(path).unwrap();
    file.set_times(FileTimes::new().set_modified(at)).unwrap();
}

/// Eight wrong passwords for one account.
fn guesses(address: &str, time: impl Fn(u32) -> String) -> String {
    (0..8)
        .map(|n| {
            format!(
                "[{}] NOTICE[711] chan_sip.c: Registration from '<sip:100@192.0.2.1>' failed for \
                 '{address}:5070' - Wrong password\n",
                time(n)
            )
        })
        .collect()
}

fn on(day: &'static str) -> impl Fn(u32) -> String {
    move |n| format!("{day} 18:55:{:02}", 10 + n)
}

fn banned(report: &Value) -> Vec<&str> {
    let bans = array(report, "bans").iter();
    bans.map(|ban| ban["source"].as_str().unwrap()).collect()
}

#[test]
fn a_guesser_in_a_log_is_banned_unproven() {
    let logs = Logs::new();
    let file = logs.file("messages", guesses("203.0.113.9", on("2026-11-22")));
    let report = report(&[], &[&file]);
    let [ban] = array(&report, "bans") else {
        panic!("{report:#}");
    };
    assert_eq!(ban["source"], "203.0.113.9");
    assert_eq!(
        (&ban["proven"], &ban["scope"]),
        (&Value::from(false), &Value::from("sip"))
    );
    assert_eq!(ban["ban_seconds"], 600);
    assert_eq!(ban["line"], 5);
    assert_eq!(ban.get("packet"), None);
    assert_eq!(ban["evidence"][0]["line"], 1);
    let line = ban["evidence"][0]["summary"].as_str().unwrap();
    assert!(line.contains("Wrong password"), "{line}");
    assert_eq!(
        (&report["log_lines"], &report["log_events"]),
        (&Value::from(8), &Value::from(8))
    );
    assert_eq!(report["first"], "2026-11-22T18:55:10Z");
    assert_eq!(
        (&report["packets"], &report["sources"]),
        (&Value::from(0), &Value::from(1))
    );
}

#[test]
fn people_are_told_the_line() {
    let logs = Logs::new();
    let file = logs.file("messages", guesses("203.0.113.9", on("2026-11-22")));
    let output = run(&[], &[&file]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.starts_with("8 lines of logs, 8 of them events, 0 security events"),
        "{text}"
    );
    assert!(
        text.contains("203.0.113.9 would be banned for 10m (scope sip) at 2026-11-22"),
        "{text}"
    );
    assert!(
        text.contains(" line 5\n") && !text.contains("packet"),
        "{text}"
    );
}

/// Lines written by a running Asterisk while it was attacked and while honest phones used it; all
/// at once, and each many times over.
#[test]
fn honest_parties_and_bystanders_are_never_banned_for_what_asterisk_wrote() {
    let table = include_str!("../../../asterisk/tests/log/lines.tsv");
    let lines: Vec<&str> = table
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.splitn(4, '\t').nth(3).unwrap())
        .collect();
    let log: String = lines
        .iter()
        .map(|line| {
            let line = line
                .replace("\\n", "\n")
                .replace("\\r", "\r")
                .replace("\\e", "\u{1b}");
            line.replace("\\t", "\t").replace("\\\\", "\\") + "\n"
        })
        .collect();
    let logs = Logs::new();
    let file = logs.file("full", log.repeat(10));
    let report = report(&[], &[&file]);
    let banned = banned(&report);
    assert!(report["log_events"].as_u64().unwrap() > 1000, "{report:#}");
    for honest in ["198.51.100.10", "198.51.100.66", "2001:db8:51::10"] {
        assert!(!banned.contains(&honest), "{honest} of {banned:?}");
    }
    assert!(
        banned
            .iter()
            .any(|address| address.starts_with("203.0.113.")),
        "{banned:?}"
    );
    assert!(report["unmatched_security_lines"].as_u64().unwrap() > 0);
}

#[test]
fn rotated_logs_are_one_log_whatever_order_they_are_given_in() {
    let logs = Logs::new();
    let all = guesses("203.0.113.9", on("Nov 22"));
    let lines: Vec<&str> = all.split_inclusive('\n').collect();
    let files = [
        logs.packed("messages.2.gz", &lines[..3].concat()),
        logs.file("messages.1", lines[3..4].concat()),
        logs.file("messages", lines[4..].concat()),
    ];
    for file in &files {
        changed(file, "2026-11-23T00:00:00Z");
    }
    let [oldest, older, newest] = &files;
    let report = report(&[], &[newest, oldest, older]);
    let [ban] = array(&report, "bans") else {
        panic!("{report:#}");
    };
    assert_eq!(ban["at"].as_str().unwrap().get(..10), Some("2026-11-22"));
    assert_eq!(ban["evidence"][0]["file"], oldest.to_str().unwrap());
    assert_eq!(
        (&ban["line"], &ban["file"]),
        (&Value::from(1), &Value::from(newest.to_str().unwrap()))
    );
    let inputs: Vec<&str> = array(&report, "inputs")
        .iter()
        .map(|name| name.as_str().unwrap())
        .collect();
    assert_eq!(inputs, files.each_ref().map(|file| file.to_str().unwrap()));
}

#[test]
fn slow_guessing_over_months_is_not_judged_at_one_moment() {
    let logs = Logs::new();
    // One a day, over the turn of the year, without a year in the lines.
    let days = [
        "Dec 28", "Dec 29", "Dec 30", "Dec 31", "Jan  1", "Jan  2", "Jan  3", "Jan  4",
    ];
    let log = guesses("203.0.113.9", |n| format!("{} 18:55:31", days[n as usize]));
    let file = logs.file("messages", log);
    changed(&file, "2026-01-05T00:00:00Z");
    let report = report(&[], &[&file]);
    assert_eq!(banned(&report), [""; 0]);
    assert_eq!(report["first"], "2025-12-28T18:55:31Z");
    assert_eq!(report["last"], "2026-01-04T18:55:31Z");
}

/// Of a large log only some lines are looked at to know its years.
#[test]
fn a_large_log_without_years_may_span_two() {
    let logs = Logs::new();
    let mut log = String::new();
    for month in [
        "Oct", "Nov", "Dec", "Jan", "Feb", "May", "Aug", "Oct", "Nov", "Feb",
    ] {
        for line in 0..8_000 {
            log +=
                &format!("[{month} 22 18:55:31] VERBOSE[7] pbx.c: Executing the line {line:024}\n");
        }
    }
    let attack = guesses("203.0.113.9", |n| format!("Feb 23 18:55:{}", 10 + n));
    for file in [
        logs.file("messages", log.clone() + &attack),
        logs.packed("messages.gz", &(log.clone() + &attack)),
        logs.file("attack-first", guesses("203.0.113.9", on("Sep 30")) + &log),
    ] {
        changed(&file, "2026-03-01T00:00:00Z");
        let report = report(&[], &[&file]);
        let begins = file.ends_with("attack-first");
        let at = if begins {
            "2024-09-30T18:55:10Z"
        } else {
            "2026-02-23T18:55:10Z"
        };
        assert_eq!(report["first"], at, "{}", file.display());
        assert_eq!(banned(&report), ["203.0.113.9"]);
    }
}

#[test]
fn times_are_those_of_the_machine() {
    let logs = Logs::new();
    let file = logs.file("messages", guesses("203.0.113.9", on("2026-11-22")));
    let mut command = Command::new(env!("CARGO_BIN_EXE_sipward"));
    let output = command
        .args(["replay", "--json"])
        .arg(file)
        .env("TZ", "Europe/Berlin")
        .output();
    let report: Value = serde_json::from_slice(&output.unwrap().stdout).unwrap();
    assert_eq!(report["first"], "2026-11-22T17:55:10Z");
}

/// Wrong passwords, as the wire has them and as Asterisk logs them.
fn guessing(recording: &mut Recording) -> String {
    let mut log = String::new();
    for n in 0..8 {
        let call = format!("g{n}");
        recording.wait(Duration::from_secs(2));
        recording.exchange(
            ATTACKER,
            &request("REGISTER", &call, ""),
            "401 Unauthorized",
        );
        let credentials = format!(
            "Authorization: Digest username=\"100\", realm=\"pbx\", nonce=\"n1\", \
             uri=\"sip:198.51.100.1\", response=\"{n}123456789abcdef0123456789abcdef\"\r\n"
        );
        let second = request("REGISTER", &call, &credentials)
            .replace("CSeq: 1", "CSeq: 2")
            .replace("z9hG4bK", "z9hG4bKb");
        recording.exchange(ATTACKER, &second, "403 Forbidden");
        let at = jiff::Timestamp::from_second(recording.now.as_secs().try_into().unwrap());
        log += &format!(
            "[{}] NOTICE[711] chan_sip.c: Registration from '<sip:100@198.51.100.1>' failed for \
             '{ATTACKER}' - Wrong password\n",
            at.unwrap().strftime("%F %T")
        );
    }
    log
}

#[test]
fn what_a_capture_shows_a_log_beside_it_does_not_count_again() {
    let mut recording = Recording::new();
    let logs = Logs::new();
    registration(&mut recording, "r");
    let log = guessing(&mut recording);
    let capture = recording.file("night.pcap");
    let messages = logs.file("messages", &log);

    let alone = report(&[], &[&capture]);
    let [ban] = array(&alone, "bans") else {
        panic!("{alone:#}");
    };
    let both = report(&[], &[&messages, &capture]);
    let [ban_of_both] = array(&both, "bans") else {
        panic!("{both:#}");
    };
    for field in ["packet", "at", "proven", "ban_seconds", "would_drop"] {
        assert_eq!(ban[field], ban_of_both[field], "{field}");
    }
    assert_eq!(both["log_events"], 8);
    let evidence = array(ban_of_both, "evidence");
    assert!(evidence.iter().any(|one| one["line"].is_u64()), "{both:#}");
    let alerts = |report: &Value| array(report, "alerts").len();
    assert_eq!(alerts(&alone), alerts(&both));
}

#[test]
fn a_log_from_another_time_than_the_capture_counts() {
    let mut recording = Recording::new();
    let logs = Logs::new();
    registration(&mut recording, "r");
    let capture = recording.file("night.pcap");
    let messages = logs.file("messages", guesses("203.0.113.9", on("2026-11-22")));
    let report = report(&[], &[&capture, &messages]);
    assert_eq!(banned(&report), ["203.0.113.9"]);
}

/// As PJSIP logs it of a client over TLS.
fn over_tls(n: u32) -> String {
    format!(
        "[2027-01-15 08:00:{:02}] SECURITY[7] res_security_log.c: \
         SecurityEvent=\"ChallengeResponseFailed\",EventTV=\"2027-01-15T08:00:00.000+0000\",\
         Severity=\"Error\",Service=\"PJSIP\",EventVersion=\"1\",AccountID=\"100\",SessionID=\"c\",\
         LocalAddress=\"IPV4/TLS/198.51.100.1/5061\",RemoteAddress=\"IPV4/TLS/203.0.113.9/5071\",\
         Challenge=\"1\",Response=\"2\",ExpectedResponse=\"\"\n",
        10 + n
    )
}

/// Where a capture covers the time, a connection of which it has no handshake was made up. The
/// handshake: who connects, from `203.0.113.9:5071` or another port.
#[test_case(None, &[]; "nobody connected")]
#[test_case(Some("203.0.113.9:5072"), &[]; "from another port")]
#[test_case(Some("203.0.113.9:5071"), &["203.0.113.9"]; "somebody connected")]
fn a_log_of_tls_counts_beside_a_capture_of_the_handshake(from: Option<&str>, expected: &[&str]) {
    let mut recording = Recording::new();
    registration(&mut recording, "r");
    if let Some(client) = from {
        let to = "198.51.100.1:5061";
        let (ours, theirs) = (7_000_u32, 9_000_u32);
        let segment = |from, to, sequence, acknowledgement, flags| {
            Packet::tcp(from, to)
                .tcp_numbers(sequence, acknowledgement)
                .tcp_flags(flags)
                .build()
        };
        recording.frame(segment(client, to, theirs, 0, flags::SYN));
        recording.frame(segment(
            to,
            client,
            ours,
            theirs + 1,
            flags::SYN | flags::ACK,
        ));
        recording.frame(segment(client, to, theirs + 1, ours + 1, flags::ACK));
    }
    recording.wait(Duration::from_secs(60));
    registration(&mut recording, "last");
    let capture = recording.file("night.pcap");
    let logs = Logs::new();
    let security = logs.file("security", (0..8).map(over_tls).collect::<String>());
    let both = report(&[], &[&capture, &security]);
    assert_eq!(banned(&both), expected);
    let proven = array(&both, "bans").iter().all(|ban| ban["proven"] == true);
    assert!(proven, "{both:#}");
    let alone = report(&[], &[&security]);
    assert_eq!(banned(&alone), ["203.0.113.9"]);
    assert_eq!(alone["bans"][0]["proven"], false);
}

/// Asterisk's own warning names nobody.
fn given_up(call: &str, second: u32) -> String {
    format!(
        "[2027-01-15 08:00:{second:02}] WARNING[711] chan_sip.c: Timeout on {call} on non-critical \
         invite transaction.\n"
    )
}

#[test]
fn a_call_that_asterisk_gave_up_on_is_tied_to_its_packets_by_the_call_id() {
    let mut recording = Recording::new();
    for call in ["a", "b", "c"] {
        let invite = request("INVITE", call, "");
        recording.exchange(ATTACKER, &invite, "401 Unauthorized");
    }
    recording.wait(Duration::from_secs(32));
    registration(&mut recording, "last");
    let capture = recording.file("night.pcap");
    let logs = Logs::new();
    let messages = logs.file("messages", given_up("c", 2) + &given_up("another", 3));

    let both = report(&[], &[&capture, &messages]);
    assert_eq!(both["unattributed_lines"], 1);
    let [ban] = array(&both, "bans") else {
        panic!("{both:#}");
    };
    assert_eq!(ban["detector"], "unanswered-invite");
    let evidence = array(ban, "evidence").iter();
    let lines: Vec<&Value> = evidence
        .map(|one| &one["line"])
        .filter(|it| it.is_u64())
        .collect();
    assert_eq!(lines, [1]);

    let alone = report(&[], &[&messages]);
    assert_eq!(alone["unattributed_lines"], 2);
    assert_eq!(banned(&alone), [""; 0]);
    let text = String::from_utf8(run(&[], &[&messages]).stdout).unwrap();
    assert!(
        text.contains("2 calls that the server gave up waiting for"),
        "{text}"
    );
}

#[test]
fn a_record_in_two_files_counts_once() {
    let all = guesses("203.0.113.9", on("2026-11-22"));
    let four: String = all.split_inclusive('\n').take(4).collect();
    let logs = Logs::new();
    let files = [logs.file("messages", &four), logs.file("full", &four)];
    let [messages, full] = &files;
    assert_eq!(banned(&report(&[], &[messages, full])), [""; 0]);
}

#[test]
fn of_a_notice_and_a_security_event_of_the_same_thing_one_counts() {
    let security = |n: u32| {
        format!(
            "[2026-11-22 18:55:{:02}] SECURITY[7] res_security_log.c: SecurityEvent=\"InvalidPassword\",\
             EventTV=\"2026-11-22T18:55:31.000+0000\",Severity=\"Error\",Service=\"SIP\",EventVersion=\"2\",\
             AccountID=\"100\",SessionID=\"0x1\",LocalAddress=\"IPV4/UDP/192.0.2.1/5060\",\
             RemoteAddress=\"IPV4/UDP/203.0.113.9/5070\",Challenge=\"1\",ReceivedChallenge=\"1\",\
             ReceivedHash=\"2\"\n",
            10 + n
        )
    };
    let notices = guesses("203.0.113.9", on("2026-11-22"));
    let notices: Vec<&str> = notices.split_inclusive('\n').take(4).collect();
    let full: String = (0..4).map(|n| security(n) + notices[n as usize]).collect();
    let logs = Logs::new();
    let report = report(&[], &[&logs.file("full", full)]);
    assert_eq!(report["log_events"], 8);
    assert_eq!(banned(&report), [""; 0], "four passwords are no eight");
}

#[test_case("2026-11-22 18:55:%S.571234 [WARNING] sofia_reg.c:1792 SIP auth failure (REGISTER) on sofia profile 'internal' for [100@192.0.2.1] from ip 203.0.113.9"; "FreeSWITCH")]
#[test_case("2026-11-22T18:55:%S+00:00 pbx kamailio[711]: NOTICE: <script>: Auth error for 100@pbx from 203.0.113.9 cause -2"; "Kamailio")]
fn a_guesser_in_the_log_of_another_server_is_banned(line: &str) {
    let line = |n| line.replace("%S", &format!("{n}")) + "\n";
    let logs = Logs::new();
    let file = logs.file("log", (10..20).map(line).collect::<String>());
    assert_eq!(banned(&report(&[], &[&file])), ["203.0.113.9"]);
}

#[test]
fn a_packed_log_that_breaks_off_is_reported_as_far_as_it_goes() {
    let logs = Logs::new();
    let noise: String = (0..20_000)
        .map(|n| format!("[2026-11-22 18:56:00] VERBOSE[1] pbx.c: {}\n", n * 7919))
        .collect();
    let file = logs.packed(
        "messages.1.gz",
        &(guesses("203.0.113.9", on("2026-11-22")) + &noise),
    );
    let whole = fs::read(&file).unwrap();
    fs::write(&file, &whole[..whole.len() - 100]).unwrap();
    let (report, error) = broken(&[&file]);
    assert!(
        error.contains("messages.1.gz: breaks off after line ")
            && error.contains("copy it once more"),
        "{error}"
    );
    assert_eq!(banned(&report), ["203.0.113.9"]);
}
