//! A daemon that fetches lists by itself, from a server in its namespace.

use std::{
    fs,
    io::Write,
    net::{TcpListener, UdpSocket},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use serde_json::{Value, json};
use sipward_testkit::{
    guard::Guard,
    lab::{ATTACKER, Lab, PBX},
    process::wait_until,
    prometheus,
    require::{Need, require},
};

use crate::{
    server::{has_it, not_modified, ok, path, serve_on},
    signatures, update,
};

const PATIENCE: Duration = Duration::from_secs(60);

/// What the server was asked, and whether it answers.
#[derive(Default)]
struct Asked {
    broken: AtomicBool,
    names: AtomicUsize,
    /// Of those, who has the list already.
    again: AtomicUsize,
    /// Of those, whom it did not answer.
    in_vain: AtomicUsize,
    addresses: AtomicUsize,
    silent: AtomicUsize,
}

impl Asked {
    /// Serves `/names`, `/addresses`, `/late` and silence in the namespace of the PBX; returns the port.
    fn serve(self: &Arc<Self>, lab: &Lab) -> u16 {
        let listener = lab.pbx.enter(|| TcpListener::bind("127.0.0.1:0").unwrap());
        let asked = Arc::clone(self);
        serve_on(
            listener,
            None,
            Box::new(move |head, out| asked.answer(head, out)),
        )
    }

    fn answer(&self, head: &str, out: &mut dyn Write) -> std::io::Result<()> {
        match path(head) {
            "/names" => {
                self.names.fetch_add(1, Relaxed);
                if self.broken.load(Relaxed) {
                    self.in_vain.fetch_add(1, Relaxed);
                    return write!(out, "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n");
                }
                if has_it(head) {
                    self.again.fetch_add(1, Relaxed);
                    return not_modified(out);
                }
                ok(out, b"evil-scanner\nsnom370/8.7.5.35\n")
            }
            "/addresses" => {
                self.addresses.fetch_add(1, Relaxed);
                ok(out, format!("198.51.100.99\n0.0.0.0/0\n{PBX}\n").as_bytes())
            }
            "/late" => ok(out, b"198.51.100.98\n"),
            "/silent" => {
                self.silent.fetch_add(1, Relaxed);
                loop {
                    thread::park();
                }
            }
            other => panic!("{other}"),
        }
    }
}

fn start<'a>(lab: &'a Lab, config: &str) -> Guard<'a> {
    let program = Path::new(env!("CARGO_BIN_EXE_sipward"));
    Guard::start_with(program, &lab.pbx, config).unwrap()
}

fn feed(guard: &Guard<'_>, name: &str) -> Value {
    let status = guard.json(&["status"]).unwrap();
    let mut feeds = status["feeds"].as_array().unwrap().iter();
    feeds.find(|feed| feed["name"] == name).unwrap().clone()
}

fn until(what: &str, condition: impl FnMut() -> bool) {
    wait_until(what, PATIENCE, condition).unwrap();
}

/// Whether a message of this User-Agent reaches the PBX, which listens on this socket.
fn arrives(lab: &Lab, pbx: &UdpSocket, user_agent: &str, from: &str) -> bool {
    let message = format!("OPTIONS sip:100@{PBX} SIP/2.0\r\nUser-Agent: {user_agent}\r\n\r\n");
    let genuine = message.replace(user_agent, "snom370/8.7.5.35");
    let sent = [message, genuine];
    lab.attacker.enter(|| {
        let socket = UdpSocket::bind((from, 0)).unwrap();
        for message in &sent {
            socket.send_to(message.as_bytes(), (PBX, 5060)).unwrap();
        }
        // Of somebody else, so that there is an end to wait for.
        let socket = UdpSocket::bind(("203.0.113.100", 0)).unwrap();
        socket.send_to(b"OPTIONS end", (PBX, 5060)).unwrap();
    });
    let mut arrived = false;
    loop {
        let mut bytes = [0; 500];
        let length = pbx.recv(&mut bytes).unwrap();
        let text = String::from_utf8_lossy(&bytes[..length]);
        arrived |= text.contains(user_agent);
        if text == "OPTIONS end" {
            return arrived;
        }
    }
}

fn listen(lab: &Lab) -> UdpSocket {
    let pbx = lab.pbx.enter(|| UdpSocket::bind((PBX, 5060)).unwrap());
    pbx.set_read_timeout(Some(PATIENCE)).unwrap();
    pbx
}

#[test]
fn a_list_is_had_in_its_time_lapses_when_it_is_not_and_comes_back() {
    if !require(&[Need::Root, Need::Prometheus]) {
        return;
    }
    let lab = Lab::new().unwrap();
    let (asked, pbx) = (Arc::new(Asked::default()), listen(&lab));
    let port = asked.serve(&lab);
    let guard = start(
        &lab,
        &format!(
            "[[signatures.feed]]\nurl = \"http://127.0.0.1:{port}/names\"\nname = \"names\"\n\
             every = \"2s\"\nkeep = \"6s\"\npromote = true\n\
             [[signatures.feed]]\nurl = \"http://127.0.0.1:{port}/addresses\"\n\
             name = \"addresses\"\nban-for = \"1d\"\n"
        ),
    );
    until("the list to be asked after", || {
        asked.again.load(Relaxed) > 0
    });
    asked.broken.store(true, Relaxed);

    until("the ban of the list", || {
        guard.bans("198.51.100.99/32").unwrap()
    });
    let addresses = feed(&guard, "addresses");
    assert_eq!(addresses["entries"], 3, "{addresses}");
    assert_eq!(addresses["error"], Value::Null, "{addresses}");
    let bans = guard.json(&["bans"]).unwrap();
    let [ban] = &bans.as_array().unwrap()[..] else {
        panic!("the PBX itself and the whole Internet are not banned: {bans}");
    };
    assert_eq!(ban["origin"], "feed");

    until("the list to lapse", || {
        let status = guard.json(&["status"]).unwrap();
        status["warnings"]
            .to_string()
            .contains("names.toml: this feed is left out")
    });
    until("it to be asked for again", || {
        asked.in_vain.load(Relaxed) >= 2
    });
    let names = feed(&guard, "names");
    assert_eq!(
        names["error"], "the server answers 503 Service Unavailable",
        "{names}"
    );
    let confirmed: jiff::Timestamp = addresses["last_success"].as_str().unwrap().parse().unwrap();
    let at = prometheus::DEFAULT.parse().unwrap();
    let metrics = prometheus::scrape(&lab.pbx, at).unwrap();
    for (key, value) in [
        ("sipward_feed_failing{feed=\"names\"}", 1),
        ("sipward_feed_failing{feed=\"addresses\"}", 0),
        ("sipward_feed_entries{feed=\"addresses\"}", 3),
        ("sipward_bans{detector=\"none\",origin=\"feed\"}", 1),
        (
            "sipward_feed_last_success_timestamp_seconds{feed=\"addresses\"}",
            confirmed.as_second(),
        ),
    ] {
        assert_eq!(
            metrics.get(key),
            Some(&(value as f64)),
            "{key}: {metrics:#?}"
        );
    }
    // The end may overtake it where one CPU has more to do than the other.
    until("the scanner's message", || {
        arrives(&lab, &pbx, "evil-scanner", "203.0.113.20")
    });
    let (state, config) = (guard.state(), guard.state().with_file_name("sipward.toml"));
    let lint = signatures(&[
        "lint",
        "--state-dir",
        state.to_str().unwrap(),
        "--config",
        config.to_str().unwrap(),
    ]);
    let said =
        "feed names: the server answers 503 Service Unavailable; what it said is in force until";
    assert!(lint.err.contains(said), "{}", lint.err);

    asked.broken.store(false, Relaxed);
    until("the list to come back", || {
        let status = guard.json(&["status"]).unwrap();
        status["warnings"] == json!([]) && feed(&guard, "names")["error"] == Value::Null
    });
    assert!(!arrives(&lab, &pbx, "evil-scanner", ATTACKER));
    until("the ban of the scanner", || {
        guard.bans(&format!("{ATTACKER}/32")).unwrap()
    });
    let log = guard.log();
    let told = "feed names: the server answers 503 Service Unavailable; the list before stays";
    assert_eq!(log.matches(told).count(), 1, "{log}");
    assert_eq!(
        log.matches("feed names: it is there again").count(),
        1,
        "{log}"
    );
    assert_eq!(
        asked.addresses.load(Relaxed),
        1,
        "six hours have not passed"
    );
}

/// `signatures update` could not reach the daemon, or was ended before it told it.
#[test]
fn a_list_that_was_taken_without_the_daemon_comes_into_force() {
    if !require(&[Need::Root]) {
        return;
    }
    let lab = Lab::new().unwrap();
    let asked = Arc::new(Asked::default());
    let port = asked.serve(&lab);
    // Something to look around for now and then; and overrides of what is not there yet, of which the
    // status warns as long as it is not.
    let guard = start(
        &lab,
        &format!(
            "[[signatures.feed]]\nurl = \"http://127.0.0.1:{port}/addresses\"\n\
             name = \"addresses\"\nevery = \"1s\"\n\
             [signatures.override.\"web.first\"]\nenabled = true\n\
             [signatures.override.\"web.second\"]\nenabled = true\n"
        ),
    );
    let warnings = || guard.json(&["status"]).unwrap()["warnings"].to_string();
    let is_missing = |name: &str| warnings().contains(&format!("web.{name}"));
    assert!(is_missing("first") && is_missing("second"));
    let list = guard.state().join("list.txt");
    let take = |name: &str| {
        let signature = format!(
            "[[signature]]\nname = \"{name}\"\nfield = \"user-agent\"\nmatch = \"exact\"\n\
             pattern = \"{name}-scanner\"\nconfidence = \"shared\"\nsource = \"a test\"\n"
        );
        fs::write(&list, signature).unwrap();
        let run = update(&guard.state(), list.to_str().unwrap(), &[]);
        assert_eq!(run.code, 0, "{}", run.err);
    };
    take("first");
    until("the first list", || !is_missing("first"));
    // The same file, by its name.
    take("second");
    until("the second list", || !is_missing("second"));
    assert!(is_missing("first"));
}

#[test]
fn nobody_waits_for_a_server_that_says_nothing() {
    if !require(&[Need::Root]) {
        return;
    }
    let lab = Lab::new().unwrap();
    let (asked, pbx) = (Arc::new(Asked::default()), listen(&lab));
    let port = asked.serve(&lab);
    let mut guard = start(
        &lab,
        &format!(
            "[[signatures.feed]]\nurl = \"http://127.0.0.1:{port}/silent\"\nname = \"silent\"\n"
        ),
    );
    until("the server to be asked", || asked.silent.load(Relaxed) > 0);
    assert!(!arrives(&lab, &pbx, "friendly-scanner", ATTACKER));
    let banned = format!("{ATTACKER}/32");
    until("the ban of the scanner", || guard.bans(&banned).unwrap());
    let silent = feed(&guard, "silent");
    assert_eq!(
        silent["next"],
        Value::Null,
        "it is waited for all the time: {silent}"
    );
    assert_eq!(silent["error"], Value::Null, "{silent}");
    let stopped = guard.stop().unwrap();
    assert!(stopped.status.success(), "{}", stopped.stderr);
}

#[test]
fn a_list_does_not_wait_for_the_servers_of_others_that_say_nothing() {
    if !require(&[Need::Root]) {
        return;
    }
    let lab = Lab::new().unwrap();
    let asked = Arc::new(Asked::default());
    let port = asked.serve(&lab);
    let feed_of = |path: &str, name: &str| {
        format!(
            "[[signatures.feed]]\nurl = \"http://127.0.0.1:{port}/{path}\"\nname = \"{name}\"\n"
        )
    };
    let silent: String = (0..5)
        .map(|number| feed_of("silent", &format!("silent-{number}")))
        .collect();
    let mut guard = start(&lab, &(silent.clone() + &feed_of("addresses", "addresses")));
    until("all servers to be asked", || {
        asked.silent.load(Relaxed) == 5 && asked.addresses.load(Relaxed) > 0
    });
    // One of which the configuration tells only now.
    let all = silent + &feed_of("addresses", "addresses") + &feed_of("late", "late");
    guard.reload(&all).unwrap();
    for (list, prefix) in [
        ("addresses", "198.51.100.99/32"),
        ("late", "198.51.100.98/32"),
    ] {
        let told = format!("feed {list}: 0 signatures");
        until("the list to be in force", || guard.log().contains(&told));
        assert!(guard.bans(prefix).unwrap());
        // By the daemon's own order, for it may be told to this test late: nobody had been given up.
        let log = guard.log();
        let before = log.split(&told).next().unwrap();
        assert!(!before.contains("feed silent-"), "{log}");
    }
}

#[test]
fn what_was_planned_survives_the_daemon() {
    if !require(&[Need::Root]) {
        return;
    }
    let lab = Lab::new().unwrap();
    let asked = Arc::new(Asked::default());
    let port = asked.serve(&lab);
    let mut guard = start(
        &lab,
        &format!(
            "[[signatures.feed]]\nurl = \"http://127.0.0.1:{port}/names\"\nname = \"names\"\n\
             [[signatures.feed]]\nurl = \"http://127.0.0.1:{port}/addresses\"\n\
             name = \"addresses\"\nevery = \"1s\"\n"
        ),
    );
    until("the first fetch to be planned", || {
        feed(&guard, "names")["next"] != Value::Null
    });
    let planned = feed(&guard, "names");
    assert_eq!(planned["entries"], 2, "{planned}");
    guard.kill();
    let before = asked.addresses.load(Relaxed);
    guard.run().unwrap();
    until("the other list to be had again", || {
        asked.addresses.load(Relaxed) > before + 1
    });
    assert_eq!(feed(&guard, "names"), planned);
    assert_eq!(asked.names.load(Relaxed), 1);

    // Its time comes while nobody is there.
    guard.kill();
    let file = guard.state().join("feeds/names.plan");
    let mut plan: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    plan["next"] = "2026-01-01T00:00:00Z".into();
    fs::write(&file, plan.to_string()).unwrap();
    guard.run().unwrap();
    until("the list to be asked after", || {
        asked.again.load(Relaxed) == 1
    });
    assert_eq!(asked.names.load(Relaxed), 2);
}
