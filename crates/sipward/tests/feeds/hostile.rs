//! What goes wrong leaves the list before in force.

use std::{io::Write, thread, time::Duration};

use tempfile::TempDir;
use test_case::test_case;

use crate::{
    NAMES,
    server::{ok, serve},
    taken, update,
};

/// What a hostile or a broken server answers, by the name of the case.
fn misbehave(case: &str, head: &str, out: &mut dyn Write) -> std::io::Result<()> {
    match case {
        "stream" => {
            write!(out, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")?;
            // 10 GB, unless the other end has had enough.
            for _ in 0..10_000 {
                out.write_all(&[b'a'; 1 << 20])?;
            }
            Ok(())
        }
        "drip" => {
            write!(out, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")?;
            loop {
                out.write_all(b"a")?;
                out.flush()?;
                thread::sleep(Duration::from_millis(50));
            }
        }
        "loop" => {
            let path = head.split(' ').nth(1).unwrap();
            write!(
                out,
                "HTTP/1.1 302 Found\r\nLocation: {path}x\r\nContent-Length: 0\r\n\r\n"
            )
        }
        "far" | "away" => {
            let to = match case {
                "far" => format!("http://[{}", "x".repeat(100_000)),
                _ => "http://192.0.2.1/list".to_owned(),
            };
            write!(
                out,
                "HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n"
            )
        }
        "page" => ok(out, b"<!DOCTYPE html><html><h1>Domain for sale</h1></html>"),
        "many" => ok(out, "192.0.2.7\n".repeat(2_000_000).as_bytes()),
        "utf-8" => ok(out, b"evil\n\xff\xfe\n"),
        "empty" => ok(out, b"# nothing today\n"),
        "shrunk" => ok(out, b"evil-2\n"),
        "internet" => {
            let eights: String = (1..=220)
                .map(|first| format!("{first}.0.0.0/8\n"))
                .collect();
            ok(out, eights.as_bytes())
        }
        "network" => ok(out, b"198.48.0.0/13\n192.0.2.1\n192.0.2.2\n"),
        "grown" => {
            let more: String = (0..1_001)
                .map(|number| format!("evil-{number}\n"))
                .collect();
            ok(out, more.as_bytes())
        }
        "error" => write!(out, "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"),
        "garbage" => out.write_all(b"SSH-2.0-OpenSSH\r\n\r\n"),
        "signatures" => ok(out, b"[[signature]]\nname = \"x\"\n"),
        other => panic!("{other}"),
    }
}

#[test_case("stream", "the list has more than 32 MB"; "ten gigabytes")]
#[test_case("drip", "not there after 2 s: the server is slow, or --timeout too short"; "a slow drip")]
#[test_case("loop", "more than 5 redirections"; "a loop of redirections")]
#[test_case("far", "xxx…\": uri too long"; "a redirection of 100 kB")]
#[test_case("away", "from this machine to HTTP elsewhere"; "a redirection to where somebody is on the way")]
#[test_case("page", "a web page without a table of addresses or User-Agents, not a list"; "a web page")]
#[test_case("many", "the list has more than 250000 entries"; "two million entries")]
#[test_case("utf-8", "line 2 is not text (UTF-8)"; "invalid UTF-8")]
#[test_case("empty", "the list is empty"; "an empty list")]
#[test_case("shrunk", "1 entries, 5 before: it may be broken; --force takes it all the same"; "a list that shrank")]
#[test_case("internet", "3623878656 IPv4 addresses to be banned: lists may ban a 64th of IPv4"; "a list of the Internet")]
#[test_case("network", "it may be somebody else's; --force takes it all the same"; "a list with a network in it")]
#[test_case("grown", "1001 entries with 0 IPv4 addresses, 5 with 0 IPv4 addresses before: it may be somebody else's"; "a list that grew manyfold")]
#[test_case("error", "the server answers 503 Service Unavailable"; "an error")]
#[test_case("garbage", "127.0.0.1 does not answer"; "another protocol")]
#[test_case("signatures", "signatures:1: missing field"; "a signature file with a mistake")]
fn a_hostile_server_gets_one_line_and_the_list_before_stays(case: &'static str, says: &str) {
    let state = TempDir::new().unwrap();
    let good = std::sync::atomic::AtomicBool::new(true);
    let port = serve(
        None,
        Box::new(move |head, out| {
            if good.swap(false, std::sync::atomic::Ordering::Relaxed) {
                return ok(out, NAMES.as_bytes());
            }
            misbehave(case, head, out)
        }),
    );
    let from = format!("http://127.0.0.1:{port}/list");
    // The limit of the drip, and room for a busy machine in the other cases.
    let timeout = if case == "drip" { "2s" } else { "2m" };
    assert_eq!(update(state.path(), &from, &[]).code, 0);
    let before = taken(state.path()).unwrap();
    let run = update(state.path(), &from, &["--timeout", timeout]);
    assert_eq!(run.code, 2, "{} {}", run.out, run.err);
    assert!(run.err.contains(says), "{}", run.err);
    assert!(run.err.contains("; the list before stays"), "{}", run.err);
    assert_eq!(run.err.trim_end().lines().count(), 1, "{}", run.err);
    assert_eq!(taken(state.path()).unwrap(), before);
}
