//! What people read: help, manual page, completions, tables.

use clap::{CommandFactory, Parser};
use clap_complete::Shell;
use jiff::Timestamp;
use test_case::test_case;

use super::{Cli, allow, bans, doctor, status, suspects, trusted, watch, why};
use crate::control::{
    api::{AccountView, AllowedView, BanView, Status, SuspectView, TrustedView, WhyView},
    watch::{Verdict, WatchLine},
};
use crate::doctor::{Check, Report, State};

fn now() -> Timestamp {
    "2026-11-22T16:00:00Z".parse().unwrap()
}

/// Times are shown in local time, which the machine of the test may have of its own: moments of
/// that day are replaced by what they are in UTC.
fn utc(text: &str) -> String {
    let mut text = text.to_owned();
    for shown in ["15:50:00", "16:00:00", "16:10:30"] {
        let at: Timestamp = format!("2026-11-22T{shown}Z").parse().unwrap();
        text = text.replace(&crate::clock::local(at), &format!("2026-11-22 {shown} UTC"));
    }
    text
}

/// As [`utc`], for times of day to the millisecond.
fn day(text: &str) -> String {
    let mut text = text.to_owned();
    for shown in [
        "15:50:00.000",
        "15:50:00.123",
        "15:50:00.124",
        "15:50:00.125",
        "16:00:00.000",
    ] {
        let at: Timestamp = format!("2026-11-22T{shown}Z").parse().unwrap();
        text = text.replace(&crate::clock::time_of_day(at), shown);
    }
    text
}

#[test]
fn the_command_line_is_consistent() {
    Cli::command().debug_assert();
}

#[test_case("sipward"; "program")]
#[test_case("run"; "run")]
#[test_case("status"; "status")]
#[test_case("ban"; "ban")]
#[test_case("unban"; "unban")]
#[test_case("bans"; "bans")]
#[test_case("suspects"; "suspects")]
#[test_case("why"; "why")]
#[test_case("watch"; "watch")]
#[test_case("allow"; "allow")]
#[test_case("disallow"; "disallow")]
#[test_case("allowed"; "allowed")]
#[test_case("trusted"; "trusted")]
#[test_case("signatures"; "signatures")]
#[test_case("replay"; "replay")]
#[test_case("explain"; "explain")]
#[test_case("export"; "export")]
#[test_case("import"; "import")]
#[test_case("rules"; "rules")]
#[test_case("audit"; "audit")]
#[test_case("doctor"; "doctor")]
#[test_case("check-config"; "check config")]
#[test_case("config"; "config")]
#[test_case("completions"; "completions")]
#[test_case("man"; "man")]
fn help_is(command: &str) {
    let command_line = if command == "sipward" {
        "--help".to_owned()
    } else {
        format!("{command} --help")
    };
    let words = ["sipward"].into_iter().chain(command_line.split(' '));
    let help = Cli::command()
        .term_width(100)
        .try_get_matches_from(words)
        .unwrap_err()
        .to_string();
    insta::assert_snapshot!(format!("help_{command}"), help);
}

/// Every command has an example, and no option is without an explanation.
#[test]
fn every_command_and_every_option_is_explained() {
    let mut program = Cli::command();
    program.build();
    for command in program.get_subcommands() {
        let name = command.get_name();
        assert!(command.get_about().is_some(), "{name}");
        let examples = command
            .get_after_help()
            .map(ToString::to_string)
            .unwrap_or_default();
        assert!(
            examples.contains(&format!("sipward {name}")),
            "{name} has no example"
        );
        for argument in command.get_arguments() {
            assert!(
                argument.get_help().is_some(),
                "{name} {}",
                argument.get_id()
            );
        }
    }
}

#[test_case(&["ban"], "required"; "ban without an address")]
#[test_case(&["ban", "192.0.2.1", "--for", "1h", "--forever"], "cannot be used with"; "two lengths")]
#[test_case(&["ban", "192.0.2.1", "--for", "soon"], "no length of time"; "no length")]
#[test_case(&["unban"], "required"; "unban without an address")]
#[test_case(&["unban", "--all", "192.0.2.1"], "cannot be used with"; "all and one")]
#[test_case(&["why", "192.0.2.1/24"], "did you mean 192.0.2.0/24"; "host bits")]
#[test_case(&["explain", "x.pcap", "--packet", "0"], "0"; "packet zero")]
#[test_case(&["frobnicate"], "unrecognized subcommand"; "no such command")]
fn bad_usage_is_refused_with(words: &[&str], part: &str) {
    let words = ["sipward"].iter().chain(words);
    let error = Cli::try_parse_from(words).unwrap_err().to_string();
    assert!(error.contains(part), "{error}");
}

#[test_case("10.0.0.1-10.0.0.9", Some("address"); "a range")]
#[test_case("2001:db8::7", Some("address"); "IPv6")]
#[test_case("100", Some("account"); "digits")]
#[test_case("alice", Some("account"); "a name")]
#[test_case("bade", Some("account"); "a name of hexadecimal digits")]
#[test_case("100-200", Some("account"); "digits and a dash")]
#[test_case("alice@192.0.2.1", Some("account"); "a name at an address")]
#[test_case("+4930.1234", Some("account"); "a number with a plus")]
#[test_case("192.0.2.256", None; "an address with a slip")]
#[test_case("192.0.2", None; "half an address")]
#[test_case("2001:db8::/130", None; "a prefix with a slip")]
#[test_case("", None; "nothing")]
fn why_takes_addresses_and_accounts(text: &str, kind: Option<&str>) {
    let read = text.parse::<why::Subject>().ok();
    let kind_of = |subject| match subject {
        why::Subject::Address(_) => "address",
        why::Subject::Account(_) => "account",
    };
    assert_eq!(read.map(kind_of), kind);
}

#[test_case(Shell::Bash; "bash")]
#[test_case(Shell::Zsh; "zsh")]
#[test_case(Shell::Fish; "fish")]
fn completions_know_every_command(shell: Shell) {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "sipward", &mut script);
    let script = String::from_utf8(script).unwrap();
    for command in Cli::command().get_subcommands() {
        assert!(
            script.contains(command.get_name()),
            "{shell}: {}",
            command.get_name()
        );
    }
}

#[test]
fn the_manual_page_has_every_command_and_its_examples() {
    let page = super::man::page().unwrap();
    for command in Cli::command().get_subcommands() {
        let name = command.get_name().replace('-', "\\-");
        assert!(page.contains(&format!("sipward {name}")), "{name}");
    }
    assert!(page.contains("Exit codes"), "{page}");
}

fn ban(prefix: &str) -> BanView {
    serde_json::from_value(serde_json::json!({
        "prefix": prefix, "since": "2026-11-22T15:50:00Z", "until": "2026-11-22T16:10:30Z",
        "scope": "sip", "detector": "scanner-signature",
        "reason": "sent what only the scanner sipvicious-friendly-scanner sends",
        "proven": false, "signature": "sipvicious-friendly-scanner", "origin": "local",
        "dropped_packets": 12345,
    }))
    .unwrap()
}

#[test]
fn the_table_of_bans_is() {
    let forever = BanView {
        until: None,
        detector: None,
        origin: "manual".to_owned(),
        reason: "night".to_owned(),
        ..ban("2001:db8:bad::/48")
    };
    let port = BanView {
        port: Some(5062),
        ..ban("198.51.100.9/32")
    };
    let over = BanView {
        ended: Some(now()),
        ended_by: Some("lifted".to_owned()),
        ..ban("192.0.2.7/32")
    };
    let allowed = BanView {
        allowed: vec!["198.51.100.7/32".parse().unwrap()],
        ..ban("198.51.100.0/24")
    };
    let bans = [ban("203.0.113.7/32"), forever, port, over, allowed];
    let text = bans::text(&bans, now());
    insta::assert_snapshot!("bans", utc(&text));
}

#[test]
fn why_tells_the_story() {
    let why: WhyView = serde_json::from_value(serde_json::json!({
        "address": "203.0.113.7", "banned": true, "bans": [ban("203.0.113.7/32")],
        "mode": "protect", "allowed": false, "trusted": false, "protected": null,
        "alerts": [{
            "at": "2026-11-22T15:50:00Z", "source": "203.0.113.7/32",
            "detector": "scanner-signature", "proven": false,
            "summary": "sent what only the scanner sipvicious-friendly-scanner sends",
            "evidence": [{ "at": "2026-11-22T15:50:00Z",
                "summary": "OPTIONS sip:100@192.0.2.1 SIP/2.0, User-Agent: friendly-scanner" }],
        }],
    }))
    .unwrap();
    insta::assert_snapshot!("why", utc(&why::text(&why, now())));
}

fn suspect() -> SuspectView {
    serde_json::from_value(serde_json::json!({
        "address": "203.0.113.7", "detector": "password-guessing", "count": 3, "fires_at": 5,
        "last": "2026-11-22T15:50:00Z",
        "evidence": [
            { "at": "2026-11-22T15:50:00Z",
                "summary": "REGISTER sip:192.0.2.1 SIP/2.0 as 100: 403 Forbidden, wrong password" },
            { "at": "2026-11-22T15:50:00Z",
                "summary": "REGISTER sip:192.0.2.1 SIP/2.0 as 101: 403 Forbidden, wrong password" },
        ],
    }))
    .unwrap()
}

fn login() -> TrustedView {
    serde_json::from_value(serde_json::json!({
        "address": "198.51.100.10", "by": "registration", "username": "100",
        "user_agent": "snom\\x1b[2J", "since": "2026-11-22T15:50:00Z",
        "last": "2026-11-22T16:00:00Z", "until": "2026-11-22T16:10:30Z",
    }))
    .unwrap()
}

#[test]
fn the_suspects_read() {
    let fresh = SuspectView {
        address: "2001:db8::7".parse().unwrap(),
        detector: "unanswered-invite".to_owned(),
        count: 1,
        evidence: Vec::new(),
        ..suspect()
    };
    insta::assert_snapshot!("suspects", utc(&suspects::text(&[suspect(), fresh])));
}

#[test]
fn the_trusted_read() {
    let peer = TrustedView {
        address: "2001:db8:51::1".parse().unwrap(),
        by: "peer".to_owned(),
        username: None,
        user_agent: None,
        ..login()
    };
    insta::assert_snapshot!("trusted", utc(&trusted::text(&[login(), peer])));
}

#[test]
fn why_of_one_who_is_not_banned_tells_what_it_is_suspected_of() {
    let why: WhyView = serde_json::from_value(serde_json::json!({
        "address": "203.0.113.7", "banned": false, "bans": [], "mode": "protect",
        "allowed": false, "trusted": true, "logins": [login()], "suspicions": [suspect()],
        "protected": null, "alerts": [],
    }))
    .unwrap();
    insta::assert_snapshot!("why_suspect", utc(&why::text(&why, now())));
}

#[test]
fn why_of_an_account_tells_its_story() {
    let why: AccountView = serde_json::from_value(serde_json::json!({
        "account": "100", "banned": true, "mode": "protect", "logins": [login()],
        "bans": [ban("203.0.113.7/32")],
        "alerts": [{
            "at": "2026-11-22T15:50:00Z", "source": "203.0.113.7/32",
            "detector": "password-guessing", "proven": true, "summary": "guesses passwords",
            "evidence": suspect().evidence,
        }],
    }))
    .unwrap();
    insta::assert_snapshot!("why_account", utc(&why::account_text(&why, now())));

    let unknown = AccountView {
        banned: false,
        bans: Vec::new(),
        logins: Vec::new(),
        alerts: Vec::new(),
        ..why
    };
    let text = why::account_text(&unknown, now());
    insta::assert_snapshot!("why_account_unknown", text);
}

#[test]
fn what_happens_reads_line_by_line() {
    let scan = serde_json::json!({
        "event": "message", "at": "2026-11-22T15:50:00.123Z", "direction": "in",
        "source": "203.0.113.7:5060", "destination": "192.0.2.1:5060", "transport": "udp",
        "verdict": "drop", "reason": "signature", "signature": "sipvicious-friendly-scanner",
        "method": "OPTIONS", "status": null, "summary": "OPTIONS sip:100@192.0.2.1",
        "call_id": "1@203.0.113.7", "user_agent": "friendly-scanner\\x1b[2J",
    });
    let read = |value: serde_json::Value| -> WatchLine { serde_json::from_value(value).unwrap() };
    let mut lines = vec![read(scan.clone())];
    if let WatchLine::Message(mut message) = read(scan) {
        message.verdict = Verdict::WouldDrop;
        lines.push(WatchLine::Message(message));
    }
    lines.extend(
        [
            serde_json::json!({
                "event": "message", "at": "2026-11-22T15:50:00.124Z", "direction": "in",
                "source": "198.51.100.10:5060", "destination": "192.0.2.1:5060",
                "transport": "tcp", "verdict": "pass", "method": "REGISTER", "status": null,
                "summary": "REGISTER sip:192.0.2.1", "call_id": null, "user_agent": null,
            }),
            serde_json::json!({
                "event": "message", "at": "2026-11-22T15:50:00.125Z", "direction": "out",
                "source": "[2001:db8:2::1]:5060", "destination": "[2001:db8:51::10]:5060",
                "transport": "udp", "verdict": "pass", "method": "REGISTER", "status": 401,
                "summary": "401 Unauthorized", "call_id": null, "user_agent": null,
            }),
            serde_json::json!({
                "event": "unreachable", "at": "2026-11-22T15:50:00Z", "reporter": "203.0.113.7",
                "destination": "203.0.113.7:5060",
            }),
            serde_json::json!({
                "event": "log", "at": "2026-11-22T15:50:00Z", "source": "203.0.113.7:5060",
                "text": "Registration from sip:100 failed - Wrong password",
            }),
            serde_json::json!({
                "event": "alert", "at": "2026-11-22T15:50:00Z", "source": "203.0.113.7/32",
                "detector": "tripwire", "proven": false, "summary": "touched port 5061",
                "spared": "203.0.113.7 is on the allowlist", "evidence": [],
            }),
            serde_json::json!({
                "event": "unban", "at": "2026-11-22T16:00:00Z", "prefix": "203.0.113.7/32",
                "port": 5062,
            }),
            serde_json::json!({ "event": "lost", "lines": 17 }),
        ]
        .map(read),
    );
    lines.push(WatchLine::Ban(ban("203.0.113.7/32")));
    lines.push(WatchLine::Trust(login()));
    let text: Vec<String> = lines.iter().map(watch::text).collect();
    insta::assert_snapshot!("watch", day(&utc(&text.join("\n"))));
}

#[test]
fn why_says_plainly_that_allow_wins() {
    let prefix = "203.0.113.7/32";
    let of = |allowed, parts: &[&str]| -> WhyView {
        let ban = BanView {
            allowed: parts.iter().map(|part| part.parse().unwrap()).collect(),
            ..ban(prefix)
        };
        serde_json::from_value(serde_json::json!({
            "address": "203.0.113.7", "banned": true, "bans": [ban], "mode": "protect",
            "allowed": allowed, "trusted": false, "protected": null, "alerts": [],
        }))
        .unwrap()
    };
    let text = why::text(&of(true, &[prefix]), now());
    let wins = "and it is allowed: allow wins, nothing of it is dropped (12,345 were before)";
    assert!(text.contains(wins), "{text}");
    assert!(!text.contains("every packet"), "{text}");

    let text = why::text(&of(false, &["203.0.113.7/31"]), now());
    assert!(text.contains("but allow wins:"), "{text}");
}

#[test]
fn why_of_a_range_is_why_of_all_its_parts() {
    let of = |banned, bans: &[BanView]| -> WhyView {
        serde_json::from_value(serde_json::json!({
            "address": "x", "banned": banned, "bans": bans, "mode": "protect", "allowed": false, "trusted": banned,
            "protected": null, "alerts": [],
        }))
        .unwrap()
    };
    let (wide, narrow) = (ban("203.0.113.0/24"), ban("203.0.113.7/32"));
    let one = of(true, &[wide.clone(), narrow.clone()]);
    let later = BanView {
        dropped_packets: 12346,
        ..wide.clone()
    };
    let mut other = of(false, &[later]);
    assert!(!why::text(&other, now()).contains("More bans"));
    other.more_bans = true;
    let range = "203.0.113.7-203.0.114.1".parse().unwrap();
    let why = why::both(one, other, &range);
    assert_eq!(why.address, "203.0.113.7-203.0.114.1");
    assert!(!why.banned && why.trusted);
    assert_eq!(why.bans, [wide, narrow]);
    let text = why::text(&why, now());
    assert!(
        text.contains("\nMore bans are in force than are told here: `sipward bans`"),
        "{text}"
    );
}

#[test]
fn why_of_somebody_unknown_says_so() {
    let why: WhyView = serde_json::from_value(serde_json::json!({
        "address": "192.0.2.1", "banned": false, "bans": [], "mode": "protect", "allowed": true, "trusted": true,
        "protected": "192.0.2.1 is an address of this machine", "alerts": [],
    }))
    .unwrap();
    insta::assert_snapshot!("why_unknown", why::text(&why, now()));
}

fn status() -> Status {
    serde_json::from_value(serde_json::json!({
        "version": "0.1.0", "mode": "protect", "backend": "xdp",
        "backend_reason": "the kernel loads the XDP program", "uptime_seconds": 93_784,
        "interfaces": [{ "name": "eth0", "xdp_mode": "native", "attached": true },
                       { "name": "eth1", "xdp_mode": "generic", "attached": false }],
        "enforcement": { "state": "detached", "leaked_packets": 0 },
        "packets": { "passed": 1_234_567, "dropped": { "banned": 1000, "rate": 20,
            "signature": 3, "tripwire": 0, "tiny_fragment": 1 } },
        "bans": 7, "allowed": 2, "trusted": 60,
        "sensors": { "kernel": { "state": "on", "events": 1003, "unmatched": 0 },
            "packets": { "state": "off", "events": 0, "unmatched": 0 },
            "asterisk_log": { "state": "off", "events": 0, "unmatched": 0 },
            "ami": { "state": "off", "events": 0, "unmatched": 0 } },
    }))
    .unwrap()
}

#[test]
fn what_the_doctor_found_reads() {
    let check = |name, state, found: &str, advice: Option<&str>| Check {
        name,
        state,
        found: found.to_owned(),
        advice: advice.map(str::to_owned),
    };
    let found = "port 5062 (asterisk), which is not protected";
    let advice = "[ports] sip-udp = [5060, 5080, 5062]";
    let report = Report::of(vec![
        check(
            "privileges",
            State::Unknown,
            "needs root",
            Some("sudo sipward doctor"),
        ),
        check("kernel", State::Ok, "Linux 6.1.0-18-amd64", None),
        check("other-ports", State::Warning, found, Some(advice)),
        check(
            "log",
            State::Failed,
            "/var/log/asterisk/security: not there",
            Some("logger reload"),
        ),
    ]);
    assert!(report.has_findings());
    insta::assert_snapshot!("doctor", doctor::text(&report));
}

#[test]
fn status_reads() {
    insta::assert_snapshot!("status", status::text(&status()));
    let mut status = status();
    status.warnings.push("a feed is left out".to_owned());
    let text = status::text(&status);
    assert!(
        text.ends_with("\nWARNING      a feed is left out\n"),
        "{text}"
    );
    assert!(!text.contains("\nreload "), "{text}");
    status.reloading_seconds = Some(71);
    let text = status::text(&status);
    let reload = "\nreload       under way for 1m 11s; until its files are read the configuration \
                  before is in force\nmode ";
    assert!(text.contains(reload), "{text}");
}

#[test]
fn lists_of_others_stand_in_the_status() {
    let mut status = status();
    status.feeds = serde_json::from_value(serde_json::json!([
        { "name": "new", "entries": 0, "signatures": 0, "last_success": null, "lapses": null,
          "next": "2026-11-22T16:00:00Z", "error": "no\u{1b}list" },
        { "name": "web", "entries": 1_234, "signatures": 5,
          "last_success": "2026-11-22T15:50:00Z", "lapses": "2026-11-22T16:10:30Z",
          "next": "2026-11-22T16:00:00Z", "error": null },
    ]))
    .unwrap();
    let text = utc(&status::text(&status));
    let expected = "\n\
        feed         new: FAILS: no\\x1blist; nothing yet, next 2026-11-22 16:00:00 UTC\n\
        feed         web: 1,234 entries of 2026-11-22 15:50:00 UTC, in force until \
        2026-11-22 16:10:30 UTC, next 2026-11-22 16:00:00 UTC\n";
    assert!(text.ends_with(expected), "{text}");
}

#[test]
fn observe_mode_says_what_would_be_dropped() {
    let why: WhyView = serde_json::from_value(serde_json::json!({
        "address": "203.0.113.7", "banned": true, "bans": [ban("203.0.113.7/32")],
        "mode": "observe", "allowed": false, "trusted": false, "protected": null, "alerts": [],
    }))
    .unwrap();
    let text = why::text(&why, now());
    assert!(text.contains("would be dropped (observe mode)"), "{text}");
    assert!(!text.contains("is dropped"), "{text}");

    let mut status = status();
    status.packets.would_drop.banned = 567;
    status.sensors.kernel.lost = 1_234;
    let text = status::text(&status);
    assert!(
        text.contains("would drop   567 packets: 567 banned"),
        "{text}"
    );
    assert!(text.contains("passed       1,234,000 packets"), "{text}");
    assert!(text.contains("0 unmatched, 1,234 LOST\n"), "{text}");
}

#[test]
fn the_allowlist_reads() {
    let allowed: Vec<AllowedView> = serde_json::from_value(serde_json::json!([
        { "prefix": "192.0.2.0/24", "origin": "configuration", "since": null },
        { "prefix": "198.51.100.7/32", "origin": "manual", "since": "2026-11-22T15:50:00Z" },
        { "prefix": "2001:db8::7/128", "origin": "manual", "since": "2026-11-22T16:00:00Z",
            "name": "sip.example.org" },
    ]))
    .unwrap();
    insta::assert_snapshot!("allowed", utc(&allow::text(&allowed)));
}
