//! What scanners do about the answer that a guesser gets, and about silence.

use std::{net::SocketAddr, path::Path};

use sipward_testkit::{
    asterisk::{Asterisk, Settings},
    count::Capture,
    guard::Guard,
    lab::{ATTACKER, Lab, PBX},
    pcap::Frame,
    process::Process,
    scanner::Scanner,
};
use sipward_wire::{LinkType, Packet, sip::Message};

use crate::{GENUINE, PATIENCE, banned_by, can_run};

/// From here somebody looks for extensions.
const ENUMERATOR: &str = "203.0.113.9";

fn guard(lab: &Lab, answer: bool) -> Guard<'_> {
    let program = Path::new(env!("CARGO_BIN_EXE_sipward"));
    let config = format!("[answer]\nenabled = {answer}\n");
    Guard::start_with(program, &lab.pbx, &config).unwrap()
}

/// A server that tells who exists.
fn talkative() -> Settings {
    let mut settings = Settings {
        extensions: Some(1_000..=1_199),
        ..Settings::default()
    };
    let general = "[general](+)\nalwaysauthreject = no\n".to_owned();
    settings.appended.insert("sip.conf", general);
    settings
}

/// Guesses the password of an extension, with as much patience as it has by itself.
fn crack(lab: &Lab) {
    let mut command = Scanner::Svcrack.disguised(&lab.attacker, GENUINE).unwrap();
    command.args(["-u", "1001", "-r", "1000-99999", PBX]);
    Process::run(&mut command, PATIENCE).unwrap();
}

/// Looks for extensions.
fn enumerate(lab: &Lab) {
    let mut command = Scanner::Svwar
        .disguised_from(&lab.attacker, GENUINE, ENUMERATOR)
        .unwrap();
    command.args(["-e", "1000-1999", "--maximumtime", "3", PBX]);
    Process::run(&mut command, PATIENCE).unwrap();
}

/// Packets that the ban of an address has dropped: what was sent after it.
fn dropped_by_ban(guard: &Guard<'_>, address: &str) -> u64 {
    let bans = guard.json(&["bans"]).unwrap();
    let of_address = |ban: &&serde_json::Value| ban["prefix"] == format!("{address}/32");
    let ban = bans.as_array().unwrap().iter().find(of_address).unwrap();
    ban["dropped_packets"].as_u64().unwrap()
}

/// Lengths of the SIP messages of a capture that `select` takes.
fn lengths(frames: &[Frame], select: impl Fn(&Packet<'_>, &Message<'_>) -> bool) -> Vec<usize> {
    let length = |frame: &Frame| {
        let packet = Packet::parse(LinkType::Ethernet, &frame.bytes);
        let payload = packet.payload()?;
        select(&packet, &Message::parse(payload)).then_some(payload.len())
    };
    frames.iter().filter_map(length).collect()
}

fn is_503(_: &Packet<'_>, message: &Message<'_>) -> bool {
    message.status() == Some(503)
}

/// What svcrack sent after its ban. The answer is one, comes from where the PBX is, and is not
/// longer than any guess; an enumerator, which stops only on silence, gets none.
fn sent_after_ban(answer: bool) -> u64 {
    let lab = Lab::new().unwrap();
    let _asterisk = Asterisk::start(&lab.pbx, &talkative()).unwrap();
    let guard = guard(&lab, answer);
    let capture = Capture::start(&lab.attacker, "eth0", "udp").unwrap();
    crack(&lab);
    assert_eq!(banned_by(&guard, ATTACKER), "password-guessing");
    let seen = capture.frames().unwrap();
    let answers = lengths(&seen, is_503);
    assert_eq!(answers.len(), usize::from(answer), "{}", guard.log());
    if answer {
        let from = Some(SocketAddr::new(PBX.parse().unwrap(), 5060));
        let from_pbx = |packet: &Packet<'_>, message: &Message<'_>| {
            is_503(packet, message) && packet.source_socket() == from
        };
        assert_eq!(lengths(&seen, from_pbx), answers);
        let guesses = lengths(&seen, |_, message| message.credentials().next().is_some());
        assert!(guesses.iter().all(|guess| answers[0] <= *guess));
        enumerate(&lab);
        assert_eq!(banned_by(&guard, ENUMERATOR), "extension-enumeration");
        let after = lengths(&capture.stop().unwrap(), is_503);
        assert_eq!(after, answers, "svwar was answered");
        let metrics = guard.metrics().unwrap();
        let counted = "sipward_sent_packets_total{kind=\"answer\"} 1\n";
        assert!(metrics.contains(counted), "{metrics}");
    }
    dropped_by_ban(&guard, ATTACKER)
}

#[test]
fn svcrack_stops_at_the_answer_and_goes_on_in_silence() {
    if !can_run() {
        return;
    }
    let [silence, answered] = [false, true].map(sent_after_ban);
    println!(
        "svcrack, packets sent after the ban: {silence} in silence, {answered} after one 503; \
         svwar: no answer"
    );
    assert!(silence > 100, "{silence}");
    // A few packets leave a busy machine before it reads the answer.
    assert!(answered * 10 < silence, "{answered} of {silence}");
}
