//! What is taken of each kind of file, what is not, and why.

use std::{fs, path::PathBuf, time::Duration};

use jiff::Timestamp;
use sipward_signature::{Profile, SignatureSet};
use tempfile::TempDir;
use test_case::test_case;

use super::{Context, Found, Kind, Searched, adopt, read};
use crate::{config::PortLists, exit::Failure};

fn now() -> Timestamp {
    "2026-11-22T16:00:00Z".parse().unwrap()
}

fn read_with(text: &str, lasts: Option<Duration>) -> Result<Found, Failure> {
    read_sets(text, lasts, &[])
}

fn read_sets(text: &str, lasts: Option<Duration>, sets: &[String]) -> Result<Found, Failure> {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("list");
    fs::write(&path, text).unwrap();
    let context = Context {
        now: now(),
        lasts,
        ports: &PortLists::default(),
        sets,
    };
    read(&path, context)
}

fn found(text: &str) -> Found {
    read_with(text, None).unwrap()
}

/// Each ban as it is taken: prefix, scope where the file gives one, seconds.
fn bans(found: &Found) -> Vec<String> {
    let bans = found.bans.iter().map(|ban| {
        let scope = ban
            .scope
            .map(|scope| format!(" {scope}"))
            .unwrap_or_default();
        let left = ban.until.map(|until| until.as_second() - now().as_second());
        let left = left.map(|left| format!(" {left}s")).unwrap_or_default();
        format!("{}{scope}{left}", ban.prefix)
    });
    bans.collect()
}

/// Each thing that is not taken: line, and the first word why.
fn skipped(found: &Found) -> Vec<String> {
    let why = |words: &str| words.split(' ').take(2).collect::<Vec<_>>().join(" ");
    let skipped = found.skipped.iter();
    skipped
        .map(|skipped| format!("{} {}", skipped.line.unwrap_or(0), why(skipped.why.words())))
        .collect()
}

fn searched(found: &Found) -> Vec<&str> {
    found
        .searched
        .iter()
        .map(|searched| searched.text.as_str())
        .collect()
}

#[test]
fn a_plain_list_is_taken_line_by_line() {
    let found = found(
        "# a list\n203.0.113.7\n\n203.0.113.0/24 ; SBL1\n2001:db8::/48 # night\n\
         198.51.100.1-198.51.100.2\n198.51.100.8 - 198.51.100.9\n192.0.2.1,scanner,2026\n\
         192.0.2.1/24\n10.0.0.0/7\n::/3\nexample.org\n",
    );
    assert_eq!(found.kind, Kind::List);
    assert_eq!(
        bans(&found),
        [
            "203.0.113.7/32",
            "203.0.113.0/24",
            "2001:db8::/48",
            "198.51.100.1/32",
            "198.51.100.2/32",
            "198.51.100.8/31",
            "192.0.2.1/32"
        ]
    );
    let what = [
        "9 not understood",
        "10 too short",
        "11 too short",
        "12 not understood",
    ];
    assert_eq!(skipped(&found), what);
}

#[test]
fn a_list_takes_the_length_that_was_asked_for() {
    let found = read_with("203.0.113.7\n", Some(Duration::from_secs(60))).unwrap();
    assert_eq!(bans(&found), ["203.0.113.7/32 60s"]);
}

#[test]
fn rules_that_drop_a_source_are_bans() {
    let found = found(
        "*filter\n:INPUT ACCEPT [0:0]\n\
         -A INPUT -s 203.0.113.7/32 -j DROP\n\
         -A INPUT -s 203.0.113.9/255.255.255.0 -j REJECT --reject-with icmp-port-unreachable\n\
         -A INPUT -m iprange --src-range 87.119.220.200-87.119.220.203 -j DROP\n\
         -A INPUT -s 198.51.100.1/32 -p udp -m multiport --dports 5060:5061,5080 -j DROP\n\
         -A INPUT -s 198.51.100.2/32 -p tcp -m tcp --dport 25 -j DROP\n\
         -A INPUT -s 198.51.100.3/32 -j ACCEPT\n\
         -A INPUT ! -s 198.51.100.4/32 -j DROP\n\
         -A OUTPUT -s 198.51.100.5/32 -j DROP\n\
         -A INPUT -s 198.51.100.6/32 -m limit --limit 5/sec -j DROP\n\
         -A INPUT -j f2b-asterisk\n-A f2b-asterisk -s 198.51.100.7/32 -j REJECT\nCOMMIT\n",
    );
    assert_eq!(found.kind, Kind::Iptables);
    assert_eq!(
        bans(&found),
        [
            "203.0.113.7/32",
            "203.0.113.0/24",
            "87.119.220.200/30",
            "198.51.100.1/32 sip"
        ]
    );
    let lines: Vec<_> = found
        .skipped
        .iter()
        .filter_map(|skipped| skipped.line)
        .collect();
    assert_eq!(lines, [7, 8, 9, 10, 11, 12, 13]);
}

#[test]
fn a_rule_that_does_not_hit_all_that_arrives_is_no_ban() {
    let found = found(
        "*raw\n-A PREROUTING -s 203.0.113.1 -j DROP\nCOMMIT\n*filter\n\
         -A INPUT -i eth1 -s 203.0.113.2 -j DROP\n\
         -A FORWARD -s 203.0.113.3 -j DROP\n\
         -A guests -s 203.0.113.4 -j DROP\n\
         -A PREROUTING -s 203.0.113.5 -j DROP\n\
         -A INPUT -s 198.51.100.7 -j ACCEPT\n\
         -A INPUT -s 198.51.100.0/24 -j DROP\n\
         iptables -t mangle -A PREROUTING -s 203.0.113.6 -j DROP\n",
    );
    assert_eq!(bans(&found), ["203.0.113.1/32", "203.0.113.6/32"]);
    assert_eq!(
        skipped(&found),
        [
            "5 a rule",
            "6 a rule",
            "7 a rule",
            "8 a rule",
            "9 a rule",
            "10 let through"
        ]
    );
}

#[test]
fn a_script_is_read_as_a_shell_reads_it() {
    let found = found(
        "#!/bin/sh\nIPT=/sbin/iptables\n\
         /sbin/iptables -A INPUT -s 203.0.113.7 -j DROP # night\n\
         sudo iptables -I INPUT 3 -p udp --dport 5060 \\\n  -s 203.0.113.8,203.0.113.9 -j DROP\n\
         $IPT -A INPUT -s $BAD -j DROP; iptables -w -A INPUT --source=203.0.113.10 -j DROP\n\
         iptables -D INPUT -s 203.0.113.7 -j DROP\n\
         ip6tables -A INPUT -s 2001:db8::/48 -j DROP\necho iptables is done\n",
    );
    assert_eq!(
        bans(&found),
        [
            "203.0.113.8/32 sip",
            "203.0.113.9/32 sip",
            "203.0.113.10/32",
            "2001:db8::/48"
        ]
    );
    assert_eq!(skipped(&found), ["6 not understood", "7 deleted again,"]);
}

#[test]
fn texts_that_rules_look_for_are_gathered_once() {
    let found = found(
        "iptables -I INPUT -j DROP -p udp --dport 5060 -m string --string \"sip-scan\" --algo bm\n\
         iptables -I INPUT -j DROP -p udp --dport 5060 -m string --string “iWar” --algo bm\n\
         iptables -I INPUT -j DROP -p udp --dport 5060 -m string --string 'sip-scan' --algo bm\n\
         -A INPUT -p udp -m string --hex-string \"|557365722d4167656e743a2078|y|0d0a|\" --algo bm -j DROP\n\
         iptables -I INPUT -j DROP -p tcp --dport 80 -m string --string \"wget\" --algo bm\n\
         iptables -I INPUT -j DROP -s 192.0.2.1 -m string --string \"both\" --algo bm\n",
    );
    assert_eq!(searched(&found), ["sip-scan", "iWar", "User-Agent: xy"]);
    assert!(found.searched[2].to_line_end);
    assert_eq!(skipped(&found), ["5 a rule", "6 a rule"]);
}

#[test]
fn saved_sets_keep_what_is_left_of_their_elements() {
    let found = found(
        "create bad hash:net family inet hashsize 1024 maxelem 65536 timeout 600\n\
         create ports hash:ip,port family inet\n\
         add bad 203.0.113.0/24 timeout 77\nadd bad 198.51.100.7 timeout 0\n\
         add ports 203.0.113.7,udp:5060\nadd bad 10.0.0.0/16\nadd bad 10.0.1.0/24 nomatch\n\
         add bad nonsense\n",
    );
    assert_eq!(found.kind, Kind::Ipset);
    assert_eq!(bans(&found), ["203.0.113.0/24 77s", "198.51.100.7/32"]);
    assert_eq!(
        skipped(&found),
        [
            "5 an element",
            "6 deleted again,",
            "7 deleted again,",
            "8 not understood"
        ]
    );
}

#[test_case("create trunks-allowed hash:net\nadd trunks-allowed 203.0.113.7\n", "trunks-allowed"; "let through by its name")]
#[test_case("create Whitelist hash:ip\nadd Whitelist 203.0.113.7\n", "Whitelist"; "a whitelist")]
#[test_case("create a hash:ip\nadd a 203.0.113.7\ncreate b hash:ip\nadd b 203.0.113.8\n", "a, b"; "several")]
fn sets_that_may_be_no_bans_are_taken_only_by_name(text: &str, names: &str) {
    let error = read_with(text, None).unwrap_err();
    assert!(error.text.contains(names), "{error}");
    assert!(error.text.contains("--set"), "{error}");
    let name = names.split(", ").next().unwrap().to_owned();
    let found = read_sets(text, None, &[name]).unwrap();
    assert_eq!(bans(&found), ["203.0.113.7/32"]);
    let error = read_sets(text, None, &["other".to_owned()]).unwrap_err();
    assert!(error.text.contains(names), "{error}");
}

#[test]
fn apibans_addresses_last_as_long_as_on_its_list() {
    let apiban = found("{\"ipaddress\": [\"203.0.113.7\",\n\"2001:db8::7\"], \"ID\": \"1\"}");
    assert_eq!(apiban.kind, Kind::Json);
    assert_eq!(
        bans(&apiban),
        ["203.0.113.7/32 604800s", "2001:db8::7/128 604800s"]
    );
    for nothing in [
        "{\"ipaddress\":[\"no new bans\"], \"ID\":\"none\"}",
        "{\"ipaddress\":\"no new bans\", \"ID\":\"none\"}",
    ] {
        let nothing = found(nothing);
        assert_eq!(bans(&nothing), [""; 0]);
        assert_eq!(skipped(&nothing), ["1 not understood"]);
    }
}

#[test]
fn our_own_export_comes_back() {
    let text = "[{\"prefix\": \"203.0.113.0/24\", \"since\": \"2026-11-22T15:00:00Z\", \
        \"until\": \"2026-11-22T16:01:00Z\", \"scope\": \"sip\", \"detector\": null, \
        \"reason\": \"\", \"proven\": false, \"origin\": \"local\", \"dropped_packets\": 3}]";
    assert_eq!(bans(&found(text)), ["203.0.113.0/24 sip 60s"]);
    let over = text.replace("16:01:00", "15:59:00");
    assert_eq!(skipped(&found(&over)), ["1 expired"]);
}

#[test_case("", ":1: "; "nothing")]
#[test_case("\n\nroot:x:0:0:root:/root:/bin/bash\n", ":3: "; "another file")]
#[test_case("{\"ipaddress\": [\n1.2.3.4]}", ":2: this is no JSON"; "broken JSON")]
#[test_case("{\"a\": 1}", "other JSON"; "other JSON")]
#[test_case("SQLite format 3\0 and no more", "cannot be read"; "a broken database")]
fn what_is_none_of_these_is_refused_with(text: &str, part: &str) {
    let error = read_with(text, None).unwrap_err();
    assert_eq!(error.exit, crate::exit::Exit::Input);
    assert!(error.text.contains(part), "{error}");
    assert!(!error.text.contains('\n'), "{error}");
}

fn database(schema: &str) -> (TempDir, PathBuf) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("fail2ban.sqlite3");
    let connection = rusqlite::Connection::open(&path).unwrap();
    connection.execute_batch(schema).unwrap();
    (folder, path)
}

fn read_database(schema: &str, lasts: Option<Duration>) -> Result<Found, Failure> {
    let (_folder, path) = database(schema);
    let context = Context {
        now: now(),
        lasts,
        ports: &PortLists::default(),
        sets: &[],
    };
    read(&path, context)
}

#[test]
fn what_is_left_of_a_fail2ban_ban_is_kept() {
    let second = now().as_second();
    let schema = format!(
        "create table bips(ip text, jail text, timeofban integer, bantime integer, bancount integer);
         insert into bips values ('203.0.113.7', 'asterisk', {}, 600, 1),
                                 ('203.0.113.8', 'asterisk', {}, 600, 1),
                                 ('203.0.113.9', 'asterisk', {}, -1, 1),
                                 ('user', 'dovecot', {second}, 600, 1),
                                 ('2001:db8::/48', 'x\x1b', {second}, 5, 1);",
        second - 100,
        second - 601,
        second - 9_999
    );
    let found = read_database(&schema, None).unwrap();
    assert_eq!(found.kind, Kind::Fail2Ban);
    assert_eq!(
        bans(&found),
        ["203.0.113.7/32 500s", "203.0.113.9/32", "2001:db8::/48 5s"]
    );
    assert_eq!(&*found.bans[2].reason, "Fail2Ban, jail x\\x1b");
    assert_eq!(skipped(&found), ["0 expired", "0 not understood"]);
}

#[test]
fn an_old_fail2ban_database_needs_a_length() {
    let schema = format!(
        "create table bans(jail text, ip text, timeofban integer, data json);
         insert into bans values ('asterisk', '203.0.113.7', {0}, ''),
                                 ('asterisk', '203.0.113.7', {0} - 100, '');",
        now().as_second() - 60
    );
    let error = read_database(&schema, None).unwrap_err();
    assert!(error.text.contains("--for 10d"), "{error}");
    let found = read_database(&schema, Some(Duration::from_secs(600))).unwrap();
    assert_eq!(bans(&found), ["203.0.113.7/32 540s"]);
    let error = read_database("create table songs(name text)", None).unwrap_err();
    assert!(error.text.contains("not Fail2Ban's"), "{error}");
}

fn adopted(texts: &[&str], known: &SignatureSet) -> Vec<String> {
    let texts: Vec<Searched> = texts
        .iter()
        .map(|text| Searched {
            text: text.trim_end().to_owned(),
            to_line_end: text.ends_with('\n'),
        })
        .collect();
    let adopted = adopt(&texts, known, Profile::Standard).unwrap();
    let new = adopted.signatures.iter().map(|new| {
        format!(
            "{} {} {} {:?} {}",
            new.name, new.field, new.kind, new.pattern, new.confidence
        )
    });
    new.chain(
        adopted
            .refused
            .iter()
            .map(|refused| format!("- {}", refused.text)),
    )
    .collect()
}

#[test]
fn a_text_becomes_as_narrow_a_signature_as_the_lint_wants() {
    let nothing = SignatureSet::default();
    assert_eq!(
        adopted(
            &[
                "evil-dialer",
                "Evil%20Phone%20",
                "User-Agent: zmap\n",
                "-",
                "evil-dialer",
                "Yealink SIP-T46S"
            ],
            &nothing
        ),
        [
            "imported-evil-dialer user-agent contains \"evil-dialer\" likely",
            "imported-evil-phone user-agent contains \"Evil Phone\" likely",
            "imported-zmap user-agent exact \"zmap\" likely",
            "imported user-agent exact \"-\" likely",
            "imported-yealink-sip-t46s user-agent contains \"Yealink SIP-T46S\" shared",
            "- evil-dialer",
        ]
    );
}

#[test]
fn what_the_builtin_list_has_is_not_taken_again() {
    let known = SignatureSet::builtin();
    let taken = adopted(
        &["friendly-scanner", "sipvicious", "never-seen-dialer"],
        &known,
    );
    assert_eq!(
        taken,
        [
            "imported-never-seen-dialer user-agent contains \"never-seen-dialer\" likely",
            "- friendly-scanner",
            "- sipvicious",
        ]
    );
}
