//! Lists that are what they should be.

use sipward_testkit::require::{Need, require};
use tempfile::TempDir;

use crate::{
    NAMES,
    server::{certificate, has_it, not_modified, ok, serve},
    taken, update,
};

#[test]
fn a_list_is_taken_once_and_then_only_asked_after() {
    let state = TempDir::new().unwrap();
    let port = serve(
        None,
        Box::new(|head, out| {
            if has_it(head) {
                return not_modified(out);
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
