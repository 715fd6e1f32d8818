//! `sipward audit` as its users run it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::Value;
use sipward_testkit::asterisk::{Asterisk, Settings};
use sipward_testkit::namespace::Namespace;
use sipward_testkit::process::wait_until;
use sipward_testkit::require::{Need, require};
use tempfile::TempDir;

/// A tree whose owner took no care: what `--apply` mends plainly, through a template, through an
/// include, through `(+)`, and not set at all.
const CARELESS: &[(&str, &str)] = &[
    (
        "sip.conf",
        "; the house\r\n[defaults](!)\n\tallowoverlap = yes   ; as ever\ncontext=office\n\
         [general](defaults)\nudpbindaddr=0.0.0.0:5060\ntcpenable=no\n#include \"more/sip.conf\"\n\
         [general](+)\npromiscredir => yes;why not\nbindport=5060\n\
         [phone](!)\ntype=friend\nhost=dynamic\n[100](phone)\nsecret=dragonfire7\n\
         ;secret=Qx7vKz9wTjOld\n[101](phone)\nsecret=101\n",
    ),
    (
        "more/sip.conf",
        "alwaysauthreject=no ; Qx7vKz9wTjNote\nallowguest = yes\n",
    ),
    (
        "extensions.conf",
        "[office]\nexten => 100,1,Dial(SIP/100)\nexten => 101,1,Dial(SIP/101)\n\
         exten => _0.,1,Dial(SIP/${EXTEN:1}@100)\n",
    ),
    ("rtp.conf", "[general]\nstrictrtp=no\n"),
    (
        "logger.conf",
        "[general]\n[logfiles]\nmessages => notice,warning,error\n",
    ),
];

fn write(folder: &Path, files: &[(&str, &str)]) {
    for (name, text) in files {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().expect("a file in a folder")).expect("a folder");
        fs::write(&path, text).expect("a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("its mode");
    }
}

fn tree(files: &[(&str, &str)]) -> TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    write(dir.path(), files);
    dir
}

fn sipward(directory: &Path, options: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sipward"))
        .arg("audit")
        .arg(directory)
        .args(options)
        .output()
        .expect("sipward")
}

fn code(output: &Output) -> i32 {
    output.status.code().expect("an exit code")
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("text")
}

fn document(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).expect("one JSON document")
}

fn ids(report: &Value) -> Vec<&str> {
    let findings = report["findings"].as_array().expect("findings");
    findings
        .iter()
        .map(|f| f["id"].as_str().expect("an id"))
        .collect()
}

/// Every file below a folder, hidden ones left out.
fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut todo = vec![folder.to_path_buf()];
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(dir).expect("a folder") {
            let path = entry.expect("an entry").path();
            let hidden = path
                .file_name()
                .is_some_and(|n| n.to_string_lossy().starts_with('.'));
            if path.is_dir() && !hidden {
                todo.push(path);
            } else if !hidden {
                found.insert(path.clone(), fs::read(&path).expect("a file"));
            }
        }
    }
    found
}

#[test]
fn json_has_the_promised_fields_and_the_exit_code_says_whether_it_is_bad() {
    let dir = tree(CARELESS);
    let output = sipward(dir.path(), &["--json"]);
    assert_eq!(code(&output), 1);
    let report = document(&output);
    assert_eq!(report["directory"], dir.path().to_str().expect("text"));
    assert_eq!(report["files"].as_array().expect("files").len(), 5);
    for finding in report["findings"].as_array().expect("findings") {
        for key in ["id", "severity", "file", "section", "message", "fix"] {
            assert!(finding[key].is_string(), "{key}: {finding}");
        }
        assert!(finding["line"].is_u64());
        assert!(!finding["fix"].as_str().expect("text").is_empty());
    }
    let count = |s: &str| report["summary"][s].as_u64().expect("a number");
    assert!(
        count("high") > 2 && count("medium") > 2,
        "{}",
        report["summary"]
    );
    let found = ids(&report);
    for id in [
        "sip-allowguest",
        "secret-is-name",
        "secret-weak",
        "dialplan-guest-outside",
    ] {
        assert!(found.contains(&id), "{id} is missing in {found:?}");
    }

    let harmless = tree(&[(
        "sip.conf",
        "[general]\nallowguest=no\nalwaysauthreject=yes\n",
    )]);
    let output = sipward(harmless.path(), &["--json"]);
    assert_eq!(code(&output), 0, "{}", stdout(&output));
}

#[test]
fn bad_input_is_refused_in_one_clear_line() {
    let empty = tree(&[]);
    let file = tree(&[("sip.conf", "[general]\n")]);
    let cases: &[(&Path, &[&str], &str)] = &[
        (Path::new("/nowhere/at/all"), &[], "no such directory"),
        (empty.path(), &[], "holds no Asterisk configuration"),
        (&file.path().join("sip.conf"), &[], "is no directory"),
        (file.path(), &["--json", "--sarif"], "cannot be used with"),
        (file.path(), &["--yes"], "--apply"),
    ];
    for (path, options, says) in cases {
        let output = sipward(path, options);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(code(&output), 2, "{stderr}");
        assert!(stderr.contains(says), "{stderr}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn apply_needs_a_yes_and_the_diff_is_what_it_does() {
    let (dir, twin) = (tree(CARELESS), tree(CARELESS));
    let before = contents(dir.path());
    let refused = sipward(dir.path(), &["--apply"]);
    assert_eq!(code(&refused), 2);
    assert_eq!(
        contents(dir.path()),
        before,
        "it changed something without a yes"
    );

    let diff = sipward(dir.path(), &["--diff"]);
    assert_eq!(code(&diff), 1);
    assert_eq!(contents(dir.path()), before, "--diff changed something");
    fs::write(twin.path().join("d.patch"), &diff.stdout).expect("a file");
    let patched = Command::new("patch")
        .args(["-p1", "--binary", "-i", "d.patch"])
        .current_dir(twin.path())
        .output();
    let patched = patched.expect("the program patch");
    assert!(
        patched.status.success(),
        "{}",
        String::from_utf8_lossy(&patched.stdout)
    );
    fs::remove_file(twin.path().join("d.patch")).expect("the patch");

    let applied = sipward(dir.path(), &["--apply", "--yes"]);
    assert_eq!(code(&applied), 1, "passwords remain");
    let names = |folder: &Path, all: BTreeMap<PathBuf, Vec<u8>>| -> BTreeMap<PathBuf, Vec<u8>> {
        all.into_iter()
            .map(|(p, t)| (p.strip_prefix(folder).expect("below").into(), t))
            .collect()
    };
    assert_eq!(
        names(dir.path(), contents(dir.path())),
        names(twin.path(), contents(twin.path())),
        "the diff is not what --apply did"
    );
}

#[test]
fn apply_mends_what_locks_nobody_out_keeps_every_other_byte_and_does_nothing_twice() {
    let dir = tree(CARELESS);
    let before = document(&sipward(dir.path(), &["--json"]));
    let applied = sipward(dir.path(), &["--apply", "--yes", "--json"]);
    let after = document(&applied);
    let mended = [
        "sip-alwaysauthreject",
        "sip-allowguest",
        "sip-allowoverlap",
        "sip-promiscredir",
        "sip-directmedia",
        "rtp-strict",
        "logger-security",
        "dialplan-guest-outside",
    ];
    for id in mended {
        assert!(ids(&before).contains(&id), "{id} was not found before");
        assert!(!ids(&after).contains(&id), "{id} is still found");
    }
    // What could lock somebody out is left alone.
    for id in [
        "secret-weak",
        "secret-is-name",
        "transport-port-5060",
        "dialplan-outside-prefix",
    ] {
        assert!(ids(&after).contains(&id), "{id}");
    }
    let sip = fs::read_to_string(dir.path().join("sip.conf")).expect("sip.conf");
    let expected = CARELESS[0]
        .1
        .replace("allowoverlap = yes   ;", "allowoverlap = no   ;")
        .replace("promiscredir => yes;", "promiscredir => no;")
        .replace(
            "[general](defaults)\n",
            "[general](defaults)\ndirectmedia=no\n",
        );
    assert_eq!(sip, expected);
    let mode = |p: &Path| fs::metadata(p).expect("a file").permissions().mode() & 0o7777;
    assert_eq!(mode(&dir.path().join("sip.conf")), 0o640);

    let backups = dir.path().join(".sipward-backup");
    let kept = fs::read_dir(&backups)
        .expect("the backup")
        .next()
        .expect("one")
        .expect("it")
        .path();
    assert_eq!(mode(&kept), 0o700);
    for (name, text) in CARELESS.iter().filter(|(n, _)| *n != "extensions.conf") {
        assert_eq!(
            fs::read_to_string(kept.join(name)).expect("a copy"),
            *text,
            "{name}"
        );
    }

    let once = contents(dir.path());
    let again = sipward(dir.path(), &["--apply", "--yes"]);
    assert!(String::from_utf8_lossy(&again.stderr).contains("nothing to change"));
    assert_eq!(contents(dir.path()), once);
    assert!(stdout(&sipward(dir.path(), &["--diff"])).is_empty());
}

#[test]
fn a_file_that_is_a_link_out_of_the_tree_is_read_reported_and_left_alone() {
    let outside = tree(&[(
        "peers.conf",
        "[general](+)\nallowguest=yes\nalwaysauthreject=no\n",
    )]);
    let dir = tree(&[("sip.conf", "[general]\n#include linked.conf\n")]);
    let target = outside.path().join("peers.conf");
    std::os::unix::fs::symlink(&target, dir.path().join("linked.conf")).expect("a link");
    let before = fs::read(&target).expect("the target");
    let report = document(&sipward(dir.path(), &["--apply", "--yes", "--json"]));
    assert!(ids(&report).contains(&"file-outside"));
    assert!(ids(&report).contains(&"sip-alwaysauthreject"));
    assert_eq!(fs::read(&target).expect("the target"), before);
}

#[test]
fn asterisk_loads_what_apply_leaves() {
    if !require(&[Need::Root, Need::Asterisk]) {
        return;
    }
    let namespace = Namespace::new("audit-apply").expect("a namespace");
    let asterisk = Asterisk::start(&namespace, &Settings::default()).expect("Asterisk");
    let folder = asterisk.config_folder();
    write(&folder, CARELESS);
    let shows = |wanted: &[&str]| {
        wait_until("the reload", Duration::from_secs(30), || {
            let page = asterisk.cli("sip show settings").unwrap_or_default();
            wanted.iter().all(|w| page.lines().any(|l| l.trim() == *w))
        })
    };
    let reload = || {
        for command in ["sip reload", "dialplan reload", "logger reload"] {
            wait_until(command, Duration::from_secs(10), || {
                asterisk.cli(command).is_ok()
            })
            .expect("a console");
        }
    };
    reload();
    shows(&[
        "Allow unknown access:   Yes",
        "Always auth rejects:    No",
        "Allow overlap dialing:  Yes",
        "Allow promisc. redir:   Yes",
    ])
    .expect("the careless settings in force");
    assert_eq!(code(&sipward(&folder, &["--apply", "--yes"])), 1);
    reload();
    shows(&[
        "Allow unknown access:   No",
        "Always auth rejects:    Yes",
        "Allow overlap dialing:  No",
        "Allow promisc. redir:   No",
    ])
    .expect("the mended settings in force");
    let peers = asterisk.cli("sip show peers").expect("a console");
    assert!(peers.contains("100") && peers.contains("101"), "{peers}");
    assert!(
        asterisk
            .cli("logger show channels")
            .expect("a console")
            .contains("SECURITY")
    );
}

/// Passwords, PINs and prefixes in every place that has one, weak enough to be reported.
const SECRETS: &[(&str, &str)] = &[
    (
        "sip.conf",
        "[general]\nallowguest=yes ; password=Zebrawood1\nregister => me:Zebrawood2@sip.example.net/7\n\
         alwaysauthreject=no ; password=Zebrawood7\n;secret=Zebrawood3\n[authentication]\nauth=me:Zebrawood4@realm\n\
         [phone](!)\ntype=friend\nhost=dynamic\nsecret=Kangaroo1\n[100](phone)\n\
         [101](phone)\nsecret=Kangaroo2\nmd5secret=5f4dcc3b5aa7\n[102]\ntype=peer\nhost=dynamic\n\
         insecure=invite\nsecret=Kangaroo2\n[provider]\ntype=peer\nhost=sip.example.net\n\
         fromuser=x\nremotesecret=Kangaroo3\nno equals sign but Kangaroo4\n#Kangaroo5\n\
         #exec /bin/peers --password=Kangaroo6\n",
    ),
    (
        "users.conf",
        "[general]\nhassip=yes\n[200]\nsecret=Pelikan1\nvmsecret=Pelikan2\n",
    ),
    (
        "pjsip.conf",
        "[300]\ntype=endpoint\nauth=300\naors=300\ndirect_media=yes\n[300]\ntype=auth\n\
         username=300\npassword=Pelikan3\n[300]\ntype=aor\nmax_contacts=1\n",
    ),
    (
        "pjsip_wizard.conf",
        "[w](!)\ntype=wizard\naccepts_auth=yes\naccepts_registrations=yes\n[400](w)\n\
         inbound_auth/password=Pelikan4\noutbound_auth/password=Pelikan5\n",
    ),
    (
        "iax.conf",
        "[general]\nrequirecalltoken=no\n[branch]\ntype=friend\nhost=dynamic\nauth=plaintext\nsecret=Pelikan6\n",
    ),
    (
        "manager.conf",
        "[general]\nenabled=yes\n[boss]\nsecret=Porcupine1\nwrite=all\n",
    ),
    (
        "ari.conf",
        "[general]\nenabled=yes\n[panel]\ntype=user\npassword=Porcupine2\n",
    ),
    (
        "voicemail.conf",
        "[default]\n500 => 777111,Anna\n501 => 9090,Otto\n",
    ),
    (
        "extensions.conf",
        "[globals]\nPIN=848484\n[default]\nexten => _617171.,1,Authenticate(161616)\n\
         same => n,Dial(IAX2/me:Porcupine3@198.51.100.7/${EXTEN:6})\n\
         exten => _565656.,1,Dial(SIP/me:Porcupine4@provider/${EXTEN:6})\n\
         exten => 9,1,DISA(343434,default)\nswitch => IAX2/me:Porcupine5@198.51.100.7/x\n\
         exten => 8,1,VoiceMailMain(500,s)\nexten => _.,1,System(x --password Porcupine6 ${CALLERID(num)})\n",
    ),
];

#[test]
fn no_output_shows_a_secret_or_a_part_of_one() {
    let words = ["Zebrawood", "Kangaroo", "Pelikan", "Porcupine"];
    let digits = [
        "5f4dcc3b5aa7",
        "777111",
        "9090",
        "848484",
        "617171",
        "161616",
        "565656",
        "343434",
    ];
    let ways: &[&[&str]] = &[
        &[],
        &["--json"],
        &["--sarif"],
        &["--diff"],
        &["--apply"],
        &["--apply", "--yes"],
        &["--apply", "--yes", "--diff"],
    ];
    for options in ways {
        let dir = tree(SECRETS);
        let output = sipward(dir.path(), options);
        let shown = [output.stdout, output.stderr].concat();
        // The directory's name is made at random, the backup's is the time.
        let shown = String::from_utf8(shown)
            .expect("text")
            .replace(&*dir.path().to_string_lossy(), "");
        let shown: String = shown
            .lines()
            .filter(|l| !l.contains(".sipward-backup"))
            .collect();
        let lower = shown.to_ascii_lowercase();
        for secret in words.iter().chain(&digits) {
            for part in secret.to_ascii_lowercase().as_bytes().windows(4) {
                let part = std::str::from_utf8(part).expect("text");
                assert!(
                    !lower.contains(part),
                    "{options:?} shows {part} of {secret}: {shown}"
                );
            }
        }
    }
    // The rules did look at them.
    let dir = tree(SECRETS);
    let report = document(&sipward(dir.path(), &["--json"]));
    let found = ids(&report);
    for id in [
        "secret-weak",
        "secret-shared",
        "secret-on-template",
        "voicemail-pin",
        "manager-secret",
        "ari-secret",
        "dialplan-pin-weak",
        "dialplan-prefix-guessable",
        "dialplan-disa",
        "dialplan-system",
        "file-exec",
        "file-ignored-line",
        "dialplan-elsewhere",
    ] {
        assert!(found.contains(&id), "{id} is missing in {found:?}");
    }
}

/// What the SARIF 2.1.0 schema requires of the objects used here.
#[test]
fn sarif_has_the_required_properties() {
    let dir = tree(CARELESS);
    let output = sipward(dir.path(), &["--sarif"]);
    assert_eq!(code(&output), 1);
    let log = document(&output);
    assert_eq!(log["version"], "2.1.0");
    let run = &log["runs"][0];
    let driver = &run["tool"]["driver"];
    assert!(driver["name"].is_string());
    let rules = driver["rules"].as_array().expect("rules");
    let mut names = std::collections::HashSet::new();
    for rule in rules {
        assert!(
            names.insert(rule["id"].as_str().expect("an id")),
            "{rule} comes twice"
        );
        for text in ["shortDescription", "fullDescription", "help"] {
            assert!(rule[text]["text"].is_string(), "{text}: {rule}");
        }
    }
    let levels = ["none", "note", "warning", "error"];
    let results = run["results"].as_array().expect("results");
    assert!(results.len() > 10);
    for result in results {
        assert!(result["message"]["text"].is_string());
        assert!(
            levels.contains(&result["level"].as_str().expect("a level")),
            "{result}"
        );
        let index =
            usize::try_from(result["ruleIndex"].as_u64().expect("an index")).expect("small");
        assert_eq!(rules[index]["id"], result["ruleId"]);
        let place = &result["locations"][0]["physicalLocation"];
        let uri = place["artifactLocation"]["uri"].as_str().expect("a uri");
        assert!(dir.path().join(uri).is_file(), "{uri}");
        if !place["region"].is_null() {
            assert!(place["region"]["startLine"].as_u64().expect("a line") >= 1);
        }
    }
    let base = run["originalUriBaseIds"]["SRCROOT"]["uri"]
        .as_str()
        .expect("a uri");
    assert!(
        base.starts_with("file:///") && base.ends_with('/'),
        "{base}"
    );
}
