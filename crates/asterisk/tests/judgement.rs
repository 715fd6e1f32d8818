//! How findings are graded, and what must not be reported.

use std::path::Path;

use sipward_asterisk::audit::{self, Finding, Severity};
use sipward_asterisk::config::Memory;
use test_case::test_case;

fn findings(files: &[(&str, &str)]) -> Vec<Finding> {
    let memory = Memory::with(files.iter().copied());
    audit::audit(&memory, Path::new(Memory::ROOT)).findings
}

fn grade(files: &[(&str, &str)], id: &str) -> Option<Severity> {
    findings(files)
        .iter()
        .filter(|f| f.id == id)
        .map(|f| f.severity)
        .max()
}

fn plan(text: &str, id: &str) -> Option<Severity> {
    grade(&[("extensions.conf", text)], id)
}

#[test_case("sip-alwaysauthreject", Severity::Info)]
#[test_case("sip-allowguest", Severity::Medium)]
#[test_case("sip-allowoverlap", Severity::Low)]
#[test_case("sip-allowtransfer", Severity::Low)]
#[test_case("sip-allowsubscribe", Severity::Info)]
#[test_case("sip-defaultexpiry", Severity::Info)]
#[test_case("sip-directmedia", Severity::Low)]
#[test_case("sip-qualify", Severity::Info)]
#[test_case("sip-nat", Severity::Info)]
fn what_is_not_written_down_is_graded_by_asterisks_default(id: &str, expected: Severity) {
    assert_eq!(
        grade(&[("sip.conf", "[general]\nbindport=47160\n")], id),
        Some(expected)
    );
}

#[test]
fn guests_are_worse_where_they_reach_a_trunk() {
    let sip = ("sip.conf", "[general]\nallowguest=yes\ncontext=public\n");
    let closed = "[public]\nexten => 1,1,Answer\n";
    let open = "[public]\ninclude => out\n[out]\nexten => _0.,1,Dial(SIP/${EXTEN:1}@provider)\n";
    let grade = |plan| grade(&[sip, ("extensions.conf", plan)], "sip-allowguest");
    assert_eq!(grade(closed), Some(Severity::Medium));
    assert_eq!(grade(open), Some(Severity::High));
}

#[test_case("exten => _0.,1,Dial(SIP/${EXTEN:1}@p)\n", true; "straight")]
#[test_case("exten => _0.,1,Dial(${TRUNK}/${EXTEN:1})\n", true; "a global")]
#[test_case("exten => _0.,1,Goto(out,${EXTEN:1},1)\n[out]\nexten => _X.,1,Dial(DAHDI/g1/${EXTEN})\n", true; "goto")]
#[test_case("exten => _0.,1,Gosub(out,s,1(${EXTEN:1}))\n[out]\nexten => s,1,Dial(PJSIP/${ARG1}@p)\n", true; "gosub")]
#[test_case("exten => _0.,1,Macro(out,${EXTEN:1})\n[macro-out]\nexten => s,1,Dial(IAX2/p/${ARG1})\n", true; "macro")]
#[test_case("exten => _0.,1,Dial(Local/${EXTEN:1}@out/n)\n[out]\nexten => _X.,1,Dial(PJSIP/p/sip:${EXTEN}@h)\n", true; "local")]
#[test_case("exten => _0.,1,Set(N=${EXTEN:1})\n same => n,Dial(SIP/p/${N})\n", true; "a variable")]
#[test_case("exten => _0.,1,GotoIf($[1]?a)\n same => n,Hangup\n same => n(a),Dial(SIP/${EXTEN:1}@p)\n", true; "a branch")]
#[test_case("exten => _0.,1,ExecIf($[1]?Dial(SIP/${EXTEN:1}@p))\n", true; "execif")]
#[test_case("exten => _0.,1,Authenticate(804417)\n same => n,Dial(SIP/${EXTEN:1}@p)\n", false; "a pin")]
#[test_case("exten => _0.,1,VMAuthenticate(100)\n same => n,Dial(SIP/${EXTEN:1}@p)\n", false; "a mailbox pin")]
#[test_case("exten => _0.,1,Read(PIN,vm-password,6)\n same => n,GotoIf($[\"${PIN}\"=\"804417\"]?ok)\n same => n,Hangup\n same => n(ok),Dial(SIP/${EXTEN:1}@p)\n", false; "read and compare")]
#[test_case("exten => _0.,1,Hangup\n same => n,Dial(SIP/${EXTEN:1}@p)\n", false; "behind a hangup")]
#[test_case("exten => _1XX,1,Dial(SIP/${EXTEN})\n", false; "phones")]
#[test_case("exten => 110,1,Dial(SIP/110@p)\n", false; "an emergency number")]
#[test_case("exten => _60417.,1,Dial(SIP/${EXTEN:5}@p)\n", false; "a secret prefix")]
fn the_outside_line_is_found_however_it_is_reached(steps: &str, open: bool) {
    let text = format!("[globals]\nTRUNK=DAHDI/g1\n[office]\n{steps}");
    assert_eq!(plan(&text, "dialplan-outside-prefix").is_some(), open);
}

#[test_case("_0.", "", Some(Severity::Medium); "open")]
#[test_case("_0.", "exten => _000.,1,Hangup\nexten => _0+.,1,Hangup\nexten => _0011.,1,Hangup\n", None; "blocked")]
#[test_case("_0NXXXXXX.", "", None; "a pattern that abroad does not fit")]
#[test_case("_60417.", "", Some(Severity::Low); "behind a secret prefix")]
fn calls_abroad(pattern: &str, more: &str, expected: Option<Severity>) {
    let strip = if pattern.starts_with("_6") { 5 } else { 1 };
    let text = format!("[office]\nexten => {pattern},1,Dial(SIP/${{EXTEN:{strip}}}@p)\n{more}");
    assert_eq!(plan(&text, "dialplan-international"), expected);
}

#[test_case("Dial(SIP/${EXTEN:1}@p)", true; "no limit")]
#[test_case("Dial(SIP/${EXTEN:1}@p,60,L(3600000))", false; "L")]
#[test_case("Dial(SIP/${EXTEN:1}@p,60,tS(3600))", false; "S")]
#[test_case("Set(TIMEOUT(absolute)=3600)\n same => n,Dial(SIP/${EXTEN:1}@p)", false; "absolute")]
fn the_length_of_a_call(steps: &str, unlimited: bool) {
    let text = format!("[office]\nexten => _0.,1,{steps}\n");
    assert_eq!(plan(&text, "dialplan-no-limit").is_some(), unlimited);
}

#[test]
fn a_password_on_a_template_is_reported_once_and_there() {
    let text = "[phone](!)\ntype=friend\nhost=dynamic\nsecret=dragon99\n\
                [301771](phone)\n[301772](phone)\n[301773](phone)\nsecret=q7Kd0xVt3mZr9wHb5c2L\n";
    let found = findings(&[("sip.conf", text)]);
    let lines = |id: &str| -> Vec<u32> {
        found
            .iter()
            .filter(|f| f.id == id)
            .map(|f| f.line)
            .collect()
    };
    assert_eq!(lines("secret-weak"), [4]);
    assert_eq!(lines("secret-on-template"), [4]);
    assert!(lines("secret-shared").is_empty());
}

#[test]
fn a_provider_keeps_apply_away_from_guests() {
    let with = |more: &str| {
        let text = format!("[general]\nallowguest=yes\n{more}");
        let found = findings(&[("sip.conf", &text)]);
        let guest = found.into_iter().find(|f| f.id == "sip-allowguest");
        guest.expect("guests are reported").change.is_some()
    };
    assert!(with(""));
    assert!(!with("register => me:secret@sip.example.net\n"));
    assert!(!with("[p]\ntype=peer\nhost=192.0.2.7\nfromuser=x\n"));
}

#[test]
fn wizard_and_users_accounts_are_judged_like_the_others() {
    let wizard = "[phone](!)\ntype=wizard\naccepts_auth=yes\naccepts_registrations=yes\n\
                  [301771](phone)\ninbound_auth/password=301771\n";
    let found = findings(&[("pjsip_wizard.conf", wizard)]);
    let hit = found
        .iter()
        .find(|f| f.id == "secret-is-name")
        .expect("the wizard's password");
    assert_eq!((hit.file.as_str(), hit.line), ("pjsip_wizard.conf", 6));
    assert!(!found.iter().any(|f| f.id == "pjsip-no-auth"));

    let users =
        "[general]\nhassip=yes\nhost=dynamic\n[301771]\nsecret=301771\n[301772]\nhassip=no\n";
    let found = findings(&[("users.conf", users)]);
    let hits: Vec<u32> = found
        .iter()
        .filter(|f| f.id == "secret-is-name")
        .map(|f| f.line)
        .collect();
    assert_eq!(hits, [5]);
}

#[test]
fn an_address_list_takes_the_edge_off() {
    let acl = "deny=0.0.0.0/0.0.0.0\npermit=192.168.0.0/16\n";
    let sip = |more: &str| format!("[301771]\ntype=friend\nhost=dynamic\n{more}");
    assert_eq!(
        grade(&[("sip.conf", &sip(""))], "secret-missing"),
        Some(Severity::High)
    );
    assert_eq!(
        grade(&[("sip.conf", &sip(acl))], "secret-missing"),
        Some(Severity::Medium)
    );
}

#[test]
fn includes_without_end_are_cut_off_and_reported() {
    // Ten files that include each other a hundred times over.
    let names: Vec<String> = (0..9).map(|n| format!("{n}.conf")).collect();
    let text = |n: usize| format!("x=1\n#include {}.conf\n", n + 1).repeat(12);
    let mut files = vec![(
        "sip.conf".to_owned(),
        "[general]\n#include 0.conf\n".to_owned(),
    )];
    files.extend(
        names
            .iter()
            .enumerate()
            .map(|(n, name)| (name.clone(), text(n))),
    );
    files.push(("9.conf".to_owned(), "y=1\n".to_owned()));
    let memory = Memory::with(files);
    let report = audit::audit(&memory, Path::new(Memory::ROOT));
    assert!(
        report
            .findings
            .iter()
            .any(|f| f.message.contains("more than ten files deep")
                || f.message.contains("stopped following"))
    );
}

#[test]
fn inheritance_that_doubles_is_cut_off_and_reported() {
    let mut text = String::from("[0]\na=1\nb=2\n");
    for n in 1..40 {
        text.push_str(&format!("[{n}]({},{})\n", n - 1, n - 1));
    }
    let found = findings(&[("sip.conf", &text)]);
    assert!(
        found
            .iter()
            .any(|f| f.message.contains("stopped following"))
    );
}
