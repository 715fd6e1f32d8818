//! The reader against a running Asterisk 16.
#![expect(
    clippy::unwrap_used,
    reason = "a step that fails is the test's failure"
)]

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use sipward_asterisk::config::{Dialplan, Disk, Place, Tree, is_false, is_true};
use sipward_testkit::asterisk::{Asterisk, MANAGER_SECRET, MANAGER_USER, Settings};
use sipward_testkit::namespace::Namespace;
use sipward_testkit::process::wait_until;
use sipward_testkit::require::{Need, asterisk_root, require};

/// A section as `GetConfig` shows it: its name, `name=value` for each variable.
type Shown = (String, Vec<String>);

fn bench(role: &str) -> Option<(Namespace, Asterisk)> {
    if !require(&[Need::Root, Need::Asterisk]) {
        return None;
    }
    let namespace = Namespace::new(role).unwrap();
    let asterisk = Asterisk::start(&namespace, &Settings::default()).unwrap();
    Some((namespace, asterisk))
}

/// The manager interface.
struct Manager(BufReader<TcpStream>);

impl Manager {
    fn login(namespace: &Namespace) -> Self {
        let stream = namespace
            .enter(|| TcpStream::connect("127.0.0.1:5038"))
            .unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        let mut manager = Self(BufReader::new(stream));
        let login = format!(
            "Action: Login\r\nUsername: {MANAGER_USER}\r\nSecret: {MANAGER_SECRET}\r\nEvents: off\r\n"
        );
        assert!(manager.ask(&login)[0].contains("Success"));
        manager
    }

    /// Sends one action and returns the lines of its response.
    fn ask(&mut self, action: &str) -> Vec<String> {
        // In one piece: two small ones would wait for each other's acknowledgement.
        let text = format!("{action}ActionID: 7\r\n\r\n");
        self.0.get_mut().write_all(text.as_bytes()).unwrap();
        loop {
            let mut block = Vec::new();
            loop {
                let mut line = Vec::new();
                assert!(
                    self.0.read_until(b'\n', &mut line).unwrap() > 0,
                    "closed: {action}"
                );
                let line = String::from_utf8_lossy(&line)
                    .trim_end_matches(['\r', '\n'])
                    .to_owned();
                if line.is_empty() {
                    break;
                }
                block.push(line);
            }
            block.retain(|l| !l.starts_with("Asterisk Call Manager"));
            if block.first().is_some_and(|l| l.starts_with("Response:")) {
                return block;
            }
        }
    }

    /// What a command of the console prints.
    fn command(&mut self, command: &str) -> String {
        let lines = self.ask(&format!("Action: Command\r\nCommand: {command}\r\n"));
        let output = lines.iter().filter_map(|l| l.strip_prefix("Output: "));
        output.flat_map(|l| [l, "\n"]).collect()
    }

    /// A configuration as Asterisk reads it; None where it refuses the file.
    fn config(&mut self, file: &str) -> Option<Vec<Shown>> {
        let lines = self.ask(&format!(
            "Action: GetConfig\r\nFilename: {file}\r\nFilter: TEMPLATES=include\r\n"
        ));
        if !lines[0].contains("Success") {
            return None;
        }
        let mut found: Vec<Shown> = Vec::new();
        for line in lines {
            let (key, value) = line
                .split_once(": ")
                .unwrap_or((line.trim_end_matches(':'), ""));
            if key.starts_with("Category-") {
                found.push((value.to_owned(), Vec::new()));
            } else if key.starts_with("Line-") {
                found.last_mut().unwrap().1.push(value.to_owned());
            }
        }
        Some(found)
    }
}

/// The same from the reader, and whether Asterisk would refuse the file itself.
fn read(folder: &Path, file: &str) -> (Vec<Shown>, Vec<String>) {
    let mut tree = Tree::new(&Disk, folder);
    let config = tree.read(file).unwrap_or_default();
    let sections = config.sections.iter().map(|s| {
        let lines = s
            .variables
            .iter()
            .map(|v| format!("{}={}", v.name, v.value));
        (s.name.to_string(), lines.collect())
    });
    let notes = tree.notes.iter().map(|n| {
        let file = tree.file(n.at).map_or("", |f| &f.shown);
        format!("{file}:{}: {}", n.at.line, n.problem)
    });
    (sections.collect(), notes.collect())
}

/// Asterisk's own samples into a folder; their names.
fn copy_samples(folder: &Path) -> Vec<String> {
    let samples = asterisk_root().join("etc/asterisk");
    let copied = std::process::Command::new("cp")
        .arg("-rT")
        .args([&samples, folder])
        .status();
    assert!(copied.unwrap().success());
    let names = std::fs::read_dir(&samples)
        .unwrap()
        .map(|e| e.unwrap().file_name());
    let names = names
        .map(|n| n.into_string().unwrap())
        .filter(|n| n.ends_with(".conf"));
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

#[test]
fn the_sample_configuration_is_read_as_asterisk_reads_it() {
    let Some((namespace, asterisk)) = bench("audit-samples") else {
        return;
    };
    let folder = asterisk.config_folder();
    let names = copy_samples(&folder);
    assert!(names.len() > 80, "only {} samples", names.len());
    let mut manager = Manager::login(&namespace);
    let (mut sections, mut variables) = (0, 0);
    for name in &names {
        let (ours, notes) = read(&folder, name);
        let theirs = manager.config(name);
        // Read by scripts, in a grammar of their own: Asterisk refuses them too.
        if ["ast_debug_tools.conf", "dbsep.conf", "muted.conf"].contains(&name.as_str()) {
            assert!(theirs.is_none() && notes.iter().any(|n| n.contains("before the first")));
            continue;
        }
        assert!(notes.is_empty(), "{name}: {notes:?}");
        assert_eq!(Some(&ours), theirs.as_ref(), "{name}");
        sections += ours.len();
        variables += ours.iter().map(|(_, v)| v.len()).sum::<usize>();
    }
    println!(
        "{} sample files, {sections} sections, {variables} variables equal",
        names.len()
    );
    assert!(variables > 1000, "{variables}");
}

/// A small generator with a fixed seed: the same texts in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        usize::try_from(self.0 >> 33).unwrap() % n
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }

    /// A configuration made of everything that the grammar has, right and wrong.
    fn text(&mut self, include: &[&str]) -> String {
        let headers = [
            "[a]",
            "[b](!)",
            "[c](a)",
            "[d](a,b)",
            "[a](+)",
            "[B](+)",
            "[e](!,a)",
            "[a](+,b)",
            "[general]",
            "[x y]",
            "[]",
            "[f]trailing",
            "[a](+TEMPLATES=include)",
            "[ a ]",
            "[g](+name=1)",
            "[general](+)",
            "[c](a)(b)",
            "[h](A)",
        ];
        let wrong = [
            "[nowhere](zz)",
            "[zz](+)",
            "[open",
            "[a](open",
            "= 5",
            "nothing here",
            "#",
            "#include",
            "#nonsense x",
            "\\ x=1",
            "#tryinclude absent.conf",
        ];
        let names = [
            "name",
            "Name",
            "value",
            "secret",
            "\\#hash",
            "\\[x",
            "two words",
            "a+b",
            "=",
            "",
        ];
        let operators = ["=", " = ", "=>", " => ", "+=", " += ", "=  >", "+=>"];
        let values = [
            "1",
            "yes",
            "a;b",
            "a\\;b",
            "\\;",
            ";",
            "x ;-- y --; z",
            ";-- open",
            "--;",
            " spaced  out ",
            "a=b=c",
            "\"q\"",
            "",
            ";--- z",
            "a\\\\;b",
            "-",
            "--",
            "x--;y",
        ];
        let mut out = String::new();
        if self.below(10) > 0 {
            out.push_str("[a]\n");
        }
        for _ in 0..self.below(25) {
            match self.below(14) {
                0..=3 => out.push_str(self.pick(&headers)),
                4 if self.below(12) == 0 => out.push_str(self.pick(&wrong)),
                5 if !include.is_empty() => {
                    let name = self.pick(include);
                    let quoted = [format!("\"{name}\""), format!("<{name}>"), name.to_owned()];
                    let quoted = quoted[self.below(3)].as_str();
                    out.push_str(&format!(
                        "{} {quoted}",
                        self.pick(&["#include", "#tryinclude", "#INCLUDE"])
                    ));
                }
                6 => out.push_str(self.pick(&[
                    ";-- comment",
                    "--;",
                    "; plain",
                    ";;--",
                    "",
                    "  ",
                    ";--",
                    " --; ",
                ])),
                _ => {
                    let (n, o, v) = (self.pick(&names), self.pick(&operators), self.pick(&values));
                    out.push_str(&format!("{n}{o}{v}"));
                }
            }
            out.push_str(self.pick(&["\n", "\n", "\n", "\r\n", " \n", "\t\n", " ; c\n"]));
        }
        out
    }
}

#[test]
fn texts_made_at_random_are_read_as_asterisk_reads_them() {
    const TEXTS: usize = 1500;
    let Some((namespace, asterisk)) = bench("audit-random") else {
        return;
    };
    let folder = asterisk.config_folder();
    let mut manager = Manager::login(&namespace);
    let mut random = Random(20_220_117);
    let (mut refused, mut variables) = (0, 0);
    for n in 0..TEXTS {
        std::fs::create_dir_all(folder.join("part")).unwrap();
        std::fs::write(folder.join("part/1.conf"), random.text(&[])).unwrap();
        std::fs::write(folder.join("part/2.conf"), random.text(&["part/1.conf"])).unwrap();
        let root = random.text(&[
            "part/1.conf",
            "part/2.conf",
            "part/*.conf",
            "part/{2,1}.conf",
            "part/[!2].conf",
        ]);
        std::fs::write(folder.join("random.conf"), &root).unwrap();
        let theirs = manager.config("random.conf");
        let mut tree = Tree::new(&Disk, &folder);
        let config = tree.read("random.conf").unwrap();
        let fatal = tree.notes.iter().find(|n| {
            n.problem.is_fatal() && tree.file(n.at).is_some_and(|f| f.shown == "random.conf")
        });
        let Some(theirs) = theirs else {
            assert!(fatal.is_some(), "text {n}: Asterisk refuses it\n{root}");
            refused += 1;
            continue;
        };
        assert!(
            fatal.is_none(),
            "text {n}: Asterisk takes it: {fatal:?}\n{root}"
        );
        let ours: Vec<Shown> = config
            .sections
            .iter()
            .map(|s| {
                let lines = s
                    .variables
                    .iter()
                    .map(|v| format!("{}={}", v.name, v.value));
                (s.name.to_string(), lines.collect())
            })
            .collect();
        variables += ours.iter().map(|(_, v)| v.len()).sum::<usize>();
        let parts = ["part/1.conf", "part/2.conf"]
            .map(|p| std::fs::read_to_string(folder.join(p)).unwrap());
        assert_eq!(
            ours, theirs,
            "text {n}\n{root}\n== 1\n{}\n== 2\n{}",
            parts[0], parts[1]
        );
    }
    println!("{TEXTS} texts, {refused} refused by both, {variables} variables equal");
    assert!(
        refused > TEXTS / 20 && variables > TEXTS,
        "{refused} refused, {variables} variables"
    );
}

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
