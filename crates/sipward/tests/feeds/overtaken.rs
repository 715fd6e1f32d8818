//! A list that one update takes while the server of another one is slow to answer.

use std::{
    fs,
    net::TcpListener,
    path::Path,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
        mpsc::{Receiver, Sender, channel},
    },
    thread,
    time::Duration,
};

use serde_json::Value;
use sipward_testkit::{
    guard::Guard,
    lab::Lab,
    require::{Need, require},
};
use tempfile::TempDir;

use crate::{
    Run,
    server::{has_it, not_found, not_modified, ok, path, serve, serve_on},
    signed::{key, publish, sign_with},
    taken, update,
};

const PATIENCE: Duration = Duration::from_secs(60);

/// Where an answer waits, at the server.
struct Gate {
    reached: Sender<()>,
    opened: Mutex<Receiver<()>>,
}

/// The same, as the test has it.
struct Keeper {
    reached: Receiver<()>,
    opened: Sender<()>,
}

fn gate() -> (Gate, Keeper) {
    let (here, reached) = channel();
    let (open, opened) = channel();
    let gate = Gate {
        reached: here,
        opened: Mutex::new(opened),
    };
    let keeper = Keeper {
        reached,
        opened: open,
    };
    (gate, keeper)
}

impl Gate {
    fn pass(&self) {
        // A test that is over waits for nothing.
        let _ = self.reached.send(());
        let _ = self.opened.lock().unwrap().recv_timeout(PATIENCE);
    }
}

impl Keeper {
    /// What came of an update whose answer waits until the other things are done.
    fn overtake(&self, slow: impl FnOnce() -> Run + Send, others: impl FnOnce()) -> Run {
        thread::scope(|scope| {
            let slow = scope.spawn(slow);
            self.reached.recv_timeout(PATIENCE).unwrap();
            others();
            self.opened.send(()).unwrap();
            slow.join().unwrap()
        })
    }
}

/// Whoever is on the way can hold an old list back until a newer one is there.
#[test]
fn a_list_that_was_asked_for_before_a_newer_one_came_does_not_take_its_place() {
    if !require(&[Need::Program("minisign")]) {
        return;
    }
    let (folder, state) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let key = key(folder.path(), "ours");
    let sign = |list: &str, at: &str| {
        let comment = format!("timestamp:{at}\tfile:list");
        sign_with(folder.path(), "ours", list, &comment, &[])
    };
    let (old, new) = ("evil-1\nevil-2\n", "evil-3\nevil-4\n");
    let signature = sign(old, "1600000000");
    let (gate, keeper) = gate();
    let port = serve(
        None,
        Box::new(move |head, out| match path(head) {
            "/list" => {
                gate.pass();
                ok(out, old.as_bytes())
            }
            "/list.minisig" => ok(out, signature.as_bytes()),
            _ => not_found(out),
        }),
    );
    let slow = format!("http://127.0.0.1:{port}/list");
    let newer = publish(new, Some(sign(new, "1700000000")));
    let run = keeper.overtake(
        || update(state.path(), &slow, &["--key", &key]),
        || {
            let run = update(state.path(), &newer, &["--key", &key]);
            assert_eq!(run.code, 0, "{}", run.err);
        },
    );
    assert_eq!(run.code, 2, "{}", run.out);
    let says = "signed on 2020-09-13, and the one before on 2023-11-14";
    assert!(run.err.contains(says), "{}", run.err);
    let text = taken(state.path()).unwrap();
    assert!(
        text.contains("evil-3") && !text.contains("evil-1"),
        "{text}"
    );
}

#[test]
fn that_an_old_list_has_not_changed_is_not_said_of_the_one_that_came_meanwhile() {
    let state = TempDir::new().unwrap();
    let (gate, keeper) = gate();
    let asked = AtomicUsize::new(0);
    let port = serve(
        None,
        Box::new(move |head, out| match asked.fetch_add(1, Relaxed) {
            0 => ok(out, b"evil-1\n"),
            1 => {
                assert!(has_it(head));
                gate.pass();
                not_modified(out)
            }
            _ if head.contains("\"v2\"") => not_modified(out),
            _ => {
                let head = "HTTP/1.1 200 OK\r\nETag: \"v2\"\r\nContent-Length: 7\r\n\r\n";
                writeln!(out, "{head}evil-2")
            }
        }),
    );
    let from = format!("http://127.0.0.1:{port}/list");
    let ask = || update(state.path(), &from, &[]);
    assert_eq!(ask().code, 0);
    let record = state.path().join("feeds/web.json");
    let mut second = String::new();
    let run = keeper.overtake(ask, || {
        let run = ask();
        assert_eq!(run.code, 0, "{}", run.err);
        second = fs::read_to_string(&record).unwrap();
    });
    assert_eq!(run.code, 2, "{}", run.out);
    let says = "another update took it meanwhile";
    assert!(run.err.contains(says), "{}", run.err);
    assert_eq!(fs::read_to_string(&record).unwrap(), second);
    assert_eq!(ask().out, "web: not changed\n");
}

/// The daemon, whose own request waits at the server while somebody updates the list by hand.
#[test]
fn a_list_that_somebody_else_took_meanwhile_has_not_failed() {
    if !require(&[Need::Root]) {
        return;
    }
    let lab = Lab::new().unwrap();
    let (second, overtaken) = gate();
    let (fourth, next) = gate();
    let asked = AtomicUsize::new(0);
    let listener = lab.pbx.enter(|| TcpListener::bind("127.0.0.1:0").unwrap());
    let port = serve_on(
        listener,
        None,
        Box::new(move |head, out| match asked.fetch_add(1, Relaxed) {
            0 => ok(out, b"evil-1\n"),
            1 => {
                assert!(has_it(head));
                second.pass();
                not_modified(out)
            }
            2 => {
                let head = "HTTP/1.1 200 OK\r\nETag: \"v2\"\r\nContent-Length: 7\r\n\r\n";
                writeln!(out, "{head}evil-2")
            }
            number => {
                if number == 3 {
                    fourth.pass();
                }
                not_modified(out)
            }
        }),
    );
    let from = format!("http://127.0.0.1:{port}/list");
    let config = format!("[[signatures.feed]]\nurl = \"{from}\"\nname = \"web\"\nevery = \"1s\"\n");
    let program = Path::new(env!("CARGO_BIN_EXE_sipward"));
    let guard = Guard::start_with(program, &lab.pbx, &config).unwrap();
    overtaken.reached.recv_timeout(PATIENCE).unwrap();
    let run = lab.pbx.enter(|| update(&guard.state(), &from, &[]));
    assert_eq!(run.code, 0, "{}", run.err);
    overtaken.opened.send(()).unwrap();

    // It has said what became of the second when it asks for the fourth time.
    next.reached.recv_timeout(PATIENCE).unwrap();
    let log = guard.log();
    let plan = fs::read_to_string(guard.state().join("feeds/web.plan")).unwrap();
    next.opened.send(()).unwrap();
    let plan: Value = serde_json::from_str(&plan).unwrap();
    assert_eq!(plan["error"], Value::Null, "{plan}");
    assert_eq!(plan["failures"], 0, "{plan}");
    assert!(!log.contains("feed web: another update"), "{log}");
}
