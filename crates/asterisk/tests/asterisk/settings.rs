//! What the reader finds in files, and what the running Asterisk says is in force.

use std::{path::Path, time::Duration};

use sipward_asterisk::config::{Dialplan, Disk, Place, Tree, is_false, is_true};
use sipward_testkit::{process::wait_until, require::asterisk_root};

use crate::{Manager, bench};

/// What `dialplan show` prints: context, extension, priority, application, place.
fn shown_dialplan(text: &str) -> Vec<String> {
    let (mut context, mut extension) = (String::new(), String::new());
    let mut found = Vec::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("[ Context '") {
            context = rest.split('\'').next().unwrap().to_owned();
            continue;
        }
        let Some((body, place)) = line.trim_end().rsplit_once(" [") else {
            continue;
        };
        let place = place.trim_end_matches(']');
        let other = body.split('\'').nth(1);
        if line.starts_with("  Include =>") || line.starts_with("  Alt. Switch =>") {
            found.push(format!("{context} {}", other.unwrap()));
            continue;
        }
        let mut step = body.trim();
        if let Some((name, rest)) = step.strip_prefix('\'').and_then(|s| s.split_once("' =>")) {
            name.clone_into(&mut extension);
            step = rest.trim();
        }
        let label = step.strip_prefix('[').and_then(|s| s.split_once(']'));
        let (label, step) = label.map_or(("", step), |(l, s)| (l, s.trim()));
        let Some((priority, application)) = step.split_once(". ") else {
            continue;
        };
        found.push(format!(
            "{context} {extension} {priority} ({label}) {application} {place}"
        ));
    }
    found.sort();
    found
}

/// The same of the reader.
fn read_dialplan(folder: &Path) -> Vec<String> {
    let mut tree = Tree::new(&Disk, folder);
    let plan = Dialplan::new(&tree.read("extensions.conf").unwrap());
    let mut found = Vec::new();
    for context in &plan.contexts {
        let name = &context.name;
        let others = context.includes.iter().chain(&context.switches);
        found.extend(others.map(|i| format!("{name} {}", i.context)));
        for extension in &context.extensions {
            for step in &extension.steps {
                let file = &tree.file(step.at).unwrap().path.file_name().unwrap();
                // The page leaves the first step's label out.
                let first = extension.steps.iter().all(|s| s.number >= step.number);
                let label = step.label.as_deref().filter(|_| !first).unwrap_or("");
                let app = &step.application;
                found.push(format!(
                    "{name} {} {} ({label}) {}({}) {}:{}",
                    extension.pattern,
                    step.number,
                    app.name,
                    app.arguments,
                    file.display(),
                    step.at.line
                ));
            }
        }
    }
    found.sort();
    found
}

/// `  Label:   value` of a settings page.
fn shown_setting<'t>(text: &'t str, label: &str) -> Option<&'t str> {
    let line = text.lines().find(|l| l.trim_start().starts_with(label))?;
    let value = line.trim_start().strip_prefix(label)?.trim_start();
    Some(value.strip_prefix(':').unwrap_or(value).trim())
}

const SIP: &str = "\
[defaults](!)
allowguest=no
allowsubscribe = no
alwaysauthreject => no
promiscredir=yes ; on
match_auth_username=yes
videosupport=yes
textsupport=yes
callcounter=yes
[general](defaults)
realm=pbx.example.net
usereqphone=yes
useragent=phone\\;1
sdpsession=-
#include \"more/sip.conf\"
promiscredir=no
[general](+)
maxexpiry=1800
defaultexpiry=300
;-- minexpiry=1 --;
minexpiry=90
timert1=700
language=de
vmexten=9999
[peer]
type=friend
";

const SIP_MORE: &str = "\
sdpowner=nobody
trustrpid=yes
sendrpid=yes
callerid=house
fromdomain=example.net
allowtransfer=no
allowoverlap=no
t1min=200
rtptimeout=33
session-expires=900
session-minse=120
";

/// Key, label of `sip show settings`, what the page makes of the value.
const SIP_LABELS: &[(&str, &str, &str)] = &[
    ("allowguest", "Allow unknown access", "{bool}"),
    ("allowsubscribe", "Allow subscriptions", "{bool}"),
    ("allowoverlap", "Allow overlap dialing", "{bool}"),
    ("promiscredir", "Allow promisc. redir", "{bool}"),
    ("alwaysauthreject", "Always auth rejects", "{bool}"),
    ("match_auth_username", "Match Auth Username", "{bool}"),
    ("videosupport", "Videosupport", "{bool}"),
    ("textsupport", "Textsupport", "{bool}"),
    ("callcounter", "Enable call counters", "{bool}"),
    ("usereqphone", "URI user is phone no", "{bool}"),
    ("trustrpid", "Trust RPID", "{bool}"),
    ("realm", "Our auth realm", "{}"),
    ("useragent", "User Agent", "{}"),
    ("sdpsession", "SDP Session Name", "{}"),
    ("sdpowner", "SDP Owner Name", "{}"),
    ("callerid", "Caller ID", "{}"),
    ("fromdomain", "From: Domain", "{}"),
    ("minexpiry", "Reg. min duration", "{} secs"),
    ("maxexpiry", "Reg. max duration", "{} secs"),
    ("defaultexpiry", "Reg. default duration", "{} secs"),
    ("timert1", "Timer T1", "{}"),
    ("t1min", "Timer T1 minimum", "{}"),
    ("language", "Language", "{}"),
    ("vmexten", "Voice Mail Extension", "{}"),
    ("rtptimeout", "RTP Timeout", "{}"),
    ("session-expires", "Session Expires", "{} secs"),
    ("session-minse", "Session Min-SE", "{} secs"),
];

const PJSIP: &str = "\
[phone](!)
type=endpoint
allow=!all,alaw
allow_overlap=no
allow_subscribe=no
allow_transfer=no
direct_media=no
force_rport=no
rewrite_contact=yes
rtp_symmetric=yes
language=de
context=kitchen ; for now
[301771](phone)
context=cellar
rtp_timeout=45
#include \"more/pjsip.conf\"
[301771](+type=endpoint)
send_pai=yes
trust_id_inbound=yes
one_touch_recording=yes
user_eq_phone=yes
from_user=a\\;b
[301771]
type=aor
max_contacts=2
";

const PJSIP_MORE: &str = "\
rtp_timeout_hold=55
moh_passthrough=yes
use_ptime=yes
inband_progress=yes
accountcode=42
from_domain=example.net
device_state_busy_at=3
timers_sess_expires=600
sdp_session=talk
mwi_from_user=box
";

#[test]
fn a_hundred_settings_are_what_the_running_asterisk_reports() {
    let Some((namespace, asterisk)) = bench("audit-settings") else {
        return;
    };
    let folder = asterisk.config_folder();
    let mut manager = Manager::login(&namespace);
    std::fs::create_dir(folder.join("more")).unwrap();
    let sample = asterisk_root().join("etc/asterisk/extensions.conf");
    std::fs::copy(sample, folder.join("extensions.conf")).unwrap();
    for (name, text) in [
        ("sip.conf", SIP),
        ("more/sip.conf", SIP_MORE),
        ("pjsip.conf", PJSIP),
        ("more/pjsip.conf", PJSIP_MORE),
    ] {
        std::fs::write(folder.join(name), text).unwrap();
    }
    for command in [
        "sip reload",
        "dialplan reload",
        "module reload res_pjsip.so",
    ] {
        manager.command(command);
    }
    wait_until("the reload", Duration::from_secs(30), || {
        manager
            .command("sip show settings")
            .contains("pbx.example.net")
            && manager.command("dialplan show demo").contains("'demo'")
            && manager
                .command("pjsip show endpoint 301771")
                .contains("cellar")
    })
    .unwrap();

    let mut tree = Tree::new(&Disk, &folder);
    let sip = tree.read("sip.conf").unwrap();
    let general = sip.section("general").unwrap();
    let page = manager.command("sip show settings");
    let mut compared = 0;
    for (key, label, form) in SIP_LABELS {
        let variable = general.last(key).unwrap_or_else(|| panic!("{key} is set"));
        let shown = shown_setting(&page, label).unwrap_or_else(|| panic!("{label}\n{page}"));
        let ours = match *form {
            "{bool}" if is_true(&variable.value) => "Yes".to_owned(),
            "{bool}" => "No".to_owned(),
            form => form.replace("{}", &variable.value),
        };
        let shown = shown.split(" (").next().unwrap().trim();
        assert_eq!(ours, shown, "{key}");
        compared += 1;
        line_holds(&tree, variable.at, key);
    }

    let pjsip = tree.read("pjsip.conf").unwrap();
    let endpoint = pjsip
        .named("301771")
        .find(|s| s.last("type").is_some_and(|v| &*v.value == "endpoint"));
    let page = manager.command("pjsip show endpoint 301771");
    let mut seen = std::collections::HashSet::new();
    for variable in endpoint.unwrap().variables.iter().rev() {
        let key = &*variable.name;
        if ["type", "allow"].contains(&key) || !seen.insert(key.to_owned()) {
            continue;
        }
        let label = format!("{key} ");
        let shown = shown_setting(&page, &label).unwrap_or_else(|| panic!("{key}\n{page}"));
        let boolean = |v: &str| is_true(v) || is_false(v);
        let same = *shown == *variable.value
            || boolean(shown) && is_true(shown) == is_true(&variable.value);
        assert!(same, "{key}: {shown} is not {}", variable.value);
        compared += 1;
        line_holds(&tree, variable.at, key);
    }

    let theirs = shown_dialplan(&manager.command("dialplan show"));
    let ours = read_dialplan(&folder);
    let differences: Vec<_> = ours
        .iter()
        .filter(|o| !theirs.contains(o))
        .chain(theirs.iter().filter(|t| !ours.contains(t)))
        .collect();
    assert!(differences.is_empty(), "{differences:#?}");
    assert_eq!(ours.len(), theirs.len());
    compared += ours.len();
    println!(
        "{compared} settings equal, {} of them steps of the dialplan",
        ours.len()
    );
    assert!(compared >= 100, "{compared}");
}

/// The line really says so.
fn line_holds(tree: &Tree<'_>, at: Place, key: &str) {
    let text = std::fs::read_to_string(&tree.file(at).unwrap().path).unwrap();
    let line = text.lines().nth(at.line as usize - 1).unwrap();
    assert!(
        line.trim_start().starts_with(key),
        "{key} is not on {line:?}"
    );
}
