//! `sipward replay` as a user runs it, on recordings written here.
#![allow(clippy::unwrap_used, reason = "a test that fails to set up has failed")]

mod logs;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

use serde_json::Value;
use sipward_testkit::{
    packet::{Packet, flags},
    pcap::PcapWriter,
};
use tempfile::TempDir;
use test_case::test_case;

const SERVER: &str = "198.51.100.1:5060";
const ATTACKER: &str = "203.0.113.66:5070";
const PHONE: &str = "203.0.113.7:5060";
const START: Duration = Duration::from_secs(1_800_000_000);

/// A recording in the making.
struct Recording {
    folder: TempDir,
    frames: Vec<(Duration, Vec<u8>)>,
    now: Duration,
}

impl Recording {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            frames: Vec::new(),
            now: START,
        }
    }

    fn wait(&mut self, time: Duration) -> &mut Self {
        self.now += time;
        self
    }

    fn frame(&mut self, frame: Vec<u8>) -> &mut Self {
        self.now += Duration::from_millis(1);
        self.frames.push((self.now, frame));
        self
    }

    fn udp(&mut self, from: &str, to: &str, text: &str) -> &mut Self {
        self.frame(Packet::udp(from, to).payload(text.as_bytes()).build())
    }

    /// A request and its answer.
    fn exchange(&mut self, client: &str, request: &str, status: &str) -> &mut Self {
        self.udp(client, SERVER, request);
        self.udp(SERVER, client, &answer(request, status))
    }

    /// What was recorded since the last file.
    fn file(&mut self, name: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        let mut pcap = PcapWriter::create(&path).unwrap();
        for (at, frame) in self.frames.drain(..) {
            pcap.write(at, &frame).unwrap();
        }
        pcap.finish().unwrap();
        path
    }
}

fn request(method: &str, call: &str, extra: &str) -> String {
    format!(
        "{method} sip:0049{call}@198.51.100.1 SIP/2.0\r\nVia: SIP/2.0/UDP 203.0.113.66:5070;branch=z9hG4bK{call}\r\n\
         From: <sip:100@198.51.100.1>;tag=f{call}\r\nTo: <sip:100@198.51.100.1>\r\nCall-ID: {call}\r\n\
         CSeq: 1 {method}\r\n{extra}Content-Length: 0\r\n\r\n"
    )
}

fn scan(call: &str) -> String {
    request("OPTIONS", call, "User-Agent: friendly-scanner\r\n")
}

fn answer(request: &str, status: &str) -> String {
    let (_, headers) = request.split_once("\r\n").unwrap();
    let headers = headers.replace(
        "To: <sip:100@198.51.100.1>",
        "To: <sip:100@198.51.100.1>;tag=s",
    );
    let challenge = "WWW-Authenticate: Digest realm=\"pbx\", nonce=\"n1\"\r\nContent-Length";
    let headers = match status.starts_with("401") {
        true => headers.replace("Content-Length", challenge),
        false => headers,
    };
    format!("SIP/2.0 {status}\r\n{headers}")
}

const CREDENTIALS: &str = "Authorization: Digest username=\"100\", realm=\"pbx\", nonce=\"n1\", \
     uri=\"sip:198.51.100.1\", response=\"0123456789abcdef0123456789abcdef\"\r\n";

/// A phone that registers, as the PBX asks it to.
fn registration(recording: &mut Recording, call: &str) {
    recording.exchange(PHONE, &request("REGISTER", call, ""), "401 Unauthorized");
    let second = request("REGISTER", call, CREDENTIALS)
        .replace("CSeq: 1", "CSeq: 2")
        .replace("z9hG4bK", "z9hG4bKb");
    recording.exchange(PHONE, &second, "200 OK");
}

fn run(arguments: &[&str], files: &[&Path]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sipward"));
    command.arg("replay").args(arguments).args(files);
    command.env("TZ", "UTC").output().unwrap()
}

/// The document, of a replay that had nothing to complain of.
fn report(arguments: &[&str], files: &[&Path]) -> Value {
    let output = run(&[&["--json"], arguments].concat(), files);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{errors}");
    assert_eq!(errors, "");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The document and the complaints.
fn broken(files: &[&Path]) -> (Value, String) {
    let output = run(&["--json"], files);
    assert_eq!(output.status.code(), Some(2));
    let document = serde_json::from_slice(&output.stdout).unwrap();
    (document, String::from_utf8(output.stderr).unwrap())
}

fn array<'a>(report: &'a Value, name: &str) -> &'a [Value] {
    report[name].as_array().unwrap()
}

#[test]
fn a_scanner_is_banned_at_its_first_packet_and_the_rest_dropped() {
    let mut recording = Recording::new();
    registration(&mut recording, "r");
    for call in 0..5 {
        recording.udp(ATTACKER, SERVER, &scan(&format!("s{call}")));
    }
    let report = report(&[], &[&recording.file("scan.pcap")]);
    let [ban] = array(&report, "bans") else {
        panic!("{report:#}");
    };
    assert_eq!(ban["source"], "203.0.113.66");
    assert_eq!(ban["prefix"], "203.0.113.66/32");
    assert_eq!(ban["port"], Value::Null);
    assert_eq!(ban["scope"], "sip");
    assert_eq!(ban["packet"], 5);
    assert_eq!(ban["at"], "2027-01-15T08:00:00.005Z");
    assert_eq!(ban["detector"], "scanner-signature");
    assert_eq!(ban["signature"], "sipvicious-friendly-scanner");
    assert_eq!(ban["proven"], false);
    assert_eq!(ban["ban_seconds"], 600);
    assert_eq!(ban["would_drop"], 4);
    assert_eq!(ban["evidence"][0]["packet"], 5);
    assert_eq!(
        ban["evidence"][0]["summary"],
        "OPTIONS sip:0049s0@198.51.100.1 SIP/2.0"
    );
    let drops: Vec<_> = array(&report, "drops")
        .iter()
        .map(|drop| {
            (
                drop["reason"].as_str().unwrap(),
                drop["packets"].as_u64().unwrap(),
            )
        })
        .collect();
    assert_eq!(drops, [("banned", 4), ("signature", 1)]);
    assert_eq!(report["packets"], 9);
    assert_eq!(report["sip_messages"], 9);
    assert_eq!(report["anomalous_messages"], 0);
    assert_eq!(report["sources"], 2);
    assert_eq!(report["servers"], serde_json::json!(["198.51.100.1"]));
    assert_eq!(report["first"], "2027-01-15T08:00:00.001Z");
    assert_eq!(report["last"], "2027-01-15T08:00:00.009Z");
    assert_eq!(
        (&report["log_events"], &report["unmatched_security_lines"]),
        (&Value::from(0), &Value::from(0))
    );
    assert_eq!(report["alerts"][0]["detector"], "scanner-signature");
}

#[test]
fn calls_that_are_never_acknowledged_are_found_by_timers_past_the_last_packet() {
    let mut recording = Recording::new();
    for call in ["a", "b", "c"] {
        recording.exchange(ATTACKER, &request("INVITE", call, ""), "401 Unauthorized");
        recording.wait(Duration::from_millis(100));
    }
    let report = report(&[], &[&recording.file("invites.pcap")]);
    let [ban] = array(&report, "bans") else {
        panic!("{report:#}");
    };
    assert_eq!(ban["detector"], "unanswered-invite");
    // The third INVITE, two seconds after its answer.
    assert_eq!(ban["packet"], 5);
    assert_eq!(ban["at"], "2027-01-15T08:00:02.206Z");
    assert_eq!(array(ban, "evidence").len(), 3);
    assert_eq!(ban["would_drop"], 0);
}

#[test]
fn an_honest_phone_loses_nothing() {
    let mut recording = Recording::new();
    for call in 0..200 {
        registration(&mut recording, &format!("r{call}"));
        recording.wait(Duration::from_secs(5));
    }
    let report = report(&[], &[&recording.file("phone.pcap")]);
    assert_eq!(array(&report, "bans"), [Value::Null; 0]);
    assert_eq!(array(&report, "drops"), [Value::Null; 0]);
    assert_eq!(array(&report, "alerts"), [Value::Null; 0]);
    assert_eq!(report["sip_messages"], 800);
}

#[test]
fn a_scanner_in_segments_of_one_byte_is_proven_and_loses_every_port() {
    let mut recording = Recording::new();
    let segment = |from, to, (seq, ack): (u32, u32), flags, payload: &[u8]| {
        let packet = Packet::tcp(from, to).tcp_numbers(seq, ack).tcp_flags(flags);
        packet.payload(payload).build()
    };
    let text = scan("s");
    recording.exchange(PHONE, &request("OPTIONS", "o", ""), "200 OK");
    recording.frame(segment(ATTACKER, SERVER, (9, 0), flags::SYN, b""));
    recording.frame(segment(
        SERVER,
        ATTACKER,
        (99, 10),
        flags::SYN | flags::ACK,
        b"",
    ));
    for (at, byte) in (10..).zip(text.as_bytes()) {
        // Most come too fast for the rate: they would have come again until they passed.
        recording.frame(segment(ATTACKER, SERVER, (at, 100), flags::ACK, &[*byte]));
    }
    let report = report(&[], &[&recording.file("bytes.pcap")]);
    let [ban] = array(&report, "bans") else {
        panic!("{report:#}");
    };
    assert_eq!(ban["detector"], "scanner-signature");
    assert_eq!(
        (&ban["proven"], &ban["scope"]),
        (&Value::from(true), &Value::from("all"))
    );
}

#[test]
fn several_files_are_one_recording() {
    let mut recording = Recording::new();
    recording.exchange(ATTACKER, &request("INVITE", "a", ""), "401 Unauthorized");
    recording.exchange(ATTACKER, &request("INVITE", "b", ""), "401 Unauthorized");
    let first = recording.file("one.pcap");
    recording.exchange(ATTACKER, &request("INVITE", "c", ""), "401 Unauthorized");
    let second = recording.file("two.pcap");
    let report = report(&[], &[&first, &second]);
    let [ban] = array(&report, "bans") else {
        panic!("{report:#}");
    };
    assert_eq!(ban["packet"], 1);
    assert_eq!(ban["file"], second.to_str().unwrap());
    assert_eq!(ban["evidence"][1]["packet"], 3);
    assert_eq!(ban["evidence"][1]["file"], first.to_str().unwrap());
    assert_eq!(report["packets"], 6);
    assert_eq!(array(&report, "inputs").len(), 2);
}

#[test]
fn the_server_may_be_named() {
    let mut recording = Recording::new();
    recording.udp(ATTACKER, SERVER, &scan("s"));
    recording.udp(ATTACKER, "198.51.100.2:5060", &scan("s"));
    let file = recording.file("scan.pcap");
    let named = report(&["--server", "198.51.100.2"], &[&file]);
    assert_eq!(named["servers"], serde_json::json!(["198.51.100.2"]));
    assert_eq!(named["bans"][0]["packet"], 2);
    // Nobody answers, so they are those who are asked.
    let found = report(&[], &[&file]);
    assert_eq!(array(&found, "servers").len(), 2);
    assert_eq!(found["bans"][0]["packet"], 1);
}

#[test]
fn the_strict_profile_drops_more() {
    let mut recording = Recording::new();
    let shared = request("OPTIONS", "s", "User-Agent: Cisco\r\n");
    recording.exchange(PHONE, &shared, "200 OK");
    let file = recording.file("shared.pcap");
    assert_eq!(array(&report(&[], &[&file]), "drops").len(), 0);
    let strict = report(&["--profile", "strict"], &[&file]);
    assert_eq!(strict["drops"][0]["reason"], "signature", "{strict:#}");
}

#[test]
fn the_configuration_counts() {
    let mut recording = Recording::new();
    recording.udp(ATTACKER, SERVER, &scan("s"));
    let file = recording.file("scan.pcap");
    let config = recording.folder.path().join("sipward.toml");
    fs::write(&config, "[allow]\naddresses = [\"203.0.113.0/24\"]\n").unwrap();
    let report = report(&["--config", config.to_str().unwrap()], &[&file]);
    assert_eq!(
        array(&report, "bans").len() + array(&report, "drops").len(),
        0
    );
}

#[test]
fn people_get_a_readable_text() {
    let mut recording = Recording::new();
    registration(&mut recording, "r");
    recording.udp(ATTACKER, SERVER, &scan("\u{1b}[2Js"));
    recording.udp(ATTACKER, SERVER, &scan("s"));
    let output = run(&[], &[&recording.file("scan.pcap")]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(
        text,
        "6 packets, 6 SIP messages (1 odd), 2 sources; server 198.51.100.1\n\
         2027-01-15 08:00:00 UTC to 2027-01-15 08:00:00 UTC\n\
         \n\
         203.0.113.66 would be banned for 10m (scope sip) at 2027-01-15 08:00:00 UTC packet 5, would drop 1 packets\n  \
         scanner-signature, unproven: sent what only the scanner sipvicious-friendly-scanner sends\n    \
         08:00:00.005 packet 5  OPTIONS sip:0049\\x1b[2Js@198.51.100.1 SIP/2.0\n\
         \n\
         SOURCE        WOULD DROP  REASON     SIGNATURE\n\
         203.0.113.66  1           banned\n\
         203.0.113.66  1           signature  sipvicious-friendly-scanner\n"
    );
}

#[test]
fn a_recording_that_breaks_off_is_reported_as_far_as_it_goes() {
    let mut recording = Recording::new();
    registration(&mut recording, "r");
    recording.udp(ATTACKER, SERVER, &scan("s"));
    recording.udp(ATTACKER, SERVER, &scan("t"));
    let file = recording.file("cut.pcap");
    let bytes = fs::read(&file).unwrap();
    let last = bytes.len()
        - 16
        - Packet::udp(ATTACKER, SERVER)
            .payload(scan("t").as_bytes())
            .build()
            .len();
    fs::write(&file, &bytes[..bytes.len() - 7]).unwrap();
    let (report, error) = broken(&[&file]);
    assert_eq!(
        error,
        format!(
            "error: {}: breaks off at byte {last}, after packet 5\n",
            file.display()
        )
    );
    assert_eq!(report["packets"], 5);
    assert_eq!(report["bans"][0]["packet"], 5);
}

#[test]
fn a_damaged_recording_is_reported_as_far_as_it_goes() {
    let mut recording = Recording::new();
    recording.udp(ATTACKER, SERVER, &scan("s"));
    let file = recording.file("damaged.pcap");
    let mut bytes = fs::read(&file).unwrap();
    let end = bytes.len();
    bytes.extend([0xff; 4_000]);
    fs::write(&file, &bytes).unwrap();
    let (report, error) = broken(&[&file]);
    assert!(
        error.contains(&format!("at byte {end}, after packet 1")),
        "{error}"
    );
    assert_eq!(report["bans"][0]["packet"], 1);
}

#[test_case(b"", "neither pcap nor pcapng"; "empty")]
#[test_case(b"hello, this is a text and no recording at all\n", "neither pcap nor pcapng"; "text")]
#[test_case(b"Nov 22 18:55:31 a text with times\n", "none of its 1 lines is Asterisk's"; "no server's log")]
#[test_case(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0], "neither pcap nor pcapng"; "compressed, and nothing in it")]
#[test_case(b"\xfd7zXZ\0\0\x04", "unpack"; "compressed with something else")]
fn what_is_no_recording_is_refused(bytes: &[u8], part: &str) {
    let recording = Recording::new();
    let file = recording.folder.path().join("no.pcap");
    fs::write(&file, bytes).unwrap();
    let (report, error) = broken(&[&file]);
    assert!(error.contains(part) && error.contains("no.pcap"), "{error}");
    assert_eq!(error.lines().count(), 1);
    assert_eq!(report["packets"], 0);
}

#[test]
fn a_recording_without_sip_says_what_was_looked_for() {
    let mut recording = Recording::new();
    recording.udp(PHONE, "198.51.100.1:53", "no sip");
    let (report, error) = broken(&[&recording.file("dns.pcap")]);
    assert!(
        error.contains("none of its 1 packets is SIP") && error.contains("5060"),
        "{error}"
    );
    assert_eq!(report["packets"], 1);
}

#[test]
fn one_broken_file_does_not_hide_what_is_in_the_others() {
    let mut recording = Recording::new();
    recording.udp(ATTACKER, SERVER, &scan("s"));
    let good = recording.file("good.pcap");
    let bad = recording.folder.path().join("bad.pcap");
    fs::write(&bad, b"nothing").unwrap();
    let (report, _) = broken(&[&bad, &good]);
    assert_eq!(report["bans"][0]["file"], good.to_str().unwrap());
}

#[test]
fn a_missing_file_is_told_before_anything_is_played() {
    let mut recording = Recording::new();
    recording.udp(ATTACKER, SERVER, &scan("s"));
    let good = recording.file("good.pcap");
    let missing = recording.folder.path().join("missing.pcap");
    for path in [&missing, &recording.folder.path().to_path_buf()] {
        let output = run(&["--json"], &[&good, path]);
        assert_eq!(output.status.code(), Some(2));
        assert_eq!(output.stdout, b"");
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.contains(path.to_str().unwrap()), "{error}");
    }
}
