//! Who a list says is a scanner, and what the lint has to say to it.

use std::{collections::BTreeMap, fs, path::Path};

use sipward_signature::SignatureSet;
use tempfile::TempDir;
use test_case::test_case;

use crate::{
    server::{has_it, not_modified, ok, serve},
    update,
};

/// Of a scanner, of two telephones, and what the lint refuses.
const NAMES: &str = "evil-scanner\nYealink SIP-T46S 66.86.0.15\nsnom370/8.7.5.35\n";
/// The same in the words of others.
const RULES: &str = "iptables -A INPUT -m string --string 'evil-scanner' --algo bm -j DROP\n\
                     iptables -A INPUT -m string --string 'Yealink' --algo bm -j DROP\n\
                     iptables -A INPUT -m string --string 'sip:evil@evil' --algo bm -j DROP\n";
/// As its author would have it.
const OWN: &str = "[[signature]]\nname = \"evil\"\nfield = \"user-agent\"\nmatch = \"exact\"\n\
                   pattern = \"evil-scanner\"\nconfidence = \"likely\"\nsource = \"a test\"\n\
                   [[signature]]\nname = \"phone\"\nfield = \"user-agent\"\nmatch = \"prefix\"\n\
                   pattern = \"snom370/\"\nconfidence = \"likely\"\nsource = \"a test\"\n\
                   [[signature]]\nname = \"known\"\nfield = \"user-agent\"\nmatch = \"exact\"\n\
                   pattern = \"evil-2\"\nconfidence = \"shared\"\nsource = \"a test\"\n";

/// Pattern and field of what was taken, with its confidence.
fn confidences(state: &Path) -> BTreeMap<String, String> {
    let text = fs::read_to_string(state.join("feeds/web.toml")).unwrap();
    let set = SignatureSet::parse("web.toml", &text).unwrap();
    set.iter()
        .map(|it| {
            let what = format!("{} {}", it.field, it.pattern);
            (what, it.confidence.to_string())
        })
        .collect()
}

#[test_case(NAMES, &[("user-agent Yealink SIP-T46S 66.86.0.15", "shared"), ("user-agent evil-scanner", "certain"), ("user-agent snom370/8.7.5.35", "shared")]; "user agents")]
#[test_case(RULES, &[("contact sip:evil@evil", "shared"), ("from sip:evil@evil", "shared"), ("to sip:evil@evil", "shared"), ("user-agent Yealink", "shared"), ("user-agent evil-scanner", "certain")]; "rules of iptables")]
#[test_case(OWN, &[("user-agent evil-2", "shared"), ("user-agent evil-scanner", "likely"), ("user-agent snom370/", "shared")]; "a signature file")]
fn only_what_no_genuine_device_sends_is_more_than_evidence(
    list: &'static str,
    promoted: &[(&str, &str)],
) {
    let port = serve(
        None,
        Box::new(move |head, out| {
            if has_it(head) {
                return not_modified(out);
            }
            ok(out, list.as_bytes())
        }),
    );
    let from = format!("http://127.0.0.1:{port}/list");
    let state = TempDir::new().unwrap();
    let run = update(state.path(), &from, &[]);
    assert_eq!(run.code, 0, "{}", run.err);
    let all_shared = confidences(state.path());
    assert_eq!(all_shared.len(), promoted.len());
    assert!(
        all_shared.values().all(|it| it == "shared"),
        "{all_shared:?}"
    );

    // The server would say that nothing has changed; the terms have.
    let run = update(state.path(), &from, &["--promote"]);
    assert_eq!(run.code, 0, "{}", run.err);
    let count = format!(
        "web: {} signatures (1 more than evidence), ",
        promoted.len()
    );
    assert!(run.out.starts_with(&count), "{}", run.out);
    let of_each = confidences(state.path());
    let of_each: Vec<(&str, &str)> = of_each
        .iter()
        .map(|(what, it)| (what.as_str(), it.as_str()))
        .collect();
    assert_eq!(of_each, promoted);
}

#[test]
fn what_anybody_on_the_way_could_write_is_not_promoted() {
    let state = TempDir::new().unwrap();
    let run = update(state.path(), "http://192.0.2.1/list", &["--promote"]);
    assert_eq!(run.code, 2, "{}", run.out);
    assert!(
        run.err.contains("over https:// or with a key only"),
        "{}",
        run.err
    );
}
