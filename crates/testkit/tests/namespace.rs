//! Namespaces go when their test goes, however it goes.

use std::process::{Command, Stdio};
use std::time::Duration;

use sipward_testkit::namespace::Namespace;
use sipward_testkit::process::wait_until;
use sipward_testkit::require::{Need, require};

#[test]
fn a_panic_removes_the_namespace_and_what_runs_in_it() {
    if !require(&[Need::Root]) {
        return;
    }
    let (sender, receiver) = std::sync::mpsc::channel();
    let test = std::thread::spawn(move || {
        let namespace = Namespace::new("panic").unwrap();
        let child = namespace.command("sleep").arg("60").spawn().unwrap();
        let inside = format!("/proc/{}/ns/net", child.id());
        let same = || std::fs::read_link(&inside).ok() == namespace_of(&namespace);
        wait_until("the child to be inside", Duration::from_secs(5), same).unwrap();
        sender.send((namespace.path(), child)).unwrap();
        panic!("as a test does that fails");
    });
    let (path, mut child) = receiver.recv().unwrap();
    assert!(test.join().is_err());
    assert!(!path.exists());
    assert!(!child.wait().unwrap().success());
}

#[test]
fn what_a_killed_test_left_is_removed_by_the_next() {
    if !require(&[Need::Root]) {
        return;
    }
    let mut gone = Command::new("true").spawn().unwrap();
    gone.wait().unwrap();
    let name = format!("sipward-{}-abcdef-left", gone.id());
    let add = Command::new("ip")
        .args(["netns", "add", &name])
        .status()
        .unwrap();
    assert!(add.success());
    let path = format!("/run/netns/{name}");
    let mut left = Command::new("nsenter")
        .args([
            &format!("--net={path}"),
            "--",
            "sh",
            "-c",
            "echo inside; exec sleep 60",
        ])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let output = left.stdout.take().unwrap();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(output), &mut line).unwrap();

    let namespace = Namespace::new("next").unwrap();
    assert!(!std::path::Path::new(&path).exists());
    assert!(!left.wait().unwrap().success());
    assert!(namespace.path().exists());
}

#[test]
fn pins_stay_visible_inside() {
    if !require(&[Need::Root]) {
        return;
    }
    let namespace = Namespace::new("mounts").unwrap();
    let inside = namespace.run("readlink /proc/self/ns/mnt").unwrap();
    let outside = std::fs::read_link("/proc/self/ns/mnt").unwrap();
    assert_eq!(inside.trim(), outside.to_str().unwrap());
}

fn namespace_of(namespace: &Namespace) -> Option<std::path::PathBuf> {
    namespace.enter(|| std::fs::read_link("/proc/thread-self/ns/net").ok())
}
