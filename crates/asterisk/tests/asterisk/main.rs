//! The reader against a running Asterisk 16.
#![expect(
    clippy::unwrap_used,
    reason = "a step that fails is the test's failure"
)]

mod random;
mod settings;

use std::{
    io::{BufRead, BufReader, Write},
    net::TcpStream,
    path::Path,
    time::Duration,
};

use sipward_asterisk::config::{Disk, Tree};
use sipward_testkit::{
    asterisk::{Asterisk, MANAGER_SECRET, MANAGER_USER, Settings},
    namespace::Namespace,
    require::{Need, asterisk_root, require},
};

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
