//! Every rule: its example triggers it at the line marked, the mended one doesn't; plainly, through
//! a template, through an include, through `(+)`. And its page is what the rule says.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use sipward_asterisk::audit::{self, Finding, Report, Rule, Severity};
use sipward_asterisk::config::{Files, Kind, Memory};

/// An example's files: name, text.
type Example = Vec<(String, String)>;

const MARK: &str = " ; <<";

fn example(text: &str) -> Example {
    let files = text.split("== ").filter(|p| !p.is_empty()).map(|part| {
        let (name, body) = part
            .split_once(" ==\n")
            .expect("a file name between == and ==");
        (name.to_owned(), body.to_owned())
    });
    files.collect()
}

fn audit_of(example: &Example) -> Report {
    let files = example
        .iter()
        .map(|(n, t)| (n.clone(), t.replace(MARK, "")));
    let memory = Memory(
        Memory::with(files)
            .0
            .into_iter()
            .map(|(p, t)| (Memory::default().real(&p), t))
            .collect(),
    );
    audit::audit(&memory, Path::new(Memory::ROOT))
}

fn hits<'r>(report: &'r Report, rule: &Rule) -> Vec<&'r Finding> {
    report.findings.iter().filter(|f| f.id == rule.id).collect()
}

/// The marked line, where there is one.
fn mark(example: &Example) -> Option<(String, u32)> {
    example.iter().find_map(|(name, text)| {
        let line = text.lines().position(|l| l.ends_with(MARK))?;
        Some((
            name.clone(),
            u32::try_from(line + 1).expect("a short example"),
        ))
    })
}

/// A file's sections: the header line, the lines below.
fn sections(text: &str) -> Vec<(String, Vec<String>)> {
    let mut found: Vec<(String, Vec<String>)> = Vec::new();
    for line in text.lines() {
        match found.last_mut() {
            _ if line.starts_with('[') => found.push((line.to_owned(), Vec::new())),
            Some((_, body)) => body.push(line.to_owned()),
            None => found.push((String::new(), vec![line.to_owned()])),
        }
    }
    found
}

/// The section's name, where its header is a plain one, and what stands behind the header.
fn plain_header(header: &str) -> Option<(&str, &str)> {
    let (name, rest) = header.strip_prefix('[')?.split_once(']')?;
    (!rest.starts_with('(')).then_some((name, rest))
}

fn through_template(example: &Example) -> Example {
    rewrite(example, |i, header, body, _| match plain_header(header) {
        Some((name, rest)) if !body.is_empty() => {
            format!(
                "[sipward-{i}](!)\n{}\n[{name}](sipward-{i}){rest}\n",
                body.join("\n")
            )
        }
        _ => plain(header, body),
    })
}

fn through_addition(example: &Example) -> Example {
    rewrite(example, |_, header, body, twins| {
        match plain_header(header) {
            Some((name, _)) if !body.is_empty() => {
                let kind = body
                    .iter()
                    .position(|l| l.starts_with("type="))
                    .filter(|_| twins);
                let (kind, rest): (Vec<_>, Vec<_>) = body
                    .iter()
                    .enumerate()
                    .partition(|(at, _)| Some(*at) == kind);
                let lines = |part: &[(usize, &String)]| {
                    part.iter()
                        .map(|(_, l)| format!("{l}\n"))
                        .collect::<String>()
                };
                let filter = kind.first().map_or(String::new(), |(_, l)| (*l).clone());
                format!(
                    "{header}\n{}[{name}](+{filter})\n{}",
                    lines(&kind),
                    lines(&rest)
                )
            }
            _ => plain(header, body),
        }
    })
}

fn through_include(example: &Example) -> Example {
    let mut out = Example::new();
    for (name, text) in example {
        if name.contains('/') {
            out.push((name.clone(), text.clone()));
            continue;
        }
        out.push((
            name.clone(),
            format!("; nothing here\n#include \"deep/{name}\"\n"),
        ));
        out.push((format!("deep/{name}"), text.clone()));
    }
    out
}

fn plain(header: &str, body: &[String]) -> String {
    let header = if header.is_empty() {
        String::new()
    } else {
        format!("{header}\n")
    };
    body.iter().fold(header, |text, line| text + line + "\n")
}

/// Each section rewritten; `twins`: another one in the file has the same name.
fn rewrite(example: &Example, change: impl Fn(usize, &str, &[String], bool) -> String) -> Example {
    let file = |(name, text): &(String, String)| {
        let sections = sections(text);
        let mut count: HashMap<&str, usize> = HashMap::new();
        for (header, _) in &sections {
            *count
                .entry(plain_header(header).map_or("", |h| h.0))
                .or_default() += 1;
        }
        let parts = sections.iter().enumerate().map(|(i, (header, body))| {
            let twins = plain_header(header).is_some_and(|h| count[h.0] > 1);
            change(i, header, body, twins)
        });
        (name.clone(), parts.collect::<String>())
    };
    example.iter().map(file).collect()
}

/// Rules about files and their shape: rewriting the shape would change what they are about.
fn about_shape(rule: &Rule) -> bool {
    rule.id.starts_with("file-") || ["sip-second-general", "secret-on-template"].contains(&rule.id)
}

#[test]
fn each_rule_fires_on_its_example_at_the_marked_line_and_not_on_the_mended_one() {
    let mut failures = Vec::new();
    // The two about permission bits have a test on disk.
    for rule in audit::rules().filter(|r| !r.id.starts_with("file-world")) {
        type Change = fn(&Example) -> Example;
        let ways: [(&str, Change); 4] = [
            ("plainly", Clone::clone),
            ("template", through_template),
            ("include", through_include),
            ("addition", through_addition),
        ];
        let ways = if about_shape(rule) {
            &ways[..1]
        } else {
            &ways[..]
        };
        for (way, change) in ways {
            let (bad, good) = (change(&example(rule.bad)), change(&example(rule.good)));
            let (bad_report, good_report) = (audit_of(&bad), audit_of(&good));
            let found = hits(&bad_report, rule);
            if found.is_empty() {
                failures.push(format!("{}: {way}: silent on {bad:#?}", rule.id));
            } else if let Some((file, line)) = mark(&bad)
                && !found.iter().any(|f| f.file == file && f.line == line)
            {
                let places: Vec<_> = found.iter().map(|f| (&f.file, f.line)).collect();
                failures.push(format!("{}: {way}: {places:?}, not {file}:{line}", rule.id));
            }
            if let Some(f) = hits(&good_report, rule).first() {
                failures.push(format!(
                    "{}: {way}: fires on the mended: {}",
                    rule.id, f.message
                ));
            }
            for f in &bad_report.findings {
                let worst = audit::rules().find(|r| r.id == f.id).unwrap().severity;
                assert!(f.severity <= worst, "{} is worse than its rule says", f.id);
            }
        }
    }
    assert!(
        failures.is_empty(),
        "{} failures:\n{}",
        failures.len(),
        failures.join("\n")
    );
}

#[test]
fn names_are_unique_and_texts_are_whole_sentences() {
    let mut seen = std::collections::HashSet::new();
    for rule in audit::rules() {
        assert!(seen.insert(rule.id), "two rules are called {}", rule.id);
        for text in [rule.risk, rule.advice] {
            assert!(text.ends_with('.'), "{}: {text}", rule.id);
        }
        assert!(
            !rule.title.ends_with('.') && !rule.fix.is_empty(),
            "{}",
            rule.id
        );
    }
}

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/audit")
}

/// With `SIPWARD_WRITE_PAGES=1` the pages are written instead.
#[test]
fn the_pages_say_what_the_rules_say() {
    let pages = audit::rules().map(|r| (format!("{}.md", r.id), audit::page(r)));
    let pages: HashMap<String, String> = pages
        .chain([("README.md".to_owned(), audit::index())])
        .collect();
    if std::env::var_os("SIPWARD_WRITE_PAGES").is_some() {
        std::fs::create_dir_all(docs()).unwrap();
        for (name, text) in &pages {
            std::fs::write(docs().join(name), text).unwrap();
        }
    }
    let on_disk = std::fs::read_dir(docs())
        .expect("docs/audit")
        .map(|e| e.unwrap().file_name());
    for name in on_disk {
        let name = name.into_string().unwrap();
        assert!(
            pages.contains_key(&name),
            "docs/audit/{name} belongs to no rule"
        );
    }
    for (name, text) in &pages {
        let found = std::fs::read_to_string(docs().join(name)).unwrap_or_default();
        assert!(
            found == *text,
            "docs/audit/{name} is out of date: run with SIPWARD_WRITE_PAGES=1"
        );
    }
}

#[test]
fn permission_bits_are_judged_on_disk() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("sip.conf");
    std::fs::write(
        &file,
        "[301771]\ntype=friend\nhost=dynamic\nsecret=q7Kd0xVt3mZr9wHb5c2L\n",
    )
    .unwrap();
    let ids = |mode: u32| -> Vec<&str> {
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
        let report = audit::audit(&sipward_asterisk::config::Disk, dir.path());
        let files = report.findings.iter().filter(|f| f.id.starts_with("file-"));
        files.map(|f| f.id).collect()
    };
    assert_eq!(ids(0o640), [""; 0]);
    assert_eq!(ids(0o644), ["file-world-readable"]);
    assert_eq!(ids(0o666), ["file-world-writable", "file-world-readable"]);
}

#[test]
fn the_guides_advice_word_for_word_leaves_nothing_high_or_medium() {
    let advice = example(include_str!("trees/guide.txt"));
    let report = audit_of(&advice);
    let loud: Vec<_> = report
        .findings
        .iter()
        .filter(|f| f.severity >= Severity::Medium)
        .collect();
    assert!(loud.is_empty(), "{loud:#?}");
    assert!(!report.fails());
    // And it does say something where the advice is not followed.
    let careless: Example = advice
        .iter()
        .map(|(n, t)| (n.clone(), t.replace("allowguest=no", "")))
        .collect();
    assert!(audit_of(&careless).fails());
}

#[test]
fn thirty_included_files_keep_file_and_line() {
    let mut files: Vec<(String, String)> = vec![(
        "sip.conf".to_owned(),
        "[general]\n#include sip_general_additional.conf\n#include \"sip_d/*.conf\"\n".to_owned(),
    )];
    files.push((
        "sip_general_additional.conf".into(),
        "allowguest=yes\n\nallowoverlap=no\n".into(),
    ));
    for n in 10..38 {
        // Each file one account; the template comes from a file before it.
        let head = if n == 10 {
            "[phone](!)\ntype=friend\nhost=dynamic\ninsecure=invite\n"
        } else {
            ""
        };
        let blank = "\n".repeat(n % 5);
        files.push((
            format!("sip_d/{n}.conf"),
            format!("{head}{blank}[{n}](phone)\nsecret={n}\n"),
        ));
    }
    assert_eq!(files.len(), 30);
    let memory = Memory::with(files.iter().map(|(n, t)| (n, t)));
    let report = audit::audit(&memory, Path::new(Memory::ROOT));
    assert_eq!(report.files.len(), 30);
    let place = |id: &str| -> Vec<(&str, u32)> {
        let found = report.findings.iter().filter(|f| f.id == id);
        found.map(|f| (f.file.as_str(), f.line)).collect()
    };
    assert_eq!(
        place("sip-allowguest"),
        [("sip_general_additional.conf", 1)]
    );
    assert_eq!(place("account-insecure"), [("sip_d/10.conf", 4)]);
    let secrets = place("secret-is-name");
    assert_eq!(secrets.len(), 28);
    for (file, line) in secrets {
        let text = memory.read(&Path::new(Memory::ROOT).join(file)).unwrap();
        let text = String::from_utf8(text).unwrap();
        let line = text.lines().nth(line as usize - 1).unwrap();
        assert!(line.starts_with("secret="), "{file}: {line}");
    }
    assert_eq!(
        memory.kind(Path::new("/etc/asterisk/sip_d")),
        Kind::Directory
    );
}
