//! Every labelled recording, judged by `sipward replay`: the attackers are banned by the detector
//! that names them and within its number, the honest parties lose nothing.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests may panic as the tests may"
)]

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use ipnet::IpNet;
use jiff::Timestamp;
use serde_json::Value;
use sipward_testkit::pcap::Frame;
use sipward_testkit::pcap::PcapWriter;
use sipward_testkit::recording::{
    self, Datagram, ExpectedBan, Label, Recording, answered_at, answers_to, multiplied,
};
use tempfile::TempDir;

#[test]
fn every_recording_ends_as_its_label_says() {
    let mut table = format!(
        "{:42} {:>7}  {:46} {:46} {:>6} {:>7} {:>7}\n",
        "recording", "packets", "expected", "got", "packet", "answers", "refused"
    );
    let mut wrong = Vec::new();
    for recording in recording::all().unwrap() {
        let frames = recording.frames().unwrap();
        let replay = replay(&recording.path, &recording.label.config);
        let _ = writeln!(table, "{}", row(&recording, &frames, &replay));
        let mistakes = mistakes(&recording, &frames, &replay);
        wrong.extend(
            mistakes
                .iter()
                .map(|mistake| format!("{}: {mistake}", recording.name)),
        );
    }
    println!("{table}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// 240 times the recorded flood, in which an honest phone logs in once: the recorded answers serve
/// for the copies.
#[test]
fn sixty_thousand_forged_sources_ban_few_and_cost_a_phone_nothing() {
    const COPIES: u32 = 240;
    let recordings = recording::all().unwrap();
    let flood = recordings
        .into_iter()
        .find(|one| one.name == "attacks/forged-flood-chan-sip");
    let flood = flood.unwrap();
    let botnet = (Ipv4Addr::new(100, 64, 0, 0), 10);
    let frames = multiplied(&flood.frames().unwrap(), botnet, COPIES);
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("flood.pcap");
    let mut pcap = PcapWriter::create(&path).unwrap();
    for frame in &frames {
        pcap.write(frame.at, &frame.bytes).unwrap();
    }
    pcap.finish().unwrap();

    let replay = replay(&path, "");
    let mut each_minute: BTreeMap<Timestamp, usize> = BTreeMap::new();
    for ban in entries(&replay, "bans") {
        assert_eq!(
            (&ban["scope"], &ban["proven"]),
            (&"sip".into(), &false.into()),
            "{ban}"
        );
        assert_eq!(ban["ban_seconds"], 600, "{ban}");
        let at: Timestamp = ban["at"].as_str().unwrap().parse().unwrap();
        let minute = Timestamp::from_second(at.as_second() / 60 * 60).unwrap();
        *each_minute.entry(minute).or_default() += 1;
    }
    println!(
        "{} packets, {} sources, bans by minute: {each_minute:?}",
        frames.len(),
        replay["sources"]
    );
    assert!(replay["sources"].as_u64().unwrap() > 60_000);
    assert!(
        each_minute.values().all(|bans| *bans <= 120),
        "{each_minute:?}"
    );
    assert_eq!(losses(&flood, &replay), Vec::<String>::new());
}

fn replay(recording: &Path, config: &str) -> Value {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("sipward.toml");
    std::fs::write(&file, config).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_sipward"))
        .args(["replay", "--json", "--config"])
        .args([&file, recording])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {said}", recording.display());
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Everything that is not as the label says.
fn mistakes(recording: &Recording, frames: &[Frame], replay: &Value) -> Vec<String> {
    let label = &recording.label;
    let mut mistakes = Vec::new();
    if replay["packets"] != frames.len() {
        mistakes.push(format!("{} packets were read", replay["packets"]));
    }
    let servers: Vec<IpAddr> = label.servers.iter().map(|server| server.ip()).collect();
    for server in entries(replay, "servers") {
        let server: IpAddr = server.as_str().unwrap().parse().unwrap();
        if !servers.contains(&server) {
            mistakes.push(format!("{server} was taken for a server"));
        }
    }
    for expected in &label.bans {
        mistakes.extend(missing(expected, frames, replay));
    }
    for ban in entries(replay, "bans") {
        if !label.bans.iter().any(|expected| is_meant(expected, ban)) {
            mistakes.push(format!("banned {}", shown(ban)));
        }
    }
    for address in &label.stopped {
        mistakes.extend(came_through(address, frames, replay));
    }
    mistakes.extend(losses(recording, replay));
    mistakes
}

/// A source of which no whole request may arrive.
fn came_through(address: &str, frames: &[Frame], replay: &Value) -> Option<String> {
    let requests = frames
        .iter()
        .filter_map(|frame| Datagram::read(&frame.bytes));
    let requests = requests.filter(|request| {
        request.source.ip().to_string() == address && request.payload.ends_with(b"\r\n\r\n")
    });
    let drops = entries(replay, "drops").filter(|drop| drop["source"] == address);
    let dropped: u64 = drops.filter_map(|drop| drop["packets"].as_u64()).sum();
    let sent = requests.count().max(1);
    (dropped < sent as u64)
        .then(|| format!("of {sent} requests of {address} {dropped} were dropped"))
}

/// What the label wants of a kind of ban and did not get.
fn missing(expected: &ExpectedBan, frames: &[Frame], replay: &Value) -> Option<String> {
    let bans = || entries(replay, "bans").filter(|ban| is_meant(expected, ban));
    let what = format!("{} by {}", expected.of, expected.by);
    let count = bans().count();
    let at_least = expected.at_least.unwrap_or(1);
    if count < at_least || expected.at_most.is_some_and(|most| count > most) {
        return Some(format!("{count} bans of {what}"));
    }
    let first = bans().next()?;
    let (answers, refused) = answers_before(expected, frames, replay, first);
    let packet = first["packet"].as_u64();
    let too_late = expected.answers.is_some_and(|most| answers > most)
        || expected.refused.is_some_and(|most| refused > most)
        || expected
            .packet
            .is_some_and(|last| packet.is_none_or(|packet| packet > last));
    too_late.then(|| {
        format!("{what} after {answers} answers, {refused} of them refusals, at packet {packet:?}")
    })
}

/// Who lost a packet and may not.
fn losses(recording: &Recording, replay: &Value) -> Vec<String> {
    let Label { bans, spared, .. } = &recording.label;
    let is_honest = recording.name.starts_with("honest/");
    let mut losses = Vec::new();
    for drop in entries(replay, "drops") {
        let (source, reason) = (
            drop["source"].as_str().unwrap_or_default(),
            drop["reason"].as_str(),
        );
        let is_spared = spared.iter().any(|address| address == source);
        // A ban is of a port there, and what it drops is of that port. Behind a tripwire is nobody
        // to whom a packet could be lost.
        let is_no_loss = match reason {
            Some("banned") => bans.iter().any(|ban| ban.of == source),
            Some("tripwire") => true,
            Some(_) | None => false,
        };
        if is_spared || (is_honest && !is_no_loss) {
            losses.push(format!("dropped {drop}"));
        }
    }
    for ban in entries(replay, "bans") {
        let prefix: IpNet = ban["prefix"].as_str().unwrap().parse().unwrap();
        let hit = spared
            .iter()
            .find(|address| prefix.contains(&address.parse::<IpAddr>().unwrap()));
        losses.extend(hit.map(|address| format!("{address} is hit by {}", shown(ban))));
    }
    if is_honest {
        let detectors = || bans.iter().map(|ban| ban.by.as_str());
        let alerts = entries(replay, "alerts");
        let others = alerts.filter(|alert| !detectors().any(|by| alert["detector"] == by));
        losses.extend(others.map(|alert| format!("alert {alert}")));
    }
    losses
}

fn is_meant(expected: &ExpectedBan, ban: &Value) -> bool {
    let of = net(&expected.of);
    let prefix = net(ban["prefix"].as_str().unwrap());
    let port = expected.port.map_or(Value::Null, Value::from);
    of.contains(&prefix)
        && ban["detector"] == expected.by.as_str()
        && ban["port"] == port
        && expected
            .scope
            .as_ref()
            .is_none_or(|scope| ban["scope"] == scope.as_str())
}

/// An address is a prefix as well.
fn net(text: &str) -> IpNet {
    let host = || text.parse::<IpAddr>().map(IpNet::from);
    text.parse().or_else(|_| host()).unwrap()
}

/// What `of` learned until this ban: final answers, and refusals of credentials among them.
fn answers_before(
    expected: &ExpectedBan,
    frames: &[Frame],
    replay: &Value,
    ban: &Value,
) -> (usize, usize) {
    let at: Timestamp = ban["at"].as_str().unwrap().parse().unwrap();
    let at = Duration::try_from(at.duration_since(Timestamp::UNIX_EPOCH)).unwrap();
    let before = frames.iter().take_while(|frame| frame.at <= at).count();
    // The report's times are in milliseconds, and the decision was the answer to the request that
    // it names, or came later.
    let request = ban["packet"]
        .as_u64()
        .and_then(|packet| usize::try_from(packet).ok());
    let answered = request
        .and_then(|packet| answered_at(frames, packet))
        .unwrap_or(0);
    let before = before.max(answered);
    let address = net(&expected.of).addr();
    let (answers, refused) = answers_to(&frames[..before], address, expected.port);
    (answers.saturating_sub(held(address, replay)), refused)
}

/// Requests of an address that a hold dropped: the recording has answers to them. Holds are
/// enforced as bans are, and what a ban dropped is counted there.
fn held(address: IpAddr, replay: &Value) -> usize {
    let address = address.to_string();
    let sum = |name: &str, count: &str, reason: Value| {
        let of_address = entries(replay, name).filter(|entry| entry["source"] == address);
        let counted = of_address.filter(|entry| reason.is_null() || entry["reason"] == reason);
        counted
            .filter_map(|entry| entry[count].as_u64())
            .sum::<u64>()
    };
    let dropped = sum("drops", "packets", "banned".into());
    let by_bans = sum("bans", "would_drop", Value::Null);
    usize::try_from(dropped.saturating_sub(by_bans)).unwrap()
}

fn entries<'a>(replay: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    replay[name].as_array().unwrap().iter()
}

fn shown(ban: &Value) -> String {
    let text = |name: &str| ban[name].as_str().unwrap_or_default().to_owned();
    let port = ban["port"]
        .as_u64()
        .map(|port| format!(" port {port}"))
        .unwrap_or_default();
    format!("{}{port} {}", text("prefix"), text("detector"))
}

fn row(recording: &Recording, frames: &[Frame], replay: &Value) -> String {
    let label = &recording.label;
    let expected = match label.bans.as_slice() {
        [] => "no ban".to_owned(),
        [first, rest @ ..] => {
            let port = first
                .port
                .map(|port| format!(" port {port}"))
                .unwrap_or_default();
            format!("{}{port} {}{}", first.of, first.by, more(rest.len()))
        }
    };
    let bans: Vec<&Value> = entries(replay, "bans").collect();
    let (got, packet, counts) = match bans.as_slice() {
        [] => ("no ban".to_owned(), String::new(), None),
        [first, rest @ ..] => {
            let meant = label.bans.iter().find(|expected| is_meant(expected, first));
            let counts = meant.map(|expected| answers_before(expected, frames, replay, first));
            (
                shown(first) + &more(rest.len()),
                first["packet"].to_string(),
                counts,
            )
        }
    };
    let [answers, refused] = match counts {
        Some((answers, refused)) => [answers.to_string(), refused.to_string()],
        None => [String::new(), String::new()],
    };
    let (name, packets) = (&recording.name, frames.len());
    format!("{name:42} {packets:>7}  {expected:46} {got:46} {packet:>6} {answers:>7} {refused:>7}")
}

fn more(count: usize) -> String {
    match count {
        0 => String::new(),
        count => format!(", {count} more"),
    }
}
