//! Lists with a detached signature, made by minisign itself.

use std::{fs, path::Path, process::Command};

use sipward_testkit::require::{Need, require};
use tempfile::TempDir;
use test_case::test_case;

use crate::{
    server::{not_found, ok, path, serve},
    taken, update,
};

const LIST: &str = "evil-1\nevil-2\n";

const BASE64: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// A key of minisign in this folder; returns the public one.
pub fn key(folder: &Path, name: &str) -> String {
    let (public, secret) = (format!("{name}.pub"), format!("{name}.key"));
    minisign(folder, &["-G", "-W", "-p", &public, "-s", &secret]);
    let text = fs::read_to_string(folder.join(public)).unwrap();
    text.lines().nth(1).unwrap().to_owned()
}

/// What minisign writes beside this text; `how` may have `-l`, the older of its two algorithms.
fn sign(folder: &Path, name: &str, text: &str, how: &[&str]) -> String {
    sign_with(folder, name, text, "the list of a test", how)
}

/// As [`sign`], with this trusted comment.
pub fn sign_with(folder: &Path, name: &str, text: &str, comment: &str, how: &[&str]) -> String {
    fs::write(folder.join("list"), text).unwrap();
    let secret = format!("{name}.key");
    let arguments = ["-S", "-s", &secret, "-m", "list", "-t", comment];
    minisign(folder, &[&arguments, how].concat());
    fs::read_to_string(folder.join("list.minisig")).unwrap()
}

fn minisign(folder: &Path, arguments: &[&str]) {
    let done = Command::new("minisign")
        .args(arguments)
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(done.status.success(), "{done:?}");
}

/// Serves a list and, where there is one, its signature; returns where.
pub fn publish(list: &str, signature: Option<String>) -> String {
    let list = list.to_owned();
    let port = serve(
        None,
        Box::new(move |head, out| match (path(head), &signature) {
            ("/list?v=1", _) => ok(out, list.as_bytes()),
            ("/list.minisig?v=1", Some(signature)) => ok(out, signature.as_bytes()),
            _ => not_found(out),
        }),
    );
    format!("http://127.0.0.1:{port}/list?v=1")
}

#[test_case(&[]; "over the hash")]
#[test_case(&["-l"]; "over the list")]
fn a_list_that_is_signed_is_taken(how: &[&str]) {
    if !require(&[Need::Program("minisign")]) {
        return;
    }
    let (folder, state) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let key = key(folder.path(), "ours");
    let from = publish(LIST, Some(sign(folder.path(), "ours", LIST, how)));
    let run = update(state.path(), &from, &["--key", &key]);
    assert_eq!(run.code, 0, "{}", run.err);
    let text = taken(state.path()).unwrap();
    assert_eq!(text.matches("[[signature]]").count(), 2, "{text}");

    // A file beside which the signature lies, too.
    let file = folder.path().join("list");
    let run = update(state.path(), file.to_str().unwrap(), &["--key", &key]);
    assert_eq!(run.code, 0, "{}", run.err);
}

/// What somebody who has not the key could publish, by the name of the case.
fn forge(case: &str, folder: &Path, how: &[&str]) -> (String, Option<String>) {
    let signature = sign(folder, "ours", LIST, how);
    let lines: Vec<&str> = signature.lines().collect();
    let with = |number: usize, line: &str| {
        let mut lines = lines.clone();
        lines[number] = line;
        Some(lines.join("\n"))
    };
    let list = LIST.to_owned();
    match case {
        "missing" => (list, None),
        "altered" => (list.replace("evil-2", "Yealink"), Some(signature)),
        "cut short" => (list.replace("evil-2\n", ""), Some(signature)),
        "another key" => (list, Some(sign(folder, "theirs", LIST, how))),
        "another list" => (list, Some(sign(folder, "ours", "evil-3\n", how))),
        "the comment" => (list, with(2, "trusted comment: the list of today")),
        "its signature" => {
            let other = sign(folder, "ours", "evil-3\n", how);
            (list, with(3, other.lines().nth(3).unwrap()))
        }
        "key id" => {
            // The algorithm and the key's number are the first ten bytes: thirteen letters, and of the
            // fourteenth the upper two bits.
            let other = sign(folder, "theirs", LIST, how);
            let (ours, theirs) = (lines[1], other.lines().nth(1).unwrap());
            let bits = |line: &str| BASE64.find(&line[13..14]).unwrap();
            let both = bits(ours) & 0b11_0000 | bits(theirs) & 0b00_1111;
            let letter = &BASE64[both..=both];
            let mixed = format!("{}{letter}{}", &ours[..13], &theirs[14..]);
            (list, with(1, &mixed))
        }
        "a page" => (list, Some("<html>not found</html>".to_owned())),
        "no text" => (list, Some("\u{0}".repeat(300))),
        "cut" => (list, Some(lines[..3].join("\n"))),
        "no comment" => (list, with(2, "comment")),
        "empty" => (list, Some(String::new())),
        other => panic!("{other}"),
    }
}

#[test_case("missing", "the server answers 404 Not Found"; "none")]
#[test_case("altered", "is not what was signed"; "of another text")]
#[test_case("cut short", "is not what was signed"; "of a longer list")]
#[test_case("another key", "it was made with another key"; "by somebody else")]
#[test_case("another list", "is not what was signed"; "of another list")]
#[test_case("the comment", "is not what was signed"; "with an altered trusted comment")]
#[test_case("its signature", "is not what was signed"; "with the signature of another comment")]
#[test_case("key id", "is not what was signed"; "by somebody else under our number")]
#[test_case("a page", "that is no signature of minisign"; "a web page")]
#[test_case("no text", "that is no signature of minisign"; "zeros")]
#[test_case("cut", "that is no signature of minisign"; "cut short")]
#[test_case("no comment", "that is no signature of minisign"; "without a trusted comment")]
#[test_case("empty", "that is no signature of minisign"; "nothing")]
fn a_list_whose_signature_does_not_hold_leaves_the_one_before(case: &str, says: &str) {
    if !require(&[Need::Program("minisign")]) {
        return;
    }
    let folder = TempDir::new().unwrap();
    let ours = key(folder.path(), "ours");
    key(folder.path(), "theirs");
    for how in [&[][..], &["-l"]] {
        let state = TempDir::new().unwrap();
        let good = publish(LIST, Some(sign(folder.path(), "ours", LIST, how)));
        assert_eq!(update(state.path(), &good, &["--key", &ours]).code, 0);
        let before = taken(state.path()).unwrap();

        let (list, signature) = forge(case, folder.path(), how);
        let from = publish(&list, signature);
        let run = update(state.path(), &from, &["--key", &ours]);
        assert_eq!(run.code, 2, "{}", run.out);
        assert!(
            run.err.contains("its signature (.minisig) does not hold: "),
            "{}",
            run.err
        );
        assert!(run.err.contains(says), "{}", run.err);
        assert!(run.err.contains("; the list before stays"), "{}", run.err);
        assert_eq!(run.err.trim_end().lines().count(), 1, "{}", run.err);
        assert_eq!(taken(state.path()).unwrap(), before);
    }
}

#[test_case("timestamp:1600000000\tfile:list", Some("signed on 2020-09-13, and the one before on 2023-11-14"); "of three years before")]
#[test_case("of some day", Some("signed on no day, and the one before on 2023-11-14"); "of nobody knows when")]
#[test_case("timestamp:1700000000\tfile:list", None; "of the same moment")]
#[test_case("file:list\ttimestamp:1700000001", None; "of later")]
fn an_older_list_is_not_taken_for_its_signature_holds(comment: &str, says: Option<&str>) {
    if !require(&[Need::Program("minisign")]) {
        return;
    }
    let (folder, state) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let key = key(folder.path(), "ours");
    let signed = |list: &str, comment: &str| {
        publish(
            list,
            Some(sign_with(folder.path(), "ours", list, comment, &[])),
        )
    };
    let today = signed(LIST, "timestamp:1700000000\tfile:list");
    let run = update(state.path(), &today, &["--key", &key]);
    assert_eq!(run.code, 0, "{}", run.err);
    let before = taken(state.path()).unwrap();
    let other = signed("evil-3\nevil-4\n", comment);
    let run = update(state.path(), &other, &["--key", &key]);
    match says {
        Some(says) => {
            assert_eq!(run.code, 2, "{}", run.out);
            assert!(run.err.contains(says), "{}", run.err);
            assert_eq!(taken(state.path()).unwrap(), before);
            let forced = update(state.path(), &other, &["--key", &key, "--force"]);
            assert_eq!(forced.code, 0, "{}", forced.err);
        }
        None => assert_eq!(run.code, 0, "{}", run.err),
    }
}

#[test_case("timestamp:1700000000\tfile:list", None; "of this list")]
#[test_case("timestamp:1700000000\tfile:lists/list", None; "of this list by its path, as rsign2 has it")]
#[test_case("timestamp:1700000000\tfile:C:\\lists\\list", None; "of this list by its path on Windows")]
#[test_case("the list of a test", None; "of nobody knows which")]
#[test_case("timestamp:1700000000\tfile:networks.txt\thashed", Some("it is of a file networks.txt, and this is list"); "of another list")]
#[test_case("file:list/", Some("it is of a file list/, and this is list: its author signs it under"); "of a folder of this name")]
#[test_case("file:li\u{7}st", Some("it is of a file li\\x07st, and this is list"); "of a name that rings")]
fn a_server_cannot_give_out_another_list_of_the_same_author(comment: &str, says: Option<&str>) {
    if !require(&[Need::Program("minisign")]) {
        return;
    }
    let (folder, state) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let key = key(folder.path(), "ours");
    let signature = sign_with(folder.path(), "ours", LIST, comment, &[]);
    let run = update(
        state.path(),
        &publish(LIST, Some(signature)),
        &["--key", &key],
    );
    match says {
        Some(says) => {
            assert_eq!(run.code, 2, "{}", run.out);
            assert!(run.err.contains(says), "{}", run.err);
            assert_eq!(taken(state.path()), None);
        }
        None => assert_eq!(run.code, 0, "{}", run.err),
    }
    // Of a file of this machine nobody else chose the name.
    let file = folder.path().join("list");
    let run = update(state.path(), file.to_str().unwrap(), &["--key", &key]);
    assert_eq!(run.code, 0, "{}", run.err);
}

#[test]
fn a_list_of_pages_is_not_signed_as_a_whole() {
    if !require(&[Need::Program("minisign")]) {
        return;
    }
    let (folder, state) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let key = key(folder.path(), "ours");
    let page = "{\"ipaddress\":[\"192.0.2.1\"],\"ID\":\"100\"}";
    let from = publish(page, Some(sign(folder.path(), "ours", page, &[])));
    let run = update(state.path(), &from, &["--key", &key]);
    assert_eq!(run.code, 2, "{}", run.out);
    assert!(
        run.err.contains("a list of several pages has no signature"),
        "{}",
        run.err
    );
}

#[test_case("", "no public key of minisign"; "nothing")]
#[test_case("RWQ", "no public key of minisign"; "too short")]
fn what_is_no_key_is_refused(key: &str, says: &str) {
    let state = TempDir::new().unwrap();
    let run = update(state.path(), "/nonexistent", &["--key", key]);
    assert_eq!(run.code, 2, "{}", run.out);
    assert!(run.err.contains(says), "{}", run.err);
}
