//! What `sipward doctor` finds on a machine where nothing is wrong, and where much is, with a real
//! Asterisk, a real Fail2Ban and real rules.

use std::{collections::BTreeMap, fs, os::unix::fs::PermissionsExt, time::Duration};

use serde_json::Value;
use sipward_testkit::{
    asterisk::{Asterisk, Driver, MANAGER_SECRET, MANAGER_USER, Settings},
    bpf,
    fail2ban::Fail2Ban,
    lab::{ATTACKER, Lab},
    require::{Need, require},
    user_agent::{Exchange, Pace, UserAgents},
};

use crate::place::{Place, kill, program, said};

/// State and findings of the checks, by their names, and the exit code.
type Found = (BTreeMap<String, (String, String)>, i32);

fn doctor(lab: &Lab, place: &Place, path: Option<&str>) -> Found {
    let mut command = lab.pbx.command(program());
    command
        .args(["doctor", "--json", "--config"])
        .arg(place.config());
    command.arg("--socket").arg(place.socket());
    if let Some(path) = path {
        command.env("PATH", path);
    }
    let said = said(&mut command);
    let report: Value = serde_json::from_str(&said.stdout).unwrap_or_else(|_| panic!("{said:?}"));
    let text = |check: &Value, field: &str| check[field].as_str().unwrap_or_default().to_owned();
    let checks = report["checks"].as_array().unwrap().iter();
    let found = checks.map(|check| {
        let advice = text(check, "advice");
        let found = format!("{} -> {advice}", text(check, "found"));
        (text(check, "name"), (text(check, "state"), found))
    });
    (found.collect(), said.code)
}

/// The configuration of a guard that reads this Asterisk.
fn configuration(asterisk: &Asterisk, place: &Place, log: &str) -> String {
    let secret = place.config().with_file_name("secret");
    format!(
        "[asterisk]\nconfig-dir = \"{}\"\nlogs = [\"{}\"]\n\
         [asterisk.ami]\nuser = \"{MANAGER_USER}\"\nsecret-file = \"{}\"\n",
        asterisk.config_folder().display(),
        asterisk.log_path(log).display(),
        secret.display(),
    )
}

fn keep_secret(place: &Place, secret: &str) {
    let path = place.config().with_file_name("secret");
    fs::write(&path, secret).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn the_doctor_finds_what_is_wrong_and_nothing_else() {
    let needs = [
        Need::Root,
        Need::Asterisk,
        Need::Fail2Ban,
        Need::Program("nft"),
        Need::Program("iptables"),
    ];
    if !require(&needs) {
        return;
    }
    let lab = Lab::new().unwrap();
    let asterisk = Asterisk::start(&lab.pbx, &Settings::default()).unwrap();
    fail_to_log_in(&lab, &asterisk);
    let place = Place::new("");
    keep_secret(&place, MANAGER_SECRET);
    let reads = configuration(&asterisk, &place, "security");
    place.configure(&format!(
        "[ports]\nsip-udp = [5060, 5062]\nsip-tcp = [5060, 5062]\n{reads}"
    ));
    let daemon = place.start(&lab.pbx);

    let (found, code) = doctor(&lab, &place, None);
    assert_eq!(code, 0, "{found:#?}");
    for (name, part) in [
        ("privileges", "root"),
        ("kernel", "Linux "),
        ("bpf", "offers"),
        ("bpf-fs", "BPF file system"),
        ("interface", "eth0, driver veth"),
        ("xdp", "eth0: sipward's program"),
        ("daemon", "mode protect"),
        ("enforcement", "dropped"),
        ("ports", "udp 5060 (asterisk)"),
        ("security-log", "/srv/log/security"),
        ("peers", "0 addresses"),
        ("log", "written to "),
        ("ami", "works"),
        ("fail2ban", "does not run"),
        ("sipban", "not there"),
        ("crowdsec", "no bouncer"),
    ] {
        has(&found, name, "ok", part);
    }
    let (_, lines) = &found["log-lines"];
    assert!(lines.contains(", 0 not understood"), "{lines}");
    assert!(!lines.contains(" 0 events"), "{lines}");

    // A daemon guards on what it was started for.
    place.configure("interfaces = [\"eth9\"]");
    let (found, _) = doctor(&lab, &place, None);
    has(&found, "interface", "ok", "eth0, driver veth");
    has(&found, "xdp", "ok", "eth0: sipward's program");

    kill(daemon);
    let pins = fs::read_dir(&place.pins).unwrap().flatten();
    let mut links = pins.flat_map(|layout| fs::read_dir(layout.path()).unwrap().flatten());
    let link = links.find(|pin| pin.file_name().to_string_lossy().starts_with("link-"));
    bpf::replace_program(&link.unwrap().path()).unwrap();
    let fail2ban = Fail2Ban::start(&lab.pbx, &asterisk.log_path("messages")).unwrap();
    for line in [
        "nft add table ip crowdsec",
        "nft add chain ip crowdsec crowdsec-chain",
        "iptables --wait --append INPUT -p udp -m string --string Cisco --algo bm -j DROP",
    ] {
        lab.pbx.run(line).unwrap();
    }
    keep_secret(&place, "another");
    place.configure(&configuration(&asterisk, &place, "no-such-log"));

    let folder = fail2ban.client().unwrap();
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap());
    let (found, code) = doctor(&lab, &place, Some(&path));
    assert_eq!(code, 1, "{found:#?}");
    for (name, state, part) in [
        ("daemon", "warning", "no daemon guards"),
        ("xdp", "warning", "another XDP program"),
        ("other-ports", "warning", "sip-udp = [5060, 5080, 5062]"),
        ("log", "failed", "no-such-log"),
        ("ami", "failed", "Authentication failed"),
        ("fail2ban", "warning", "fail2ban-client stop asterisk"),
        ("crowdsec", "warning", "cscli"),
        ("iptables-strings", "warning", "1 rules"),
    ] {
        has(&found, name, state, part);
    }
    fail2ban.stop().unwrap();
}

fn has(found: &BTreeMap<String, (String, String)>, name: &str, state: &str, part: &str) {
    let check = found.get(name);
    let (is, text) = check.unwrap_or_else(|| panic!("no {name}: {found:#?}"));
    assert!(is == state && text.contains(part), "{name}: {is} {text}");
}

/// Leaves a line in the security log.
fn fail_to_log_in(lab: &Lab, asterisk: &Asterisk) {
    let server = Driver::ChanSip.address().to_string();
    let source = format!("{ATTACKER}:5070");
    let mut agents = UserAgents::new(lab).unwrap();
    let login = Exchange::new(&source, &server, "REGISTER", "110").password("wrong");
    let login = agents.name(login);
    agents.play(vec![login], Pace::OneByOne).unwrap();
    let is_there = |log: &str| log.contains("InvalidPassword");
    asterisk
        .wait_for_log("security", Duration::from_secs(30), is_there)
        .unwrap();
}
