//! Files that the other tools themselves have written, and what the daemon makes of them.

use std::{fs, net::UdpSocket, path::Path, process::Command, time::Duration};

use jiff::Timestamp;
use serde_json::Value;
use sipward_testkit::{
    fail2ban::Fail2Ban,
    guard::Guard,
    lab::{Lab, PBX},
    process::{Process, wait_until},
    require::{Need, require},
};
use tempfile::TempDir;

use crate::{done, program};

const PATIENCE: Duration = Duration::from_secs(60);

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn ban_of<'a>(bans: &'a [Value], prefix: &str) -> &'a Value {
    let of_it = |ban: &&Value| ban["prefix"] == prefix;
    bans.iter()
        .find(of_it)
        .unwrap_or_else(|| panic!("{prefix} is not in {bans:?}"))
}

#[test]
fn what_fail2ban_iptables_and_ipset_have_written_is_taken_over() {
    let needs = [
        Need::Root,
        Need::Fail2Ban,
        Need::Program("iptables"),
        Need::Program("ipset"),
    ];
    if !require(&needs) {
        return;
    }
    let lab = Lab::new().unwrap();
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);

    // The other tools are at work in a namespace of their own.
    fs::write(path("messages"), "").unwrap();
    let fail2ban = Fail2Ban::start(&lab.phones, &path("messages")).unwrap();
    let client = fail2ban.client().unwrap().join("fail2ban-client");
    let mut ban = Command::new(client);
    ban.args(["set", "asterisk", "banip", "203.0.113.9", "2001:db8:bad::9"]);
    done(Process::run(&mut ban, PATIENCE).unwrap());
    let rules = || lab.phones.run("iptables-save").unwrap();
    let twice = || rules().matches("203.0.113.9/32").count() == 2;
    wait_until("Fail2Ban's rules", PATIENCE, twice).unwrap();
    for rule in [
        "-s 203.0.113.20 -j DROP",
        "-s 192.0.2.1 -j DROP",
        "-s 198.51.100.99 -j DROP",
        "-m iprange --src-range 87.119.220.200-87.119.220.203 -j DROP",
        "-p udp --dport 5060 -m string --string friendly-scanner --algo bm -j DROP",
        "-p udp --dport 5060 -m string --string never-seen-dialer --algo bm -j DROP",
        "-p tcp --dport 22 -s 203.0.113.22 -j DROP",
    ] {
        lab.phones
            .run(&format!("iptables -A INPUT {rule}"))
            .unwrap();
    }
    fs::write(path("rules.v4"), rules()).unwrap();
    for order in [
        "create bad hash:net timeout 500",
        "add bad 203.0.113.64/26 timeout 400",
        "add bad 203.0.113.30 timeout 0",
    ] {
        lab.phones.run(&format!("ipset {order}")).unwrap();
    }
    fs::write(path("sets"), lab.phones.run("ipset save").unwrap()).unwrap();
    fs::write(path("list"), "203.0.113.40\n0.0.0.0/0\n127.0.0.1\n").unwrap();
    fs::write(
        path("apiban"),
        "{\"ipaddress\": [\"203.0.113.41\"], \"ID\": \"1\"}",
    )
    .unwrap();

    let more = "allow.addresses = [\"198.51.100.99\"]";
    let guard = Guard::start_with(program(), &lab.pbx, more).unwrap();
    fs::write(path("sipward.toml"), "").unwrap();
    let config = path("sipward.toml");
    let database = fail2ban.database();
    let files = [
        database,
        path("rules.v4"),
        path("sets"),
        path("list"),
        path("apiban"),
    ];
    let mut order = vec!["import", "--config", text(&config)];
    order.extend(files.iter().map(|file| text(file)));
    let before = Timestamp::now();
    let report = guard.json(&order).unwrap();

    let kinds: Vec<&Value> = report["files"]
        .as_array()
        .unwrap()
        .iter()
        .map(|file| &file["kind"])
        .collect();
    assert_eq!(
        kinds,
        [
            "a Fail2Ban database",
            "iptables rules",
            "ipsets",
            "a list of addresses",
            "a JSON list"
        ]
    );
    assert_eq!(report["banned"], 8, "{report:#}");
    let skipped = report["skipped"].as_array().unwrap();
    for (why, count) in [
        ("an address of this machine", 1),
        ("on the allowlist", 1),
        ("a loopback, link-local", 1),
        ("too short", 1),
        ("conditions", 1),
        // Its chains are one for UDP and one for TCP.
        ("a rule of Fail2Ban", 2),
    ] {
        let view = skipped
            .iter()
            .find(|view| view["why"].as_str().unwrap().contains(why));
        let view = view.unwrap_or_else(|| panic!("{why}: {report:#}"));
        assert_eq!(view["count"], count, "{why}: {report:#}");
    }

    let bans = guard.json(&["bans"]).unwrap();
    let bans = bans.as_array().unwrap();
    assert_eq!(bans.len(), 8, "{bans:#?}");
    assert!(
        bans.iter().all(|ban| ban["origin"] == "import"),
        "{bans:#?}"
    );
    for (prefix, seconds) in [
        ("203.0.113.9/32", 600),
        ("2001:db8:bad::9/128", 600),
        ("203.0.113.64/26", 400),
        ("203.0.113.41/32", 7 * 86_400),
    ] {
        let until: Timestamp = ban_of(bans, prefix)["until"]
            .as_str()
            .unwrap()
            .parse()
            .unwrap();
        let left = until.as_second() - before.as_second();
        // It runs while the files are written and read.
        assert!(
            left <= seconds + 1 && left > seconds - 300,
            "{prefix}: {left} s"
        );
    }
    for prefix in ["203.0.113.20/32", "87.119.220.200/30", "203.0.113.30/32"] {
        assert_eq!(ban_of(bans, prefix)["until"], Value::Null, "{prefix}");
    }

    // The kernel drops whom the import has banned.
    lab.attacker.enter(|| {
        let socket = UdpSocket::bind("203.0.113.20:0").unwrap();
        socket.send_to(b"hello there, pbx", (PBX, 5060)).unwrap();
    });
    wait_until("the drop", PATIENCE, || {
        let bans = guard.json(&["bans"]).unwrap();
        ban_of(bans.as_array().unwrap(), "203.0.113.20/32")["dropped_packets"] == 1
    })
    .unwrap();

    // Of the two texts the built-in signatures know one.
    assert_eq!(
        report["signatures"]["taken"],
        serde_json::json!(["imported-never-seen-dialer"])
    );
    let signatures = path("imported.toml");
    assert_eq!(report["signatures"]["file"], text(&signatures));
    fs::write(&config, "signatures.files = [\"imported.toml\"]\n").unwrap();
    let mut asked = Command::new(program());
    asked.args(["signatures", "match", "--user-agent", "Never-Seen-Dialer 2"]);
    asked.args(["--config", text(&config)]);
    let matched = done(Process::run(&mut asked, PATIENCE).unwrap());
    assert!(matched.stdout.contains("action: drop"), "{matched:?}");

    // A second time there is nothing new where the file itself has the ends.
    let again: Vec<&str> = order.iter().copied().take(5).collect();
    let again = guard.json(&again).unwrap();
    assert_eq!(again["banned"], 0, "{again:#}");
    assert_eq!(again["already"], 4, "{again:#}");
    assert_eq!(again["signatures"]["taken"], serde_json::json!([]));
    fail2ban.stop().unwrap();
}

#[test]
fn a_long_list_is_taken_in_batches_and_a_bad_file_stops_all() {
    if !require(&[Need::Root]) {
        return;
    }
    let lab = Lab::new().unwrap();
    let folder = TempDir::new().unwrap();
    let list = folder.path().join("list");
    let other = folder.path().join("other");
    let guard = Guard::start(program(), &lab.pbx).unwrap();
    let lines: String = (0..10_000)
        .map(|n| format!("44.{}.{}.1\n", n / 250, n % 250))
        .collect();
    fs::write(&list, lines).unwrap();
    fs::write(&other, "nothing\nof the kind\n").unwrap();

    let refused = guard.ask(&["import", text(&list), text(&other)]).unwrap();
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    let said = &refused.stderr;
    assert!(
        said.contains("other:1: ") && said.contains("expected: "),
        "{said}"
    );
    assert_eq!(said.lines().count(), 1, "{said}");
    assert_eq!(guard.json(&["status"]).unwrap()["bans"], 0);

    let report = guard.json(&["import", text(&list), "--for", "1h"]).unwrap();
    assert_eq!(report["banned"], 10_000);
    assert_eq!(guard.json(&["status"]).unwrap()["bans"], 10_000);
    assert!(guard.bans("44.39.249.1/32").unwrap());
}

#[test]
fn without_the_daemon_nothing_is_written() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("sipward.toml"), "").unwrap();
    fs::write(
        path("rules"),
        "iptables -A INPUT -s 203.0.113.7 -j DROP\n\
         iptables -A INPUT -m string --string never-seen-dialer --algo bm -j DROP\n",
    )
    .unwrap();
    let import = |more: &[&str]| {
        let mut import = Command::new(program());
        import.args([
            "import",
            text(&path("rules")),
            "--config",
            text(&path("sipward.toml")),
        ]);
        import
            .args(["--socket", text(&path("none.sock"))])
            .args(more);
        Process::run(&mut import, PATIENCE).unwrap()
    };
    assert_eq!(import(&[]).status.code(), Some(3));
    assert!(!path("imported.toml").exists());
    let dry = done(import(&["--dry-run"]));
    assert!(dry.stdout.contains("1 prefixes would be banned"), "{dry:?}");
    assert!(dry.stdout.contains("imported-never-seen-dialer"), "{dry:?}");
    assert!(!path("imported.toml").exists());
}
