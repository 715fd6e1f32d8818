//! Lists that are what they should be.

use std::fs;

use serde_json::Value;
use sipward_testkit::require::{Need, require};
use tempfile::TempDir;

use crate::{
    NAMES, Run,
    server::{certificate, has_it, not_found, not_modified, ok, path, serve},
    signatures, taken, update,
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

#[test]
fn each_list_of_the_configuration_is_taken_whatever_becomes_of_the_others() {
    let folder = TempDir::new().unwrap();
    let port = serve(
        None,
        Box::new(|head, out| match path(head) {
            "/names" if has_it(head) => not_modified(out),
            "/names" => ok(out, NAMES.as_bytes()),
            _ => not_found(out),
        }),
    );
    let feed = |name: &str| {
        format!(
            "[[signatures.feed]]\nurl = \"http://127.0.0.1:{port}/{name}\"\nname = \"{name}\"\n"
        )
    };
    let config = folder.path().join("sipward.toml");
    fs::write(&config, ["nothing", "names"].map(feed).concat()).unwrap();
    let run = |command: &[&str]| -> Run {
        let (config, folder) = (config.to_str().unwrap(), folder.path().to_str().unwrap());
        signatures(&[command, &["--config", config, "--state-dir", folder]].concat())
    };
    let update = |more: &[&str]| run(&[&["update", "--socket", "/nonexistent/s"], more].concat());

    let all = update(&[]);
    assert_eq!(all.code, 2, "{}", all.err);
    assert_eq!(all.out, "names: 5 signatures, 0 prefixes banned for 2d\n");
    assert!(
        all.err
            .contains("/nothing: the server answers 404 Not Found"),
        "{}",
        all.err
    );
    let one = update(&["--name", "names", "--json"]);
    assert_eq!(one.code, 0, "{}", one.err);
    let json: Value = serde_json::from_str(&one.out).unwrap();
    assert_eq!(
        (&json[0]["name"], &json[0]["changed"]),
        (&"names".into(), &false.into())
    );
    let none = update(&["--name", "nobody"]);
    assert_eq!(none.code, 2, "{}", none.out);
    assert!(
        none.err.contains("the configuration names no such feed"),
        "{}",
        none.err
    );

    // Old age.
    assert_eq!(run(&["match", "--user-agent", "sundial"]).code, 0);
    let record = folder.path().join("feeds/names.json");
    let mut old: Value = serde_json::from_slice(&fs::read(&record).unwrap()).unwrap();
    old["confirmed"] = "2026-01-01T00:00:00Z".into();
    fs::write(&record, old.to_string()).unwrap();
    assert_eq!(run(&["match", "--user-agent", "sundial"]).code, 1);
    let lint = run(&["lint"]);
    let says = "names.toml: this feed is left out, for it was last there on 2026-01-01";
    assert!(lint.err.contains(says), "{}", lint.err);

    // Its server says that nothing has changed: it is there again.
    assert_eq!(update(&["--name", "names"]).out, "names: not changed\n");
    assert_eq!(run(&["match", "--user-agent", "sundial"]).code, 0);
    // What the configuration no longer names is not in force.
    fs::write(&config, feed("nothing")).unwrap();
    assert_eq!(run(&["match", "--user-agent", "sundial"]).code, 1);
}
