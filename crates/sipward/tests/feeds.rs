//! `sipward signatures update` from web servers, honest and hostile ones.

#![expect(clippy::unwrap_used, reason = "a helper that fails fails its test")]

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    path::Path,
    process::Command,
    sync::Arc,
    thread,
    time::Duration,
};

use sipward_testkit::require::{Need, require};
use tempfile::TempDir;
use test_case::test_case;
use tokio_rustls::rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

/// What a server does: the head of a request comes in, an answer goes out. An error ends the
/// connection.
type Answer = dyn Fn(&str, &mut dyn Write) -> std::io::Result<()> + Send + Sync;

/// A web server on loopback for the length of the test; returns its port.
fn serve(tls: Option<Arc<ServerConfig>>, answer: Box<Answer>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let answer: Arc<Answer> = answer.into();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let (answer, tls) = (Arc::clone(&answer), tls.clone());
            // A client that goes away ends its thread.
            thread::spawn(move || match tls {
                None => converse(stream, &*answer),
                Some(tls) => {
                    let connection = ServerConnection::new(tls).map_err(std::io::Error::other)?;
                    converse(StreamOwned::new(connection, stream), &*answer)
                }
            });
        }
    });
    port
}

fn converse(stream: impl Read + Write, answer: &Answer) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head)? == 0 {
            return Ok(());
        }
    }
    answer(&head, stream.get_mut())?;
    stream.get_mut().flush()
}

fn ok(out: &mut dyn Write, body: &[u8]) -> std::io::Result<()> {
    write!(
        out,
        "HTTP/1.1 200 OK\r\nETag: \"v1\"\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )?;
    out.write_all(body)
}

struct Run {
    code: i32,
    out: String,
    err: String,
}

fn update(state: &Path, from: &str, more: &[&str]) -> Run {
    let output = Command::new(env!("CARGO_BIN_EXE_sipward"))
        .args(["signatures", "update", "--name", "web", "--from", from])
        .args(["--state-dir", state.to_str().unwrap()])
        .args(["--socket", "/nonexistent/sipward.sock"])
        .args(more)
        .output()
        .unwrap();
    Run {
        code: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

fn taken(state: &Path) -> Option<String> {
    fs::read_to_string(state.join("feeds/web.toml")).ok()
}

const NAMES: &str = "Evil%20Scanner\nsundial\nevil-2\nevil-3\n-\n";

#[test]
fn a_list_is_taken_once_and_then_only_asked_after() {
    let state = TempDir::new().unwrap();
    let port = serve(
        None,
        Box::new(|head, out| {
            if head.to_ascii_lowercase().contains("if-none-match: \"v1\"") {
                return write!(out, "HTTP/1.1 304 Not Modified\r\n\r\n");
            }
            ok(out, NAMES.as_bytes())
        }),
    );
    let from = format!("http://127.0.0.1:{port}/list");
    let first = update(state.path(), &from, &[]);
    assert_eq!(first.code, 0, "{}", first.err);
    assert_eq!(first.out, "web: 5 signatures, 0 prefixes banned for 2d\n");
    let text = taken(state.path()).unwrap();
    assert!(text.contains("pattern = \"Evil Scanner\""), "{text}");
    assert_eq!(text.matches("confidence = \"shared\"").count(), 5, "{text}");
    let second = update(state.path(), &from, &[]);
    assert_eq!(
        (second.code, second.out.as_str()),
        (0, "web: not changed\n")
    );
    assert_eq!(taken(state.path()).unwrap(), text);
}

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
        "page" => ok(out, b"<!DOCTYPE html><html><h1>Domain for sale</h1></html>"),
        "many" => ok(out, "192.0.2.7\n".repeat(2_000_000).as_bytes()),
        "utf-8" => ok(out, b"evil\n\xff\xfe\n"),
        "empty" => ok(out, b"# nothing today\n"),
        "shrunk" => ok(out, b"evil-2\n"),
        "error" => write!(out, "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"),
        "garbage" => out.write_all(b"SSH-2.0-OpenSSH\r\n\r\n"),
        "signatures" => ok(out, b"[[signature]]\nname = \"x\"\n"),
        other => panic!("{other}"),
    }
}

#[test_case("stream", "the list has more than 32 MB"; "ten gigabytes")]
#[test_case("drip", "not there after 2 s: the server is slow, or --timeout too short"; "a slow drip")]
#[test_case("loop", "more than 5 redirections"; "a loop of redirections")]
#[test_case("page", "a web page without a table of addresses or User-Agents, not a list"; "a web page")]
#[test_case("many", "the list has more than 250000 entries"; "two million entries")]
#[test_case("utf-8", "line 2 is not text (UTF-8)"; "invalid UTF-8")]
#[test_case("empty", "the list is empty"; "an empty list")]
#[test_case("shrunk", "1 entries, 5 before: it may be broken; --force takes it all the same"; "a list that shrank")]
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

#[test]
fn the_pages_of_apiban_are_followed_but_no_further_than_it_allows() {
    let state = TempDir::new().unwrap();
    let asked = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let port = serve(
        None,
        Box::new(move |head, out| {
            let page = counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let path = head.split(' ').nth(1).unwrap();
            let expected = if page == 0 {
                "/api/key/banned".to_owned()
            } else {
                format!("/api/key/banned/{}", 100 + page)
            };
            assert_eq!(path, expected);
            let body = format!(
                "{{\"ipaddress\":[\"192.0.2.{page}\"],\"ID\":\"{}\"}}",
                101 + page
            );
            ok(out, body.as_bytes())
        }),
    );
    let from = format!("http://127.0.0.1:{port}/api/key/banned");
    let run = update(state.path(), &from, &[]);
    // Addresses are the daemon's to ban, and there is none.
    assert_eq!(run.code, 3, "{}", run.err);
    assert_eq!(asked.load(std::sync::atomic::Ordering::Relaxed), 11);
    let netset = fs::read_to_string(state.path().join("feeds/web.netset")).unwrap();
    assert_eq!(netset.lines().count(), 11);
    assert!(!state.path().join("feeds/web.json").exists());
}

/// A certificate for 127.0.0.1 that is its own authority.
fn certificate(folder: &Path) -> Arc<ServerConfig> {
    let text = "[req]\ndistinguished_name=dn\nx509_extensions=ext\nprompt=no\n[dn]\nCN=feed\n\
        [ext]\nsubjectAltName=IP:127.0.0.1\nbasicConstraints=critical,CA:FALSE\n";
    fs::write(folder.join("config"), text).unwrap();
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
        ])
        .args([
            "-nodes", "-days", "2", "-config", "config", "-keyout", "key", "-out", "crt",
        ])
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let certificate = CertificateDer::from_pem_file(folder.join("crt")).unwrap();
    let key = PrivateKeyDer::from_pem_file(folder.join("key")).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    Arc::new(config)
}

#[test]
fn a_server_under_tls_is_believed_only_with_a_certificate_that_is() {
    if !require(&[Need::Program("openssl")]) {
        return;
    }
    let (state, keys) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let tls = certificate(keys.path());
    let port = serve(
        Some(tls),
        Box::new(|head, out| {
            if head.starts_with("GET /away") {
                let to = "http://127.0.0.1:9/list";
                return write!(
                    out,
                    "HTTP/1.1 301 Moved\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n"
                );
            }
            ok(out, NAMES.as_bytes())
        }),
    );
    let from = format!("https://127.0.0.1:{port}/list");
    let run = update(state.path(), &from, &[]);
    assert_eq!(run.code, 2, "{}", run.out);
    assert!(
        run.err
            .contains("127.0.0.1 is not believed: invalid peer certificate"),
        "{}",
        run.err
    );
    assert_eq!(taken(state.path()), None);

    let authority = keys.path().join("crt");
    let authority = ["--ca-file", authority.to_str().unwrap()];
    let run = update(state.path(), &from, &authority);
    assert_eq!(run.code, 0, "{}", run.err);
    assert!(taken(state.path()).is_some());

    let away = format!("https://127.0.0.1:{port}/away");
    let run = update(state.path(), &away, &authority);
    assert!(run.err.contains("from HTTPS to HTTP"), "{}", run.err);
}

#[test]
fn the_guides_script_is_taken_from_a_file_and_its_dash_is_left_out() {
    let state = TempDir::new().unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/guide-rules.sh");
    let run = update(state.path(), script, &["--json"]);
    assert_eq!(run.code, 0, "{}", run.err);
    let text = taken(state.path()).unwrap();
    assert!(text.contains("pattern = \"friendly-scanner\""), "{text}");
    assert!(
        text.contains("pattern = \"Avaya IP Phone 1120E\""),
        "{text}"
    );
    assert!(!text.contains("pattern = \"-\""), "{text}");
    assert!(
        !text.contains("\"certain\"") && !text.contains("\"likely\""),
        "{text}"
    );
}
