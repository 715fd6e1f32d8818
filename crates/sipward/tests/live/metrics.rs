//! What Prometheus gets to see, who else is answered, and that none of it is the guard's trouble.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use nix::sys::signal::Signal;
use serde_json::Value;
use sipward_testkit::{
    lab::{ATTACKER, Lab, PBX},
    namespace::Namespace,
    process::{Process, wait_until},
    prometheus::{self, Format, Samples, exchange, get, read, scrape},
    require::{Need, require},
};

use crate::place::{PATIENCE, Place, program, stop};

const GUARD: &str = "interfaces = [\"eth0\"]";
const SCAN: &[u8] = b"OPTIONS sip:100@192.0.2.1 SIP/2.0\r\nUser-Agent: friendly-scanner\r\n\r\n";
const METRICS: &str = prometheus::DEFAULT;

fn at(address: &str) -> SocketAddr {
    address.parse().unwrap()
}

fn unix_seconds() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap().as_secs_f64().floor()
}

fn lab() -> Option<Lab> {
    require(&[Need::Root, Need::Prometheus, Need::Program("curl")]).then(|| Lab::new().unwrap())
}

fn scan(lab: &Lab) {
    lab.attacker.enter(|| {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        socket.send_to(SCAN, (PBX, 5060)).unwrap();
    });
}

fn status(namespace: &Namespace) -> u16 {
    let answer = get(namespace, at(METRICS), "/metrics", Format::Text);
    answer.unwrap().status
}

fn wait_for_answer(namespace: &Namespace, address: &str) {
    wait_until(&format!("metrics at {address}"), PATIENCE, || {
        get(namespace, at(address), "/metrics", Format::Text)
            .is_ok_and(|answer| answer.status == 200)
    })
    .unwrap();
}

fn wait_for_silence(namespace: &Namespace, address: &str) {
    wait_until(&format!("nothing at {address}"), PATIENCE, || {
        get(namespace, at(address), "/metrics", Format::Text).is_err()
    })
    .unwrap();
}

fn say(daemon: &mut Process, what: &str) {
    daemon
        .wait_for(what, PATIENCE, |said| said.contains(what))
        .unwrap();
}

/// The thread of the daemon that answers, under /proc.
fn http_thread(pid: u32) -> PathBuf {
    let is_http = |thread: &PathBuf| {
        fs::read_to_string(thread.join("comm")).is_ok_and(|name| name == "http\n")
    };
    let mut found = None;
    wait_until("the thread that answers", PATIENCE, || {
        let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
        found = threads.map(|thread| thread.path()).find(is_http);
        found.is_some()
    })
    .unwrap();
    found.unwrap()
}

/// What a file of /proc says behind this word.
fn said_in(file: impl AsRef<Path>, word: &str) -> String {
    let text = fs::read_to_string(file).unwrap();
    let mut lines = text.lines();
    let said = lines.find_map(|line| line.strip_prefix(word)).unwrap();
    said.trim().to_owned()
}

/// Local ports and states of the TCP sockets, in the daemon's namespace, that some program holds, as
/// the kernel writes them.
fn sockets(pid: u32) -> Vec<(String, String)> {
    let table = |name: &str| fs::read_to_string(format!("/proc/{pid}/net/{name}")).unwrap();
    let tables = table("tcp") + &table("tcp6");
    let rows = tables.lines().filter_map(|row| {
        let fields: Vec<&str> = row.split_whitespace().collect();
        let (_, port) = fields.get(1)?.split_once(':')?;
        let (state, inode) = (fields.get(3)?, fields.get(9)?);
        (*inode != "0").then(|| (port.to_owned(), (*state).to_owned()))
    });
    rows.collect()
}

const LISTENS: &str = "0A";

/// Connections that the daemon has accepted and not closed.
fn connections(pid: u32) -> usize {
    let port = format!("{:04X}", at(METRICS).port());
    let accepted = |(local, state): &(String, String)| *local == port && state != LISTENS;
    sockets(pid).iter().filter(|it| accepted(it)).count()
}

/// The values of a family whose labels have all of these.
fn of<'a>(samples: &'a Samples, family: &str, labels: &[&str]) -> Vec<(&'a str, f64)> {
    let wanted = |key: &str| {
        key.strip_prefix(family)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('{'))
            && labels.iter().all(|label| key.contains(label))
    };
    samples
        .iter()
        .filter(|(key, _)| wanted(key))
        .map(|(key, value)| (key.as_str(), *value))
        .collect()
}

fn sum(samples: &Samples, family: &str, labels: &[&str]) -> f64 {
    let found = of(samples, family, labels);
    assert!(!found.is_empty(), "no {family} {labels:?} in {samples:#?}");
    found.iter().map(|(_, value)| value).sum()
}

fn number(status: &Value, pointer: &str) -> f64 {
    let value = status.pointer(pointer).and_then(Value::as_f64);
    value.unwrap_or_else(|| panic!("no {pointer} in {status:#}"))
}

#[test]
fn a_scrape_has_the_figures_of_status() {
    let Some(lab) = lab() else {
        return;
    };
    // The kernel takes the name of the second, which is not there.
    let place = Place::new("interfaces = [\"eth0\", 'a\"b\\c']");
    let started = unix_seconds();
    let mut daemon = place.start(&lab.pbx);
    let ready = unix_seconds();
    say(&mut daemon, "metrics: http://127.0.0.1:8060/metrics");
    scan(&lab);
    place.wait_for_ban(&format!("{ATTACKER}/32"));
    for order in ["ban 198.51.100.8/30", "allow 198.51.100.77"] {
        assert_eq!(place.sipward(order).code, 0);
    }

    let before = place.json("status");
    let began = unix_seconds();
    let samples = scrape(&lab.pbx, at(METRICS)).unwrap();
    let after = place.json("status");
    println!("{samples:#?}");
    assert!(!samples.keys().any(|key| key.contains(ATTACKER)));
    for (family, labels, pointers) in [
        (
            "sipward_leaked_packets_total",
            &[][..],
            &["/enforcement/leaked_packets"][..],
        ),
        (
            "sipward_packets_total",
            &["verdict=\"passed\""],
            &["/packets/passed"],
        ),
        (
            "sipward_packets_total",
            &["verdict=\"dropped\"", "reason=\"banned\""],
            &["/packets/dropped/banned"],
        ),
        (
            "sipward_packets_total",
            &["verdict=\"dropped\"", "reason=\"rate"],
            &["/packets/dropped/rate"],
        ),
        (
            "sipward_packets_total",
            &["verdict=\"dropped\"", "reason=\"signature\""],
            &["/packets/dropped/signature"],
        ),
        (
            "sipward_packets_total",
            &["verdict=\"dropped\""],
            &[
                "/packets/dropped/banned",
                "/packets/dropped/rate",
                "/packets/dropped/signature",
                "/packets/dropped/tripwire",
                "/packets/dropped/tiny_fragment",
            ],
        ),
        ("sipward_bans", &[], &["/bans"]),
        ("sipward_allowed_prefixes", &[], &["/allowed"]),
        ("sipward_table_entries", &["table=\"allowed"], &["/allowed"]),
        ("sipward_table_entries", &["bans"], &["/bans"]),
        ("sipward_trusted_sources", &[], &["/trusted"]),
        (
            "sipward_signature_hits_total",
            &[],
            &["/signatures/0/packets"],
        ),
        (
            "sipward_sensor_events_total",
            &["kernel"],
            &["/sensors/kernel/events"],
        ),
        (
            "sipward_sensor_events_total",
            &["packets"],
            &["/sensors/packets/events"],
        ),
        (
            "sipward_sensor_lost_events_total",
            &["packets"],
            &["/sensors/packets/lost"],
        ),
        (
            "sipward_sensor_events_total",
            &["ami"],
            &["/sensors/ami/events"],
        ),
        ("sipward_ledger_waiting_entries", &[], &["/ledger/waiting"]),
    ] {
        let shown = sum(&samples, family, labels);
        let [low, high] = [&before, &after].map(|status| {
            pointers
                .iter()
                .map(|pointer| number(status, pointer))
                .sum::<f64>()
        });
        assert!(
            (low..=high).contains(&shown),
            "{family} {labels:?}: {low} <= {shown} <= {high}"
        );
    }
    for (key, value) in [
        (
            concat!(
                "sipward_build_info{version=\"",
                env!("CARGO_PKG_VERSION"),
                "\"}"
            ),
            1.0,
        ),
        ("sipward_backend_info{backend=\"xdp\"}", 1.0),
        ("sipward_mode{mode=\"protect\"}", 1.0),
        ("sipward_mode{mode=\"observe\"}", 0.0),
        ("sipward_enforcement_state{state=\"ok\"}", 0.0),
        ("sipward_enforcement_state{state=\"detached\"}", 1.0),
        ("sipward_interface_guarded{interface=\"eth0\"}", 1.0),
        (
            "sipward_interface_xdp_info{interface=\"eth0\",mode=\"generic\"}",
            1.0,
        ),
        (
            "sipward_bans{detector=\"scanner-signature\",origin=\"local\"}",
            1.0,
        ),
        ("sipward_bans{detector=\"none\",origin=\"manual\"}", 1.0),
        (
            "sipward_bans{detector=\"password-guessing\",origin=\"local\"}",
            0.0,
        ),
        (
            "sipward_signature_hits_total{signature=\"sipvicious-friendly-scanner\"}",
            1.0,
        ),
        ("sipward_interface_guarded{interface=\"a\\\"b\\\\c\"}", 0.0),
        (
            "sipward_signature_hits_total{signature=\"sipvicious-user-agent\"}",
            0.0,
        ),
        (
            "sipward_table_capacity_entries{table=\"bans\"}",
            1_048_576.0,
        ),
        ("sipward_sensor_state{sensor=\"ami\",state=\"off\"}", 1.0),
        ("sipward_sensor_lost_events_total{sensor=\"packets\"}", 0.0),
        ("sipward_ledger_writable", 1.0),
        ("sipward_sent_packets_total{kind=\"answer\"}", 0.0),
        ("sipward_strangers_hidden", 0.0),
    ] {
        assert_eq!(samples.get(key), Some(&value), "{key}");
    }

    let lost = of(&samples, "sipward_sensor_lost_events_total", &[]);
    assert_eq!(lost.len(), 1, "the other sensors cannot tell: {lost:?}");
    let modes = of(&samples, "sipward_interface_xdp_info", &[]);
    assert_eq!(
        modes.len(),
        1,
        "the other interface is not there: {modes:?}"
    );
    let taken = sum(&samples, "sipward_figures_timestamp_seconds", &[]);
    assert!((began..=unix_seconds()).contains(&taken), "{taken}");
    let start = sum(&samples, "process_start_time_seconds", &[]);
    assert!((started..=ready).contains(&start), "{start}");
    let process = format!("/proc/{}", daemon.pid());
    let kilobytes = said_in(format!("{process}/status"), "VmRSS:");
    let kilobytes: f64 = kilobytes.trim_end_matches(" kB").parse().unwrap();
    let open = fs::read_dir(format!("{process}/fd")).unwrap().count();
    let limit = said_in(format!("{process}/limits"), "Max open files");
    let limit = limit.split(' ').next().unwrap();
    for (name, is) in [
        ("process_resident_memory_bytes", kilobytes * 1_024.0),
        ("process_open_fds", open as f64),
        ("process_max_fds", limit.parse().unwrap()),
    ] {
        let shown = sum(&samples, name, &[]);
        assert!(
            shown > is / 2.0 && shown < is * 2.0,
            "{name}: {shown}, {is}"
        );
    }

    let readme = include_str!("../../../../README.md");
    let line = readme.lines().find(|line| line.starts_with("curl "));
    let line = line.and_then(|line| line.split(" #").next()).unwrap();
    assert_eq!(
        read(&lab.pbx.run(line).unwrap(), Format::Text)
            .unwrap()
            .len(),
        samples.len()
    );

    assert_eq!(place.sipward(&format!("unban {ATTACKER}")).code, 0);
    scan(&lab);
    wait_until("the second hit in the metrics", PATIENCE, || {
        let samples = scrape(&lab.pbx, at(METRICS)).unwrap();
        sum(
            &samples,
            "sipward_signature_hits_total",
            &["friendly-scanner"],
        ) == 2.0
    })
    .unwrap();
    stop(daemon);
}

/// Opens a connection, says this, and leaves it at that.
fn hold(namespace: &Namespace, said: &[u8]) -> TcpStream {
    let mut stream = namespace.enter(|| TcpStream::connect(METRICS)).unwrap();
    // It may have been closed already, for another one.
    let _ = stream.write_all(said);
    stream
}

#[test]
fn who_asks_badly_disturbs_neither_the_guard_nor_another_scrape() {
    let Some(lab) = lab() else {
        return;
    };
    let place = Place::new(GUARD);
    let daemon = place.start(&lab.pbx);
    wait_for_answer(&lab.pbx, METRICS);
    let thread = http_thread(daemon.pid()).join("status");
    for set in ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"] {
        assert_eq!(said_in(&thread, set), "0".repeat(16), "{set}");
    }
    assert_eq!(said_in(&thread, "NoNewPrivs:"), "1");

    let long = format!(
        "GET /metrics HTTP/1.1\r\nHost: {METRICS}\r\nX: {}\r\n\r\n",
        "x".repeat(64 << 10)
    );
    let many = format!(
        "GET /metrics HTTP/1.1\r\nHost: {METRICS}\r\n{}\r\n",
        "X: x\r\n".repeat(1_000)
    );
    let request = |line: &str, host: &str| format!("{line} HTTP/1.1\r\nHost: {host}\r\n\r\n");
    for (asked, status) in [
        (request("GET /metrics", METRICS), 200),
        (request("HEAD /metrics", METRICS), 200),
        (request("GET /", "localhost"), 200),
        (request("GET /metrics?x=y", METRICS), 200),
        (request("GET /v1/status", METRICS), 404),
        (request("GET /../../etc/passwd", METRICS), 404),
        (request("POST /metrics", METRICS), 405),
        (request("DELETE /metrics", METRICS), 405),
        (request("GET /metrics", "evil.example:8060"), 421),
        (request("GET http://evil.example/metrics", METRICS), 421),
        ("GET /metrics HTTP/1.0\r\n\r\n".to_owned(), 421),
        (long, 431),
        (many, 431),
        ("\x16\x03\x01 no HTTP\r\n\r\n".to_owned(), 400),
    ] {
        let answer = exchange(&lab.pbx, at(METRICS), asked.as_bytes()).unwrap();
        let asked: String = asked.chars().take(60).collect();
        assert_eq!(answer.status, status, "{asked:?}: {answer:?}");
        assert!(
            !answer.head.to_lowercase().contains("access-control"),
            "{answer:?}"
        );
        assert_eq!(
            answer.body.is_empty(),
            asked.starts_with("HEAD") || [400, 405, 431].contains(&status),
            "{asked:?}: {answer:?}"
        );
    }

    let held: Vec<TcpStream> = (0..200)
        .map(|number| hold(&lab.pbx, if number % 2 == 0 { b"GET /met" } else { b"" }))
        .collect();
    assert_eq!(status(&lab.pbx), 200);
    let open = connections(daemon.pid());
    assert!(open <= 64, "{open} of 200 connections");
    scan(&lab);
    place.wait_for_ban(&format!("{ATTACKER}/32"));
    drop(held);

    // One byte at a time, for as long as the server listens.
    let mut slow = hold(&lab.pbx, b"GET /metrics HTTP/1.1\r\n");
    wait_until("the end of a slow request", PATIENCE, || {
        slow.write_all(b"x").is_err()
    })
    .unwrap();
    let all_are_closed = || connections(daemon.pid()) == 0;
    wait_until("the daemon to close what is left", PATIENCE, all_are_closed).unwrap();

    // And one who asks, and does not read what the kernel has no room for.
    for buffers in ["net/ipv4/tcp_rmem", "net/ipv4/tcp_wmem"] {
        lab.pbx.set(buffers, "4096 4096 4096").unwrap();
    }
    let mut deaf = hold(&lab.pbx, request("GET /metrics", METRICS).as_bytes());
    let is_accepted = || connections(daemon.pid()) == 1;
    wait_until("the answer to begin", PATIENCE, is_accepted).unwrap();
    wait_until("the daemon to close it", PATIENCE, all_are_closed).unwrap();
    let mut late = String::new();
    let _ = deaf.read_to_string(&mut late);
    let (head, body) = late.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let length = head.to_lowercase();
    let length = length
        .lines()
        .find_map(|it| it.strip_prefix("content-length: "));
    let length: usize = length.unwrap().parse().unwrap();
    assert!(body.len() < length, "{length} bytes found room");
    stop(daemon);
}

#[test]
fn prometheus_reads_what_is_shown_with_nftables_and_in_observe_mode() {
    let Some(lab) = lab() else {
        return;
    };
    let place = Place::new(&format!(
        "{GUARD}\nbackend = \"nftables\"\nmode = \"observe\""
    ));
    let daemon = place.start(&lab.pbx);
    scan(&lab);
    place.wait_for_ban(&format!("{ATTACKER}/32"));
    let samples = scrape(&lab.pbx, at(METRICS)).unwrap();
    for (key, value) in [
        ("sipward_backend_info{backend=\"nftables\"}", 1.0),
        ("sipward_mode{mode=\"observe\"}", 1.0),
        ("sipward_interface_guarded{interface=\"eth0\"}", 1.0),
        (
            "sipward_signature_hits_total{signature=\"sipvicious-friendly-scanner\"}",
            1.0,
        ),
        (
            "sipward_bans{detector=\"scanner-signature\",origin=\"local\"}",
            1.0,
        ),
    ] {
        assert_eq!(samples.get(key), Some(&value), "{key} in {samples:#?}");
    }
    let modes = of(&samples, "sipward_interface_xdp_info", &[]);
    assert!(modes.is_empty(), "{modes:?}");
    stop(daemon);
}

#[test]
fn a_port_that_is_in_use_is_told_and_taken_once_it_is_free_if_somebody_named_it() {
    let Some(lab) = lab() else {
        return;
    };
    let named = "127.0.0.1:9100";
    let _other = lab.pbx.enter(|| TcpListener::bind(METRICS)).unwrap();
    let another = lab.pbx.enter(|| TcpListener::bind(named)).unwrap();
    let place = Place::new(GUARD);
    let mut daemon = place.start(&lab.pbx);
    say(
        &mut daemon,
        "cannot listen at 127.0.0.1:8060: Address already in use",
    );
    say(&mut daemon, "; not tried again before the next start,");
    scan(&lab);
    place.wait_for_ban(&format!("{ATTACKER}/32"));
    place.configure(&format!("{GUARD}\nhttp.listen = \"{named}\""));
    daemon.signal(Signal::SIGHUP);
    say(&mut daemon, "; tried again every 10 s,");
    drop(another);
    wait_for_answer(&lab.pbx, named);
    stop(daemon);
}

#[test]
fn metrics_are_where_the_configuration_says_from_the_reload_on() {
    let Some(lab) = lab() else {
        return;
    };
    let place = Place::new(GUARD);
    let mut daemon = place.start(&lab.pbx);
    wait_for_answer(&lab.pbx, METRICS);
    let reload = |daemon: &mut Process, listen: &str| {
        place.configure(&format!("{GUARD}\nhttp.listen = \"{listen}\""));
        daemon.signal(Signal::SIGHUP);
    };
    let mut half = hold(&lab.pbx, b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n");
    reload(&mut daemon, "[::1]:9100");
    wait_for_answer(&lab.pbx, "[::1]:9100");
    wait_for_silence(&lab.pbx, METRICS);
    // Who is connected to where nobody listens any more has no answer, either.
    let mut late = String::new();
    let _ = half.write_all(b"\r\n");
    let _ = half.read_to_string(&mut late);
    assert_eq!(late, "");
    reload(&mut daemon, "off");
    wait_for_silence(&lab.pbx, "[::1]:9100");
    // Others may call this address as they like; that they can is told.
    let outside = format!("{PBX}:9100");
    reload(&mut daemon, &outside);
    say(
        &mut daemon,
        "whoever reaches 192.0.2.1:9100 can read the metrics",
    );
    let asked = b"GET /metrics HTTP/1.1\r\nHost: pbx.example.org:9100\r\n\r\n";
    let answer = exchange(&lab.phones, at(&outside), asked).unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    // What is refused changes nothing.
    reload(&mut daemon, "pbx:9100");
    say(&mut daemon, "the configuration in force stays: ");
    assert_eq!(
        exchange(&lab.phones, at(&outside), asked).unwrap().status,
        200
    );
    stop(daemon);
}

#[test]
fn the_command_line_turns_metrics_off_for_good() {
    let Some(lab) = lab() else {
        return;
    };
    let place = Place::new(GUARD);
    let mut command = lab.pbx.command(program());
    command.args(place.run_arguments()).args(["--http", "off"]);
    let mut daemon = Process::spawn(&mut command).unwrap();
    say(&mut daemon, "ready: ");
    place.configure(&format!("{GUARD}\nhttp.listen = \"{METRICS}\""));
    daemon.signal(Signal::SIGHUP);
    let thread = http_thread(daemon.pid()).join("stat");
    say(&mut daemon, "was read again and is in force");
    // Whatever it was told by then, it has done once it sleeps.
    wait_until("the thread that would listen to sleep", PATIENCE, || {
        let stat = fs::read_to_string(&thread).unwrap();
        stat.rsplit_once(") ")
            .is_some_and(|(_, state)| state.starts_with('S'))
    })
    .unwrap();
    let listens = |(_, state): &(String, String)| state == LISTENS;
    let sockets = sockets(daemon.pid());
    assert!(!sockets.iter().any(listens), "{sockets:?}");
    let said = stop(daemon);
    assert!(!said.contains("metrics: "), "{said}");

    let said = place.refused(&lab.pbx, &["--http", "8060"]);
    said.assert_one_line(2, &["\"8060\" is no address with a port"]);
}
